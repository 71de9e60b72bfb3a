"""Phases of a run: their steps, mixtures, contexts and learning rates."""

import pytest

from proxy_models.loader import MixtureError
from proxy_models.model import sized
from proxy_models.optimization import Schedule
from proxy_models.plan import TrainingPhase, planned

MODEL = sized("tiny", 257)  # context 16
MAIN = TrainingPhase({"web": 3, "code": 1}, share=0.8)


def test_steps_are_shared_out_and_tokens_of_a_step_kept() -> None:
    plan = planned([MAIN, TrainingPhase({"code": 1}, 0.2, context=64, rope_base=1e6)], MODEL, steps=11, batch=8)
    first, second = plan.segments
    assert [(first.first_step, first.end_step), (second.first_step, second.end_step)] == [(0, 9), (9, 11)]
    assert (first.read.batch, first.read.context, first.model) == (8, 16, MODEL)
    assert (second.read.batch, second.read.context, second.model.rope_base) == (2, 64, 1e6)
    assert [plan.tokens_before(step) for step in (0, 9, 11)] == [0, 9 * 128, 11 * 128]
    assert [plan.at(step) is second for step in (8, 9, 10, 11)] == [False, True, True, True]


def test_replay_is_a_share_of_the_mixture_before() -> None:
    plan = planned([MAIN, TrainingPhase({"maths": 2.0}, 0.2, replay=0.25)], MODEL, steps=10, batch=1)
    assert plan.segments[1].read.mixture == pytest.approx({"maths": 0.75, "web": 0.1875, "code": 0.0625})


def test_a_phase_may_have_rates_of_its_own() -> None:
    plan = planned([MAIN, TrainingPhase({"code": 1}, 0.2, rates=(1.0, 0.0))], MODEL, steps=20, batch=1)
    found = [plan.rate_share(step, Schedule(warmup=0.1, decay=0.0)) for step in range(20)]
    assert found == pytest.approx([0.5, *[1.0] * 15, 1.0, 0.75, 0.5, 0.25])


def test_a_phase_without_a_step_is_refused() -> None:
    with pytest.raises(MixtureError, match=r"phase 2: a share of 0.01 of 5 steps is less than one step"):
        planned([TrainingPhase({"web": 1}), TrainingPhase({"web": 1}, share=0.01)], MODEL, steps=5, batch=1)


def test_the_first_phase_replays_nothing() -> None:
    with pytest.raises(ValueError, match="phase 1 has no phase before it to replay"):
        planned([TrainingPhase({"web": 1}, replay=0.5)], MODEL, steps=5, batch=1)
