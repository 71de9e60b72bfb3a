"""What `sluice mix` does: fit tables of runs, predict other mixtures, solve for evaluation weights.

Every function takes paths and returns the text for the terminal; what it writes appears whole or not at all.
"""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mixes.changes import Change, ChangeError, Merge, Split, adapted, merge_distance, never_tried, removed
from mixes.limits import InfeasibleLimitsError
from mixes.regression import BadRunsError
from mixes.stored_fit import Scores, StoredFit, StoredFitError, replacing
from mixes.target import (
    InputFileError,
    SourceLimits,
    Strict,
    Target,
    TokenCount,
    nearest,
    read_as,
    read_yaml,
    unlimited,
)

if TYPE_CHECKING:
    from mixes.optimum import Optimum
    from mixes.runs import Runs

Floats = NDArray[np.float64]
Tick = Callable[[int, int], None]
"""Told steps done and steps in all."""


def silent(done: int, total: int) -> None:
    """For a caller who does not want to know."""


USER_ERRORS = (BadRunsError, ChangeError, InfeasibleLimitsError, InputFileError, StoredFitError)
"""Errors whose message is meant for the user; MixFileError is an InputFileError."""

METRIC_PREFIXES = ("", "bpb.", "answers.")
"""A weight may name a metric, or the source or the answer set that it is measured on."""


def fit_tables(
    *,
    out: Path,
    mixtures: Path | None = None,
    metrics: Path | None = None,
    on: str = "index",
    runs: Path | None = None,
    size: str | None = None,
    limits: Path | None = None,
    seed: int = 0,
    tick: Tick = silent,
) -> str:
    """Fit two tables joined on an id column, or the runs.parquet of a swarm (of one size); store the fit in `out`."""
    from mixes.runs import read_runs, read_tables

    _check_out(out, mixtures, metrics, runs, limits)
    if runs is not None and mixtures is None and metrics is None:
        given = read_runs(runs, size)
    elif runs is None and mixtures is not None and metrics is not None:
        given = read_tables(mixtures, metrics, on)
    else:
        raise InputFileError("give either --mixtures and --metrics, or --runs")
    target = None if limits is None else Target.read(limits, given.sources)
    if target is not None:
        target.limits(given.sources)  # refused before the minutes of a fit, not after
    stored = _fitted(given, target, seed, tick)
    stored.save(out)
    return f"{_scores(stored)}\n\n{_written(out)}"


def predict_table(fit: Path, mixtures: Path, on: str, out: Path) -> str:
    """Write the id and the prediction of every metric, under its own name, for each mixture of a table, in its order.

    CSV or Parquet, by the suffix of `out`.
    """
    from mixes.runs import read_mixtures

    if out.suffix not in (".csv", ".parquet"):
        raise InputFileError(f"{out}: write to a .csv or a .parquet file")
    _check_out(out, fit, mixtures)
    stored = StoredFit.load(fit)
    if on in stored.runs.metrics:
        raise InputFileError(f"{fit}: {on} is one of its metrics and cannot be the id column too")
    ids, asked = read_mixtures(mixtures, on, stored.runs.sources)
    predicted, _ = stored.fit.predict(asked)
    _write_table(out, on, ids, stored.runs.metrics, predicted)
    return f"{len(ids)} mixtures, {len(stored.runs.metrics)} metrics\n{_written(out)}"


