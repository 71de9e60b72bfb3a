"""Loss spikes: what counts as one."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_models.spikes import SpikeRule


def test_the_limit_by_hand() -> None:
    # Median 3, absolute deviations 2, 1, 0, 1, 2 with median 1: 3 + 2 * 1.4826.
    assert SpikeRule(deviations=2, window=5).limit([9, 9, 1, 2, 3, 4, 5]) == pytest.approx(3 + 2 * 1.4826)


def test_nothing_is_a_spike_before_there_is_a_window() -> None:
    assert SpikeRule(window=5).limit([1, 1, 1, 1]) == math.inf


def test_equal_losses_leave_room_for_the_next() -> None:
    assert SpikeRule(deviations=10, window=4).limit([2.0] * 4) == pytest.approx(2.02)


@given(st.lists(st.floats(0.1, 20), min_size=8, max_size=40), st.integers(-100, 100))
def test_one_outlier_does_not_move_the_limit_beyond_the_others(losses: list[float], far: int) -> None:
    limit = SpikeRule(deviations=1, window=len(losses)).limit([*losses[1:], 10.0**far])
    assert limit <= 3 * max(losses)


@pytest.mark.parametrize("settings", [{"response": "stop"}, {"deviations": 0}, {"window": 1}, {"at_most": -1}])
def test_rules_that_mean_nothing_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"spike|must be|deviations"):
        SpikeRule(**settings)  # type: ignore[arg-type]
