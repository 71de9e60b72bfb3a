"""Metrics that are noise lose their weight, in words."""

import numpy as np
import pytest

from mixes.signal import Signal, signal_to_noise

METRICS = ["loud", "middling", "noise"]
SPREADS = np.array([1.0, 0.175, 0.0])
NOISE = 0.1


def swarm(seed, mixtures=30, repeats=12, noise=NOISE):
    """Runs of different mixtures and repeats of the first; each metric's spread between mixtures is SPREADS."""
    rng = np.random.default_rng(seed)
    ratios = rng.dirichlet(np.ones(4), mixtures)
    effects = rng.normal(size=(mixtures, 3))
    effects = (effects - effects.mean(axis=0)) / effects.std(axis=0) * SPREADS
    rows = np.concatenate([np.arange(mixtures), np.zeros(repeats, dtype=int)])
    return effects[rows] + noise * rng.normal(size=(len(rows), 3)), ratios[rows]


@pytest.fixture(scope="module")
def signal():
    return signal_to_noise(*swarm(0, 100, 60), METRICS)


def test_noise_is_the_spread_of_repeats_and_signal_that_of_mixtures(signal):
    assert np.allclose(signal.noise, NOISE, rtol=0.25)
    assert np.allclose(signal.signal, np.hypot(SPREADS, NOISE), rtol=0.2)


def test_numbers_of_a_small_table_by_hand():
    # Mixtures a, a, b, c measure 1, 3 | 6 | 4: within a the sd is sqrt(2); the means 2, 6, 4 have an sd of 2.
    mixtures = np.array([[1.0, 0.0], [1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
    found = signal_to_noise(np.array([[1.0], [3.0], [6.0], [4.0]]), mixtures, ["m"])
    assert found.noise[0] == pytest.approx(2**0.5)
    assert found.signal[0] == pytest.approx(2.0)
    assert found.factor[0] == pytest.approx((2**0.5 - 1) / 2)


def test_factor_is_whole_from_three_times_the_noise_and_nothing_at_the_noise(signal):
    assert signal.factor[0] == 1.0
    assert 0.1 < signal.factor[1] < 0.9
    assert signal.factor[2] < 0.35


def test_interval_holds_the_ratio_of_a_metric_of_pure_noise_at_the_stated_rate():
    held = [
        low <= 1.0 <= high
        for seed in range(100)
        for low, high in [signal_to_noise(*swarm(seed, 12, 3), METRICS).interval[:, 2]]
    ]
    assert 0.7 < np.mean(held) < 0.9


def test_used_weights_sum_to_one_and_shift_to_the_sound_metrics(signal):
    used = signal.used(np.array([1.0, 1.0, 2.0]))
    assert used.sum() == pytest.approx(1.0)
    assert used[0] > used[1]
    assert used[2] < 0.5


def test_what_became_of_each_weight_is_said_and_of_metrics_without_weight_nothing(signal):
    notes = signal.notes_on(np.array([1.0, 1.0, 0.0]))
    assert len(notes) == 1
    assert notes[0].startswith("middling keeps ")
    assert "times the noise" in notes[0]


def test_where_every_weighted_metric_is_noise_the_weights_stand_and_the_note_calls_it_a_guess(signal):
    mute = Signal(**{**vars(signal), "factor": np.array([1.0, 0.0, 0.0])})
    assert mute.used(np.array([0.0, 1.0, 3.0])).tolist() == [0.0, 0.25, 0.75]
    assert "guess" in mute.notes_on(np.array([0.0, 1.0, 3.0]))[-1]


def test_a_metric_that_never_varies_has_no_weight():
    values, mixtures = swarm(0)
    values[:, 1] = 2.5
    found = signal_to_noise(values, mixtures, METRICS)
    assert found.ratio[1] == 0.0
    assert found.factor[1] == 0.0


def test_repeats_that_agree_exactly_are_reported():
    found = signal_to_noise(*swarm(0, noise=0.0), METRICS)
    assert np.isfinite(found.ratio).all()
    assert "seed of its own" in found.notes[0]


def test_uneven_noise_is_reported_and_even_noise_is_not():
    values, mixtures = swarm(1)
    rng = np.random.default_rng(2)
    again, far = np.repeat([[0.7, 0.1, 0.1, 0.1]], 6, axis=0), 1.0 + rng.normal(size=(6, 3))
    joined = np.concatenate([mixtures, again])
    uneven = signal_to_noise(np.concatenate([values, far]), joined, METRICS)
    assert "noise is uneven" in uneven.notes[0]
    assert "(0.70, 0.10, 0.10, 0.10)" in uneven.notes[0]
    even = signal_to_noise(np.concatenate([values, 0.1 * far]), joined, METRICS)
    assert even.notes == ()


def test_without_repeats_the_signal_is_unknown():
    values, mixtures = swarm(0, repeats=0)
    assert signal_to_noise(values, mixtures, METRICS) is None


def test_signal_survives_json(signal):
    assert Signal.from_plain(signal.to_plain()).to_plain() == signal.to_plain()


@pytest.mark.parametrize("repeats", [2, 3, 4, 5, 6])
def test_a_metric_that_never_varies_has_no_weight_whatever_its_mean_rounds_to(repeats):
    runs = np.random.default_rng(0).dirichlet(np.ones(4), 12)
    mixtures = np.concatenate([runs, np.repeat(runs[:1], repeats - 1, axis=0), np.repeat(runs[1:2], 2, axis=0)])
    found = signal_to_noise(np.full((len(mixtures), 1), 0.1), mixtures, ["m"])
    assert (found.factor[0], found.noise[0]) == (0.0, 0.0)
    assert "agree exactly" in found.notes[0]
