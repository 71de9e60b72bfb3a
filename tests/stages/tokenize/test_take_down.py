"""Documents leave the token shards, and nothing brings them back."""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import commands
from pipeline.errors import RecipeError, StageError
from pipeline.explain import explain
from pipeline.run import Run
from pipeline.storage import sha256_of
from pipeline.take_down import find, notes
from pipeline.take_down import take_down as taken_down
from proxy_models.shards import open_tokens
from stages.tokenize.take_down import rewritten, shard_documents
from stages.training.sources import source_fingerprints
from tests.stages.in_process import rows_of, run_here, write_lines
from tests.steps import Told

TEXT = "The river number {} flows past the old mill and the {} hall of the county."


def recipe(**options: Any) -> dict[str, Any]:
    return {
        "pages": {"stage": "json_lines", "files": "web.jsonl", "source": "web"},
        "web": {"stage": "tests.stages.tokenize.written:Written", "from": "pages"},
        "code": {"stage": "json_lines", "files": "code.jsonl"},
        "tokens": {"stage": "tokenize", "from": ["web", "code"], **{"vocabulary": 300, "shard_tokens": 300, **options}},
    }


def write_corpus(folder: Path) -> None:
    """Pages with URLs; page 5 was written from page 4, which was written from page 3."""
    pages = [{"text": TEXT.format(i, i * i), "url": f"http://example.org/{i}"} for i in range(40)]
    write_lines(folder / "web.jsonl", pages)
    write_lines(folder / "code.jsonl", [f"def f{i}(x):\n    return x * {i}\n" for i in range(30)])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    write_corpus(folder)
    run_here(folder, recipe())
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A copy of the folder of a recipe and its finished run, to be changed."""
    shutil.copytree(finished, tmp_path / "copy")
    return tmp_path / "copy"


def tokens_of(folder: Path, artifact: str = "tokens") -> Path:
    return Run.open(folder / "run").artifacts()[artifact].files_folder


def documents_in(tokens: Path) -> dict[str, tuple[str, str, list[int]]]:
    """By id, in order: source, split and token ids, out of shards whose every digest is right."""
    opened = open_tokens(tokens)
    opened.verify_digests()
    dtype = json.loads((tokens / "tokens.json").read_text())["dtype"]
    found = {}
    for source, split, file, index in shard_documents(tokens):
        body = np.fromfile(tokens / file["path"], dtype)
        for row in index.to_pylist():
            found[row["id"]] = (source, split, body[row["start"] : row["start"] + row["tokens"]].tolist())
    return found


def page(folder: Path, number: int) -> str:
    """The id of a page."""
    (found,) = [
        row["id"]
        for row in rows_of(Run.open(folder / "run").artifacts()["web"])
        if row["url"] == f"http://example.org/{number}"
    ]
    return str(found)


def take_down(folder: Path, *ids: str, urls: Sequence[str] = (), **options: Any) -> Mapping[str, Any]:
    listed = folder / "urls.txt"
    listed.write_text("".join(f"{url}\n" for url in urls))
    values, _ = commands.take_down(folder / "run", ids, None, listed if urls else None, rewritten, **options)
    return values


def test_exactly_the_documents_are_gone_and_all_records_fit(folder: Path) -> None:
    before, gone = documents_in(tokens_of(folder)), page(folder, 7)
    as_made = json.loads((tokens_of(folder) / "tokens.json").read_text())
    (change,) = take_down(folder, gone, urls=["http://example.org/9"])["changed"]
    assert change["documents"] == 2
    assert change["tokens"] == sum(len(before[id_][2]) for id_ in (gone, page(folder, 9)))
    expected = {id_: where for id_, where in before.items() if id_ not in (gone, page(folder, 9))}
    assert list(documents_in(tokens_of(folder)).items()) == list(expected.items())
    artifact = Run.open(folder / "run").artifacts()["tokens"]
    (part,) = artifact.parts
    manifest = json.loads((artifact.files_folder / "tokens.json").read_text())
    assert {f.path: f.sha256 for f in part.files} == {
        p.relative_to(artifact.files_folder).as_posix(): sha256_of(p)
        for p in artifact.files_folder.rglob("*")
        if p.is_file()
    }
    assert artifact.summary["sources"] == manifest["sources"]
    (record,) = [json.loads(p.read_text()) for p in (artifact.folder / "commits").glob(f"{part.key}.json")]
    assert record == json.loads(json.dumps(part.to_json()))
    for source, splits in manifest["sources"].items():
        for split, contents in splits.items():
            ids = [id_ for id_, where in expected.items() if where[:2] == (source, split)]
            size = sum(
                sum(index["bytes"].to_pylist())
                for s, p, _, index in shard_documents(artifact.files_folder)
                if (s, p) == (source, split)
            )
            assert (contents["documents"], contents["bytes"]) == (len(ids), size)
    assert manifest["taken_down"][0]["documents"] == 2
    assert source_fingerprints(manifest["sources"]) == source_fingerprints(as_made["sources"])


def test_shards_without_the_documents_stay_the_same_files(folder: Path) -> None:
    before = {p.name: p.stat().st_ino for p in tokens_of(folder).rglob("code/*.bin")}
    take_down(folder, page(folder, 7))
    assert {p.name: p.stat().st_ino for p in tokens_of(folder).rglob("code/*.bin")} == before


def test_the_old_files_are_gone(folder: Path) -> None:
    old = tokens_of(folder)
    take_down(folder, page(folder, 7))
    assert not old.exists()
    assert len(list((folder / "run/artifacts/tokens/data").iterdir())) == 1


def test_documents_written_from_them_go_too_over_any_number_of_steps(folder: Path) -> None:
    values = take_down(folder, urls=["http://example.org/3"])
    assert (values["documents_asked"], values["documents_written_from_them"]) == (1, 2)
    assert documents_in(tokens_of(folder)).keys().isdisjoint(page(folder, i) for i in (3, 4, 5))
    assert values["changed"][0]["documents"] == 3


def test_a_dry_run_tells_the_same_and_changes_nothing(folder: Path) -> None:
    files = {p: p.stat().st_mtime_ns for p in (folder / "run").rglob("*") if p.is_file() and p.name != ".lock"}
    told = take_down(folder, urls=["http://example.org/3"], dry_run=True)
    assert {p: p.stat().st_mtime_ns for p in (folder / "run").rglob("*") if p.is_file() and p.name != ".lock"} == files
    done = take_down(folder, urls=["http://example.org/3"])
    for name in ("documents", "tokens", "by_source"):
        assert told["changed"][0][name] == done["changed"][0][name]


def test_what_the_run_has_not_seen_is_refused(folder: Path) -> None:
    before = tokens_of(folder)
    with pytest.raises(RecipeError, match=r"has seen no document of these ids and URLs: http://example.org/9/, nobody"):
        take_down(folder, "nobody", page(folder, 1), urls=["http://example.org/9/"])
    assert tokens_of(folder) == before
    assert take_down(folder, "nobody", page(folder, 1), allow_absent=True)["absent"] == ["nobody"]
    assert page(folder, 1) not in documents_in(tokens_of(folder))


def test_asking_twice_is_harmless(folder: Path) -> None:
    take_down(folder, page(folder, 7))
    after = tokens_of(folder)
    assert take_down(folder, page(folder, 7))["changed"] == []
    assert tokens_of(folder) == after


def test_a_second_list_goes_on_from_the_first(folder: Path) -> None:
    before = documents_in(tokens_of(folder))
    take_down(folder, page(folder, 7))
    take_down(folder, page(folder, 9))
    assert set(before) - set(documents_in(tokens_of(folder))) == {page(folder, 7), page(folder, 9)}
    assert pq.read_table(tokens_of(folder) / "taken_down.parquet").num_rows == 2
    assert Run.open(folder / "run").artifacts()["tokens"].summary["taken_down"]["documents"] == 2


def test_the_text_in_earlier_artifacts_is_told(folder: Path) -> None:
    _, lines = commands.take_down(folder / "run", [page(folder, 7)], None, None, rewritten)
    told = "\n".join(lines)
    assert f"  web: 1 documents in {folder / 'run/artifacts/web'}" in told
    assert f"  tokens.encoded: 1 documents in {folder / 'run/artifacts/tokens.encoded'}" in told


def test_explain_tells_that_a_document_was_taken_down(folder: Path) -> None:
    gone = page(folder, 7)
    tokens = len(documents_in(tokens_of(folder))[gone][2])
    take_down(folder, gone)
    story = explain(folder / "run", gone).as_text()
    assert f": {tokens} tokens of web/" in story
    assert "tokens: taken down on " in story
    assert "tokens: tokens " not in story


def test_a_later_run_of_the_recipe_leaves_it_so(folder: Path) -> None:
    take_down(folder, page(folder, 7))
    after = tokens_of(folder)
    assert run_here(folder, recipe())["tokens"].files_folder == after
    assert page(folder, 7) not in documents_in(after)


def test_what_was_made_with_the_documents_is_kept_and_named_until_it_is_made_again(folder: Path) -> None:
    with_model = {**recipe(), "model": {"stage": "tests.stages.tokenize.written:Trained", "from": "tokens"}}
    before = run_here(folder, with_model)["model"]
    (train,) = [n for n, where in documents_in(tokens_of(folder)).items() if where[:2] == ("web", "train")][:1]
    take_down(folder, train)
    kept = run_here(folder, with_model)
    assert kept["model"].files_folder == before.files_folder
    run = Run.open(folder / "run")
    assert notes(run, run.artifacts())[1].startswith("model was made with documents that have been taken down since")
    shutil.rmtree(folder / "run/artifacts/model")
    again = run_here(folder, with_model)["model"]
    assert again.summary["tokens"] == {
        name: splits["train"]["tokens"] for name, splits in kept["tokens"].summary["sources"].items()
    }
    assert again.summary["tokens"]["web"] < before.summary["tokens"]["web"]
    run = Run.open(folder / "run")
    assert len(notes(run, run.artifacts())) == 1


def test_shards_made_anew_are_refused_until_the_list_was_applied(folder: Path) -> None:
    gone = page(folder, 7)
    take_down(folder, gone)
    with pytest.raises(StageError, match=r"tokens: these shards .* give 'sluice take-down "):
        run_here(folder, recipe(vocabulary=310))
    with pytest.raises(StageError, match="sluice take-down"):
        run_here(folder, recipe(vocabulary=310))
    assert take_down(folder)["changed"][0]["documents"] == 1
    assert gone not in documents_in(run_here(folder, recipe(vocabulary=310))["tokens"].files_folder)


def test_shards_of_an_earlier_recipe_are_rewritten_too(folder: Path) -> None:
    run_here(folder, recipe(vocabulary=310))
    gone = page(folder, 7)
    assert [change["documents"] for change in take_down(folder, gone)["changed"]] == [1, 1]
    assert gone not in documents_in(run_here(folder, recipe())["tokens"].files_folder)


def test_a_damaged_shard_is_not_given_a_new_digest(folder: Path) -> None:
    gone, tokens = page(folder, 7), tokens_of(folder)
    (file,) = [f for _, _, f, index in shard_documents(tokens) if gone in index["id"].to_pylist()]
    body = bytearray((tokens / file["path"]).read_bytes())
    body[0] ^= 1
    (tokens / file["path"]).write_bytes(body)
    with pytest.raises(StageError, match=f"{file['path']} is damaged"):
        take_down(folder, gone)
    assert tokens_of(folder) == tokens
    with pytest.raises(StageError, match="sluice take-down"):  # asked for, and not done
        run_here(folder, recipe())


def test_a_source_may_lose_all_its_documents(folder: Path) -> None:
    gone = [id_ for id_, where in documents_in(tokens_of(folder)).items() if where[0] == "code"]
    (change,) = take_down(folder, *gone)["changed"]
    assert set(change["emptied"]) == {"code/train", "code/held_out"}
    assert open_tokens(tokens_of(folder)).train("code").tokens == 0


def test_it_is_refused_while_another_command_is_at_work(folder: Path) -> None:
    with Run.open(folder / "run").at_work(), pytest.raises(StageError, match="another command is at work"):
        take_down(folder, page(folder, 7))
    take_down(folder, page(folder, 7))


def test_the_command_line_takes_files_of_ids_and_prints_json(folder: Path) -> None:
    (folder / "ids.txt").write_text(f"{page(folder, 7)}\n\n{page(folder, 8)}\r\n")
    command = [sys.executable, "-m", "pipeline.cli", "take-down", str(folder / "run"), "--json"]
    done = subprocess.run([*command, "--ids", str(folder / "ids.txt")], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["changed"][0]["documents"] == 2
    failed = subprocess.run([*command, "nobody"], capture_output=True, text=True, check=False)
    assert (failed.returncode, failed.stderr.startswith("error: ")) == (2, True)


KILLED = """
import os, pathlib, signal, shutil, sys
from pipeline import commands
from stages.tokenize.take_down import rewritten

