"""What has no commit record does not exist; the first record wins; manifests say all that readers need."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.artifact import Artifact, ArtifactFolder, Part, digest_of, digests_behind, file_record
from pipeline.errors import StageError
from pipeline.ledger import Counts, Ledger
from tests.stages.in_process import artifact_of, texts

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def attempt(folder: ArtifactFolder, content: bytes, key: str = "k", seconds: float = 1.0) -> Part:
    """A finished attempt that is not committed yet."""
    files = folder.new_attempt(key)
    (files / "documents.parquet").write_bytes(content)
    ledger = Ledger()
    ledger.steps["read"] = {"web": Counts(created=2, kept=2)}
    record = file_record(files, files / "documents.parquet", rows=2)
    return Part(key, "a.warc", files.relative_to(folder.folder).as_posix(), (record,), ledger, {"n": 1}, seconds)


@given(st.dictionaries(st.text(), JSON, max_size=6), st.randoms(use_true_random=False))
def test_a_digest_does_not_depend_on_the_order_of_keys(values: dict[str, Any], random) -> None:
    keys = list(values)
    random.shuffle(keys)
    assert digest_of({key: values[key] for key in keys}) == digest_of(values)


@given(JSON, JSON)
def test_digests_are_equal_only_for_equal_json(a: Any, b: Any) -> None:
    assert (digest_of(a) == digest_of(b)) == (json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True))


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_digest_refuses_numbers_that_json_has_no_word_for(number: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest_of({"threshold": [number]})


def test_a_digest_refuses_what_has_no_order() -> None:
    with pytest.raises(TypeError, match="set"):
        digest_of({"keep": {"en", "de"}})


def test_of_two_attempts_the_first_to_commit_is_the_part_and_the_others_files_go(tmp_path: Path) -> None:
    folder = ArtifactFolder(tmp_path, "web")
    first, second = attempt(folder, b"one"), attempt(folder, b"two")
    assert first.folder != second.folder
    assert folder.commit(second).folder == second.folder
    assert folder.commit(first).folder == second.folder
    assert not (folder.folder / first.folder).exists()
    assert (folder.folder / second.folder / "documents.parquet").read_bytes() == b"two"
    assert folder.committed(["k"])["k"].folder == second.folder


def test_a_commit_given_twice_keeps_its_files(tmp_path: Path) -> None:
    """Over NFS a link can be made and yet be reported as refused: the client repeats requests whose answer is lost."""
    folder = ArtifactFolder(tmp_path, "web")
    part = attempt(folder, b"one")
    folder.commit(part)
    assert folder.commit(part).folder == part.folder
    assert (folder.folder / part.folder / "documents.parquet").read_bytes() == b"one"


def test_an_attempt_without_a_commit_record_does_not_exist(tmp_path: Path) -> None:
    folder = ArtifactFolder(tmp_path, "web")
    attempt(folder, b"killed before its commit", "a")
    done = folder.commit(attempt(folder, b"done", "b"))
    assert {key: part.folder for key, part in folder.committed(["a", "b"]).items()} == {"b": done.folder}


def test_a_file_still_being_written_among_the_commit_records_is_no_record(tmp_path: Path) -> None:
    folder = ArtifactFolder(tmp_path, "web")
    folder.commit(attempt(folder, b"done", "b"))
    (folder.folder / "commits" / ".a.json.12345678").write_text('{"half')  # as storage names it until it is whole
    assert set(folder.committed(["a", "b"])) == {"b"}


@pytest.mark.parametrize("winner", [0, 1])
def test_the_checkpoints_of_a_task_go_with_its_commit(tmp_path: Path, winner: int) -> None:
    folder = ArtifactFolder(tmp_path, "model")
    attempts = [attempt(folder, b"one"), attempt(folder, b"two")]
    folder.commit(attempts[winner])
    (folder.work("k") / "checkpoint").write_bytes(b"of the slower one")
    folder.commit(attempts[1 - winner])
    assert not (folder.folder / "work" / "k").exists()


def test_digests_tell_contents_not_who_wrote_them_when(tmp_path: Path) -> None:
    one = attempt(ArtifactFolder(tmp_path / "run 1", "web"), b"same", seconds=1)
    two = attempt(ArtifactFolder(tmp_path / "run 2", "pages"), b"same", seconds=9)
    other = attempt(ArtifactFolder(tmp_path / "run 3", "web"), b"different")
    assert one.digest == two.digest
    assert one.digest != other.digest

    def artifact(parts: Sequence[Part]) -> Artifact:
        return Artifact("web", "documents", "f", tmp_path, (), {}, tuple(parts))

    assert artifact([one, other]).digest == artifact([two, other]).digest
    assert artifact([one, other]).digest != artifact([other, one]).digest


def test_a_manifest_reads_back_as_it_was_sealed(tmp_path: Path) -> None:
    folder = ArtifactFolder(tmp_path, "web")
    part = folder.commit(attempt(folder, b"one"))
    steps = ({"label": "read", "stage": "json_lines", "version": 1, "config": {"files": None}},)
    artifact = Artifact("web", "documents", "f1", folder.folder, steps, {"docs": "d"}, (part,), ("a note",))
    assert folder.sealed("f1") is None
    folder.seal(artifact)
    read = folder.sealed("f1")
    assert read is not None
    assert read.to_json() == artifact.to_json()
    assert (read.folder, read.digest, read.notes) == (artifact.folder, artifact.digest, artifact.notes)
    assert read.ledger.to_json() == {"read": part.ledger.to_json()["read"]}
    assert folder.sealed("f2") is None


def test_the_documents_come_in_part_order_however_many_at_a_time(tmp_path: Path) -> None:
    parts = [texts({f"{p}-{i}": "text" for i in range(5)}) for p in "zay"]
    artifact = artifact_of(tmp_path, "docs", parts)
    batches = [table["id"].to_pylist() for table in artifact.tables(["id"], rows=2)]
    assert max(map(len, batches)) == 2
    assert [i for batch in batches for i in batch] == [f"{p}-{i}" for p in "zay" for i in range(5)]


def test_a_part_without_documents_has_no_file_and_adds_none(tmp_path: Path) -> None:
    artifact = artifact_of(tmp_path, "docs", [texts({"a": "text"})])
    folder = ArtifactFolder(tmp_path, "docs")
    folder.new_attempt("empty")
    empty = Part("empty", "empty", "data/empty", (), Ledger())
    both = Artifact("docs", "documents", "f", folder.folder, (), {}, (empty, *artifact.parts))
    assert [table["id"].to_pylist() for table in both.tables()] == [["a"]]
    assert list(both.removed()) == []


def test_a_manifest_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    folder = ArtifactFolder(tmp_path, "web")
    parts = tuple(folder.commit(attempt(folder, b"one", key)) for key in ("a", "b"))
    folder.seal(Artifact("web", "documents", "f1", folder.folder, (), {}, parts))
    path = folder.folder / "manifests/f1.jsonl"
    whole = path.read_bytes()
    for cut in (0, whole.index(b"\n") + 1, whole.rindex(b"\n", 0, -1) + 1, len(whole) - 2):
        path.write_bytes(whole[:cut])
        with pytest.raises(StageError, match=r"f1\.jsonl is damaged"):
            folder.sealed("f1")


def test_gathered_records_stand_for_those_of_the_parts(tmp_path: Path) -> None:
    folder = ArtifactFolder(tmp_path, "web")
    parts = [folder.commit(attempt(folder, key.encode(), key)) for key in "abc"]
    folder.gather(parts[:2])
    for key in "ab":
        (folder.folder / "commits" / f"{key}.json").write_bytes(b"not opened")
    assert [part.to_json() for part in folder.committed("cab").values()] == [parts[i].to_json() for i in (2, 0, 1)]
    (folder.folder / "commits/a.json").unlink()
    assert list(folder.committed("abc")) == ["b", "c"]


def test_a_gathered_record_is_not_believed_once_its_part_is_forgotten_and_made_again(tmp_path: Path) -> None:
    folder = ArtifactFolder(tmp_path, "web")
    folder.gather([folder.commit(attempt(folder, b"one", "a"))])
    assert folder.forget(lambda part: True) == 1
    again = folder.commit(attempt(folder, b"two", "a"))
    assert folder.committed("a")["a"].to_json() == again.to_json()


def test_many_records_that_were_read_one_by_one_are_gathered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.artifact.GATHERED_PARTS", 3)
    folder = ArtifactFolder(tmp_path, "web")
    for key in "abc":
        folder.commit(attempt(folder, key.encode(), key))
    found = folder.committed("abc")
    for path in (folder.folder / "commits").iterdir():
        path.write_bytes(b"not opened")
    assert {key: part.to_json() for key, part in folder.committed("abc").items()} == {
        key: part.to_json() for key, part in found.items()
    }


@given(JSON, JSON)
def test_a_digest_behind_another_value_is_that_of_both(first: Any, second: Any) -> None:
    assert digests_behind(first)(second) == digest_of([first, second])
