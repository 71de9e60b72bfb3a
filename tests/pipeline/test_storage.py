"""Files appear whole or not at all, whoever else writes and however full the disk is."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline import storage
from pipeline.errors import MachineError
from pipeline.executors import attempt_part
from pipeline.stage import Context, Map, Outcome, StageConfig
from pipeline.task import PartSpec, StepSpec
from stages.tokenize.encode import Encode, EncodeConfig
from stages.tokenize.shards import TokenShards, TokenShardsConfig
from stages.tokenize.tokenizer import TrainTokenizer, TrainTokenizerConfig
from tests.stages.in_process import artifact_of, artifact_of_files, texts

DISK_BYTES = 64 << 10


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", folder], capture_output=True, text=True
    )
    if mount.returncode:
        pytest.skip(f"mounting is refused here: {mount.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def restless_threads() -> Iterator[None]:
    """Threads take turns after every few instructions."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("restless_threads")
def test_of_many_writers_of_one_name_exactly_one_wins_and_its_file_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writers = 16
    contents = [bytes([65 + i]) * 50_000 for i in range(writers)]
    together = threading.Barrier(writers)
    write_temporary = storage._write_temporary

    def write_temporary_and_wait(path: Path, content: bytes) -> Path:
        temporary = write_temporary(path, content)
        together.wait()  # all of them find the name free and reach for it in the same moment
        return temporary

    monkeypatch.setattr(storage, "_write_temporary", write_temporary_and_wait)
    with ThreadPoolExecutor(writers) as pool:
        for i in range(20):
            path = tmp_path / "commits" / f"{i}.json"
            won = list(pool.map(storage.put_if_absent, [path] * writers, contents))
            assert won.count(True) == 1
            assert path.read_bytes() == contents[won.index(True)]
    assert sorted(p.name for p in path.parent.iterdir()) == sorted(f"{i}.json" for i in range(20))


def test_a_name_that_is_taken_keeps_its_content(tmp_path: Path) -> None:
    assert storage.put_if_absent(tmp_path / "a", b"first")
    assert not storage.put_if_absent(tmp_path / "a", b"second")
    assert (tmp_path / "a").read_bytes() == b"first"


def test_replace_puts_the_new_content_in_place_of_the_old(tmp_path: Path) -> None:
    storage.replace(tmp_path / "deep/er/a", b"old and long")
    storage.replace(tmp_path / "deep/er/a", b"new")
    assert (tmp_path / "deep/er/a").read_bytes() == b"new"
    assert [p.name for p in (tmp_path / "deep/er").iterdir()] == ["a"]


def test_readers_of_a_replaced_file_see_the_old_or_the_new_content(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    versions = [bytes([65 + i]) * 100_000 for i in range(26)]
    storage.replace(path, versions[0])
    done = threading.Event()

    def write() -> None:
        for version in versions:
            storage.replace(path, version)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = []
    while not done.is_set():
        seen.append(path.read_bytes())
    writer.join()
    assert seen
    assert all(content in versions for content in seen)


@pytest.mark.parametrize("write", [storage.put_if_absent, storage.replace])
def test_a_full_disk_is_told_with_the_remedy_and_leaves_nothing(small_disk: Path, write) -> None:
    with pytest.raises(MachineError, match=r"cannot write under .*key\.json: No space left.*Make room there"):
        write(small_disk / "key.json", b"x" * (2 * DISK_BYTES))
    assert list(small_disk.iterdir()) == []
    write(small_disk / "key.json", b"fits")  # and once there is room, all is well
    assert (small_disk / "key.json").read_bytes() == b"fits"


def test_a_full_disk_leaves_the_file_that_was_to_be_replaced(small_disk: Path) -> None:
    storage.replace(small_disk / "run.json", b"old")
    with pytest.raises(MachineError):
        storage.replace(small_disk / "run.json", b"x" * (2 * DISK_BYTES))
    assert (small_disk / "run.json").read_bytes() == b"old"


def test_errors_other_than_of_the_disk_are_left_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), storage.explained_disk_errors(tmp_path):
        (tmp_path / "absent").read_bytes()


class AddsNoise(Map[StageConfig]):
    """Makes each document long and hard to compress."""

    name = "adds_noise"

    def process(self, batch: pa.Table) -> Outcome:
        noise = [os.urandom(4 * DISK_BYTES).hex() for _ in range(batch.num_rows)]
        return Outcome(batch.set_column(batch.column_names.index("text"), "text", pa.array(noise, pa.large_string())))


def test_a_part_that_does_not_fit_on_the_disk_is_told_and_its_attempt_removed(small_disk: Path, tmp_path: Path) -> None:
    upstream = artifact_of(tmp_path, "docs", [texts({"a": "a"})])
    step = StepSpec("noise", AddsNoise, StageConfig(), {})
    (path,) = upstream.file_paths("documents.parquet")
    failure = attempt_part(PartSpec(small_disk, "noise", "key", "docs-0", (step,), seed=1, documents=(path,)))
    assert failure.exit_code == MachineError.exit_code
    assert "No space left" in failure.message
    assert "cannot write under" in failure.message
    assert "artifacts/noise" in failure.message
    assert [p for p in small_disk.rglob("*") if p.is_file()] == []


def test_token_shards_that_do_not_fit_on_the_disk_are_told_as_such(small_disk: Path, tmp_path: Path) -> None:
    tokenizer = tmp_path / "tokenizer" / "files"
    tokenizer.mkdir(parents=True)
    short = artifact_of(tmp_path, "docs", [texts({"a": "text", "b": "text"})])
    TrainTokenizer(TrainTokenizerConfig(vocabulary=257)).run({"documents": [short]}, tokenizer, Context(seed=1))
    encode = Encode(EncodeConfig())
    encode.setup(Context(seed=1, side={"tokenizer": tokenizer}))
    encoded = encode.process(texts({"a": "text", "b": "x y " * DISK_BYTES, "c": "z t" * DISK_BYTES})).kept
    inputs = {
        "documents": [artifact_of(tmp_path, "encoded", [encoded])],
        "tokenizer": [artifact_of_files(tokenizer, "tokenizer", "tokenizer", {"vocabulary": 257, "eod": 0})],
    }
    step = StepSpec("tokens", TokenShards, TokenShardsConfig(), {})
    (task,) = TokenShards(TokenShardsConfig()).plan(inputs, ())
    failure = attempt_part(PartSpec(small_disk, "tokens", "key", task.name, (step,), seed=1, task=task))
    assert "cannot write under" in failure.message
    assert failure.exit_code == MachineError.exit_code


def test_the_digest_is_the_sha256_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")  # FIPS 180-4's own example
    assert storage.sha256_of(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