source, copies, gone = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
EVENTS = {"os.link", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree"}
point = 0
while True:
    copy = copies / str(point)
    shutil.copytree(source, copy)
    child = os.fork()  # before any thread was started
    if child == 0:
        left = point
        def hook(event, arguments):
            global left
            writes = event == "open" and isinstance(arguments[1], str) and arguments[1][0] in "wa"
            if writes or event in EVENTS:
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                left -= 1
        sys.addaudithook(hook)
        commands.take_down(copy / "run", [gone], None, None, rewritten)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if status == 0:
        break
    assert os.WTERMSIG(status) == signal.SIGKILL, status
    point += 1
"""


@pytest.mark.slow
def test_killed_at_any_point_it_leaves_the_old_state_or_the_new_one(folder: Path, tmp_path: Path) -> None:
    """A child process is killed before its first change to the disk, before its second, and so on to its end."""
    before, gone = documents_in(tokens_of(folder)), page(folder, 7)
    after = {id_: where for id_, where in before.items() if id_ != gone}
    copies = tmp_path / "copies"
    copies.mkdir()
    subprocess.run([sys.executable, "-c", KILLED, str(folder), str(copies), gone], check=True, timeout=200)
    states = []
    for point in range(len(list(copies.iterdir()))):
        copy = copies / str(point)
        found = documents_in(tokens_of(copy))
        assert found in (before, after)
        states.append(found == after)
        if found == before and (copy / "run/taken_down.json").exists():
            with pytest.raises(StageError, match="sluice take-down"):
                run_here(copy, recipe())
        take_down(copy, gone)
        assert documents_in(tokens_of(copy)) == after
        run_here(copy, recipe())
        assert documents_in(tokens_of(copy)) == after
        assert len(list((copy / "run/artifacts/tokens/data").iterdir())) == 1
        (record,) = (copy / "run/artifacts/tokens/commits").glob("*.json")
        assert json.loads(record.read_text())["folder"].split("/")[-1] == tokens_of(copy).name
    assert len(states) > 20
    assert states == sorted(states)
    assert (states[0], states[-1]) == (False, True)


@st.composite
def shard_lengths(draw: st.DrawFn) -> list[list[int]]:
    return draw(st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=6), min_size=1, max_size=4))


@settings(deadline=None, max_examples=60)
@given(shards=shard_lengths(), chosen=st.sets(st.integers(0, 23)), wide=st.booleans())
def test_random_shards_without_random_documents(
    tmp_path_factory: pytest.TempPathFactory, shards: list[list[int]], chosen: set[int], wide: bool
) -> None:
    folder = tmp_path_factory.mktemp("random")
    dtype = "uint32" if wide else "uint16"
    files, expected, number = [], [], 0
    (folder / "web").mkdir()
    (folder / "tokenizer.json").write_text("{}")
    for i, lengths in enumerate(shards):
        rows: list[dict[str, Any]] = []
        ids: list[int] = []
        for length in lengths:
            rows.append({"id": f"d{number}", "parent": None, "start": len(ids), "tokens": length, "bytes": number})
            ids += range(number * 10, number * 10 + length)
            if number not in chosen:
                expected.append((f"d{number}", i, list(range(number * 10, number * 10 + length))))
            number += 1
        path = folder / f"web/train-{i:05d}.bin"
        np.array(ids, np.dtype(dtype).newbyteorder("<")).tofile(path)
        schema = pa.schema(
            [("id", pa.string()), ("parent", pa.string())]
            + [(name, pa.int64()) for name in ("start", "tokens", "bytes")]
        )
        pq.write_table(pa.Table.from_pylist(rows, schema), path.with_suffix(".documents.parquet"))
        files.append({"path": f"web/train-{i:05d}.bin", "tokens": len(ids), "sha256": sha256_of(path)})
    contents = {
        "files": files,
        "tokens": sum(f["tokens"] for f in files),
        "documents": number,
        "bytes": sum(range(number)),
    }
    empty = {"files": [], "tokens": 0, "documents": 0, "bytes": 0}
    manifest = {
        "vocabulary": 70_000 if wide else 300,
        "dtype": dtype,
        "eod": 0,
        "tokenizer_sha256": sha256_of(folder / "tokenizer.json"),
        "sources": {"web": {"train": contents, "held_out": empty}},
    }
    (folder / "tokens.json").write_text(json.dumps(manifest))
    gone = {f"d{n}" for n in chosen}
    removal = rewritten(folder, folder / "out", gone, "now", "list")
    if not any(n < number for n in chosen):
        assert removal is None
        assert not (folder / "out").exists()
        return
    assert removal is not None
    found = documents_in(folder / "out")
    assert [(id_, ids) for id_, (_, _, ids) in found.items()] == [(id_, ids) for id_, _, ids in expected]
    left = json.loads((folder / "out/tokens.json").read_text())["sources"]["web"]["train"]
    assert (left["tokens"], left["documents"]) == (sum(len(ids) for _, _, ids in expected), len(expected))
    assert left["bytes"] == sum(n for n in range(number) if n not in chosen)
    assert [f["path"] for f in left["files"]] == sorted({f"web/train-{i:05d}.bin" for _, i, _ in expected})
    assert removal.documents == number - len(expected)
    assert removal.tokens == contents["tokens"] - left["tokens"]


def test_how_far_it_is_is_told(folder: Path) -> None:
    looked, wrote = Told(), Told()
    run = Run.open(folder / "run")
    found = find(run, [page(folder, 7)], [], looked)
    taken_down(run, found, rewritten, wrote)
    assert looked.is_whole()
    assert wrote.steps == [(1, 1)]
