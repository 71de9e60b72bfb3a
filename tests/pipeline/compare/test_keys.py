"""Keys of rows by partition say the same as Python's sets, whatever the sizes of files, partitions and buffers."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.compare import keys as module
from pipeline.compare.keys import ROW_BYTES, Keys, parted, partitions_of, read_rows, smallest

IDS = st.lists(st.text(max_size=4), max_size=60)
SOURCES = ("web", "code", "books")


def written(folder: Path, name: str, ids: Sequence[str | None], rows_a_file: int) -> list[Path]:
    """Parquet files of these ids, with the source of each by its length."""
    paths = []
    for i in range(0, len(ids), rows_a_file):
        some = ids[i : i + rows_a_file]
        table = pa.table(
            {"id": pa.array(some, pa.string()), "source": [SOURCES[len(one or "") % len(SOURCES)] for one in some]}
        )
        paths.append(folder / f"{name}-{i}.parquet")
        pq.write_table(table, paths[-1], row_group_size=3)
    return paths


def keys(folder: Path, name: str, ids: Sequence[str | None], rows_a_file: int = 7, partitions: int = 4) -> Keys:
    files = written(folder, name, ids, rows_a_file)
    return Keys(files, "id", ["source"], folder / f"{name}.keys", partitions, seed=5, memory_bytes=1)


def ids_at(found: Keys, rows: pa.Table) -> list[str]:
    """The ids that rows of keys stand for."""
    return [read_rows(found.files[r["file"]], [r["row"]], ["id"])[r["row"]]["id"] for r in rows.to_pylist()]


@given(IDS, IDS, st.integers(1, 20), st.sampled_from([1, 2, 8]))
def test_keys_part_as_sets_do(a: list[str], b: list[str], rows_a_file: int, partitions: int) -> None:
    with TemporaryDirectory() as name:
        in_a, in_b = (keys(Path(name), side, ids, rows_a_file, partitions) for side, ids in (("a", a), ("b", b)))
        only_a: list[str] = []
        only_b: list[str] = []
        both = 0
        for _, here_a, here_b, here_both in parted(in_a, in_b, partitions):
            only_a += ids_at(in_a, here_a)
            only_b += ids_at(in_b, here_b)
            both += here_both
    assert (sorted(only_a), sorted(only_b)) == (sorted(set(a) - set(b)), sorted(set(b) - set(a)))
    assert both == len(set(a) & set(b))


@given(IDS, st.integers(1, 20))
def test_each_row_is_told_with_its_place_and_what_is_said_of_it(ids: list[str], rows_a_file: int) -> None:
    with TemporaryDirectory() as name:
        found = keys(Path(name), "a", ids, rows_a_file)
        rows = pa.concat_tables([found.partition(number) for number in range(4)])
        assert sorted(ids_at(found, rows)) == sorted(ids)
        said = [found.values[code] for code in rows.column("said").to_pylist()]
        assert said == [(SOURCES[len(one) % len(SOURCES)],) for one in ids_at(found, rows)]


@given(st.sets(st.text(max_size=4), max_size=60), st.integers(1, 20), st.integers(0, 9))
def test_a_sample_is_the_same_however_the_rows_are_divided(ids: set[str], rows_a_file: int, count: int) -> None:
    with TemporaryDirectory() as name:
        one, other = keys(Path(name), "a", sorted(ids), rows_a_file, 1), keys(Path(name), "b", sorted(ids), 60, 1)
        drawn = ids_at(one, smallest(one.partition(0), count))
        assert drawn == ids_at(other, smallest(other.partition(0), count))
        assert len(drawn) == min(count, len(ids))


def test_another_seed_draws_another_sample(tmp_path: Path) -> None:
    ids = [str(i) for i in range(200)]
    files = written(tmp_path, "a", ids, 50)
    drawn = []
    for seed in (1, 2):
        found = Keys(files, "id", ["source"], tmp_path / f"{seed}.keys", 1, seed)
        drawn.append(set(ids_at(found, smallest(found.partition(0), 5))))
    assert drawn[0] != drawn[1]


def test_a_text_that_is_null_counts_as_empty(tmp_path: Path) -> None:
    in_a, in_b = keys(tmp_path, "a", [None, "x"]), keys(tmp_path, "b", ["", "x"])
    assert [(a.num_rows, b.num_rows) for _, a, b, _ in parted(in_a, in_b, 4)] == [(0, 0)] * 4


def test_a_partition_fits_into_its_memory() -> None:
    assert partitions_of(0) == 1
    rows = 1_000_000_000
    assert rows * ROW_BYTES / partitions_of(rows) <= module.MEMORY_BYTES


def test_memory_does_not_grow_with_the_runs(tmp_path: Path) -> None:
    """A million rows a side in 4 MB partitions take no more than those and their copies."""
    memory_bytes = 4 << 20
    files = []
    for i in range(4):
        ids = pa.array([f"web/file-{i}.warc.gz@{n}" for n in range(250_000)])
        files.append(tmp_path / f"{i}.parquet")
        pq.write_table(pa.table({"id": ids, "source": pa.array(["web"] * len(ids))}), files[-1], row_group_size=65536)
    partitions = partitions_of(1_000_000, memory_bytes)
    assert partitions == 8
    before = pa.total_allocated_bytes()
    peak = 0
    sides = [Keys(files[i:], "id", ["source"], tmp_path / f"{i}.keys", partitions, 0, memory_bytes) for i in (0, 1)]
    for _, only_a, only_b, both in parted(*sides, partitions):
        peak = max(peak, pa.total_allocated_bytes() - before)
        assert only_b.num_rows == 0
        assert only_a.num_rows + both == pytest.approx(125_000, rel=0.02)
    assert peak < 4 * memory_bytes
