"""New documents are compared with those that earlier runs have kept."""

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from pipeline.artifact import Artifact
from pipeline.errors import RecipeError, SluiceError, StageError
from pipeline.stage import documents as document_table
from stages.dedup.duplicates.stage import Duplicates, DuplicatesConfig
from stages.dedup.index import stage as index_stage
from stages.dedup.index.folder import Generation, add_part, indexed_before, indexed_parts, publish
from stages.dedup.index.stage import AddToIndex, IndexConfig, signature_options
from stages.dedup.remove import DUPLICATES_FILE
from stages.dedup.signatures import Signatures, SignaturesConfig
from tests.shuffle_runs import run_shuffle
from tests.stages.dedup.documents import prose
from tests.stages.in_process import artifact_of, removed_from, rows_of, run_here, texts, write_lines

TEXTS = [" ".join(prose(random.Random(i), 60)) for i in range(8)]
KIND = {"ngram": 5}


def edited(text: str, *positions: int) -> str:
    words = text.split()
    for position in positions:
        words[position] = f"edited{position}"
    return " ".join(words)


def write_crawl(folder: Path, crawl: str, documents: Mapping[str, str], parts: int = 1) -> dict[str, Any]:
    """An artifact of these documents, by URL; their ids begin with the crawl."""
    for part in range(parts):
        rows = [{"url": url, "text": text} for url, text in list(documents.items())[part::parts]]
        write_lines(folder / crawl / f"{part}.jsonl", rows)
    return {"stage": "json_lines", "files": str(folder / crawl / "*.jsonl"), "source": crawl}


def ingest(
    folder: Path, crawl: str, documents: Mapping[str, str], parts: int = 1, run: str = "", **options: Any
) -> dict[str, Artifact]:
    """Deduplicate a crawl, in a run of its own, against the index in this folder, and add it there."""
    dedup = {"max_loss": 1, "against": str(folder / "index"), "add_as": crawl, **options}
    return run_here(
        folder / f"run-{run or crawl}",
        {
            "new": write_crawl(folder, crawl, documents, parts),
            "unique": {"stage": "dedup", "from": "new", **{k: v for k, v in dedup.items() if v is not None}},
        },
    )


def kept(sealed: Mapping[str, Artifact]) -> set[str]:
    return {row["url"] for row in rows_of(sealed["unique"])}


def reasons(sealed: Mapping[str, Artifact]) -> dict[str, str]:
    return {row["url"]: row["reason"] for row in removed_from(sealed["unique"])}


def generations(folder: Path) -> list[dict[str, Any]]:
    paths = sorted((folder / "index" / "generations").glob("*.json"))
    return [json.loads(path.read_bytes()) for path in paths]


def parts_of(folder: Path) -> list[Path]:
    return sorted((folder / "index" / "parts").glob("*"))


