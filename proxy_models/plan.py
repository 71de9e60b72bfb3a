"""The parts of a run: each with its mixture, context and learning rates, over a share of the steps.

A main mixture over most of the steps, then mid-training on another one at falling rates, or with a longer context.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from proxy_models.loader import MixtureError, draw_totals
from proxy_models.model import ModelConfig
from proxy_models.optimization import Schedule
from proxy_models.phases import Phase


@dataclass(frozen=True)
class TrainingPhase:
    """mixture: source -> share; a source that it does not name is not trained on.

    share: of the run's steps; shares need not sum to 1. replay: share of the phase's sequences that follow the
    mixture of the phase before it. rates: learning rate at begin and end of the phase, as shares of the peak, linear in
    between; None: what the run's schedule has at these steps. context, rope_base: the model's from here on; None: as
    before. batch: sequences for each step, over all ranks; None: as many as keep the tokens of a step.
    """

    mixture: Mapping[str, float]
    share: float = 1.0
    replay: float = 0.0
    rates: tuple[float, float] | None = None
    context: int | None = None
    rope_base: float | None = None
    batch: int | None = None


@dataclass(frozen=True)
class Segment:
    """A phase as planned: steps first_step to end_step - 1 of a run, and the model's settings in them."""

    phase: TrainingPhase
    first_step: int
    end_step: int
    model: ModelConfig
    read: Phase

    @property
    def steps(self) -> int:
        return self.end_step - self.first_step

    @property
    def step_tokens(self) -> int:
        return self.read.batch * self.read.context


@dataclass(frozen=True)
class Plan:
    """All phases of a run, one after another without gaps."""

    segments: tuple[Segment, ...]

    @property
    def steps(self) -> int:
        return self.segments[-1].end_step

    def at(self, step: int) -> Segment:
        """The segment of a step; the last one for a step after the end."""
        return next((segment for segment in self.segments if step < segment.end_step), self.segments[-1])

    def rate_share(self, step: int, schedule: Schedule) -> float:
        """Of the peak learning rate at a step. In a phase of n steps with rates (a, b), step i has
        a + (b - a) * i / n: the next phase begins where this one would have got to."""
        segment = self.at(step)
        if segment.phase.rates is None:
            return schedule.share(step, self.steps)
        begin, end = segment.phase.rates
        return begin + (end - begin) * (step - segment.first_step) / segment.steps

    def tokens_before(self, step: int) -> int:
        """Trained on in the steps before a step."""
        return sum(
            (min(step, segment.end_step) - segment.first_step) * segment.step_tokens
            for segment in self.segments
            if step > segment.first_step
        )


def planned(phases: Sequence[TrainingPhase], model: ModelConfig, steps: int, batch: int) -> Plan:
    """The plan of a run that begins with this model and batch.

    Raises MixtureError for a phase without a step; ValueError for settings that no phase can have.
    """
    if not phases:
        raise MixtureError("a run needs at least one phase")
    segments: list[Segment] = []
    begin, step_tokens, before = 0, batch * model.context, None
    shares = draw_totals([phase.share for phase in phases], steps).tolist()
    for number, (phase, own_steps) in enumerate(zip(phases, shares, strict=True), 1):
        if own_steps == 0:
            raise MixtureError(f"phase {number}: a share of {phase.share} of {steps} steps is less than one step")
        before = _replayed(phase, before, number)
        model = replace(model, context=phase.context or model.context, rope_base=phase.rope_base or model.rope_base)
        sequences = phase.batch or max(1, step_tokens // model.context)
        read = Phase(before, own_steps, sequences, model.context)
        segments.append(Segment(phase, begin, begin + own_steps, model, read))
        begin += own_steps
    return Plan(tuple(segments))


def shortest_context(phases: Sequence[TrainingPhase], model: ModelConfig) -> int:
    """Of a run of these phases, which begins with this model: what can be evaluated in all of them."""
    contexts = [model.context]
    for phase in phases:
        contexts.append(phase.context or contexts[-1])
    return min(contexts[1:])


def _replayed(phase: TrainingPhase, before: Mapping[str, float] | None, number: int) -> dict[str, float]:
    """The phase's mixture with its share of the one before."""
    if not 0 <= phase.replay < 1:
        raise ValueError(f"phase {number}: replay is a share of the phase below 1, not {phase.replay}")
    if not phase.replay:
        return dict(phase.mixture)
    if before is None:
        raise ValueError(f"phase {number} has no phase before it to replay; name what it repeats in its mixture")
    own, earlier = sum(phase.mixture.values()), sum(before.values())
    return {
        source: (1 - phase.replay) * phase.mixture.get(source, 0.0) / own
        + phase.replay * before.get(source, 0.0) / earlier
        for source in [*phase.mixture, *(source for source in before if source not in phase.mixture)]
    }
