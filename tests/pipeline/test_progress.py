"""What the terminal says about a stage, and how long stages tell how far they are."""

import io
import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from pipeline import progress
from pipeline.errors import StageError
from pipeline.progress import (
    Display,
    ProgressFile,
    StageProgress,
    Steps,
    describe,
    forget_steps,
    reported_steps,
    table_of,
    working,
)
from tests.steps import Told


def test_a_report_is_read_back(tmp_path: Path) -> None:
    assert reported_steps(tmp_path, "model") == []
    ProgressFile(tmp_path, "model", "a").report(3, 10)
    ProgressFile(tmp_path, "model", "b").report(1, 4)
    assert reported_steps(tmp_path, "model") == [(3, 10), (1, 4)]
    ProgressFile(tmp_path, "model", "a").clear()
    assert reported_steps(tmp_path, "model") == [(1, 4)]
    forget_steps(tmp_path, "model")
    assert reported_steps(tmp_path, "model") == []


def test_reports_in_quick_succession_are_skipped_but_never_the_last(tmp_path: Path) -> None:
    file = ProgressFile(tmp_path, "model", "a")
    for step in range(1, 10):
        file.report(step, 10)
    assert reported_steps(tmp_path, "model") == [(1, 10)]
    file.report(10, 10)
    assert reported_steps(tmp_path, "model") == [(10, 10)]


def test_the_rest_takes_as_long_as_the_same_share_took() -> None:
    stage = StageProgress("running", parts_done=2, parts=8, started=time.monotonic() - 30)
    assert abs(stage.remaining_s() - 90) < 1  # 2 parts in 30 s, 6 to go


def test_parts_that_an_earlier_run_made_do_not_make_this_one_look_fast() -> None:
    stage = StageProgress("running", parts_done=6, parts=8, reused_parts=4, started=time.monotonic() - 30)
    assert abs(stage.remaining_s() - 30) < 1  # 2 parts in 30 s, 2 to go


def test_nobody_knows_how_long_it_takes_before_the_first_part_is_done() -> None:
    assert StageProgress("running", parts=8, started=time.monotonic() - 30).remaining_s() is None
    assert StageProgress("waiting", parts=8).remaining_s() is None


def test_a_global_stage_is_as_far_as_its_steps() -> None:
    assert StageProgress("running", parts=1, steps=[(30, 120)]).fraction() == 0.25


def test_tasks_under_way_count_as_far_as_their_steps() -> None:
    # One of four tasks is done, one has gone half its way, one a quarter.
    stage = StageProgress("running", parts_done=1, parts=4, steps=[(60, 120), (5, 20)])
    assert stage.fraction() == (1 + 0.5 + 0.25) / 4
    assert "65/140" in describe(stage)


@given(
    st.sampled_from(["waiting", "running", "done", "reused"]),
    st.integers(0, 50),
    st.integers(0, 50),
    st.lists(st.tuples(st.integers(0, 9), st.just(9)), max_size=3),
)
def test_no_stage_is_more_than_done(state: str, done: int, more: int, steps: list[tuple[int, int]]) -> None:
    stage = StageProgress(state, parts_done=done, parts=done + more, steps=steps, started=time.monotonic())
    assert 0 <= stage.fraction() <= 1
    assert describe(stage)


def test_plain_output_gets_a_line_for_each_stage_that_ends_with_documents_in_and_out() -> None:
    stages = {"web": StageProgress("done", 4, 4, documents=30, records=1234, seconds=12.0)}
    out = io.StringIO()
    display = Display(Console(file=out, force_terminal=False), stages)
    display.stage_ended("web")
    assert out.getvalue() == "web: 4/4 parts, 1,234 in, 30 out, 103/s, 12 s\n"


def test_plain_output_gets_a_line_now_and_then_about_what_runs(monkeypatch) -> None:
    out = io.StringIO()
    stages = {"web": StageProgress("running", 1, 4, started=time.monotonic() - 30), "model": StageProgress()}
    display = Display(Console(file=out, force_terminal=False), stages)
    display.tick()
    assert out.getvalue() == ""
    monkeypatch.setattr(progress, "PRINT_EVERY_S", 0.0)
    display.tick()
    assert out.getvalue() == "running: web 1/4 parts, 30 s, 90 s left\n"


def test_a_command_that_works_long_tells_a_line_now_and_then_on_standard_error(monkeypatch, capsys) -> None:
    monkeypatch.setattr(progress, "PRINT_EVERY_S", 0.05)
    with working("deciding again") as tick:
        tick(1, 4)
        time.sleep(0.2)
    told = capsys.readouterr()
    assert told.out == ""
    assert re.match(r"deciding again: 1/4, [\d.,]+ per second, 0 s, \d s left\n", told.err)


def test_a_command_that_works_long_tells_its_time_where_it_knows_no_steps(monkeypatch, capsys) -> None:
    monkeypatch.setattr(progress, "PRINT_EVERY_S", 0.05)
    with working("comparing"):
        time.sleep(0.2)
    assert capsys.readouterr().err.startswith("comparing: 0 s\n")


def test_a_command_that_is_quick_or_quiet_tells_nothing_of_its_way(monkeypatch, capsys) -> None:
    with working("comparing"):
        pass
    monkeypatch.setattr(progress, "PRINT_EVERY_S", 0.05)
    with working("comparing", is_quiet=True):
        time.sleep(0.2)
    assert capsys.readouterr().err == ""


def test_nothing_is_told_once_a_command_has_failed(monkeypatch, capsys) -> None:
    monkeypatch.setattr(progress, "PRINT_EVERY_S", 0.05)
    with pytest.raises(StageError, match="damaged"), working("comparing"):
        raise StageError("a part is damaged")
    time.sleep(0.2)
    assert capsys.readouterr().err == ""


def test_the_rest_of_steps_takes_as_long_as_those_before() -> None:
    assert progress._how_far(2_000, 8_000, 10.0) == "2,000/8,000, 200.0 per second, 10 s, 30 s left"


def test_the_table_has_a_row_for_each_stage_in_order() -> None:
    stages = {"web": StageProgress("done", 2, 2, 5, 9, seconds=1.0), "model": StageProgress()}
    out = io.StringIO()
    Console(file=out, width=100).print(table_of(stages))
    lines = out.getvalue().split("\n")
    assert lines[1].split() == ["web", "done", "2/2", "9", "5", "9", "1", "s"]
    assert lines[2].split() == ["model", "waiting"]


def test_things_that_are_gone_through_count_as_steps_once_they_are_done() -> None:
    told = Told()
    steps = Steps(told, 5)
    for number, _ in enumerate(steps.of("ab")):
        assert told.steps == [(done, 5) for done in range(1, number + 1)]
    assert list(steps.of("cdefgh", 3 / 6)) == list("cdefgh")
    assert told.is_whole()


def test_a_long_name_is_told_whole_on_a_narrow_terminal() -> None:
    out = io.StringIO()
    Console(file=out, width=60).print(table_of({"web_clean.gopher_repetition" * 3: StageProgress("done")}))
    first_column = [line.split()[0] for line in out.getvalue().splitlines()[1:]]
    assert len(first_column) > 1
    assert "".join(first_column) == "web_clean.gopher_repetition" * 3