def solve_weights(
    fit: Path,
    weights: Path | None = None,
    *,
    limits: Path | None = None,
    out: Path | None = None,
    pessimism: float = 1.0,
    as_json: bool = False,
) -> str:
    """The best mixture for these weights (equal ones if absent), within the limits of the file or of the fit.

    `out` receives mix.yaml, for which the tokens of the sources must be known.
    """
    from mixes.mix_file import MixFile
    from mixes.optimum import solve

    if out is not None:
        _check_out(out, fit, weights, limits)
    stored = StoredFit.load(fit)
    sources = stored.runs.sources
    if limits is not None:
        stored = replace(stored, target=_with_fingerprints(Target.read(limits, sources), stored.target))
    target = stored.target
    if target is not None and (back := [name for name in stored.gone if target.sources[name].fixed != 0]):
        raise InputFileError(f"{limits}: sources.{back[0]}: was removed from the sources; it is {{fixed: 0}}")
    if out is not None and target is None:
        raise InputFileError(f"{out}: needs the target tokens and the tokens of each source; give them with --limits")
    given = _weights(weights, stored.runs.metrics)
    used = given if stored.signal is None else stored.signal.used(given)
    if stored.transfer is not None:
        stored = replace(stored, transfer=stored.transfer.weighed(used, stored.seed))
    optimum = solve(
        stored.fit,
        used,
        unlimited(sources, stored.gone) if target is None else target.limits(sources),
        stored.natural,
        stored.seed,
        pessimism,
        unique_tokens=None if target is None else np.maximum(target.unique_tokens(sources), 1.0),
        target_tokens=None if target is None else float(target.target_tokens),
        slopes=None if stored.transfer is None else stored.transfer.extrapolated,
    )
    lines = [_answer(stored, optimum, given, used)]
    if out is not None and target is not None:
        named = dict(zip(stored.runs.metrics, given.tolist(), strict=True))
        in_order = target.model_copy(update={"sources": {name: target.sources[name] for name in sources}})
        MixFile.of(
            optimum, in_order, stored.scores, named, signal=stored.signal, transfer=stored.transfer
        ).write(out)  # fmt: skip
        lines.append(_written(out))
    return _solved_json(stored, optimum, used) if as_json else "\n\n".join(lines)


def _solved_json(stored: StoredFit, optimum: Optimum, used: Floats) -> str:
    """The mixture with its intervals, the objective, and each metric, at the proxies' size."""
    low, high = optimum.intervals.tolist()
    columns = zip(
        stored.runs.sources, optimum.best.ratios.tolist(), low, high, optimum.natural.ratios.tolist(), strict=True
    )
    told = {
        "sources": {name: {"ratio": r, "interval": [a, b], "natural": n} for name, r, a, b, n in columns},
        "objective": optimum.best.objective,
        "objective_sd": optimum.best.objective_sd,
        "natural_objective": optimum.natural.objective,
        "gain": optimum.gain,
        "gain_interval": optimum.gain_interval.tolist(),
        "metrics": {
            name: {"used_weight": weight, "predicted": mean, "sd": sd, "natural": natural}
            for name, weight, mean, sd, natural in zip(
                stored.runs.metrics,
                used.tolist(),
                optimum.best.metrics.tolist(),
                optimum.best.metrics_sd.tolist(),
                optimum.natural.metrics.tolist(),
                strict=True,
            )
        },
        "warnings": optimum.warnings,
    }
    return json.dumps(told, indent=1, ensure_ascii=False)


class Changes(Strict):
    """What became of the sources since the runs: `split` and `merged` give the tokens of each part."""

    added: list[str] = Field(default_factory=list)
    removed: list[str] = Field(default_factory=list)
    split: dict[str, dict[str, Annotated[TokenCount, Field(ge=1)]]] = Field(default_factory=dict)
    merged: dict[str, dict[str, Annotated[TokenCount, Field(ge=1)]]] = Field(default_factory=dict)

    def steps(self) -> list[Change]:
        return [Split(name, parts) for name, parts in self.split.items()] + [
            Merge(name, parts) for name, parts in self.merged.items()
        ]

    def sources_after(self, before: Sequence[str]) -> tuple[str, ...]:
        """Raises ChangeError for names that are not there, or are there already."""
        gone = {*self.removed, *self.split, *(part for parts in self.merged.values() for part in parts)}
        if unknown := [name for name in gone if name not in before]:
            raise ChangeError(nearest(sorted(unknown)[0], before))
        if taken := [name for name in self.added if name in before]:
            raise ChangeError(f"added: the runs have a source {taken[0]} already")
        come = [part for parts in self.split.values() for part in parts] + list(self.merged) + self.added
        return (*(name for name in before if name not in gone), *come)


