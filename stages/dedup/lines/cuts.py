"""What is to be cut: written by partition of counts, read by part of the documents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.exchange import PartitionedWriter, read_partition
from pipeline.stage import Result, Task
from stages.dedup.lines.kernels import Hashes

CUTS_FILE = "cuts.parquet"
CUTS_BY_DOMAIN_FILE = "cuts_by_domain.parquet"
SLICE_FILE = "lines.parquet"
CUTS_SCHEMA = pa.schema(
    [
        ("part", pa.uint32()),
        ("row", pa.uint32()),
        ("unit", pa.uint64()),
        ("documents", pa.uint32()),  # that have it, on the domain or in all
        ("on_domain", pa.bool_()),
    ]
)
CUTS_BY_DOMAIN_SCHEMA = pa.schema([("domain", pa.uint64()), ("units", pa.uint64())])
SLICE_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("units", pa.list_(pa.uint64())),  # ascending
        ("documents", pa.list_(pa.uint32())),
        ("on_domain", pa.list_(pa.bool_())),
    ]
)

MAX_SLICE_GROUPS = 1024
TOP_LINES = 50


def group_of(part: int, parts: int) -> int:
    """Partition of the cuts of a part of the documents."""
    return part * min(parts, MAX_SLICE_GROUPS) // parts


def most_repeated(lines: Iterable[dict[str, int]]) -> list[dict[str, int]]:
    """Those that most documents have, each unit once for all inputs and once a domain."""
    ordered = sorted(lines, key=lambda line: [-line["documents"], *map(line.get, ("unit", "domain", "part", "row"))])
    distinct = {(line["unit"], line["domain"]): line for line in reversed(ordered)}
    return list(reversed(distinct.values()))[:TOP_LINES]


class CutsWriter:
    """Writes what is to be cut; keeps the most repeated units, and how much is cut on each domain."""

    def __init__(self, task: Task, out: Path) -> None:
        self._parts = sum(task.arguments["parts"])
        self._out = out
        self._writer = PartitionedWriter(
            out / CUTS_FILE, CUTS_SCHEMA, group_of(self._parts - 1, self._parts) + 1, buffer_bytes=32 << 20
        )
        self._domains: Hashes = np.empty(0, np.uint64)
        self._cut_on: NDArray[np.int64] = np.empty(0, np.int64)
        self._top: list[dict[str, int]] = []
        self._to_cut = 0

    def __enter__(self) -> CutsWriter:
        self._writer.__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        self._writer.__exit__(*raised)

    def add(
        self,
        part: int,
        units: Mapping[str, NDArray[Any]],
        is_cut: NDArray[np.bool_],
        documents: NDArray[np.uint32],
        on_domain: NDArray[np.bool_],
    ) -> None:
        """Add the units that are cut from a part of the documents."""
        count = int(is_cut.sum())
        columns = [np.full(count, part, np.uint32), units["row"][is_cut], units["unit"][is_cut]]
        table = pa.table([*columns, documents[is_cut], on_domain[is_cut]], schema=CUTS_SCHEMA)
        self._writer.write(table, np.full(count, group_of(part, self._parts)))
        self._to_cut += count
        if "domain" in units:
            self._domains, self._cut_on = summed(
                np.concatenate([self._domains, units["domain"][is_cut]]),
                np.concatenate([self._cut_on, np.ones(count, np.int64)]),
            )

    def note(
        self,
        part: int,
        units: Mapping[str, NDArray[Any]],
        is_example: NDArray[np.bool_],
        documents: NDArray[np.uint32],
        domains: Hashes | None,
    ) -> None:
        """Note where units above the limit stand: the most repeated ones are shown to the user.

        Args:
            domains: on which ``documents`` were counted; None for all inputs.
        """
        examples = np.flatnonzero(is_example)
        best = examples[np.lexsort((units["unit"][examples], -documents[examples].astype(np.int64)))[:TOP_LINES]]
        noted = [
            {
                "unit": int(units["unit"][i]),
                "domain": 0 if domains is None else int(domains[i]),
                "documents": int(documents[i]),
                "part": part,
                "row": int(units["row"][i]),
            }
            for i in best
        ]
        self._top = most_repeated([*self._top, *noted])

    def result(self) -> Result:
        columns = [self._domains, self._cut_on.astype(np.uint64)]
        table = pa.table(columns, schema=CUTS_BY_DOMAIN_SCHEMA)
        pq.write_table(table, self._out / CUTS_BY_DOMAIN_FILE, compression="zstd")
        return Result({"to_cut": self._to_cut, "top": self._top})


def summed(keys: Hashes, counts: NDArray[np.int64]) -> tuple[Hashes, NDArray[np.int64]]:
    """Distinct keys with the sums of their counts."""
    distinct, places = np.unique(keys, return_inverse=True)
    return distinct, np.bincount(places, counts, len(distinct)).astype(np.int64)


def make_slice(task: Task, out: Path) -> Result:
    """What to cut from each document of one part, in the order of its rows."""
    cuts = read_partition(task.files["cuts"], task.arguments["group"])
    cuts = cuts.filter(pc.field("part") == task.arguments["part"]).sort_by(
        [("row", "ascending"), ("unit", "ascending")]
    )
    rows, counts = np.unique(cuts["row"].to_numpy(), return_counts=True)
    (path,) = task.files["documents"]
    ids = pq.read_table(path, columns=["id"], use_threads=False)["id"].take(pa.array(rows))
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32())
    lists = [
        pa.ListArray.from_arrays(offsets, cuts[name].combine_chunks()) for name in ("unit", "documents", "on_domain")
    ]
    table = pa.table([ids, *lists], schema=SLICE_SCHEMA)
    pq.write_table(table, out / SLICE_FILE, compression="zstd", use_dictionary=False)
    return Result({"documents": table.num_rows, "units": cuts.num_rows})
