"""Rows that belong together become one document, whatever parts they lie in."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.artifact import DocumentPart
from pipeline.errors import StageError
from pipeline.explain import explain
from pipeline.stage import Context, Gather, Map, Outcome, StageConfig, decide, documents, removal
from tests.stages.in_process import removed_from, rows_of, run_here, write_lines

ARTIFACTS = {
    "lines": {"stage": "json_lines", "files": "lines"},
    "poems": {"stage": "tests.pipeline.test_gather:Poems", "from": "lines"},
    "long": {"stage": "tests.pipeline.test_gather:Long", "from": "poems"},
}


class Poems(Gather[StageConfig]):
    """A document of all lines that begin with the same word; those of "lost" fail."""

    name = "poems"
    lost_rows = 0

    def groups(self, parts: Sequence[DocumentPart]) -> list[list[DocumentPart]]:
        return [list(parts[:2]), *([part] for part in parts[2:])]

    def gather(self, batches: Iterator[pa.Table], context: Context) -> Iterator[Outcome]:
        rows = [row for batch in batches for row in batch.to_pylist()]
        for title, lines in groupby(rows, key=lambda row: row["text"].split()[0]):
            texts = [line["text"] for line in lines]
            poem = {"id": title, "text": "\n".join(texts), "source": "lines"}
            joined = {"lines": len(texts) - self.lost_rows}
            if title == "lost":
                yield Outcome(documents([]), [removal(poem, "failed", "lost")], {"lines": 1}, joined=joined)
            else:
                yield Outcome(documents([poem]), created={"lines": 1}, joined=joined)


class Forgetful(Poems):
    """Loses a row of each poem."""

    name = "forgetful"
    lost_rows = 1


class Long(Map[StageConfig]):
    """Keeps what has more than one line."""

    name = "long"

    def process(self, batch: pa.Table) -> Outcome:
        return decide(batch, [None if "\n" in text else ("dropped", "short", "") for text in batch["text"].to_pylist()])


def written(folder: Path) -> Path:
    write_lines(folder / "lines" / "1.jsonl", ["rose is a rose", "rose is red"])
    write_lines(folder / "lines" / "2.jsonl", ["rose is gone", "lost a line", "lost another"])
    write_lines(folder / "lines" / "3.jsonl", ["night falls"])
    return folder


def test_rows_of_neighbouring_parts_become_one_document(tmp_path: Path) -> None:
    sealed = run_here(written(tmp_path), ARTIFACTS)
    assert [row["text"] for row in rows_of(sealed["long"])] == ["rose is a rose\nrose is red\nrose is gone"]
    assert [(row["id"], row["reason"]) for row in removed_from(sealed["long"])] == [
        ("lost", "lost"),
        ("night", "short"),
    ]


def test_the_ledger_counts_what_was_joined(tmp_path: Path) -> None:
    ledger = run_here(written(tmp_path), ARTIFACTS)["long"].ledger
    counts = ledger.steps["poems"]["lines"]
    assert (counts.received, counts.created, counts.kept, counts.joined) == (6, 3, 2, 6)
    assert counts.failed == {"lost": 1}
    assert ledger.steps["long"]["lines"].received == 2


def test_a_map_behind_it_runs_in_the_same_task(tmp_path: Path) -> None:
    sealed = run_here(written(tmp_path), ARTIFACTS)
    assert "poems" not in sealed
    assert len(sealed["long"].parts) == 2


def test_a_row_that_gets_lost_on_the_way_into_a_document_is_an_error(tmp_path: Path) -> None:
    artifacts = {**ARTIFACTS, "poems": {"stage": "tests.pipeline.test_gather:Forgetful", "from": "lines"}}
    with pytest.raises(StageError, match=r"poems, source lines: the ledger does not balance.*\+2 unaccounted"):
        run_here(written(tmp_path), artifacts)


def test_a_document_that_was_joined_is_explained(tmp_path: Path) -> None:
    run_here(written(tmp_path), ARTIFACTS)
    assert "long: kept" in explain(tmp_path / "run", "rose").as_text()
