"""Tables of runs, made by us or elsewhere."""

import csv

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mixes.runs import BadRunsError, read_mixtures, read_runs, read_tables

MIXTURES = [["index", "web", "code"], ["007", 0.5, 0.5], ["b", 0.25, 0.75], ["c", 1.0, 0.0]]
METRICS = [["index", "bpb", "answers"], ["c", 1.0, 4.0], ["007", 2.0, 5.0], ["b", 3.0, 6.0]]


@pytest.fixture
def tables(tmp_path):
    """A function that writes the two tables, changed as it is told: cells by (table, row, column)."""

    def write(suffix=".csv", **changes):
        paths = []
        for name, rows in (("mixtures", MIXTURES), ("metrics", METRICS)):
            rows = changes.get(name, rows)
            path = tmp_path / f"{name}{suffix}"
            if suffix == ".csv":
                with path.open("w", newline="") as file:
                    csv.writer(file).writerows(rows)
            else:
                header, *cells = rows
                pq.write_table(pa.table([[row[j] for row in cells] for j in range(len(header))], names=header), path)
            paths.append(path)
        return paths

    return write


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_tables_are_joined_on_the_id_in_the_order_of_the_mixtures(tables, suffix):
    runs = read_tables(*tables(suffix), "index")
    assert (runs.sources, runs.metrics, runs.ids) == (("web", "code"), ("bpb", "answers"), ("007", "b", "c"))
    assert runs.mixtures.tolist() == [[0.5, 0.5], [0.25, 0.75], [1.0, 0.0]]
    assert runs.values.tolist() == [[2.0, 5.0], [3.0, 6.0], [1.0, 4.0]]


def test_ratios_off_by_rounding_are_scaled_to_one(tables):
    runs = read_tables(*tables(mixtures=[*MIXTURES[:1], ["007", 0.498, 0.498], *MIXTURES[2:]]), "index")
    assert runs.mixtures[0].tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    ("table", "row", "cells", "message"),
    [
        ("mixtures", 2, ["b", 0.2, 0.7], r"mixtures.csv: row b: its ratios sum to 0.9, not to 1 .*source is missing"),
        ("mixtures", 2, ["b", 1.1, -0.1], r"mixtures.csv: row b: the ratio of code is negative"),
        ("mixtures", 2, ["b", "", 1.0], r"mixtures.csv: row b: web is None, not a number; complete it"),
        ("mixtures", 2, ["c", 0.5, 0.5], r"mixtures.csv: the ids c stand for several rows"),
        ("metrics", 1, ["c", "nan", 4.0], r"metrics.csv: row c: bpb is None, not a number"),
        ("metrics", 1, ["c", "diverged", 4.0], r"metrics.csv: row c: bpb is 'diverged'"),
        ("metrics", 1, ["d", 1.0, 4.0], r"metrics.csv: has no row for c, which the other table has"),
        ("metrics", 1, ["", 1.0, 4.0], r"metrics.csv"),
    ],
)
def test_a_faulty_row_is_named_with_its_file(tables, table, row, cells, message):
    rows = [list(line) for line in (MIXTURES if table == "mixtures" else METRICS)]
    rows[row] = cells
    with pytest.raises(BadRunsError, match=message):
        read_tables(*tables(**{table: rows}), "index")


def test_a_table_without_the_id_column_or_that_is_none_is_refused(tables, tmp_path):
    mixtures, metrics = tables()
    with pytest.raises(BadRunsError, match=r"has no id column run; its columns are index, web, code"):
        read_tables(mixtures, metrics, "run")
    with pytest.raises(BadRunsError, match=r"nowhere.csv: cannot be read"):
        read_tables(tmp_path / "nowhere.csv", metrics, "index")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(BadRunsError, match=r"broken.parquet: is no table"):
        read_tables(tmp_path / "broken.parquet", metrics, "index")


@pytest.fixture
def swarm(tmp_path):
    path = tmp_path / "runs.parquet"
    rows = [
        {
            "run": f"{size}-{number}",
            "size": size,
            "diverged": number == 2,
            "mixture.web": ratio,
            "mixture.code": 1 - ratio,
            "bpb.web": np.nan if number == 2 else 1.0 + ratio,
            "bpb.web@50": 9.0,
            "answers.sums": 0.5 - ratio,
        }
        for size in ("base", "second")
        for number, ratio in enumerate((0.0, 0.5, 0.25))
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def test_runs_of_one_size_that_did_not_diverge_are_read_with_their_last_measurements(swarm):
    runs = read_runs(swarm, "base")
    assert runs.ids == ("base-0", "base-1")
    assert runs.metrics == ("bpb.web", "answers.sums")
    assert runs.values.tolist() == [[1.0, 0.5], [1.5, 0.0]]


def test_a_size_must_be_named_where_there_are_several_and_must_exist(swarm):
    with pytest.raises(BadRunsError, match=r"sizes base, second; choose one"):
        read_runs(swarm)
    with pytest.raises(BadRunsError, match=r"has no runs of size huge; it has base, second"):
        read_runs(swarm, "huge")


def test_mixtures_to_predict_may_lack_a_source_but_hold_no_other(tables):
    ids, mixtures = read_mixtures(tables()[0], "index", ("code", "books", "web"))
    assert ids == ("007", "b", "c")
    assert mixtures.tolist() == [[0.5, 0.0, 0.5], [0.75, 0.0, 0.25], [0.0, 0.0, 1.0]]
    with pytest.raises(BadRunsError, match=r"web are no sources of the fit"):
        read_mixtures(tables()[0], "index", ("code", "books"))
