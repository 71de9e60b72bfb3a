"""Learning rates: presets by name, and a run that comes down at a quarter, half and all of its steps."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_models.model import SIZES, Transformer, sized
from proxy_models.optimization import (
    AdamW,
    Schedule,
    annealed_ends,
    annealed_schedule,
    learning_rate_of,
    warmup_stable_decay,
)


def test_the_schedule_by_hand() -> None:
    # 24 steps end at 6, 12 and 24. Warmup 2 steps; a third of each part falls: 2, 2 and 4 steps, by thirds and fifths.
    third, fifth = 1 / 3, 1 / 5
    expected = [0.5, 1, 1, 1, 2 * third, third]
    expected += [1, 1, 1, 1, 2 * third, third]
    expected += [1, 1, 1, 1, 1, 1, 1, 1, 4 * fifth, 3 * fifth, 2 * fifth, fifth]
    found = [annealed_schedule(step, 24, warmup=2 / 24, decay=1 / 3) for step in range(24)]
    assert found == pytest.approx(expected)


@given(st.integers(4, 400), st.floats(0, 0.1), st.floats(0, 0.9))
def test_the_first_part_is_the_run_of_a_quarter_of_the_steps(steps: int, warmup: float, decay: float) -> None:
    quarter = annealed_ends(steps)[0]
    for step in range(quarter):
        of_its_own = warmup_stable_decay(step, quarter, warmup * steps / quarter, decay)
        assert annealed_schedule(step, steps, warmup, decay) == of_its_own


@given(st.integers(40, 400))
def test_after_an_anneal_the_rate_is_full_again_at_once(steps: int) -> None:
    for end in annealed_ends(steps)[:-1]:
        assert annealed_schedule(end - 1, steps, 0.05, 0.3) < 0.6
        assert annealed_schedule(end, steps, 0.05, 0.3) == 1.0


@given(st.integers(4, 10_000))
def test_the_ends_are_apart_and_the_last_is_the_end(steps: int) -> None:
    ends = annealed_ends(steps)
    assert 0 < ends[0] < ends[1] < ends[2] == steps


def test_a_run_too_short_for_its_ends_is_refused() -> None:
    with pytest.raises(ValueError, match="3 steps has no quarter"):
        annealed_ends(3)


@pytest.mark.parametrize("size", SIZES)
def test_the_low_preset_is_a_tenth_of_the_standard_one(size: str) -> None:
    assert learning_rate_of("low", size) == pytest.approx(learning_rate_of("standard", size) / 10)
    assert learning_rate_of(0.5, size) == 0.5


def test_presets_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ValueError, match="no learning rate 'high'; give a number, or one of standard, low"):
        learning_rate_of("high", "S")
    with pytest.raises(ValueError, match="no size 'XL'; the sizes are tiny"):
        learning_rate_of("low", "XL")


def test_a_cosine_by_hand() -> None:
    # 2 steps up, then 4 down from 1 to the floor of 0.2 at the end: 1, (2 + sqrt 2) / 4 of the way, half, ...
    expected = [0.5, 1.0, 1.0, 0.2 + 0.8 * (2 + 2**0.5) / 4, 0.6, 0.2 + 0.8 * (2 - 2**0.5) / 4]
    found = [Schedule("cosine", warmup=1 / 3, floor=0.2).share(step, 6) for step in range(6)]
    assert found == pytest.approx(expected)


def test_a_schedule_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="no schedule 'triangle'"):
        Schedule("triangle")  # type: ignore[arg-type]


def test_matrices_of_a_wider_model_have_a_smaller_rate_and_the_same_decay_of_each_step() -> None:
    config = dataclasses.replace(sized("tiny", 61), base_width=4)  # four times as wide
    model = Transformer(config)
    groups = AdamW(weight_decay=0.1).of(model, 1e-2).param_groups
    of = {id(p): (group["lr"], group["lr"] * group["weight_decay"]) for group in groups for p in group["params"]}
    found = {name: of[id(p)] for name, p in model.named_parameters()}
    assert found["embedding.weight"] == pytest.approx((1e-2, 1e-3))
    assert found["blocks.0.attention.query.weight"] == pytest.approx((2.5e-3, 1e-3))
    assert found["blocks.1.attention_norm.weight"] == pytest.approx((1e-2, 0))