def change_sources(fit: Path, changes: Path, out: Path, limits: Path | None = None, *, tick: Tick = silent) -> str:
    """Fit the old runs again as runs of the sources there are now.

    Limits stored with the fit are of the old sources and are left behind, unless new ones are given.
    """
    _check_out(out, changes, limits)
    stored = StoredFit.load(fit)
    wanted = read_as(Changes, changes)
    try:
        now = wanted.sources_after(stored.runs.sources)
        runs = adapted(stored.runs, now, wanted.steps())
    except ChangeError as error:
        raise ChangeError(f"{changes}: {error}") from error
    notes = [
        f"{name}: old runs stand up to {merge_distance(stored.runs, Merge(name, parts)):.2f} of ratio away from its "
        "tokens' proportion; what they say of it is an approximation"
        for name, parts in wanted.merged.items()
    ]
    notes += [f"{name}: no run held it yet; train some before its ratio is believed" for name in never_tried(runs)]
    notes += [f"{name}: fix it at 0 in the limits (fixed: 0)" for name in removed(runs, now)]
    if stored.target is not None and limits is None:
        notes.append(
            "the limits of the old sources, and the fingerprints of their data, are left behind: give --limits"
        )
    target = None
    if limits is not None:
        made = {*wanted.added, *wanted.merged, *(part for parts in wanted.split.values() for part in parts)}
        target = _with_fingerprints(Target.read(limits, runs.sources), stored.target, other_data=made)
        target.limits(runs.sources)
    gone = tuple(name for name in runs.sources if name in {*stored.gone, *removed(runs, now)})
    again = replace(_fitted(runs, target, stored.seed, tick), transfer=stored.transfer, gone=gone)
    again.save(out)
    return "\n\n".join([_scores(again), *(["\n".join(notes)] if notes else []), _written(out)])


def log_larger(
    fit: Path, larger: Path, out: Path, *, base_parameters: int | None = None, target_parameters: int | None = None
) -> str:
    """Learn the slopes of the metrics from runs of larger models, and store them in `out` with the fit.

    The table (CSV or Parquet) has a column `parameters` (of the trunk, without embedding and head) and one for each
    source and metric of the fit. Where the fit has slopes of proxy pairs already these runs improve them; where it has
    none, the smallest size of the table takes the place of the second proxy size and both sizes must be given.
    """
    from mixes.runs import read_larger
    from mixes.transfer import FEWEST_PAIRS, LoggedRuns, Sizes, fit_transfer

    _check_out(out, larger)
    stored = StoredFit.load(fit)
    parameters, mixtures, values = read_larger(larger, stored.runs.sources, stored.runs.metrics)
    known = stored.transfer
    base_size = base_parameters or (known.sizes.base if known else None)
    target_size = target_parameters or (known.sizes.target if known else None)
    if base_size is None or target_size is None:
        raise InputFileError(f"{fit}: knows no sizes; give the parameters of its proxies and of the target")
    is_larger = parameters > base_size  # runs.parquet holds the proxies of the base size too
    if not is_larger.any():
        raise InputFileError(f"{larger}: holds no run of more than {base_size} trunk parameters")
    parameters, mixtures, values = parameters[is_larger], mixtures[is_larger], values[is_larger]
    # A log that grows is given whole each time; a run that counted twice would pass for a second witness.
    seen = {(old.parameters, *row) for old in (known.runs if known else ()) for row in old.values.tolist()}
    logs = [(int(size), *row) for size, row in zip(parameters, values.tolist(), strict=True)]
    is_new = np.array([run not in seen and run not in logs[:place] for place, run in enumerate(logs)])
    if not is_new.any():
        raise InputFileError(f"{larger}: {fit} knows all of its runs already")
    parameters, mixtures, values = parameters[is_new], mixtures[is_new], values[is_new]
    predicted, _ = stored.fit.predict(mixtures)
    first, before = (known.runs[0], known.runs[1:]) if known else (None, ())
    logged = [
        LoggedRuns(
            int(size),
            np.concatenate([predicted[parameters == size], *(old.base for old in before if old.parameters == size)]),
            np.concatenate([values[parameters == size], *(old.values for old in before if old.parameters == size)]),
        )
        for size in np.unique([*parameters, *(old.parameters for old in before)])
    ]
    enough = [runs for runs in logged if len(runs.base) >= FEWEST_PAIRS]
    notes = [
        f"{len(runs.base)} runs of {runs.parameters} parameters are left out: {FEWEST_PAIRS} are needed for slopes"
        for runs in logged
        if len(runs.base) < FEWEST_PAIRS
    ]
    if not is_new.all():
        notes.append(f"{(~is_new).sum()} runs are known already and do not count again")
    if first is None:
        if not enough:
            raise InputFileError(f"{larger}: {'; '.join(notes)}")
        first, *enough = enough
    equal = np.ones(len(stored.runs.metrics))
    try:
        sizes = Sizes(base_size, first.parameters, target_size)
        transfer = fit_transfer(first.base, first.values, sizes, equal, stored.seed, enough, first.noise)
    except ValueError as error:
        raise InputFileError(f"{larger}: {error}") from error
    replace(stored, transfer=transfer).save(out)
    rows = [
        (name, f"{transfer.slopes[m]:.2f}", f"{transfer.extrapolated[m]:.2f} ± {transfer.extrapolated_sds[m]:.2f}")
        for m, name in enumerate(stored.runs.metrics)
    ]
    table = _table(("metric", f"slope to {first.parameters}", f"slope to {target_size}"), rows)
    return "\n\n".join([table, "\n".join([*notes, transfer.verdict]), _written(out)])


