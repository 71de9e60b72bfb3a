"""The regression of loss on mixture, beside linear regression and LightGBM, on RegMix's 512 runs of 1M parameters.

    python -m tests.benchmarks.mix_regression ../shared/data/mixing/regmix

Cross-validation in five folds (rank correlation and RMSE by family, for Pile-CC and as a mean over all metrics), the
ranks that few runs give for Pile-CC (fitted on so many random runs, tested on all others), and the time of fitting
and of solving for new weights.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from mixes.boosting import boosted
from mixes.limits import Limits
from mixes.optimum import solve
from mixes.regression import cross_validate, fit, rank_correlation
from mixes.runs import Runs, read_tables

PILE_CC = "metric/the_pile_pile_cc_val_loss"
COUNTS = (24, 32, 48, 64, 96, 128, 256)
T = TypeVar("T")


def timed(name: str, work: Callable[[], T]) -> T:
    started = time.process_time(), time.perf_counter()
    result = work()
    print(f"{name}: {time.process_time() - started[0]:.2f} s CPU, {time.perf_counter() - started[1]:.2f} s")
    return result


def few_runs(runs: Runs, count: int, seeds: int) -> dict[str, float]:
    """Rank correlation of each family for Pile-CC, mean over seeds."""
    losses = runs.values[:, [runs.metrics.index(PILE_CC)]]
    ranks: dict[str, list[float]] = {"stack": [], "linear": [], "lightgbm": []}
    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(len(losses))
        seen, rest = order[:count], order[count:]
        asked = runs.mixtures[rest]
        weights = np.linalg.lstsq(runs.mixtures[seen], losses[seen], rcond=None)[0]
        predicted = {
            "stack": fit(runs.mixtures[seen], losses[seen], [PILE_CC], seed).predict(asked)[0],
            "linear": asked @ weights,
            "lightgbm": boosted(runs.mixtures[seen], losses[seen, 0], asked)[:, None],
        }
        for family, values in predicted.items():
            ranks[family].append(float(rank_correlation(values, losses[rest])[0]))
    return {family: float(np.mean(values)) for family, values in ranks.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with train_mixture_1m.csv and train_pile_loss_1m.csv")
    parser.add_argument("--seeds", type=int, default=5, help="random choices of few runs")
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    runs = read_tables(folder / "train_mixture_1m.csv", folder / "train_pile_loss_1m.csv", "index")
    metrics, place = list(runs.metrics), runs.metrics.index(PILE_CC)
    print(f"{len(runs.ids)} runs, {len(runs.sources)} sources, {len(metrics)} metrics")

    evidence = timed("cross-validation", lambda: cross_validate(runs.mixtures, runs.values, metrics, 0))
    fitted = timed("fit", lambda: fit(runs.mixtures, runs.values, metrics, 0))
    natural, even = runs.mixtures.mean(axis=0), np.ones(len(metrics))
    for name in ("first solve", "solve for new weights"):
        timed(name, lambda: solve(fitted, even, Limits.none(len(natural)), natural, 0))

    print("\nfamily         Pile-CC Spearman   RMSE   away RMSE   mean Spearman of all   mean share")
    for family, spearman in evidence.spearman.items():
        share = f"{evidence.weights[family].mean():.2f}" if family in evidence.weights else ""
        print(
            f"{family:14s} {spearman[place]:16.4f} {evidence.rmse[family][place]:6.4f}"
            f" {evidence.region_rmse[family][place]:11.4f} {spearman.mean():22.4f} {share:>12s}"
        )
    print("\nruns     stack    linear  lightgbm   (Spearman for Pile-CC on all other runs)")
    for count in COUNTS:
        ranks = few_runs(runs, count, arguments.seeds)
        print(f"{count:4d} {ranks['stack']:9.4f} {ranks['linear']:9.4f} {ranks['lightgbm']:9.4f}")


if __name__ == "__main__":
    main()
