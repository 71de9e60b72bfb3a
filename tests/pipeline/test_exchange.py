"""Rows pass from phase to phase by partition."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.exchange import PartitionedWriter, partitions_for, read_partition

SCHEMA = pa.schema([("number", pa.uint64()), ("name", pa.string())])


def rows(numbers: list[int]) -> pa.Table:
    return pa.table({"number": pa.array(numbers, pa.uint64()), "name": [f"n{n}" for n in numbers]}, schema=SCHEMA)


@settings(deadline=None)
@given(
    st.integers(1, 9),
    st.lists(st.lists(st.integers(0, 10**6), max_size=20), max_size=5),
    st.sampled_from([1, 100, 10**6]),
)
def test_each_partition_gives_its_rows_in_the_order_in_which_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, partitions: int, tables: list[list[int]], buffer_bytes: int
) -> None:
    path = tmp_path_factory.mktemp("exchange") / "rows.parquet"
    expected: dict[int, list[int]] = defaultdict(list)
    writer = PartitionedWriter(path, SCHEMA, partitions)
    writer._buffer_bytes = buffer_bytes  # so small that it is written many times
    with writer:
        for numbers in tables:
            writer.write(rows(numbers), np.array(numbers, np.int64) % partitions)
            for number in numbers:
                expected[number % partitions].append(number)
    for partition in range(partitions):
        table = read_partition([path], partition)
        assert table["number"].to_pylist() == expected[partition]
        assert table["name"].to_pylist() == [f"n{n}" for n in expected[partition]]


def test_a_partition_is_read_out_of_all_files_and_has_its_columns_even_when_empty(tmp_path: Path) -> None:
    for name, numbers in (("a", [1, 2, 3]), ("b", []), ("c", [5, 4])):
        with PartitionedWriter(tmp_path / name, SCHEMA, 2) as writer:
            writer.write(rows(numbers), np.array(numbers, np.int64) % 2)
    paths = [tmp_path / name for name in "abc"]
    assert read_partition(paths, 1)["number"].to_pylist() == [1, 3, 5]
    assert read_partition(paths, 0, ["name"]).to_pydict() == {"name": ["n2", "n4"]}
    assert read_partition([tmp_path / "b"], 0).schema.names == SCHEMA.names


@pytest.mark.slow  # a gigabyte
def test_more_rows_of_one_partition_than_a_row_group_takes_are_all_read(tmp_path: Path) -> None:
    schema, rows = pa.schema([("n", pa.uint8())]), (64 << 20) + 10
    partition = np.zeros(rows, np.uint8)
    partition[-3:] = 1
    with PartitionedWriter(tmp_path / "rows", schema, 2) as writer:
        writer.write(pa.table([pa.array(partition)], schema=schema), partition)
    read = [read_partition([tmp_path / "rows"], p)["n"] for p in (0, 1)]
    assert [len(column) for column in read] == [rows - 3, 3]
    assert read[1].to_pylist() == [1, 1, 1]


def test_a_partition_out_of_range_is_refused(tmp_path: Path) -> None:
    writer = PartitionedWriter(tmp_path / "rows.parquet", SCHEMA, 2)
    with pytest.raises(ValueError, match="not between 0 and 1"), writer:
        writer.write(rows([1]), np.array([2]))


def test_equal_rows_make_equal_files(tmp_path: Path) -> None:
    for name in "ab":
        with PartitionedWriter(tmp_path / name, SCHEMA, 3) as writer:
            writer.write(rows([5, 7, 9, 11]), np.array([2, 0, 1, 2]))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(("size_bytes", "expected"), [(0, 1), (1000, 1), (1001, 2), (2001, 4), (100_000, 128)])
def test_partitions_are_as_many_as_keep_one_within_its_memory(size_bytes: int, expected: int) -> None:
    assert partitions_for(size_bytes, 1000) == expected
