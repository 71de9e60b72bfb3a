"""Fits of loss on ratios, and the evidence for them."""

import csv
import json
import subprocess
import sys
import time

import numpy as np
import pytest

from mixes.design import first_runs
from mixes.gaussian_process import GaussianProcesses, fit_kernel, fit_process
from mixes.limits import Limits
from mixes.power_law import PowerLaws, fit_power_law, left_out
from mixes.regression import (
    BadRunsError,
    Fit,
    cross_validate,
    fit,
    learning_curve,
    objective_sd,
    rank_correlation,
)
from mixes.stack import LEAST, shares
from tests.mixes.worlds import METRICS, NATURAL, NOISE, World, measured_losses, true_losses


@pytest.fixture(scope="module")
def runs():
    mixtures = first_runs(NATURAL, 32, 0, Limits.none(4)).mixtures
    return mixtures, measured_losses(mixtures, 0)


@pytest.fixture(scope="module")
def fitted(runs):
    return fit(*runs, METRICS, seed=0)


@pytest.fixture(scope="module")
def evidence(runs):
    return cross_validate(*runs, METRICS, seed=0)


@pytest.fixture(scope="module")
def elsewhere():
    return np.random.default_rng(9).dirichlet(np.ones(4), 500)


@pytest.fixture(scope="module")
def regmix(shared_data):
    """RegMix's 512 proxies of 1M parameters: ratios [512, 17], losses [512, 13], metric names."""

    def table(name):
        with open(shared_data / "mixing" / "regmix" / name, newline="") as file:
            header, *rows = csv.reader(file)
        return header[1:], {row[0]: np.array(row[1:], dtype=float) for row in rows}

    _, ratios = table("train_mixture_1m.csv")
    metrics, losses = table("train_pile_loss_1m.csv")
    mixtures = np.stack([ratios[run] / ratios[run].sum() for run in losses])
    return mixtures, np.stack(list(losses.values())), metrics


def test_64_regmix_runs_rank_the_other_448_and_beat_the_linear_baseline(regmix):
    mixtures, losses, metrics = regmix
    column = losses[:, [next(i for i, name in enumerate(metrics) if "cc" in name)]]
    chosen = np.random.default_rng(0).permutation(len(mixtures))[:64]
    rest = np.setdiff1d(np.arange(len(mixtures)), chosen)
    predicted, _ = fit(mixtures[chosen], column[chosen], ["pile_cc"], seed=0).predict(mixtures[rest])
    linear = mixtures[rest] @ np.linalg.lstsq(mixtures[chosen], column[chosen], rcond=None)[0]
    blend_rank = rank_correlation(predicted, column[rest])[0]
    linear_rank = rank_correlation(linear, column[rest])[0]
    assert blend_rank >= 0.97
    assert blend_rank > linear_rank + 0.05
    assert np.sqrt(((predicted - column[rest]) ** 2).mean()) < 0.7 * np.sqrt(((linear - column[rest]) ** 2).mean())


def test_predictions_away_from_the_runs_are_near_the_truth_and_their_sd_says_how_near(fitted, elsewhere):
    mean, deviation = fitted.predict(elsewhere)
    truth = true_losses(elsewhere)
    error = mean - truth
    assert (np.sqrt((error**2).mean(axis=0)) < 0.15 * truth.std(axis=0)).all()
    # A well-measured standard deviation holds about 68 % of the errors.
    assert 0.4 < (np.abs(error) < deviation).mean() < 0.95


def test_sd_grows_away_from_the_runs(fitted, runs):
    _, at_runs = fitted.predict(runs[0])
    _, at_vertices = fitted.predict(np.eye(4))
    assert (at_vertices.mean(axis=0) > at_runs.mean(axis=0)).all()


def test_fit_survives_json_to_the_last_bit(fitted, elsewhere):
    restored = Fit.from_json(fitted.to_json())
    for before, after in zip(fitted.predict(elsewhere), restored.predict(elsewhere), strict=True):
        assert before.tobytes() == after.tobytes()
    assert restored.to_json() == fitted.to_json()


