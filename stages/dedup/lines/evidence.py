"""What a user is shown of repeated lines: how the most repeated ones are written, and on which domains most is cut."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
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


def most_cut_domains(
    cuts: Sequence[Path], domains: Sequence[Path], shown: Sequence[int]
) -> tuple[dict[int, str], list[dict[str, Any]]]:
    """Names of the domains with the hashes ``shown``, and the domains of which most is cut."""
    hashes, units = np.empty(0, np.uint64), np.empty(0, np.int64)
    for path in cuts:
        table = pq.read_table(path)
        hashes, units = summed(
            np.concatenate([hashes, table["domain"].to_numpy()]),
            np.concatenate([units, table["units"].to_numpy().astype(np.int64)]),
        )
    names: dict[int, str] = {}
    found: list[dict[str, Any]] = []
    for path in domains:
        table = pq.read_table(path)
        places = np.searchsorted(hashes, table["domain"].to_numpy())
        is_cut = (places < len(hashes)) & (np.append(hashes, np.uint64(0))[places] == table["domain"].to_numpy())
        cut = pa.array(np.append(units, 0)[places])
        table = table.append_column("cut", cut).filter(pa.array(is_cut))
        named = table.filter(pc.is_in(table["domain"], pa.array(shown, pa.uint64())))
        names |= dict(zip(named["domain"].to_pylist(), named["name"].to_pylist(), strict=True))
        most = table.sort_by([("cut", "descending"), ("name", "ascending")]).slice(0, TOP_LINES)
        found += [{"domain": r["name"], "documents": r["documents"], "cut": r["cut"]} for r in most.to_pylist()]
    return names, sorted(found, key=lambda domain: (-domain["cut"], domain["domain"]))[:TOP_LINES]
