"""A run of several phases: main mix, then mid-training with another mix and a longer context."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from proxy_models.loader import MixtureError, Order, draw_totals, longest_served, unit_limits
from proxy_models.shards import Integers


@dataclass(frozen=True)
class Phase:
    """Part of a run.

    mixture: source -> share of the phase's trained tokens, any positive sum; sources that it does not name are not
    read. Data of an earlier phase is replayed by naming it here too. batch: sequences in each step, over all ranks.
    """

    mixture: Mapping[str, float]
    steps: int
    batch: int
    context: int

    @property
    def slots(self) -> int:
        return self.steps * self.batch


class PhasedOrder:
    """The order of a run of several phases, which read each source on from where the phases before left it.

    Epochs and max_epochs are those of the whole run: nothing is read again before all of its source was read. Where
    phases that read a source differ in context, its text is cut at the longest of them, and that is the unit that is
    counted and permuted; a phase of shorter context reads units in parts, which it spreads over the phase. So of each
    source a phase may leave less than one unit unread, which counts as read.

    orders: one for each phase. Slots and steps count on over the phases.
    """

    def __init__(
        self,
        sources: Sequence[str],
        phases: Sequence[Phase],
        seed: int,
        max_epochs: float | None,
        sequences: Callable[[int, int], int],
        trained: Callable[[int, int], float] | None = None,
        are_divisible: bool = True,
    ) -> None:
        """sequences(d, context): how many source d has. trained(d, context): mean targets in one of them; without it
        all have as many. are_divisible: whether a sequence is made of several of a shorter context.

        Raises MixtureError, before anything is read, for a source that is not there, contexts that do not divide
        one another, or a run that the tokens cannot serve; it says the longest that they can.
        """
        if not phases:
            raise MixtureError("a run needs at least one phase")
        for number, phase in enumerate(phases, 1):
            unknown = sorted(set(phase.mixture) - set(sources))
            if unknown:
                known = ", ".join(sources)
                raise MixtureError(f"phase {number}: no tokens of {', '.join(unknown)}; the sources are {known}")
            if min(phase.steps, phase.batch, phase.context) < 1:
                raise MixtureError(f"phase {number}: steps, batch and context must be at least 1: {phase}")
        self.sources, self.phases = tuple(sources), tuple(phases)
        self._ratios = [
            tuple(
                phase.mixture.get(source, 0.0)
                / (trained(d, phase.context) if trained and source in phase.mixture else 1)
                for d, source in enumerate(sources)
            )
            for phase in phases
        ]
        contexts = [self._contexts(d) for d in range(len(sources))]
        for source, read_at in zip(sources, contexts, strict=True):
            if any(max(read_at) % context for context in read_at) or (len(read_at) > 1 and not are_divisible):
                reason = "must divide the longest of them" if are_divisible else "cannot differ under best-fit packing"
                raise MixtureError(f"source {source} is read at contexts {sorted(read_at)}, which {reason}")
        # Of each source, [S]: the unit's context is the longest at which it is read; 0 if it is not read.
        self._unit = [max(read_at, default=0) for read_at in contexts]
        self._available = np.array([sequences(d, unit) if unit else 0 for d, unit in enumerate(self._unit)])
        self._limits = unit_limits(self._available, max_epochs)
        self._first_steps = np.cumsum([0, *(phase.steps for phase in phases)])
        self._first_slots = np.cumsum([0, *(phase.slots for phase in phases)])
        steps = [phase.steps for phase in phases]
        units = self._units(steps)  # [phases, S]
        if np.any(units.sum(axis=0) > self._limits):
            raise MixtureError(self._refusal(steps, units.sum(axis=0), max_epochs))
        before = np.cumsum(units, axis=0) - units
        self.orders = [
            Order(
                ratios,
                tuple(self._available.tolist()),
                phase.slots,
                seed,
                max_epochs,
                parts=tuple(self._parts(phase)),
                read_before=tuple(before[p].tolist()),
            )
            for p, (phase, ratios) in enumerate(zip(phases, self._ratios, strict=True))
        ]
        self.epochs = dict(zip(sources, (units.sum(axis=0) / np.maximum(self._available, 1)).tolist(), strict=True))

    @property
    def steps(self) -> int:
        return int(self._first_steps[-1])

    @property
    def slots(self) -> int:
        return int(self._first_slots[-1])

    def slot_of(self, step: int) -> int:
        """The first slot of a step; of `steps`, the slot at which the run ends."""
        if not 0 <= step <= self.steps:
            raise IndexError(f"step {step} of a run of {self.steps}")
        p = min(self.phase_of(step), len(self.phases) - 1)
        return int(self._first_slots[p] + (step - self._first_steps[p]) * self.phases[p].batch)

    def step_of(self, slot: int) -> int:
        """The step that begins at a slot. Raises ValueError for a slot within a step or past the run."""
        p = min(int(np.searchsorted(self._first_slots, slot, side="right")) - 1, len(self.phases) - 1)
        within = slot - int(self._first_slots[p])
        if not 0 <= slot <= self.slots or within % self.phases[p].batch:
            raise ValueError(f"no step of this run begins at slot {slot}, of {self.slots}")
        return int(self._first_steps[p]) + within // self.phases[p].batch

    def phase_of(self, step: int) -> int:
        """The number of the phase, from 0; of the step at which the run ends, the number of phases."""
        return int(np.searchsorted(self._first_steps, step, side="right")) - 1

    def first_step(self, phase: int) -> int:
        return int(self._first_steps[phase])

    def _contexts(self, d: int) -> set[int]:
        """At which source d is read."""
        return {phase.context for phase, ratios in zip(self.phases, self._ratios, strict=True) if ratios[d] > 0}

    def _parts(self, phase: Phase) -> list[int]:
        return [max(1, unit // phase.context) for unit in self._unit]

    def _units(self, steps: Sequence[int]) -> Integers:
        """Units of each source that each phase reads, if it had so many steps: int64 [phases, S]."""
        return np.array(
            [
                -(-draw_totals(ratios, n * phase.batch) // np.asarray(self._parts(phase)))
                for phase, ratios, n in zip(self.phases, self._ratios, steps, strict=True)
            ]
        )

    def _refusal(self, steps: list[int], needed: Integers, max_epochs: float | None) -> str:
        def shortened(total: int) -> list[int]:
            """Phases in proportion, each with a step at least."""
            return [max(1, n * total // sum(steps)) for n in steps]

        def is_served(total: int) -> bool:
            return bool(np.all(self._units(shortened(total)).sum(axis=0) <= self._limits))

        shorter = shortened(longest_served(is_served, sum(steps)))
        tokens = sum(n * phase.batch * phase.context for n, phase in zip(shorter, self.phases, strict=True))
        needs = "; ".join(
            f"source {self.sources[d]} needs {needed[d]} reads of {self._available[d]} sequences of {self._unit[d]} "
            "tokens"
            for d in np.flatnonzero(needed > self._limits)
        )
        refused = f"{sum(steps)} steps under max_epochs {max_epochs} cannot be served: {needs}. "
        if not is_served(0):
            return refused + "Not even one step of each phase can be served: add tokens, or lower batch or context"
        by_phase = f" ({' + '.join(map(str, shorter))})" if len(steps) > 1 else ""
        return refused + (
            f"The largest feasible run of this mixture has {sum(shorter)} steps{by_phase}, {tokens} tokens"
        )