def test_json_of_another_format_is_refused(fitted):
    plain = json.loads(fitted.to_json())
    plain["format"] = 0
    with pytest.raises(ValueError, match="fit the runs again"):
        Fit.from_json(json.dumps(plain))


def test_order_of_the_runs_changes_nothing(runs, fitted, evidence, elsewhere):
    mixtures, losses = runs
    order = np.random.default_rng(1).permutation(len(mixtures))
    shuffled = fit(mixtures[order], losses[order], METRICS, seed=0)
    assert np.abs(shuffled.predict(elsewhere)[0] - fitted.predict(elsewhere)[0]).max() <= 1e-8
    left_out = cross_validate(mixtures[order], losses[order], METRICS, seed=0).left_out["stack"]
    assert np.abs(left_out - evidence.left_out["stack"][order]).max() <= 1e-8


def test_a_left_out_run_cannot_influence_its_own_prediction(runs, evidence):
    # Row 5 is moved by far more than the noise: its fold is predicted as before, others' predictions move.
    mixtures, losses = runs
    moved = losses.copy()
    moved[5] += 0.5
    changed = cross_validate(mixtures, moved, METRICS, seed=0)
    for family in ("gp", "power_law", "exponent_law", "stack", "linear"):
        assert np.allclose(changed.left_out[family][5], evidence.left_out[family][5], atol=1e-12)
        assert not np.allclose(changed.left_out[family], evidence.left_out[family], atol=1e-3)


def test_repeats_of_a_mixture_share_a_fold(runs, evidence):
    # If one repeat of the natural mix were in the training folds of another, their predictions would differ.
    natural_rows = np.isclose(runs[0], NATURAL).all(axis=1)
    assert natural_rows.sum() == 4
    assert np.ptp(evidence.left_out["gp"][natural_rows], axis=0).max() < 1e-12


def test_evidence_ranks_the_blend_above_linear_and_measures_the_noise(evidence):
    assert (evidence.spearman["stack"] > 0.9).all()
    assert (evidence.rmse["stack"] < evidence.rmse["linear"]).all()
    # Four runs of one mixture give each metric's noise with 3 degrees of freedom: only its size can be expected.
    assert evidence.noise is not None
    assert 0.3 * NOISE < np.sqrt((evidence.noise**2).mean()) < 2 * NOISE


def test_noise_is_unknown_without_repeats(runs):
    mixtures, losses = runs
    assert cross_validate(mixtures[:-3], losses[:-3], METRICS, seed=0).noise is None


def test_cross_validation_of_32_runs_takes_seconds():
    rng = np.random.default_rng(0)
    mixtures = first_runs(NATURAL, 32, 0, Limits.none(4)).mixtures
    losses = rng.normal(size=(32, 4)) * 0.01 + 1.0 / (0.1 + mixtures)
    started = time.process_time()
    cross_validate(mixtures, losses, list("abcd"), seed=0)
    assert time.process_time() - started < 10.0


def test_law_recovers_a_law(elsewhere):
    # Losses of a power law without noise: only the weak prior of the fit keeps it off them.
    losses = 0.5 + (0.1 + elsewhere @ np.array([2.0, 1.0, 0.5, 0.1])) ** -0.4
    law = fit_power_law(elsewhere[:30], losses[:30])
    assert np.sqrt(((law.predict(elsewhere) - losses) ** 2).mean()) < 0.05 * losses.std()


def test_law_of_own_exponents_recovers_one_and_the_plain_law_cannot(elsewhere):
    losses = 0.5 + (0.1 + elsewhere ** np.array([0.3, 1.0, 0.5, 1.0]) @ np.array([1.0, 1.0, 0.5, 0.1])) ** -0.7
    own, plain = (fit_power_law(elsewhere[:60], losses[:60], has_exponents=has) for has in (True, False))
    errors = [np.sqrt(((law.predict(elsewhere) - losses) ** 2).mean()) for law in (own, plain)]
    assert errors[0] < 0.05 * losses.std() < errors[1]


