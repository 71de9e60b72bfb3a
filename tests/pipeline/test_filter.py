"""Filters: what is measured stays, the first broken rule decides, and what is dropped is still measured."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.artifact import Part
from pipeline.errors import LedgerError
from pipeline.filter import Filter, Rule
from pipeline.stage import Map, Outcome, StageConfig, with_columns
from pipeline.task import PartSpec, StepSpec, run_part
from tests.stages.in_process import artifact_of, texts


class WordsConfig(StageConfig):
    min_words: int | None = 2
    max_words: int | None = None
    not_first: tuple[str, ...] = ()
    only_last: tuple[str, ...] = ()


class Words(Filter[WordsConfig]):
    """Counts words; a text without any is not measured."""

    name = "words"
    config_type = WordsConfig
    measures: ClassVar[Mapping[str, pa.DataType]] = {
        "words.words": pa.int32(),
        "words.first": pa.string(),
        "words.last": pa.string(),
    }
    rules = (
        Rule("too_few", "words.words", "<", "min_words"),
        Rule("too_many", "words.words", ">", "max_words", "of these"),
        Rule("bad_first", "words.first", "in", "not_first"),
        Rule("bad_last", "words.last", "not in", "only_last"),
    )

    def measure(self, batch: pa.Table) -> pa.Table:
        found = [text.split() for text in batch["text"].to_pylist()]
        columns = {
            "words.words": pa.array([len(words) or None for words in found], pa.int32()),
            "words.first": pa.array([words[0] if words else None for words in found], pa.string()),
            "words.last": pa.array([words[-1] if words else None for words in found], pa.string()),
        }
        return with_columns(batch, columns)


class Capitals(Filter[StageConfig]):
    """Counts capitals and drops nothing."""

    name = "capitals"
    measures: ClassVar[Mapping[str, pa.DataType]] = {"capitals.capitals": pa.int32()}

    def measure(self, batch: pa.Table) -> pa.Table:
        counts = [sum(map(str.isupper, text)) for text in batch["text"].to_pylist()]
        return with_columns(batch, {"capitals.capitals": pa.array(counts, pa.int32())})


class CostlyCapitals(Capitals):
    """As above, as if it took a GPU."""

    measures_dropped = False


class Shuffles(Capitals):
    """Returns its rows in another order."""

    def measure(self, batch: pa.Table) -> pa.Table:
        return super().measure(batch.take(list(reversed(range(batch.num_rows)))))


class Upper(Map[StageConfig]):
    """Writes texts in capitals; no filter."""

    name = "upper"

    def process(self, batch: pa.Table) -> Outcome:
        return Outcome(with_columns(batch, {"text": pa.array([t.upper() for t in batch["text"].to_pylist()])}))


def reasons(batch: pa.Table, **options: Any) -> dict[str, tuple[str, str]]:
    """Reason and evidence of each document that Words drops."""
    outcome = Words(WordsConfig(**options)).process(batch)
    return {r.id: (r.reason, r.evidence) for r in outcome.removed}


def chain(tmp_path: Path, batch: pa.Table, *stages: type) -> tuple[Part, dict[str, Any], dict[str, Any]]:
    """Run a chain on one part: the part, the kept rows and the removed rows by id."""
    (path,) = artifact_of(tmp_path / "upstream", "docs", [batch]).file_paths("documents.parquet")
    steps = tuple(StepSpec(f"docs.{s.name}", s, s.config_type(), {}) for s in stages)
    part = run_part(PartSpec(tmp_path / "run", "docs", "key", "docs/0", steps, seed=1, documents=(path,)))
    folder = tmp_path / "run/artifacts/docs" / part.folder
    kept, removed = (
        {row["id"]: row for row in pq.read_table(folder / name).to_pylist()} if (folder / name).exists() else {}
        for name in ("documents.parquet", "removed.parquet")
    )
    return part, kept, removed


DOCUMENTS = {"one": "Word", "two": "Two words", "three": "these are three", "none": ""}


def test_the_first_broken_rule_is_the_reason_and_says_what_was_measured() -> None:
    assert reasons(texts(DOCUMENTS), max_words=2, not_first="these") == {
        "one": ("too_few", "1 words < 2"),
        "three": ("too_many", "3 of these > 2"),
    }


def test_a_limit_that_is_null_or_empty_switches_its_rule_off() -> None:
    assert reasons(texts(DOCUMENTS), min_words=None) == {}
    assert set(reasons(texts(DOCUMENTS), min_words=None, not_first="these")) == {"three"}


def test_a_document_that_could_not_be_measured_breaks_no_rule() -> None:
    assert "none" not in reasons(texts(DOCUMENTS), min_words=100, only_last="words")


def test_values_in_a_list_or_out_of_it() -> None:
    assert reasons(texts(DOCUMENTS), min_words=None, only_last=["words", "three"]) == {
        "one": ("bad_last", "Word last not in words, three")
    }


def test_a_limit_may_differ_from_row_to_row() -> None:
    class ByRow(Words):
        def limit(self, rule: Rule, measured: pa.Table) -> Any:
            return pa.array([2, 5, None, 2], pa.int32()) if rule.option == "min_words" else None

    outcome = ByRow(WordsConfig()).process(texts(DOCUMENTS))
    assert {r.id: r.evidence for r in outcome.removed} == {"one": "1 words < 2", "two": "2 words < 5"}


def test_what_one_filter_drops_is_measured_by_the_next_and_keeps_its_reason(tmp_path: Path) -> None:
    part, kept, removed = chain(tmp_path, texts(DOCUMENTS), Words, Capitals)
    assert {i: row["capitals.capitals"] for i, row in kept.items()} == {"two": 1, "three": 0, "none": 0}
    assert json.loads(removed["one"]["scores"]) == {
        "words.words": 1,
        "words.first": "Word",
        "words.last": "Word",
        "capitals.capitals": 1,
    }
    assert (removed["one"]["step"], removed["one"]["reason"]) == ("docs.words", "too_few")
    assert part.ledger.steps["docs.capitals"]["web"].received == 3


def test_a_costly_filter_leaves_out_what_is_dropped(tmp_path: Path) -> None:
    _, _, removed = chain(tmp_path, texts(DOCUMENTS), Words, CostlyCapitals)
    assert "capitals.capitals" not in json.loads(removed["one"]["scores"])


def test_what_is_dropped_is_not_measured_behind_a_stage_that_is_no_filter(tmp_path: Path) -> None:
    _, kept, removed = chain(tmp_path, texts(DOCUMENTS), Words, Upper, Capitals)
    assert kept["two"]["capitals.capitals"] == 8
    assert "capitals.capitals" not in json.loads(removed["one"]["scores"])


def test_a_batch_of_which_all_is_dropped_is_measured_to_the_end(tmp_path: Path) -> None:
    _, kept, removed = chain(tmp_path, texts({"one": "Word"}), Words, Capitals, Capitals)
    assert not kept
    assert json.loads(removed["one"]["scores"])["capitals.capitals"] == 1


def test_a_filter_that_mixes_up_documents_fails_the_part(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="did not return the documents that it was to measure, in their order"):
        chain(tmp_path, texts(DOCUMENTS), Shuffles)


class NotesLengths(Capitals):
    """Leaves a private column for the stages after it."""

    def measure(self, batch: pa.Table) -> pa.Table:
        lengths = pa.array([len(text) for text in batch["text"].to_pylist()], pa.int32())
        return super().measure(with_columns(batch, {"_lengths": lengths}))


def test_private_columns_reach_the_next_stage_but_not_the_disk(tmp_path: Path) -> None:
    seen = []

    class Looks(Capitals):
        name = "looks"

        def measure(self, batch: pa.Table) -> pa.Table:
            seen.append(batch["_lengths"].to_pylist())
            return super().measure(batch)

    _, kept, _ = chain(tmp_path, texts({"a": "b"}), NotesLengths, Looks)
    assert seen == [[1]]
    assert "_lengths" not in kept["a"]


def test_a_new_text_makes_private_columns_go(tmp_path: Path) -> None:
    noted = NotesLengths(StageConfig()).measure(texts({"a": "b"}))
    assert "_lengths" in noted.column_names
    changed = with_columns(noted, {"text": pa.array(["other"], pa.large_string())})
    assert "_lengths" not in changed.column_names
    assert "capitals.capitals" in changed.column_names
