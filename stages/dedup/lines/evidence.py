"""What a user is shown of repeated lines: how the most repeated ones are written, and on which domains most is cut."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from stages.dedup.lines.cuts import TOP_LINES, summed
from stages.dedup.lines.options import LineCountsConfig
from stages.dedup.lines.reading import batches
from stages.dedup.lines.units import units_of

SAMPLE_CHARACTERS = 200


def add_samples(path: Path, lines: Sequence[dict[str, Any]], config: LineCountsConfig) -> None:
    """Give each line its text, as it is written in one document (``row``) of this file."""
    first_row = 0
    for batch, _ in batches(path):
        for line in lines:
            row = line["row"] - first_row
            if 0 <= row < batch.num_rows:
                units = units_of(batch["text"][row : row + 1], config)
                place = int(np.flatnonzero(units.hashes == np.uint64(line["unit"]))[0])
                content = units.data[units.starts[place] : units.ends[place]].tobytes()
                line["text"] = content.decode("utf-8", "replace")[:SAMPLE_CHARACTERS]
        first_row += batch.num_rows


def most_cut_domains(cuts: Sequence[Path], domains: Sequence[Path]) -> tuple[dict[int, str], list[dict[str, Any]]]:
    """Names of the domains of which something is cut, and those of which most is."""
    hashes, units = np.empty(0, np.uint64), np.empty(0, np.int64)
    for path in cuts:
        table = pq.read_table(path)
        hashes, units = summed(
            np.concatenate([hashes, table["domain"].to_numpy()]),
            np.concatenate([units, table["units"].to_numpy().astype(np.int64)]),
        )
    cut_on = dict(zip(hashes.tolist(), units.tolist(), strict=True))
    names: dict[int, str] = {}
    found = []
    for path in domains:
        for row in pq.read_table(path).to_pylist():
            if row["domain"] in cut_on:
                names[row["domain"]] = row["name"]
                found.append({"domain": row["name"], "documents": row["documents"], "cut": cut_on[row["domain"]]})
    return names, sorted(found, key=lambda domain: (-domain["cut"], domain["domain"]))[:TOP_LINES]
