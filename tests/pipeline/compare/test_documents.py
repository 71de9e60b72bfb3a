"""Documents lost and gained between two runs: the same ones that their files tell of, with the rule that took them."""

import copy
import json
import shutil
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.artifact import DOCUMENTS_FILE, REMOVED_FILE
from pipeline.compare.comparison import compare
from pipeline.compare.documents import SAMPLES, Ending, Membership, membership
from pipeline.compare.tables import membership_words
from pipeline.report.facts import Facts
from pipeline.run import Run
from tests.pipeline.compare.conftest import DOCUMENTS, changed
from tests.pipeline.report.runs import made


def ids(run: Run, artifact: str, file: str = DOCUMENTS_FILE) -> dict[str, dict[str, str]]:
    """Rows of an artifact's documents, or of its removals, by id."""
    paths = run.artifacts()[artifact].file_paths(file)
    return {row["id"]: row for path in paths for row in pq.read_table(path).to_pylist()}


def compared(a: Run, b: Run, artifact: str = "clean") -> Membership:
    found = membership(Facts(a), Facts(b), artifact, seed=3)
    assert found is not None
    return found


def test_lost_and_gained_are_the_differences_of_the_ids(base: Run, strict: Run) -> None:
    in_base, in_strict = ids(base, "clean"), ids(strict, "clean")
    found = compared(base, strict)
    assert found.told_apart_by == "id"
    assert found.lost.documents == len(in_base.keys() - in_strict.keys()) > 0
    assert found.gained.documents == len(in_strict.keys() - in_base.keys()) > 0
    assert found.in_both == len(in_base.keys() & in_strict.keys())


