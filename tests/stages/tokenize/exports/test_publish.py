"""An export appears whole or not at all, from undamaged tokens alone, and says what it is."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import InputError, MachineError, RecipeError
from stages.tokenize.exports import FORMATS, export
from tests.stages.tokenize.exports.folders import LAYOUT, digest, documents_of, ids_of, write_tokens
from tests.stages.tokenize.exports.plain_readers import READERS, manifest_of
from tests.steps import Told

SAME_BYTES = {"megatron": ".bin", "datatrove": ".ds", "olmo": ".npy"}


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    return write_tokens(tmp_path / "tokens")


def published(folder: Path) -> list[str]:
    """What stands beside the tokens, hidden or not."""
    return sorted(path.name for path in folder.iterdir() if path.name != "tokens")


def change_manifest(tokens: Path, **changes: Any) -> None:
    contents = json.loads((tokens / "tokens.json").read_text())
    (tokens / "tokens.json").write_text(json.dumps(contents | changes))


@pytest.mark.parametrize(("form", "suffix"), SAME_BYTES.items())
def test_bodies_are_the_same_files_under_a_second_name(tokens: Path, tmp_path: Path, form: str, suffix: str) -> None:
    exported = export(tokens, tmp_path / "out", form)
    for name in ("code/train-00000", "web/train-00000", "web/train-00001"):
        assert (tmp_path / "out" / f"{name}{suffix}").samefile(tokens / f"{name}.bin")
    assert exported.linked_bytes == 2 * (2 + 6 + 6)


@pytest.mark.parametrize(("form", "suffix"), SAME_BYTES.items())
def test_where_links_are_impossible_bodies_are_copied(
    tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, suffix: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "link", refuse)
    exported = export(tokens, tmp_path / "out", form)
    copied, body = tmp_path / "out" / f"web/train-00000{suffix}", tokens / "web/train-00000.bin"
    assert copied.read_bytes() == body.read_bytes()
    assert not copied.samefile(body)
    assert exported.linked_bytes == 0


def test_a_copy_that_differs_is_not_published(tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(shutil, "copyfile", lambda _, target: Path(target).write_bytes(b"\0" * 4))
    with pytest.raises(InputError, match="changed while it was copied"):
        export(tokens, tmp_path / "out", "olmo")
    assert published(tmp_path) == []


@pytest.mark.parametrize("form", FORMATS)
def test_the_manifest_has_the_digest_of_every_file(tokens: Path, tmp_path: Path, form: str) -> None:
    exported = export(tokens, tmp_path / "out", form)
    found = {
        path.relative_to(tmp_path / "out").as_posix(): [path.stat().st_size, digest(path)]
        for path in (tmp_path / "out").rglob("*")
        if path.is_file() and path.name != "export.json"
    }
    manifest = manifest_of(tmp_path / "out")
    assert {file["path"]: [file["size_bytes"], file["sha256"]] for file in manifest["files"]} == found
    assert {"tokenizer.json", "tokenizer_config.json", "README.md"} < set(found)
    assert exported.files == len(found) + 1
    assert manifest["tokens_json_sha256"] == digest(tokens / "tokens.json")
    assert manifest["sources"]["web"]["train"] == {"tokens": 12, "documents": 4, "bytes": 0}


@pytest.mark.parametrize("form", FORMATS)
def test_the_readme_names_what_stands_there(tokens: Path, tmp_path: Path, form: str) -> None:
    export(tokens, tmp_path / "out", form)
    readme = (tmp_path / "out/README.md").read_text()
    assert FORMATS[form].title in readme
    assert "| web | train | 12 | 4 |" in readme
    assert not {"SOURCE", "TOKEN_BYTES", "VOCABULARY", "EOD"} & set(readme.replace("=", " ").split())


def test_only_the_sources_asked_for_are_exported(tokens: Path, tmp_path: Path) -> None:
    exported = export(tokens, tmp_path / "out", "olmo", sources=["web"])
    assert exported.sources == ("web",)
    assert exported.tokens == 12
    assert not (tmp_path / "out/code").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"format": "tfrecord"}, "no format 'tfrecord'; there are megatron"),
        ({"format": "olmo", "split": "validation"}, "no split 'validation'; there are train, held_out"),
        ({"format": "olmo", "sources": ["web", "books"]}, "no source books in .*; it has code, web"),
        ({"format": "olmo", "sources": []}, "no source chosen"),
        ({"format": "nanogpt", "split": "held_out"}, "always holds train and held_out"),
    ],
)
def test_what_is_not_there_is_named(tokens: Path, tmp_path: Path, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        export(tokens, tmp_path / "out", **arguments)
    assert published(tmp_path) == []


def test_nanogpt_refuses_ids_of_four_bytes(tmp_path: Path) -> None:
    tokens = write_tokens(tmp_path / "tokens", dtype="uint32")
    with pytest.raises(RecipeError, match="reads tokens of 2 bytes, these have 4"):
        export(tokens, tmp_path / "out", "nanogpt")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("damaged", ["web/train-00001.bin", "tokenizer.json"])
def test_one_changed_byte_is_found_before_anything_is_written(
    tokens: Path, tmp_path: Path, form: str, damaged: str
) -> None:
    content = bytearray((tokens / damaged).read_bytes())
    content[1] ^= 1
    (tokens / damaged).write_bytes(content)
    with pytest.raises(InputError, match=f"not the bytes .*{damaged}"):
        export(tokens, tmp_path / "out", form)
    assert published(tmp_path) == []


def test_a_shard_cut_short_is_named(tokens: Path, tmp_path: Path) -> None:
    body = tokens / "web/train-00000.bin"
    body.write_bytes(body.read_bytes()[:-2])
    with pytest.raises(InputError, match=r"web/train-00000.bin: 10 bytes"):
        export(tokens, tmp_path / "out", "olmo")


def test_a_folder_without_tokens_json_is_not_exported(tmp_path: Path) -> None:
    (tmp_path / "tokens").mkdir()
    with pytest.raises(InputError, match="not a finished token folder"):
        export(tmp_path / "tokens", tmp_path / "out", "olmo")


@pytest.mark.parametrize(
    "changes",
    [
        {"start": [0, 3, 5]},  # a gap
        {"tokens": [3, 1, 1]},  # too few
        {"id": ["a", "b"], "start": [0, 3], "tokens": [3, 1]},  # without the last document
        {"start": [0, 2, 4], "tokens": [2, 2, 2]},  # cut within documents
        {"start": [0, 3, 4], "tokens": [3, 1, 2], "id": None},  # no ids
    ],
)
def test_an_index_of_other_documents_is_refused(tokens: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    path = tokens / "web/train-00000.documents.parquet"
    columns = pq.read_table(path).to_pydict() | changes
    pq.write_table(pa.table({name: values for name, values in columns.items() if values is not None}), path)
    with pytest.raises(InputError, match=r"web/train-00000\.documents\.parquet"):
        export(tokens, tmp_path / "out", "megatron")
    assert published(tmp_path) == []


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_an_index_with_a_changed_byte_is_refused_or_tells_the_same(
    tokens: Path, tmp_path: Path, data: st.DataObject
) -> None:
    path = tokens / "web/train-00000.documents.parquet"
    good = path.read_bytes()
    content = bytearray(good)
    content[data.draw(st.integers(0, len(good) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    out, refused = tmp_path / "out", ""
    try:
        export(tokens, out, "mds")
    except InputError as error:
        refused = str(error)
    path.write_bytes(good)
    assert published(tmp_path) == ([] if refused else ["out"])
    if refused:
        assert path.name in refused
    else:
        assert READERS["mds"](out, "uint16")[1] == ids_of(LAYOUT)
        shutil.rmtree(out)


def test_an_absent_index_is_named(tokens: Path, tmp_path: Path) -> None:
    (tokens / "web/train-00000.documents.parquet").unlink()
    with pytest.raises(InputError, match=r"web/train-00000\.documents\.parquet"):
        export(tokens, tmp_path / "out", "mds")


def test_tokens_of_no_document_are_not_exported(tmp_path: Path) -> None:
    layout = {"web": {"train": [[]], "held_out": LAYOUT["web"]["held_out"]}}
    tokens = write_tokens(tmp_path / "tokens", layout)
    with pytest.raises(InputError, match="no train tokens of web"):
        export(tokens, tmp_path / "out", "olmo")


@pytest.mark.parametrize("there", ["folder", "empty folder", "file", "dangling link"])
def test_nothing_is_written_over(tokens: Path, tmp_path: Path, there: str) -> None:
    out = tmp_path / "out"
    if there == "file":
        out.write_text("mine")
    elif there == "dangling link":
        out.symlink_to(tmp_path / "nowhere")
    else:
        out.mkdir()
    if there == "folder":
        (out / "mine").write_text("mine")
    with pytest.raises(InputError, match="choose another folder"):
        export(tokens, out, "olmo")
    assert published(tmp_path) == ["out"]


def test_an_export_is_not_put_into_the_tokens(tokens: Path) -> None:
    with pytest.raises(RecipeError, match="lies within the tokens"):
        export(tokens, tokens / "out", "olmo")


def test_an_export_that_ends_early_leaves_nothing(
    tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("stages.tokenize.exports.olmo._write_documents", full)
    with pytest.raises(MachineError, match="Make room"):
        export(tokens, tmp_path / "out", "olmo")
    assert published(tmp_path) == []


KILLED = """
import os, sys
from pathlib import Path
from stages.tokenize.exports import export, mds
write_shards = mds._write_shards
def killed_at_the_second(shard, folder, entries):
    write_shards(shard, folder, entries) if folder.name == "code" else os.kill(os.getpid(), 9)