def numeric_slopes(function, point, step=1e-6):
    """Derivatives [S, M] of values [K, M] by central differences."""
    moves = step * np.eye(len(point))
    return (function(point + moves) - function(point - moves)) / (2 * step)


POINT = np.array([0.4, 0.3, 0.2, 0.1])


def test_slopes_of_the_process_are_those_of_finite_differences(fitted):
    processes = fitted.surrogate().processes
    _, _, mean_slopes, variance_slopes = processes.gradient(POINT)
    means, variances = (lambda rows: processes.predict(rows)[0]), (lambda rows: processes.predict(rows)[1])
    assert np.allclose(mean_slopes.T, numeric_slopes(means, POINT), rtol=1e-4, atol=1e-6)
    assert np.allclose(variance_slopes.T, numeric_slopes(variances, POINT), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("has_exponents", [False, True])
def test_slopes_of_a_law_are_those_of_finite_differences(runs, has_exponents):
    laws = PowerLaws([fit_power_law(runs[0], column, has_exponents=has_exponents) for column in runs[1].T])
    values, slopes = laws.gradient(POINT)
    assert np.allclose(values, laws.predict(POINT[None, :])[0], rtol=1e-12)
    assert np.allclose(slopes.T, numeric_slopes(laws.predict, POINT), rtol=1e-5)


def test_objective_is_the_weighted_sum_of_the_metrics_taken_one_by_one(fitted):
    weights = np.array([0.5, 0.2, 0.3])
    mean, sd, mean_slope, sd_slope = fitted.surrogate().objective(POINT, weights)
    singly = [fitted.surrogate(metrics=[m]).objective(POINT, np.ones(1)) for m in range(3)]
    means, deviations, mean_slopes, _ = (np.array(column) for column in zip(*singly, strict=True))
    assert np.isclose(mean, weights @ means, rtol=1e-12)
    assert np.isclose(sd, objective_sd(deviations, weights), rtol=1e-12)
    assert np.allclose(mean_slope, weights @ mean_slopes, rtol=1e-9)
    predicted, predicted_sd = fitted.predict(POINT[None, :])
    assert np.allclose(predicted[0], means, rtol=1e-12)
    assert np.allclose(predicted_sd[0], deviations, rtol=1e-9)

    def sds(mixtures):
        return np.array([[objective_sd(row, weights)] for row in fitted.predict(mixtures)[1]])

    assert np.allclose(sd_slope, numeric_slopes(sds, POINT)[:, 0], rtol=1e-3, atol=1e-7)


def test_a_bootstrap_draw_is_a_fit_to_the_runs_drawn(fitted, elsewhere):
    # With every run drawn once it is the whole fit; a run drawn no times is unknown to it.
    processes = fitted.surrogate().processes
    once = processes.drawn(np.ones(len(fitted.mixtures)))
    assert np.allclose(once.predict(elsewhere)[0], processes.predict(elsewhere)[0], rtol=1e-9)
    counts = np.ones(len(fitted.mixtures))
    counts[0] = 0
    moved = GaussianProcesses(
        fitted.kernels, fitted.mixtures, fitted.losses + np.where(counts == 0, 0.5, 0.0)[:, None], fitted.trust
    )
    without, without_moved = processes.drawn(counts), moved.drawn(counts)
    assert np.array_equal(without.predict(elsewhere)[0], without_moved.predict(elsewhere)[0])


def test_a_run_counted_twice_is_worth_two_runs(fitted, elsewhere):
    twice = fitted.surrogate().processes.drawn(np.full(len(fitted.mixtures), 2.0))
    doubled = GaussianProcesses(
        fitted.kernels, *(np.repeat(rows, 2, axis=0) for rows in (fitted.mixtures, fitted.losses, fitted.trust))
    )
    for counted, given in zip(twice.predict(elsewhere), doubled.predict(elsewhere), strict=True):
        assert np.allclose(counted, given, rtol=1e-4)


def test_a_refit_sees_its_draw_alone(fitted, elsewhere):
    refit, whole = fitted.refits[0], fitted.surrogate()
    predicted = fitted.surrogate(refit).means(elsewhere)
    by_process = whole.processes.drawn(refit.counts).means(elsewhere)
    by_law = [PowerLaws(laws).predict(elsewhere) for laws in refit.laws.values()]
    shares = np.stack([fitted.shares[family] for family in ("gp", *refit.laws)])
    assert np.allclose(predicted, (shares[:, None, :] * np.stack([by_process, *by_law])).sum(axis=0), rtol=1e-12)
    some = fitted.surrogate(refit, metrics=[2, 0]).predict(elsewhere)
    for whole_columns, columns in zip(fitted.surrogate(refit).predict(elsewhere), some, strict=True):
        assert np.allclose(columns, whole_columns[:, [2, 0]], rtol=1e-9)


def test_left_out_runs_are_predicted_as_by_a_process_without_them(runs):
    mixtures, losses = runs
    kernel, trust = fit_process(mixtures, losses[:, 0], np.random.default_rng(0))
    whole = GaussianProcesses([kernel], mixtures, losses[:, :1], trust[:, None])
    rows = np.arange(32) < 6
    counts = np.where(rows, 0.0, 1.0)
    centred = whole.drawn(counts)
    # The same but for the centre, which the drawn runs measure anew.
    assert np.allclose(whole.without(rows, 0), centred.predict(mixtures[rows])[0][:, 0], atol=0.05 * losses[:, 0].std())
    single = np.array([whole.without(np.arange(32) == row, 0)[0] for row in range(32)])
    assert np.allclose(whole.left_out()[:, 0], single, rtol=1e-9)


def test_left_out_runs_are_predicted_as_by_a_law_without_them(elsewhere):
    rng = np.random.default_rng(0)
    mixtures = elsewhere[:40]
    losses = 0.5 + (0.1 + mixtures @ np.array([2.0, 1.0, 0.5, 0.1])) ** -0.4 + rng.normal(0, 0.02, 40)
    law = fit_power_law(mixtures, losses)
    expected = [
        fit_power_law(np.delete(mixtures, row, 0), np.delete(losses, row), start=law).predict(mixtures[row : row + 1])
        for row in range(40)
    ]
    found = left_out(law, mixtures, losses, np.ones(40))
    assert np.abs(found - np.ravel(expected)).max() < 0.2 * np.abs(law.predict(mixtures) - losses).max()


def test_a_proxy_that_trained_badly_is_not_trusted_and_moves_little(runs, elsewhere):
    mixtures, losses = runs
    bad = losses.copy()
    bad[10] += 0.5 * losses.std(axis=0) * 10
    trusting = [fit_kernel(mixtures, column) for column in bad.T]
    naive = GaussianProcesses(trusting, mixtures, bad, np.ones_like(bad)).predict(elsewhere)[0]
    robust = fit(mixtures, bad, METRICS, seed=0)
    row = np.flatnonzero((robust.mixtures == mixtures[10]).all(axis=1))
    assert (robust.trust[row] < 0.2).all()
    truth = true_losses(elsewhere)
    assert (((robust.predict(elsewhere)[0] - truth) ** 2).mean(axis=0) < ((naive - truth) ** 2).mean(axis=0)).all()


def test_shares_go_to_the_family_that_predicts_what_it_has_not_seen():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=200)
    predicted = {
        "gp": truth + rng.normal(0, 1.0, 200),
        "power_law": truth + rng.normal(0, 0.1, 200),
        "exponent_law": truth + rng.normal(0, 1.0, 200),
    }
    found = shares([truth], [predicted], [np.ones(200)])
    assert found["power_law"] > 0.55
    assert sum(found.values()) == pytest.approx(1.0)
    few = shares([truth[:2]], [{family: values[:2] for family, values in predicted.items()}], [np.ones(2)])
    assert few["gp"] > 0.5  # two runs do not tell