def test_documents_of_files_that_both_have_count_as_in_both(tmp_path: Path) -> None:
    runs = []
    for name, last in (("a", ["five"]), ("b", [])):
        (folder := tmp_path / name).mkdir()
        for file, texts in (("x1", ["one", "two", "three"]), ("x2", ["four", *last])):
            (folder / f"{file}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        sources = {file: {"stage": "json_lines", "files": f"{file}.jsonl"} for file in ("x1", "x2")}
        runs.append(made(folder, {**sources, "x": {"stage": "dedup", "from": list(sources)}}))
    found = compared(*runs, "x")
    in_a, in_b = (ids(run, "x").keys() for run in runs)
    assert (found.in_both, found.lost.documents) == (len(in_a & in_b), len(in_a - in_b)) == (4, 1)


def test_the_order_of_the_runs_decides_what_is_lost(base: Run, strict: Run) -> None:
    there, back = compared(base, strict), compared(strict, base)
    assert (there.lost, there.gained) == (back.gained, back.lost)


def test_each_document_is_counted_under_the_rule_by_which_the_other_run_dropped_it(base: Run, strict: Run) -> None:
    found = compared(base, strict)
    for side, holder, other in ((found.lost, base, strict), (found.gained, strict, base)):
        removed = ids(other, "clean", REMOVED_FILE)
        alone = ids(holder, "clean").keys() - ids(other, "clean").keys()
        expected = Counter((removed[one]["verdict"], removed[one]["step"], removed[one]["reason"]) for one in alone)
        assert {(e.ending.verdict, e.ending.step, e.ending.reason): e.documents for e in side.endings} == expected
        assert side.by_source == {"first": len(alone)}
    assert len(found.gained.endings) == 2


def test_samples_are_the_documents_with_what_the_other_run_measured(base: Run, strict: Run) -> None:
    removed, kept = ids(strict, "clean", REMOVED_FILE), ids(base, "clean")
    (ended,) = [e for e in compared(base, strict).lost.endings if e.ending.reason == "too_few_words"]
    assert len(ended.samples) == min(SAMPLES, ended.documents)
    for sample in ended.samples:
        assert kept[sample.id]["text"].startswith(sample.excerpt)
        assert removed[sample.id]["evidence"] == sample.evidence
        assert sample.evidence.endswith("words < 60")


def test_what_an_earlier_artifact_dropped_is_lost_to_that_one(base: Run, strict: Run) -> None:
    found = compared(base, strict, "unique").lost
    steps = {ended.ending.step for ended in found.endings}
    assert "clean" in steps
    assert found.absent == 0


def test_the_same_files_are_not_compared(base: Run, again: Run) -> None:
    assert membership(Facts(base), Facts(again), "unique", 3) is None


def test_ids_that_some_documents_of_both_runs_have_to_themselves_are_told(
    base: Run, corpus: Path, tmp_path: Path
) -> None:
    shutil.copytree(corpus, tmp_path, dirs_exist_ok=True)
    second = (tmp_path / "second.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "second.jsonl").write_text("".join(second[:-3]))
    (tmp_path / "third.jsonl").write_text("".join(second[-3:]))
    artifacts = copy.deepcopy(changed(DOCUMENTS, min_words=60, min_alphabetic_words=0.64))
    artifacts["second"]["files"] = "[st]*.jsonl"
    found = compared(base, made(tmp_path, artifacts), "unique")
    assert found.told_apart_by == "id"
    assert found.lost.absent == found.gained.absent == 3
    assert list(membership_words([found])) == [
        "unique: 3 ids of A never came to it in B, and 3 of B never in A. Where inputs were moved or renamed, one "
        "document counts as lost and as gained."
    ]


def test_documents_that_the_other_run_was_never_given_are_said_to_be_absent(
    base: Run, corpus: Path, tmp_path: Path
) -> None:
    shutil.copytree(corpus, tmp_path, dirs_exist_ok=True)
    lines = (tmp_path / "first.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "first.jsonl").write_text("".join(lines[:-60]))
    shorter = made(tmp_path, DOCUMENTS)
    found = compared(base, shorter)
    (ended,) = found.lost.endings
    assert ended.ending == Ending("absent")
    assert (found.told_apart_by, found.gained.documents) == ("id", 0)


@pytest.fixture(scope="module")
def moved(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The base from a file of another name, which gives its documents other ids; and with 60 words."""
    folder = shutil.copytree(corpus, tmp_path_factory.mktemp("moved") / "moved")
    (folder / "first.jsonl").rename(folder / "elsewhere.jsonl")
    artifacts = copy.deepcopy(changed(DOCUMENTS, min_words=60))
    artifacts["first"]["files"] = "elsewhere.jsonl"
    return made(folder, artifacts)


def test_where_inputs_moved_documents_are_told_apart_by_their_texts(base: Run, moved: Run) -> None:
    found = compared(base, moved)
    texts = [{row["text"] for row in ids(run, "clean").values()} for run in (base, moved)]
    assert found.told_apart_by == "text"
    told: list[tuple[int, int]] = []
    compare(base.folder, moved.folder, lambda done, total: told.append((done, total)))
    assert told[-1][0] == told[-1][1]
    assert found.lost.documents == len(texts[0] - texts[1]) > 0
    assert found.gained.documents == len(texts[1] - texts[0])
    assert found.in_both == len(texts[0] & texts[1])
    assert [ended.ending for ended in found.lost.endings] == [Ending("unknown")]


def test_texts_that_differ_under_one_id_are_counted_and_shown(base: Run, corpus: Path, tmp_path: Path) -> None:
    shutil.copytree(corpus, tmp_path, dirs_exist_ok=True)
    rows = (tmp_path / "second.jsonl").read_text().splitlines()
    at = 10
    text = json.loads(rows[at])["text"]
    rows[at] = json.dumps({"text": text[:-1] + "#"})  # as many bytes, so that no later document moves
    (tmp_path / "second.jsonl").write_text("\n".join(rows) + "\n")
    edited = compared(base, made(tmp_path, DOCUMENTS), "second").edited
    assert edited is not None
    assert (edited.looked_at, edited.edited) == (len(rows), 1)
    ((_, in_a, in_b),) = edited.samples
    assert in_a.endswith(text[-20:])
    assert in_b.endswith(text[-20:-1] + "#")