def written(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.parquet")}


def test_a_duplicate_of_a_document_of_an_earlier_run_goes_and_names_it(tmp_path: Path) -> None:
    ingest(tmp_path, "first", {"z": TEXTS[0], "y": TEXTS[1]})
    sealed = ingest(tmp_path, "second", {"a": TEXTS[0].title(), "b": edited(TEXTS[1], 59), "c": TEXTS[2]})
    assert kept(sealed) == {"c"}
    assert reasons(sealed) == {"a": "exact_duplicate", "b": "near_duplicate"}
    evidence = {row["url"]: row["evidence"] for row in removed_from(sealed["unique"])}
    first = len(json.dumps({"url": "z", "text": TEXTS[0]})) + 1
    assert evidence["b"] == f"similarity {55 / 57:.3f} to first/0.jsonl@{first} (in the index)"
    assert sealed["unique.duplicates"].summary["indexed"] == 2
    assert sealed["unique.duplicates"].summary["documents"] == 3
    assert len(sealed["unique.duplicates"].parts) == 2  # a slice, and the summary


def test_only_documents_that_stay_are_added(tmp_path: Path) -> None:
    ingest(tmp_path, "first", {"z": TEXTS[0]})
    ingest(tmp_path, "second", {"a": TEXTS[0], "b": TEXTS[1], "c": TEXTS[1]})
    assert [[part["rows"] for part in generation["parts"]] for generation in generations(tmp_path)] == [[1], [1]]
    assert [generation["name"] for generation in generations(tmp_path)] == ["first", "second"]


def test_a_crawl_without_anything_new_leaves_a_generation_without_parts(tmp_path: Path) -> None:
    ingest(tmp_path, "first", {"z": TEXTS[0]})
    assert kept(ingest(tmp_path, "second", {"a": TEXTS[0]})) == set()
    assert generations(tmp_path)[1]["parts"] == []
    assert kept(ingest(tmp_path, "third", {"a": TEXTS[0], "b": TEXTS[1]})) == {"b"}


def test_without_a_name_nothing_is_added(tmp_path: Path) -> None:
    ingest(tmp_path, "first", {"z": TEXTS[0]})
    sealed = ingest(tmp_path, "second", {"a": TEXTS[0], "b": TEXTS[1]}, add_as=None)
    assert kept(sealed) == {"b"}
    assert len(generations(tmp_path)) == 1


@settings(max_examples=3, phases=[Phase.generate], deadline=None)
@given(st.randoms(use_true_random=False), st.sampled_from([1, 3]))
def test_one_crawl_after_the_other_keeps_what_both_at_once_keep(
    tmp_path_factory: pytest.TempPathFactory, rng: random.Random, parts: int
) -> None:
    folder = tmp_path_factory.mktemp("crawls")
    # so similar that no band misses a pair: otherwise more meet at once, through those that lose
    copies = [(f"{i}-{j}", f"{text} {rng.choice('pqr')}") for i, text in enumerate(TEXTS) for j in range(4)]
    rng.shuffle(copies)
    crawls = {"first": dict(copies[:16]), "second": {**dict(copies[16:]), "new": " ".join(prose(rng, 60))}}
    together = run_here(
        folder / "run-together",
        {
            **{name: write_crawl(folder, name, documents, parts) for name, documents in crawls.items()},
            "unique": {"stage": "dedup", "from": ["first", "second"], "max_loss": 1},
        },
    )
    one_by_one = [ingest(folder, name, documents, parts) for name, documents in crawls.items()]
    assert kept(one_by_one[0]) | kept(one_by_one[1]) == kept(together)
    assert 0 < len(kept(one_by_one[1])) < 16


def test_the_index_does_not_depend_on_the_parts_of_a_crawl(tmp_path: Path) -> None:
    for parts in (1, 3):
        documents = {str(i): text for i, text in enumerate(TEXTS[:4])}
        ingest(tmp_path / str(parts), "first", documents, parts)
    again = {"a": edited(TEXTS[0], 59), "b": TEXTS[3], "c": TEXTS[5]}
    one, three = (ingest(tmp_path / str(parts), "second", again) for parts in (1, 3))
    assert kept(one) == kept(three) == {"c"}
    assert reasons(one) == reasons(three)


def test_a_finished_run_that_is_given_again_does_nothing(tmp_path: Path) -> None:
    """Neither what it has added itself nor what came later makes it begin anew."""
    first = {"z": TEXTS[0], "y": TEXTS[1]}
    ingest(tmp_path, "first", first)
    ingest(tmp_path, "second", {"a": TEXTS[2]})
    before = written(tmp_path)
    sealed = ingest(tmp_path, "first", first)
    assert written(tmp_path) == before
    assert kept(sealed) == {"y", "z"}
    assert len(generations(tmp_path)) == 2


def test_an_index_that_has_grown_is_looked_at_anew_by_those_that_only_read_it(tmp_path: Path) -> None:
    ingest(tmp_path, "first", {"z": TEXTS[0]})
    assert kept(ingest(tmp_path, "reader", {"a": TEXTS[1]}, add_as=None)) == {"a"}
    ingest(tmp_path, "second", {"b": TEXTS[1]})
    assert kept(ingest(tmp_path, "reader", {"a": TEXTS[1]}, add_as=None)) == set()


def test_an_index_that_has_moved_is_the_same(tmp_path: Path) -> None:
    ingest(tmp_path, "first", {"z": TEXTS[0]})
    ingest(tmp_path, "reader", {"a": TEXTS[0]}, add_as=None)
    before = written(tmp_path / "run-reader")
    (tmp_path / "index").rename(tmp_path / "moved")
    ingest(tmp_path, "reader", {"a": TEXTS[0]}, add_as=None, against=str(tmp_path / "moved"))
    assert written(tmp_path / "run-reader") == before


def test_a_run_that_is_killed_before_it_publishes_has_added_nothing_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(index_stage, "publish", die)
        with pytest.raises(KeyboardInterrupt):
            ingest(tmp_path, "first", {"z": TEXTS[0], "y": TEXTS[1]}, parts=2)
    assert generations(tmp_path) == []
    files = written(tmp_path / "index")
    assert len(files) == 2
    with pytest.raises(RecipeError, match="holds no index"):
        ingest(tmp_path, "reader", {"a": TEXTS[0]}, add_as=None)
    ingest(tmp_path, "first", {"z": TEXTS[0], "y": TEXTS[1]}, parts=2)
    assert written(tmp_path / "index") == files
    assert [part["rows"] for part in generations(tmp_path)[0]["parts"]] == [1, 1]


def test_a_run_that_is_killed_just_behind_its_publication_is_done_when_given_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def publish_and_die(*arguments: Any) -> None:
        publish(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(index_stage, "publish", publish_and_die)
        with pytest.raises(KeyboardInterrupt):
            ingest(tmp_path, "first", {"z": TEXTS[0]})
    assert kept(ingest(tmp_path, "first", {"z": TEXTS[0]})) == {"z"}
    assert len(generations(tmp_path)) == 1


def test_of_two_runs_that_add_to_one_generation_the_later_one_is_told_and_then_compares_with_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(*arguments: Any) -> None:
        patch.undo()
        ingest(tmp_path, "other", {"b": TEXTS[0]})
        publish(*arguments)

    ingest(tmp_path, "first", {"z": TEXTS[2]})
    with monkeypatch.context() as patch:
        patch.setattr(index_stage, "publish", late)
        with pytest.raises(StageError, match=r"2\.json: 'other' was added .* Give the same command again"):
            ingest(tmp_path, "mine", {"a": TEXTS[0], "c": TEXTS[1]})
    assert kept(ingest(tmp_path, "mine", {"a": TEXTS[0], "c": TEXTS[1]})) == {"c"}
    assert [generation["name"] for generation in generations(tmp_path)] == ["first", "other", "mine"]


def test_a_name_is_not_given_to_other_documents(tmp_path: Path) -> None:
    ingest(tmp_path, "first", {"z": TEXTS[0]})
    with pytest.raises(StageError, match=r"1\.json: the index holds 'first' already, with other documents"):
        ingest(tmp_path, "second", {"a": TEXTS[1]}, add_as="first")


def test_the_newest_generation_can_be_taken_back(tmp_path: Path) -> None:
    ingest(tmp_path, "first", {"z": TEXTS[0]})
    ingest(tmp_path, "second", {"a": TEXTS[1]})
    (tmp_path / "index" / "generations" / "2.json").unlink()
    assert kept(ingest(tmp_path, "third", {"b": TEXTS[1], "c": TEXTS[0]})) == {"b"}


def test_a_document_that_is_in_the_index_itself_goes_as_such(tmp_path: Path) -> None:
    documents = {"z": TEXTS[0], "y": TEXTS[1]}
    ingest(tmp_path, "first", documents)
    sealed = ingest(tmp_path, "first", {**documents, "x": TEXTS[2]}, run="again", add_as="more")
    assert reasons(sealed) == {"z": "already_indexed", "y": "already_indexed"}
    assert kept(sealed) == {"x"}
    summary = sealed["unique.duplicates"].summary
    assert (summary["removed"], summary["sources"], summary["clusters"]) == (2, {"first": [3, 2]}, [])


def test_another_text_under_the_id_of_a_document_of_the_index_is_refused(tmp_path: Path) -> None:
    ingest(tmp_path, "first", {"z": TEXTS[0]})
    with pytest.raises(StageError, match=r"index holds another text under the id 'first/0\.jsonl@0'"):
        ingest(tmp_path, "first", {"z": TEXTS[1]}, run="again", add_as="more")


def decided(folder: Path, name: str, table: pa.Table, **options: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The documents that go, and the summary, of a table that is compared with the index and added to it."""
    kind = {"ngram": 5, "bands": 14, "rows": 8}
    indexed = indexed_before(folder / "index", name, signature_options(**kind, words="sluice"))
    signed = Signatures(SignaturesConfig(**kind)).process(table).kept
    made = [artifact_of(folder / name, k, [t]) for k, t in {"signatures": signed, "input": table}.items()]
    match = DuplicatesConfig(**kind, **options, indexed=indexed, max_loss=1)
    duplicates = run_shuffle(Duplicates(match), {"documents": made}, folder / name, "duplicates")
    inputs = {"documents": made, "duplicates": [duplicates]}
    run_shuffle(AddToIndex(IndexConfig(**kind, indexed=indexed, add_as=name)), inputs, folder / name, "index")
    (path,) = duplicates.file_paths(DUPLICATES_FILE)
    return pq.read_table(path).to_pylist(), dict(duplicates.summary)


def test_winners_of_the_index_are_marked(tmp_path: Path) -> None:
    decided(tmp_path, "first", texts({"z": TEXTS[0]}))
    lost, _ = decided(tmp_path, "second", texts({"a": TEXTS[0], "b": TEXTS[1], "c": TEXTS[1], "z": TEXTS[0]}))
    marks = {row["id"]: (row["winner"], row["winner_indexed"], row["similarity"]) for row in lost}
    assert marks == {"a": ("z", True, 1.0), "c": ("b", False, 1.0), "z": ("z", True, None)}


def test_a_document_of_the_index_wins_whatever_is_preferred(tmp_path: Path) -> None:
    decided(tmp_path, "first", texts({"z": TEXTS[0]}, "web"))
    lost, _ = decided(tmp_path, "second", texts({"a": TEXTS[0]}, "papers"), prefer={"sources": ["papers", "web"]})
    assert [row["id"] for row in lost] == ["a"]


def test_a_rephrasing_of_a_document_of_the_index_is_not_its_duplicate(tmp_path: Path) -> None:
    decided(tmp_path, "first", texts({"original": TEXTS[0]}))
    rephrased = document_table([{"id": "rephrased", "text": TEXTS[0], "source": "model", "parent": "original"}])
    assert decided(tmp_path, "second", rephrased)[0] == []


def test_two_new_documents_of_one_id_are_refused_also_if_the_index_has_it(tmp_path: Path) -> None:
    decided(tmp_path, "first", texts({"z": TEXTS[0]}))
    twice = pa.concat_tables([texts({"z": TEXTS[0]})] * 2)
    with pytest.raises(StageError, match="two documents have the id 'z'"):
        decided(tmp_path, "second", twice)


def test_documents_of_the_index_that_no_new_one_may_duplicate_are_not_looked_at(tmp_path: Path) -> None:
    decided(tmp_path, "first", texts({"z": edited(TEXTS[0], 0), "y": TEXTS[0]}), threshold=0.98)
    _, summary = decided(tmp_path, "second", texts({"a": TEXTS[1]}))
    assert (summary["linked"], summary["indexed"]) == (0, 2)


def test_similar_documents_of_the_index_are_no_miss_of_the_bands(tmp_path: Path) -> None:
    """Recall is estimated on pairs that could have been removed: those with a new document."""
    before = {"z": edited(TEXTS[0], 0), "y": TEXTS[0]}  # similarity 55 / 57: both are kept
    decided(tmp_path, "first", texts(before), threshold=0.98)
    lost, summary = decided(tmp_path, "second", texts({"a": edited(TEXTS[0], 59)}), threshold=0.95)
    assert [(row["id"], row["winner"]) for row in lost] == [("a", "y")]
    assert summary["audit"]["pairs"] == 1


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"?"), "is damaged: its digest is not its name"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), r"is damaged: [\d,]+ bytes instead of"),
        (lambda path: path.unlink(), "a part of the index, is missing"),
    ],
)
def test_a_damaged_part_is_refused_by_name(tmp_path: Path, damage: Any, message: str) -> None:
    ingest(tmp_path, "first", {"z": TEXTS[0]})
    (part,) = parts_of(tmp_path)
    damage(part)
    with pytest.raises(SluiceError, match=f"{part}.*{message}"):
        ingest(tmp_path, "second", {"a": TEXTS[0]})
    assert len(generations(tmp_path)) == 1


def test_signatures_of_other_options_are_refused(tmp_path: Path) -> None:
    ingest(tmp_path, "first", {"z": TEXTS[0]})
    with pytest.raises(RecipeError, match=r"1\.json: .*ngram is 5 there and 7 here"):
        ingest(tmp_path, "second", {"a": TEXTS[1]}, ngram=7)


def test_a_folder_without_an_index_is_begun_only_by_what_is_added_to_it(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"index holds no index to compare with"):
        ingest(tmp_path, "reader", {"a": TEXTS[0]}, add_as=None)
    sealed = ingest(tmp_path, "first", {"a": TEXTS[0]})
    assert "begins the index" in sealed["unique.index"].notes[0]


def generation(folder: Path, number: int, name: str, content: bytes) -> Generation:
    file = folder / "new.parquet"
    file.write_bytes(content)
    return Generation(number, name, KIND, (add_part(folder, file, 1),), "fingerprint")


def test_a_gap_between_generations_is_an_error(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        publish(indexed_before(tmp_path, "new", KIND), generation(tmp_path, number, f"run {number}", b"%d" % number))
    (tmp_path / "generations" / "2.json").unlink()
    with pytest.raises(StageError, match=r"generations/2\.json is missing"):
        indexed_before(tmp_path, None, KIND)


def test_a_damaged_manifest_is_refused_by_name(tmp_path: Path) -> None:
    publish(indexed_before(tmp_path, "a", KIND), generation(tmp_path, 1, "a", b"1"))
    path = tmp_path / "generations" / "1.json"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(StageError, match=r"1\.json is damaged"):
        indexed_before(tmp_path, None, KIND)


def test_generations_taken_back_while_a_run_compares_with_them_end_it(tmp_path: Path) -> None:
    publish(indexed_before(tmp_path, "a", KIND), generation(tmp_path, 1, "a", b"1"))
    indexed = indexed_before(tmp_path, "b", KIND)
    (tmp_path / "generations" / "1.json").unlink()
    with pytest.raises(StageError, match="has lost generations"):
        indexed_parts(indexed)
    with pytest.raises(StageError, match="has lost generations"):
        publish(indexed, generation(tmp_path, 2, "b", b"2"))


def test_a_part_that_vanishes_before_it_is_published_is_an_error(tmp_path: Path) -> None:
    new = generation(tmp_path, 1, "a", b"1")
    (part,) = new.parts
    part.path(tmp_path).unlink()
    with pytest.raises(StageError, match=r"\.parquet, a part of the index, is missing"):
        publish(indexed_before(tmp_path, "a", KIND), new)


def test_what_was_taken_back_from_the_index_is_told_when_its_run_is_given_again(tmp_path: Path) -> None:
    ingest(tmp_path, "first", {"z": TEXTS[0]})
    (tmp_path / "index" / "generations" / "1.json").unlink()
    with pytest.raises(StageError, match="no longer holds 'first'"):
        ingest(tmp_path, "first", {"z": TEXTS[0]})