def test_laws_keep_their_least_share_however_bad_they_are():
    truth = np.linspace(0.0, 1.0, 50)
    predicted = {"gp": truth, "power_law": truth[::-1], "exponent_law": -5.0 * truth}
    found = shares([truth], [predicted], [np.ones(50)])
    assert found["power_law"] >= LEAST["power_law"] - 1e-9
    assert found["power_law"] + found["exponent_law"] == pytest.approx(1.0 / 3.0)


def test_shares_of_every_metric_sum_to_one_with_a_third_for_laws(fitted):
    table = np.stack([fitted.shares[family] for family in ("gp", "power_law", "exponent_law")])
    assert np.allclose(table.sum(axis=0), 1.0)
    assert (table >= 0).all()
    assert (table[1:].sum(axis=0) >= 1.0 / 3.0 - 1e-9).all()


def test_learning_curve_rises_with_the_runs_and_passes_linear(runs):
    curve = learning_curve(*runs, METRICS, np.ones(3) / 3, seed=0)
    counts = [row["runs"] for row in curve]
    assert counts == sorted(set(counts))
    assert counts[-1] == 24
    assert curve[-1]["stack"] >= curve[-1]["linear"]
    assert curve[-1]["stack"] > 0.8


def test_a_metric_that_never_varies_is_predicted_as_it_is(runs):
    mixtures, _ = runs
    mean, _ = fit(mixtures, np.full((32, 1), 2.5), ["flat"], seed=0).predict(mixtures)
    assert np.allclose(mean, 2.5, atol=1e-3)


