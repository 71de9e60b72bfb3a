"""Second half of dedup_lines: cut repeated lines out of the texts, and drop documents of which too little is left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import Field

from pipeline.filter import Filter, Rule
from pipeline.stage import Context, with_columns
from stages.dedup.lines.cuts import SLICE_FILE
from stages.dedup.lines.kernels import count_words, cut_units, places_in
from stages.dedup.lines.options import LineCountsConfig
from stages.dedup.lines.units import Units, units_of

LINE_CHARACTERS = 120  # kept of the line that is told as evidence
LINE_BYTES = 1000  # looked at for them


class LinesCutConfig(LineCountsConfig):
    """What was counted, and how much of a document must be left."""

    min_words: int | None = Field(20, ge=0)
    """A document of which lines were cut is dropped if fewer words are left; null: it is kept."""

    min_share: float | None = Field(0.1, ge=0, le=1)
    """A document is dropped if a smaller share of its characters is left; null: it is kept."""


class LinesCut(Filter[LinesCutConfig]):
    """Cut the lines that ``dedup_line_counts`` found, and drop documents of which little more was left than those."""

    name = "dedup_lines_cut"
    config_type = LinesCutConfig
    requires = ("id", "text", "source")
    commits_output: ClassVar[bool] = True
    measures: ClassVar[Mapping[str, pa.DataType]] = {
        "dedup_lines_cut.cut": pa.int32(),  # lines or paragraphs
        "dedup_lines_cut.characters_cut": pa.int64(),  # with line ends
        "dedup_lines_cut.words_left": pa.int32(),  # null where nothing was cut, as in what follows
        "dedup_lines_cut.share_left": pa.float64(),  # of the characters
        "dedup_lines_cut.line": pa.string(),  # start of the one that most documents have
        "dedup_lines_cut.documents": pa.int32(),  # that have it
        "dedup_lines_cut.on_domain": pa.bool_(),  # on the document's domain; else in all inputs
    }
    rules = (
        Rule("mostly_boilerplate", "dedup_lines_cut.share_left", "<", "min_share", "of the text left"),
        Rule("too_little_left", "dedup_lines_cut.words_left", "<", "min_words", "words left"),
    )

    def setup(self, context: Context) -> None:
        self._cuts = pq.read_table(context.side["repeats"] / SLICE_FILE).combine_chunks()

    def measure(self, batch: pa.Table) -> pa.Table:
        of_cuts = pc.index_in(batch["id"], self._cuts["id"])
        edited = np.flatnonzero(of_cuts.is_valid().to_numpy(zero_copy_only=False))
        cuts = self._cuts.take(of_cuts.drop_null())
        texts = batch["text"].take(pa.array(edited))
        units = units_of(texts, self.config)
        lists = cuts["units"].combine_chunks()
        places = places_in(units.hashes, units.firsts, lists.flatten().to_numpy(), _offsets(lists))
        data, offsets = cut_units(units.data, units.offsets, units.starts, units.ends, units.firsts, places >= 0)
        shorter = pa.LargeStringArray.from_buffers(len(edited), pa.py_buffer(offsets), pa.py_buffer(data))
        before, left = pc.utf8_length(texts).to_numpy(), pc.utf8_length(shorter).to_numpy()
        columns = {
            **self._told(units, places, cuts),
            "characters_cut": before - left,
            "words_left": count_words(data, offsets),
            "share_left": left / before,
        }
        measured = {
            f"{self.name}.{name}": _spread(values, edited, batch.num_rows, self.measures[f"{self.name}.{name}"])
            for name, values in columns.items()
        }
        for name in ("cut", "characters_cut"):
            measured[f"{self.name}.{name}"] = pc.fill_null(measured[f"{self.name}.{name}"], 0)
        is_edited = np.zeros(batch.num_rows, np.bool_)
        is_edited[edited] = True
        text = pc.replace_with_mask(batch["text"].combine_chunks(), pa.array(is_edited), shorter)
        return with_columns(batch, {**measured, "text": text})

    def _told(self, units: Units, places: NDArray[np.int64], cuts: pa.Table) -> dict[str, Any]:
        """Number of units cut from each text, and the one of them that most documents have."""
        is_cut = np.flatnonzero(places >= 0)
        rows = units.rows()[is_cut]
        documents = cuts["documents"].combine_chunks().flatten().to_numpy()[places[is_cut]]
        order = np.lexsort((is_cut, -documents.astype(np.int64), rows))
        _, first = np.unique(rows[order], return_index=True)
        most = order[first]
        content = units.data.data
        starts = units.starts[is_cut[most]]
        ends = np.minimum(units.ends[is_cut[most]], starts + LINE_BYTES)
        lines = [
            str(content[start:end], "utf-8", "replace").strip()[:LINE_CHARACTERS]
            for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
        ]
        on_domain = cuts["on_domain"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        return {
            "cut": np.bincount(rows, minlength=len(units.firsts) - 1),
            "line": lines,
            "documents": documents[most],
            "on_domain": on_domain[places[is_cut[most]]],
        }

    def noted(self, batch: pa.Table, measured: pa.Table) -> Mapping[str, Mapping[str, int]]:
        """Units, documents and characters, by source."""
        told = measured.select(["source", "dedup_lines_cut.cut", "dedup_lines_cut.characters_cut"])
        edited = told.filter(pc.field("dedup_lines_cut.cut") > 0)
        sums = edited.group_by("source").aggregate(
            [
                ("dedup_lines_cut.cut", "sum"),
                ("dedup_lines_cut.cut", "count"),
                ("dedup_lines_cut.characters_cut", "sum"),
            ]
        )
        return {
            row["source"]: {
                f"{self.config.unit}s_cut": row["dedup_lines_cut.cut_sum"],
                "documents_edited": row["dedup_lines_cut.cut_count"],
                "characters_cut": row["dedup_lines_cut.characters_cut_sum"],
            }
            for row in sums.to_pylist()
        }

    def evidence(self, rule: Rule, row: Mapping[str, Any], limit: Any) -> str:
        """How much is left, and the line that most documents have."""
        where = "on its domain" if row["dedup_lines_cut.on_domain"] else "in all"
        return (
            f"{rule.shown(row[rule.measure], limit)}; cut {row['dedup_lines_cut.cut']}, among them "
            f'"{row["dedup_lines_cut.line"]}" ({row["dedup_lines_cut.documents"]} documents {where})'
        )


def _offsets(lists: pa.ListArray) -> NDArray[np.int64]:
    """Where each list starts among the values of all, and the end."""
    lengths = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _spread(values: Any, rows: NDArray[np.int64], count: int, kind: pa.DataType) -> pa.Array:
    """Values of some rows as a column of all, null elsewhere."""
    places = np.full(count, -1, np.int64)
    places[rows] = np.arange(len(rows))
    indices = pa.array(places, mask=places < 0)
    values = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else pa.array(values)
    return values.cast(kind).take(indices)