def _fitted(runs: Runs, target: Target | None, seed: int, tick: Tick) -> StoredFit:
    from mixes.regression import FOLDS, cross_validate, fit
    from mixes.signal import signal_to_noise

    metrics = list(runs.metrics)
    total = (FOLDS + 3) * len(metrics)  # the folds, two regions left out, and all runs
    done = itertools.count(1)

    def fitted() -> None:
        tick(next(done), total)

    evidence = cross_validate(runs.mixtures, runs.values, metrics, seed, fitted=fitted)
    return StoredFit(
        fit=fit(runs.mixtures, runs.values, metrics, seed, fitted),
        runs=runs,
        scores=Scores.of(evidence),
        seed=seed,
        target=target,
        signal=signal_to_noise(runs.values, runs.mixtures, metrics),
    )


def _check_out(out: Path, *inputs: Path | None) -> None:
    """Raises InputFileError, before any work, for a file that could not be written or would replace what is read."""
    if out.is_dir():
        raise InputFileError(f"{out}: is a folder; name a file")
    if not out.parent.is_dir():
        raise InputFileError(f"{out}: there is no folder {out.parent}; make it first")
    if any(path is not None and path.exists() and out.exists() and out.samefile(path) for path in inputs):
        raise InputFileError(f"{out}: is read by this command and would be lost; write to another file")


def _with_fingerprints(target: Target, before: Target | None, other_data: Collection[str] = ()) -> Target:
    """New limits on the same data: fingerprints that the file does not name are those the runs were trained on."""
    if before is None:
        return target
    sources = {
        name: own if own.fingerprint or name not in before.sources or name in other_data
        else SourceLimits.model_construct(**{**dict(own), "fingerprint": before.sources[name].fingerprint})
        for name, own in target.sources.items()
    }  # fmt: skip
    return target.model_copy(update={"sources": sources})


def _weights(path: Path | None, metrics: Sequence[str]) -> Floats:
    """Weights [M] in sum 1. Raises InputFileError naming the file and each wrong name or number."""
    if path is None:
        return np.full(len(metrics), 1.0 / len(metrics))
    plain = read_yaml(path)
    if not isinstance(plain, Mapping) or not plain:
        raise InputFileError(f"{path}: needs a line `name: weight` for each metric or source that counts")
    weights, faults = np.zeros(len(metrics)), []
    named: dict[str, str] = {}
    short = [name.removeprefix(prefix) for prefix in METRIC_PREFIXES[1:] for name in metrics if name.startswith(prefix)]
    for name, weight in plain.items():
        found = next((f"{prefix}{name}" for prefix in METRIC_PREFIXES if f"{prefix}{name}" in metrics), None)
        if found is None:
            faults.append(nearest(str(name), [*metrics, *short]))
        elif isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < np.inf:
            faults.append(f"{name}: needs a number of 0 or more, got {weight!r}")
        elif found in named:
            faults.append(f"{name}: is the same metric as {named[found]}")
        else:
            named[found] = str(name)
            weights[list(metrics).index(found)] = weight
    if not faults and not weights.any():
        faults.append("every weight is 0")
    if faults:
        raise InputFileError("\n".join(f"{path}: {fault}" for fault in faults))
    return np.asarray(weights / weights.sum())


def _write_table(path: Path, on: str, ids: Sequence[str], names: Sequence[str], values: Floats) -> None:
    with replacing(path) as temporary:
        if path.suffix == ".csv":
            with temporary.open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow([on, *names])
                writer.writerows([name, *map(repr, row)] for name, row in zip(ids, values.tolist(), strict=True))
            return
        import pyarrow as pa
        import pyarrow.parquet as pq

        # Whole numbers are numbers in Parquet, as every reader of the CSV file takes them.
        numbered = all(name.isdecimal() and str(int(name)) == name and len(name) < 19 for name in ids)
        first = pa.array([int(name) for name in ids]) if numbered else pa.array(ids, pa.string())
        pq.write_table(pa.table([first, *map(pa.array, values.T)], names=[on, *names]), temporary)


