"""What survives of the answers to a batch."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.errors import StageError
from stages.pdf.vision.answer_log import AnswerLog


def test_answers_are_found_again_by_the_same_batch(tmp_path: Path) -> None:
    with AnswerLog(tmp_path / "answers", ["1", "2"]) as log:
        assert log.get("key") is None
        log.add("key", {"markdown": "zwölf\n| 1 |", "tries": 2})
    assert AnswerLog(tmp_path / "answers", ["1", "2"]).get("key") == {"markdown": "zwölf\n| 1 |", "tries": 2}
    assert AnswerLog(tmp_path / "answers", ["1", "3"]).get("key") is None


def test_an_answer_is_on_file_before_the_log_is_closed(tmp_path: Path) -> None:
    log = AnswerLog(tmp_path, ["1"])
    log.add("key", {"tries": 1})
    assert AnswerLog(tmp_path, ["1"]).get("key") == {"tries": 1}
    log.close()


def test_two_processes_that_work_on_a_batch_do_not_mix_their_lines(tmp_path: Path) -> None:
    with AnswerLog(tmp_path, ["1"]) as first, AnswerLog(tmp_path, ["1"]) as second:
        for n in range(50):
            (first if n % 2 else second).add(f"key {n}", {"n": n})
    again = AnswerLog(tmp_path, ["1"])
    assert [again.get(f"key {n}") for n in range(50)] == [{"n": n} for n in range(50)]


def test_many_threads_may_add(tmp_path: Path) -> None:
    with AnswerLog(tmp_path, ["1"]) as log, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: log.add(f"key {n}", {"text": "x" * 5000}), range(200)))
    assert len(list(tmp_path.rglob("*.jsonl"))) == 1
    again = AnswerLog(tmp_path, ["1"])
    assert all(again.get(f"key {n}") for n in range(200))


@pytest.mark.parametrize("lost", [1, 5, 20])
def test_a_torn_last_line_costs_that_answer_only(tmp_path: Path, lost: int) -> None:
    with AnswerLog(tmp_path, ["1"]) as log:
        log.add("whole", {"tries": 1})
        log.add("torn", {"tries": 2})
    (path,) = tmp_path.rglob("*.jsonl")
    path.write_bytes(path.read_bytes()[:-lost])
    again = AnswerLog(tmp_path, ["1"])
    assert (again.get("whole"), again.get("torn")) == ({"tries": 1}, None)


@pytest.mark.parametrize("damage", [b"\0\0\0\n", b"[]\n", b'{"key": "a"}\n', b"{\n"])
def test_another_damage_is_told_with_its_remedy(tmp_path: Path, damage: bytes) -> None:
    with AnswerLog(tmp_path, ["1"]) as log:
        log.add("whole", {"tries": 1})
    (path,) = tmp_path.rglob("*.jsonl")
    path.write_bytes(damage + path.read_bytes())
    with pytest.raises(StageError, match=rf"{path}, line 1: .* Remove the file"):
        AnswerLog(tmp_path, ["1"])


def test_without_a_folder_nothing_is_kept() -> None:
    with AnswerLog(None, ["1"]) as log:
        log.add("key", {"tries": 1})
        assert log.get("key") is None
