"""What is kept of rephrased documents once all of them have been seen."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.stage import Context, Outcome, StageConfig
from stages.dedup.remove import DUPLICATES_FILE
from stages.rephrase.choice import draw_of
from stages.rephrase.keep import RephraseKeep
from stages.rephrase.monitor import BINS, MONITOR_FILE
from tests.stages.rephrase.small_styles import batch

SEED = 7


def kept(folder: Path, table: pa.Table, duplicates: list[dict[str, Any]] | None = None, **source: Any) -> Outcome:
    web = {"planned_share": 1.0, "kept_bins": BINS, "most_bytes": 50, "synthetic_bytes": 100, **source}
    (folder / MONITOR_FILE).write_text(json.dumps({"sources": {"web": web}}))
    schema = pa.schema(
        [
            *((name, pa.string()) for name in ("id", "reason", "winner")),
            ("winner_indexed", pa.bool_()),
            ("similarity", pa.float64()),
        ]
    )
    pq.write_table(pa.Table.from_pylist(duplicates or [], schema), folder / DUPLICATES_FILE)
    stage = RephraseKeep(StageConfig())
    stage.setup(Context(SEED, {"monitor": folder, "duplicates": folder}))
    return stage.process(table)


def written(*parents: str, source: str = "web", styles: tuple[str, ...] = ("clean",)) -> pa.Table:
    """The documents that were written from these parents in each of the styles."""
    rows = [{"id": f"{parent}~{style}", "parent": parent, "source": "new"} for parent in parents for style in styles]
    return batch(*rows).append_column("rephrase.parent_source", pa.array([source] * len(rows)))


def test_what_has_room_stays(tmp_path: Path) -> None:
    table = written("a", "b")
    assert kept(tmp_path, table).kept.equals(table)


def test_a_near_duplicate_of_another_answer_goes_and_names_it(tmp_path: Path) -> None:
    found = {"id": "a~clean", "reason": "near_duplicate", "winner": "b~clean", "similarity": 0.91}
    outcome = kept(tmp_path, written("a", "b"), [{**found, "winner_indexed": False}])
    (gone,) = outcome.removed
    assert (gone.id, gone.reason, gone.evidence) == ("a~clean", "duplicate_output", "similarity 0.910 to b~clean")
    assert outcome.kept["id"].to_pylist() == ["b~clean"]


def test_the_parents_of_greatest_draw_go_with_all_their_variants(tmp_path: Path) -> None:
    parents = [str(i) for i in range(100)]
    outcome = kept(tmp_path, written(*parents, styles=("clean", "faq")), kept_bins=BINS // 4)
    low = {parent for parent in parents if draw_of(parent, SEED) < 0.25}
    assert {row["parent"] for row in outcome.kept.to_pylist()} == low
    assert outcome.kept.num_rows == 2 * len(low)
    assert {(gone.verdict, gone.reason) for gone in outcome.removed} == {("dropped", "over_share")}
    assert outcome.removed[0].evidence == "the synthetic share of web has room for 50 of 100 bytes"


def test_bins_are_those_of_the_planned_share(tmp_path: Path) -> None:
    parents = [parent for i in range(100) if draw_of(parent := str(i), SEED) < 0.2]
    outcome = kept(tmp_path, written(*parents), planned_share=0.2, kept_bins=BINS // 2)
    assert {row["parent"] for row in outcome.kept.to_pylist()} == {p for p in parents if draw_of(p, SEED) < 0.1}


def test_nothing_stays_where_there_is_no_room(tmp_path: Path) -> None:
    assert kept(tmp_path, written("a", "b"), kept_bins=0).kept.num_rows == 0


def test_a_source_that_nobody_has_seen_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="forum"):
        kept(tmp_path, written("a", source="forum"))
