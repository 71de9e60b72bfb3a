"""Tables of runs: which mixtures were trained, and what was measured. CSV or Parquet, by the suffix of the file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixes.regression import BadRunsError

Floats = NDArray[np.float64]

ROUNDING = 0.01
"""Ratios of a row may sum to so much more or less than 1, and are scaled to 1: published tables are rounded (RegMix's
rows sum to 0.996 to 1.003). A row farther off misses a source or holds something else."""

MIXTURE, METRICS = "mixture.", ("bpb.", "answers.")  # prefixes of the columns of our own runs


@dataclass(frozen=True)
class Runs:
    """N runs of one size of proxy on mixtures of S sources, measured by M metrics, of all of which lower is better."""

    sources: tuple[str, ...]
    metrics: tuple[str, ...]
    ids: tuple[str, ...]
    mixtures: Floats  # [N, S], rows sum to 1
    values: Floats  # [N, M]


def read_tables(mixtures: Path, metrics: Path, on: str) -> Runs:
    """Join two tables on their id column: every other column of the first is a source, of the second a metric.

    Rows come in the order of the first. Raises BadRunsError, naming file and row, for a table that cannot be read, ids
    that are double or in one table only, cells that are no numbers, and ratios that do not sum to 1.
    """
    ratios, measured = read_columns(mixtures, on), read_columns(metrics, on)
    ids, measured_ids = _ids(mixtures, ratios, on), _ids(metrics, measured, on)
    for path, these, others in ((metrics, ids, measured_ids), (mixtures, measured_ids, ids)):
        if lost := sorted(set(these) - set(others)):
            raise BadRunsError(
                f"{path}: has no row for {_listed(lost)}, which the other table has: complete it, or take them out"
            )
    sources = tuple(name for name in ratios if name != on)
    names = tuple(name for name in measured if name != on)
    row_of = {run: row for row, run in enumerate(measured_ids)}
    if not names:
        raise BadRunsError(f"{metrics}: has no column of a metric beside {on}")
    values = _numbers(metrics, measured, names, measured_ids)
    return Runs(sources, names, ids, _mixtures(mixtures, ratios, sources, ids), values[[row_of[run] for run in ids]])


def read_runs(path: Path, size: str | None = None) -> Runs:
    """The runs of a swarm, of one size: columns run, size, diverged, mixture.<source>, bpb.<source>, answers.<set>.

    Runs that diverged are left out, and so are measurements before the end of a run. Raises BadRunsError as read_tables
    does, and for runs of several sizes where none is named.
    """
    columns = read_columns(path, "run")
    sources = tuple(name.removeprefix(MIXTURE) for name in columns if name.startswith(MIXTURE))
    metrics = tuple(name for name in columns if name.startswith(METRICS) and "@" not in name)
    if not sources or not metrics:
        raise BadRunsError(f"{path}: has no columns mixture.<source> and bpb.<source>; give --mixtures and --metrics")
    rows = range(len(_ids(path, columns, "run", unique=False)))
    diverged = columns.get("diverged", [False] * len(rows))
    sizes = columns.get("size", [None] * len(rows))
    kinds = sorted({str(sizes[row]) for row in rows})
    if size is not None and size not in kinds:
        raise BadRunsError(f"{path}: has no runs of size {size}; it has {', '.join(kinds)}")
    if size is None and len(kinds) > 1:
        raise BadRunsError(f"{path}: has runs of the sizes {', '.join(kinds)}; choose one with --size")
    chosen = [row for row in rows if not diverged[row] and size in (None, str(sizes[row]))]
    kept = {name: [cells[row] for row in chosen] for name, cells in columns.items()}
    ids = _ids(path, kept, "run")
    mixtures = _mixtures(path, {name: kept[MIXTURE + name] for name in sources}, sources, ids)
    return Runs(sources, metrics, ids, mixtures, _numbers(path, kept, metrics, ids))


def read_mixtures(path: Path, on: str, sources: Sequence[str]) -> tuple[tuple[str, ...], Floats]:
    """Ids [K] and mixtures [K, S] of these sources. A source without a column has none of any mixture.

    Raises BadRunsError as read_tables does, and for a column that is no source.
    """
    columns = read_columns(path, on)
    ids = _ids(path, columns, on)
    if unknown := [name for name in columns if name != on and name not in sources]:
        raise BadRunsError(f"{path}: {_listed(unknown)} are no sources of the fit; they are {', '.join(sources)}")
    return ids, _mixtures(path, {name: columns.get(name, [0.0] * len(ids)) for name in sources}, sources, ids)


def read_larger(path: Path, sources: Sequence[str], metrics: Sequence[str]) -> tuple[Floats, Floats, Floats]:
    """Of runs of larger models: parameters [L], mixtures [L, S] and metrics [L, M].

    A column `parameters` or `trunk_parameters`, one of each metric, and of each source under its name or as in our own
    runs; those that diverged are left out. Raises BadRunsError as read_tables does.
    """
    columns = read_columns(path)
    size = next((name for name in ("parameters", "trunk_parameters") if name in columns), None)
    if size is None:
        raise BadRunsError(f"{path}: needs a column parameters (of the trunk, without embedding and output head)")
    prefix = MIXTURE if any(name.startswith(MIXTURE) for name in columns) else ""
    if absent := [name for name in (*(prefix + source for source in sources), *metrics) if name not in columns]:
        raise BadRunsError(f"{path}: lacks the column {_listed(absent)}, which the fit has")
    diverged = columns.get("diverged", [False] * len(columns[size]))
    rows = [row for row, cell in enumerate(diverged) if not cell]
    kept = {name: [cells[row] for row in rows] for name, cells in columns.items()}
    numbers = [str(row + 1) for row in rows]
    ratios = {source: kept[prefix + source] for source in sources}
    return (
        _numbers(path, kept, [size], numbers)[:, 0],
        _mixtures(path, ratios, sources, numbers),
        _numbers(path, kept, metrics, numbers),
    )


def read_columns(path: Path, ids: str = "") -> Mapping[str, list[Any]]:
    """A table's columns by name; of a CSV file that of `ids` as text, so that 007 stays 007.

    Raises BadRunsError for a file that cannot be read.
    """
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet as pq

    try:
        if path.suffix == ".parquet":
            table = pq.read_table(path)
        else:
            as_text = pyarrow.csv.ConvertOptions(column_types={ids: pa.string()})
            table = pyarrow.csv.read_csv(path, convert_options=as_text)
    except OSError as error:
        raise BadRunsError(f"{path}: cannot be read: {error.strerror or error}") from error
    except pa.ArrowException as error:
        raise BadRunsError(f"{path}: is no table: {error}") from error
    if double := [name for name, times in Counter(table.column_names).items() if times > 1]:
        raise BadRunsError(f"{path}: has the column {_listed(double)} more than once")
    if unnamed := [
        name for name in table.column_names if name.strip() in ("", "__index_level_0__") and name != (ids or None)
    ]:
        raise BadRunsError(f"{path}: has a column {unnamed[0]!r} of row numbers: take it out (pandas: index=False)")
    return dict(table.to_pydict())


def _ids(path: Path, columns: Mapping[str, list[Any]], on: str, unique: bool = True) -> tuple[str, ...]:
    if on not in columns:
        raise BadRunsError(f"{path}: has no id column {on}; its columns are {', '.join(columns)} (name one with --on)")
    if not columns[on]:
        raise BadRunsError(f"{path}: has no rows")
    if absent := [row for row, run in enumerate(columns[on], start=1) if run in (None, "")]:
        raise BadRunsError(f"{path}: row {absent[0]}: has no id in the column {on}")
    ids = tuple(map(str, columns[on]))
    if unique and (double := [run for run, times in Counter(ids).items() if times > 1]):
        raise BadRunsError(f"{path}: the ids {_listed(double)} stand for several rows; give each run its own")
    return ids


def _mixtures(path: Path, columns: Mapping[str, list[Any]], sources: Sequence[str], ids: Sequence[str]) -> Floats:
    ratios = _numbers(path, columns, sources, ids)
    totals = ratios.sum(axis=1)
    if (ratios < 0).any():
        run, source = np.argwhere(ratios < 0)[0]
        raise BadRunsError(f"{path}: row {ids[run]}: the ratio of {sources[source]} is negative")
    if (off := np.flatnonzero(np.abs(totals - 1.0) > ROUNDING)).size:
        raise BadRunsError(
            f"{path}: row {ids[off[0]]}: its ratios sum to {totals[off[0]]:.4g}, not to 1 ({len(off)} such rows): "
            "a source is missing, or a column is none"
        )
    return np.asarray(ratios / totals[:, None])


def _numbers(path: Path, columns: Mapping[str, list[Any]], names: Sequence[str], ids: Sequence[str]) -> Floats:
    numbers = np.empty((len(ids), len(names)))
    for column, name in enumerate(names):
        for row, cell in enumerate(columns[name]):
            try:
                numbers[row, column] = float(cell)
            except (TypeError, ValueError):
                numbers[row, column] = np.nan
            if not np.isfinite(numbers[row, column]):
                raise BadRunsError(
                    f"{path}: row {ids[row]}: {name} is {cell!r}, not a number; complete it, or take the row out"
                )
    return numbers


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