mds._write_shards = killed_at_the_second
export(Path(sys.argv[1]), Path(sys.argv[2]), "mds")
"""


def test_an_export_that_is_killed_has_no_name_and_can_be_made_again(tokens: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = subprocess.run([sys.executable, "-c", KILLED, str(tokens), str(out)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not out.exists()
    (left,) = published(tmp_path)
    assert left.startswith(".out.")
    export(tokens, out, "mds")
    assert READERS["mds"](out, "uint16") == (documents_of(LAYOUT), ids_of(LAYOUT))


def test_a_folder_of_links_to_shards_is_exported_as_the_shards(tokens: Path, tmp_path: Path) -> None:
    body = tokens / "code/train-00000.bin"
    body.rename(tmp_path / "elsewhere.bin")
    body.symlink_to(tmp_path / "elsewhere.bin")
    export(tokens, tmp_path / "out", "olmo")
    exported = tmp_path / "out/code/train-00000.npy"
    assert not exported.is_symlink()
    assert exported.samefile(tmp_path / "elsewhere.bin")


@pytest.mark.parametrize("form", FORMATS)
def test_how_far_it_is_is_told(tokens: Path, tmp_path: Path, form: str) -> None:
    told = Told()
    export(tokens, tmp_path / "out", form, tick=told)
    assert told.is_whole()
