"""Connected components of all links, in rounds of tasks: ``components`` over files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.artifact import Phase
from pipeline.exchange import PartitionedWriter, read_partition
from pipeline.stage import Task
from stages.dedup.duplicates.components import (
    Messages,
    Pointers,
    links_as_messages,
    no_pointers,
    owners,
    step,
)
from stages.dedup.duplicates.corpus import range_of
from stages.dedup.duplicates.links import star_links

MESSAGES_FILE = "messages.parquet"
MESSAGES = pa.schema([("kind", pa.uint8()), ("high", pa.uint64()), ("low", pa.uint64())])
POINTERS_FILE = "pointers.parquet"
POINTERS = pa.schema([("vertex", pa.uint64()), ("root", pa.uint64())])


def write_links(task: Task, out: Path) -> dict[str, Any]:
    """The links of one partition of keys, as messages to the owners of their vertices."""
    records = read_partition(task.files["keys"], task.arguments["partition"])
    links = star_links(np.asarray(records["key"]), np.asarray(records["location"]))
    del records
    is_new = links.low < np.uint64(task.arguments["index_begins"])  # what only the index shares is not compared
    high, low = links.high[is_new], links.low[is_new]
    owners_ = task.arguments["owners"]
    _write_messages(out, links_as_messages(high, low), owners(high, owners_), owners_)
    return {}


def write_round(task: Task, out: Path) -> dict[str, Any]:
    """One round of one owner: where its vertices point to now, and what it tells the others."""
    owner, count, borders = task.arguments["owner"], task.arguments["owners"], task.arguments["borders"]
    messages = read_partition(task.files["messages"], owner)
    pointers = no_pointers()
    if task.files["pointers"]:
        table = pq.read_table(task.files["pointers"][0])
        pointers = Pointers(np.asarray(table["vertex"]), np.asarray(table["root"]))
    done = step(owner, count, pointers, Messages(*(np.asarray(messages[name]) for name in MESSAGES.names)))
    _write_messages(out, done.messages, done.to, count)
    table = pa.table([pa.array(done.pointers.vertex), pa.array(done.pointers.root)], schema=POINTERS)
    with PartitionedWriter(out / POINTERS_FILE, POINTERS, len(borders) + 1) as writer:
        writer.write(table, range_of(done.pointers.vertex, borders))
    return {"open": done.open, "vertices": table.num_rows}


def _write_messages(out: Path, messages: Messages, to: NDArray[np.int64], partitions: int) -> None:
    table = pa.table([pa.array(messages.kind), pa.array(messages.high), pa.array(messages.low)], schema=MESSAGES)
    with PartitionedWriter(out / MESSAGES_FILE, MESSAGES, partitions) as writer:
        writer.write(table, to)


def is_over(phase: Phase) -> bool:
    """Whether a round has changed nothing any more: its pointers say which component each vertex belongs to."""
    return all(part.summary["open"] == 0 for part in phase.parts)