def _scores(stored: StoredFit) -> str:
    scores = stored.scores
    families = [name for name in ("stack", "linear", "lightgbm") if name in scores.spearman]
    header = (
        "metric",
        *(f"{name} {what}" for name in families for what in ("Spearman", "RMSE")),
        "weights of the families",
    )
    rows = []
    for m, metric in enumerate(stored.runs.metrics):
        numbers = [f"{table[name][m]:.4f}" for name in families for table in (scores.spearman, scores.rmse)]
        shares = {name: row[m] for name, row in scores.family_weights.items() if row[m] >= 0.005}
        rows.append((metric, *numbers, ", ".join(f"{name} {share:.0%}" for name, share in shares.items())))
    means = [f"{table[name].mean():.4f}" for name in families for table in (scores.spearman, scores.rmse)]
    rows.append(("mean", *means, ""))
    runs = (
        f"{len(stored.runs.ids)} runs, {len(stored.runs.sources)} sources. Each run predicted by fits that left it out:"
    )
    lines = [runs, _table(header, rows)]
    if stored.signal is None:
        lines.append("No mixture was run twice: the noise of a run, and with it the worth of each metric, is unknown.")
    else:
        lines += stored.signal.notes_on(np.ones(len(stored.runs.metrics)))
    return "\n".join(lines)


def _answer(stored: StoredFit, optimum: Optimum, given: Floats, used: Floats) -> str:
    sources, target = stored.runs.sources, stored.target
    low, high = optimum.gain_interval
    reference = "the natural mix" if target is not None else "the mean of the runs (no tokens are known)"
    summed = "" if stored.transfer is None else ", differences as they are expected at the target's size"
    lines = [
        f"objective {optimum.best.objective:.4f} ± {optimum.best.objective_sd:.4f}{summed}; "
        f"{reference} {optimum.natural.objective:.4f}; gain {optimum.gain:.4f} ({low:.4f} to {high:.4f})",
        f"nearest run: {optimum.nearest_run_l1:.2f} away (sum of differences of ratios)",
    ]
    if stored.transfer is not None:
        lines.append(f"larger models: {stored.transfer.verdict}")
    lines += [f"warning: {warning}" for warning in optimum.warnings]
    if stored.signal is not None:
        lines += [f"note: {note}" for note in stored.signal.notes_on(given)]

    compared = "mean of runs" if target is None else "natural"
    header: tuple[str, ...] = ("source", "ratio", "80 % for the optimum", compared)
    rows: list[tuple[str, ...]] = [
        (name, f"{optimum.best.ratios[j]:.1%}", f"{optimum.intervals[0][j]:.1%} to {optimum.intervals[1][j]:.1%}",
         f"{stored.natural[j]:.1%}")
        for j, name in enumerate(sources)
    ]  # fmt: skip
    if target is not None:
        header += ("tokens", "epochs", "one more epoch", "1B more tokens")
        tokens = optimum.best.ratios * target.target_tokens
        epochs = tokens / np.maximum(target.unique_tokens(sources), 1.0)
        rows = [
            (*row, f"{tokens[j]:.4g}", f"{epochs[j]:.2f}", f"{optimum.worth_of_epoch[j]:.2g}",
             f"{optimum.worth_of_billion_tokens[j]:.2g}")
            for j, row in enumerate(rows)
        ]  # fmt: skip
    parts = ["\n".join(lines), _table(header, rows)]
    best, natural = optimum.best, optimum.natural
    predicted = [
        (name, f"{given[m]:.3f}", f"{used[m]:.3f}", f"{best.metrics[m]:.4f} ± {best.metrics_sd[m]:.4f}",
         f"{natural.metrics[m]:.4f}")
        for m, name in enumerate(stored.runs.metrics)
    ]  # fmt: skip
    parts.append(_table(("metric", "weight", "used", "predicted", header[3]), predicted))
    if len(optimum.helpful_runs):
        numbers = [f"run {number + 1}" for number in range(len(optimum.helpful_runs))]
        helpful = [(name, *(f"{run[j]:.3f}" for run in optimum.helpful_runs)) for j, name in enumerate(sources)]
        parts.append("Runs that would help most:\n" + _table(("source", *numbers), helpful))
    return "\n\n".join(parts)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns: the first to the left, the others to the right."""
    widths = [max(len(row[j]) for row in (header, *rows)) for j in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if j else cell.ljust(width)
            for j, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (header, *rows)
    )


def _written(path: Path) -> str:
    return f"written: {path}"