def test_diverged_runs_are_refused_by_row(runs):
    mixtures, losses = runs
    losses = losses.copy()
    losses[[3, 7], 1] = np.nan
    with pytest.raises(BadRunsError, match=r"rows \[3, 7\].*leave them out"):
        fit(mixtures, losses, METRICS, seed=0)


def test_rows_that_do_not_sum_to_one_are_refused(runs):
    mixtures, losses = runs
    mixtures = mixtures.copy()
    mixtures[4] *= 0.99
    with pytest.raises(BadRunsError, match=r"rows \[4\] do not sum to 1"):
        fit(mixtures, losses, METRICS, seed=0)


def test_fewer_runs_than_can_be_fitted_are_refused(runs):
    mixtures, losses = runs
    with pytest.raises(BadRunsError, match="7 runs are too few"):
        fit(mixtures[:7], losses[:7], METRICS, seed=0)


def test_rank_correlation_is_spearmans():
    # Ranks 1 2 3 4 against 1 3 2 4: 1 - 6 * (0 + 1 + 1 + 0) / (4 * 15) = 0.8; a constant ranks nothing.
    observed = np.array([[0.1, 1.0], [0.2, 2.0], [0.3, 3.0], [0.4, 4.0]])
    predicted = np.array([[1.0, 5.0], [9.0, 5.0], [4.0, 5.0], [100.0, 5.0]])
    assert np.allclose(rank_correlation(predicted, observed), [0.8, 0.0])


def test_importing_the_room_loads_neither_scipy_nor_torch():
    script = (
        "import sys, mixes.design, mixes.regression, mixes.optimum, mixes.mix_file;"
        "print(sorted({'scipy', 'sklearn', 'torch', 'ray'} & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", script], text=True).strip() == "[]"


# fits that know their bounds


@pytest.mark.parametrize("sources", [4, 8])
def test_no_law_predicts_losses_far_beyond_any_that_was_seen(sources):
    """Without the pull at the corners: 1e19 standard deviations in one of these worlds; with it 54."""
    for seed in range(100, 105):
        world = World.drawn(sources, seed, metrics=3)
        mixtures = first_runs(world.natural, 24, seed, world.limits).mixtures
        for column in world.measured(mixtures, seed).T:
            corners = fit_power_law(mixtures, column).predict(np.eye(sources))
            assert np.abs(corners - column.mean()).max() < 100 * column.std()


def test_runs_of_one_mixture_alone_are_refused():
    with pytest.raises(BadRunsError, match="one mixture"):
        fit(np.repeat(NATURAL[None, :], 8, axis=0), np.random.default_rng(0).normal(size=(8, 1)), ["m"], seed=0)
