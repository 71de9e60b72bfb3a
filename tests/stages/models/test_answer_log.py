"""What survives of a model's answers."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import StageError
from stages.models import answer_log
from stages.models.answer_log import AnswerLog


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.jsonl"))


def test_answers_are_found_again_by_shard_and_key(tmp_path: Path) -> None:
    with AnswerLog(tmp_path / "answers") as log:
        assert log.get("a", "key") is None
        log.add("a", "key", {"markdown": "zwölf\n| 1 |", "tries": 2})
        assert log.get("a", "key") == {"markdown": "zwölf\n| 1 |", "tries": 2}
    again = AnswerLog(tmp_path / "answers")
    assert again.get("a", "key") == {"markdown": "zwölf\n| 1 |", "tries": 2}
    assert again.get("b", "key") is None


def test_an_answer_is_on_file_before_the_log_is_closed(tmp_path: Path) -> None:
    log = AnswerLog(tmp_path)
    log.add("a", "key", {"tries": 1})
    assert AnswerLog(tmp_path).get("a", "key") == {"tries": 1}
    log.close()


def test_two_processes_that_work_on_a_shard_do_not_mix_their_lines(tmp_path: Path) -> None:
    with AnswerLog(tmp_path) as first, AnswerLog(tmp_path) as second:
        for n in range(50):
            (first if n % 2 else second).add("a", f"key {n}", {"n": n})
    again = AnswerLog(tmp_path)
    assert [again.get("a", f"key {n}") for n in range(50)] == [{"n": n} for n in range(50)]


def test_many_threads_may_add(tmp_path: Path) -> None:
    with AnswerLog(tmp_path) as log, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: log.add(f"shard {n % 3}", f"key {n}", {"text": "x" * 5000}), range(200)))
    assert len(files(tmp_path)) == 3
    again = AnswerLog(tmp_path)
    assert all(again.get(f"shard {n % 3}", f"key {n}") for n in range(200))


def test_only_the_shards_asked_for_are_read(tmp_path: Path) -> None:
    with AnswerLog(tmp_path) as log:
        log.add("a", "key", {"n": 1})
        (path,) = files(tmp_path)
        log.add("b", "key", {"n": 2})
    path.write_bytes(b"damaged\n")
    assert AnswerLog(tmp_path).get("b", "key") == {"n": 2}


def test_few_shards_are_kept_open_and_those_used_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[str] = []
    read = answer_log._read
    monkeypatch.setattr(answer_log, "_read", lambda folder, prefix: reads.append(prefix) or read(folder, prefix))
    before = len(os.listdir("/proc/self/fd"))
    with AnswerLog(tmp_path, most_open_shards=3) as log:
        for n in range(30):
            log.add(f"shard {n}", "key", {"n": n})
            log.get("shard 0", "key")
        assert len(os.listdir("/proc/self/fd")) - before == 3
        assert len(reads) == 30
        assert [log.get(f"shard {n}", "key") for n in range(30)] == [{"n": n} for n in range(30)]
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_closed_log_can_be_used_again(tmp_path: Path) -> None:
    log = AnswerLog(tmp_path)
    for n in range(3):
        log.add("a", f"key {n}", {"n": n})
        log.close()
    assert [log.get("a", f"key {n}") for n in range(3)] == [{"n": n} for n in range(3)]


@pytest.mark.parametrize("lost", [1, 5, 20])
def test_a_torn_last_line_costs_that_answer_only(tmp_path: Path, lost: int) -> None:
    with AnswerLog(tmp_path) as log:
        log.add("a", "whole", {"tries": 1})
        log.add("a", "torn", {"tries": 2})
    (path,) = files(tmp_path)
    path.write_bytes(path.read_bytes()[:-lost])
    again = AnswerLog(tmp_path)
    assert (again.get("a", "whole"), again.get("a", "torn")) == ({"tries": 1}, None)


def test_after_a_full_disk_the_next_answer_goes_to_another_file(tmp_path: Path, monkeypatch) -> None:
    write, fails = os.write, True

    def full(file: int, content: bytes) -> int:
        if not fails:
            return write(file, content)
        if len(content) > 10:
            return write(file, content[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(answer_log.os, "write", full)
    with AnswerLog(tmp_path) as log:
        with pytest.raises(OSError, match="No space"):
            log.add("a", "torn", {"n": 1})
        assert log.get("a", "torn") is None
        fails = False
        log.add("a", "whole", {"n": 2})
    assert AnswerLog(tmp_path).get("a", "whole") == {"n": 2}


@pytest.mark.parametrize(
    "damage",
    [b"\0\0\0\n", b"[]\n", b'{"key": "a"}\n', b"{\n", b'{"key": [], "answer": {}}\n', b'{"key": "a", "answer": 1}\n'],
)
def test_another_damage_is_told_with_its_remedy(tmp_path: Path, damage: bytes) -> None:
    with AnswerLog(tmp_path) as log:
        log.add("a", "whole", {"tries": 1})
    (path,) = files(tmp_path)
    path.write_bytes(path.read_bytes() + damage)
    with pytest.raises(StageError, match=rf"{path}, line 2: .* Remove the file"):
        AnswerLog(tmp_path).get("a", "whole")


def test_without_a_folder_nothing_is_kept() -> None:
    with AnswerLog(None) as log:
        log.add("a", "key", {"tries": 1})
        assert log.get("a", "key") is None


PLACES = st.tuples(st.integers(0, 3), st.text(max_size=5))  # shard, key
STEPS = st.one_of(
    st.tuples(st.just("add"), st.integers(0, 1), PLACES, st.text(max_size=30)),
    st.tuples(st.just("kill"), st.integers(0, 1), st.integers(0, 3), st.integers(0, 200)),
    st.tuples(st.just("close"), st.integers(0, 1)),
)


@settings(deadline=None, max_examples=150)
@given(st.lists(STEPS, max_size=25))
def test_whatever_is_killed_when_no_answer_changes_and_only_the_killed_write_is_lost(steps: list) -> None:
    """Two processes add; a kill ends one of them while it writes, at any byte of its line, and a new one takes over."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        logs = [AnswerLog(folder, most_open_shards=2) for _ in range(2)]
        known: dict[tuple[int, str], set[str]] = {}
        for kind, which, *what in steps:
            if kind == "add":
                (shard, key), text = what
                logs[which].add(str(shard), key, {"text": text})
                known.setdefault((shard, key), set()).add(text)
            elif kind == "close":
                logs[which].close()
            else:
                _die_while_writing(folder, logs[which], str(what[0]), what[1])
                logs[which] = AnswerLog(folder, most_open_shards=2)
        for log in logs:
            log.close()
        again = AnswerLog(folder)
        for (shard, key), texts in known.items():
            found = again.get(str(shard), key)
            assert found is not None
            assert found["text"] in texts
        assert again.get("0", "killed") is None


def _die_while_writing(folder: Path, log: AnswerLog, shard: str, written: int) -> None:
    """The log's process ends with so many bytes of its next line written, less than the whole."""
    before = {path: path.stat().st_size for path in files(folder)}
    log.add(shard, "killed", {"text": "x" * 100})
    ((path, size),) = [(p, p.stat().st_size) for p in files(folder) if p.stat().st_size != before.get(p, 0)]
    log.close()  # as its end does
    os.truncate(path, min(before.get(path, 0) + written, size - 1))


def test_a_shard_that_is_opened_again_goes_on_in_its_file(tmp_path: Path) -> None:
    with AnswerLog(tmp_path, most_open_shards=1) as log:
        for i in range(20):
            log.add(f"{i % 2}", f"{i}", {"text": "a"})
    assert len(list(tmp_path.rglob("*.jsonl"))) == 2
    assert all(AnswerLog(tmp_path).get(f"{i % 2}", f"{i}") for i in range(20))
