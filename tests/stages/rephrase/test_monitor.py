"""What is seen of rephrased documents only when they are seen together, and what of them is kept."""

import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.artifact import Artifact
from stages.rephrase import monitor as monitor_module
from stages.rephrase.choice import draw_of
from stages.rephrase.monitor import BINS, Openings, bin_of, opening_of
from tests.stages.in_process import removed_from, rows_of, run_here, write_lines
from tests.stages.rephrase.small_pipeline import STAGE
from tests.stages.rephrase.small_styles import write_styles

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def words(n: int, seed: int) -> str:
    draw = random.Random(seed)
    return " ".join("".join(draw.choices(LETTERS, k=6)) for _ in range(n))


def rephrased(folder: Path, texts: Iterable[str], **options: Any) -> dict[str, Artifact]:
    write_lines(folder / "web.jsonl", list(texts))
    styles = write_styles(folder / "styles.yaml", plain={})
    return run_here(
        folder,
        {
            "web": {"stage": "json_lines", "files": "web.jsonl"},
            "new": {"stage": STAGE, "from": "web", "style": "plain", "styles": str(styles), **options},
        },
    )


def counts(artifact: Artifact) -> dict[str, int]:
    return dict(artifact.ledger.last()["rephrased"].dropped)


def test_answers_within_all_limits_are_kept(tmp_path: Path) -> None:
    made = rephrased(tmp_path, (f"{words(40, i)} || {words(20, 1000 + i)}" for i in range(20)))
    assert len(rows_of(made["new"])) == 20
    assert removed_from(made["new"]) == []
    assert made["new.monitor"].summary["warnings"] == []
    web = made["new.monitor"].summary["sources"]["web"]
    assert (web["documents"], web["kept_bins"]) == (20, BINS)
    assert web["synthetic_bytes"] == web["kept_bytes"] == sum(len(row["text"]) for row in rows_of(made["new"]))


def test_answers_longer_than_planned_are_cut_to_the_share(tmp_path: Path) -> None:
    texts = [f"{words(20, i)} || {words(60, 1000 + i)}" for i in range(200)]
    made = rephrased(tmp_path, texts, max_synthetic_share=0.4)
    kept, gone = rows_of(made["new"]), removed_from(made["new"])
    natural = sum(len(text) for text in texts)
    synthetic = sum(len(row["text"]) for row in kept)
    assert 0.37 < synthetic / (natural + synthetic) <= 0.4
    assert made["new.monitor"].summary["sources"]["web"]["kept_bytes"] == synthetic
    assert counts(made["new"]) == {"over_share": len(gone)}
    assert len(kept) + len(gone) == len(rows_of(made["new.written"]))
    assert max(draw_of(row["parent"], 1) for row in kept) < min(draw_of(row["id"].split("~")[0], 1) for row in gone)
    (warning,) = made["new.monitor"].summary["warnings"]
    assert warning.startswith("the answers from web came out longer than was planned")


def test_near_duplicates_go_and_leave_one(tmp_path: Path) -> None:
    same = words(60, 999)
    texts = [f"{words(150, i)} || {same} and {i}" for i in range(8)]
    texts += [f"{words(150, 100 + i)} || {words(60, 200 + i)}" for i in range(10)]
    made = rephrased(tmp_path, texts)
    gone = removed_from(made["new"])
    (winner,) = {row["id"] for row in rows_of(made["new"]) if same in row["text"]}
    assert counts(made["new"]) == {"duplicate_output": 7}
    assert {row["evidence"].split(" to ")[1] for row in gone} == {winner}
    found = made["new.monitor"].summary
    assert (found["styles"]["plain"]["documents"], found["styles"]["plain"]["duplicates"]) == (18, 7)
    assert found["sources"]["web"]["synthetic_bytes"] == sum(len(row["text"]) for row in rows_of(made["new"]))
    assert any("are near-duplicates of another" in warning for warning in found["warnings"])


def test_common_openings_are_told_and_delete_nothing(tmp_path: Path) -> None:
    texts = [f"{words(60, i)} || The passage below is about {words(20, 1000 + i)}" for i in range(10)]
    texts += [f"{words(60, 100 + i)} || {words(25, 2000 + i)}" for i in range(40)]
    made = rephrased(tmp_path, texts)
    assert len(rows_of(made["new"])) == 50
    first = made["new.monitor"].summary["styles"]["plain"]["openings"][0]
    assert (first["opening"], first["documents"]) == ("the passage below is about", 10)
    ids = {row["id"] for row in rows_of(made["new"]) if row["text"].startswith("The passage")}
    assert len(set(first["examples"]) & ids) == 3
    (warning,) = made["new.monitor"].summary["warnings"]
    assert warning.startswith(
        '20.0% of the documents in the style plain begin with "the passage below is about" (10 of'
    )


def test_tokens_are_counted_by_style(tmp_path: Path) -> None:
    made = rephrased(tmp_path, (f"{words(40, i)} || {words(20, 1000 + i)}" for i in range(5)))
    plain = made["new.monitor"].summary["styles"]["plain"]
    assert (plain["prompt_tokens"], plain["completion_tokens"]) == (5 * 61, 5 * 20)


def test_a_run_in_which_all_was_refused_keeps_nothing(tmp_path: Path) -> None:
    made = rephrased(tmp_path, (f"{words(40, i)} || support!" for i in range(5)))
    assert rows_of(made["new"]) == []
    assert made["new.monitor"].summary["styles"] == {}


@pytest.mark.parametrize(
    ("text", "opening"),
    [
        ("**The** cat, that sat on the mat", "the cat that sat on"),
        ("Question: What is a river?\nAnswer: Water.", "what is a river answer"),
        ("1. Question: What is a river made of?", "what is a river made"),
        ("Two words", "two words"),
        ("", ""),
        ("河流是一种自然形成的水道", "河流 是一 种自 然形 成的"),
    ],
)
def test_the_opening_is_the_first_words(text: str, opening: str) -> None:
    assert opening_of(text) == opening


@given(st.lists(st.sampled_from("abcdefghij"), max_size=300))
def test_common_openings_are_found_in_bounded_memory(drawn: list[str]) -> None:
    openings = Openings(most=3)
    for i, opening in enumerate(drawn):
        openings.add(opening, str(i))
    found = {one["opening"]: one["documents"] for one in openings.commonest()}
    assert len(found) <= 3
    for opening in set(drawn):
        assert drawn.count(opening) - len(drawn) / 4 <= found.get(opening, 0) <= drawn.count(opening)


@given(st.floats(0, 1, exclude_max=True), st.floats(0.001, 1))
def test_a_draw_below_the_share_falls_into_a_bin_in_its_order(draw: float, share: float) -> None:
    below = draw * share
    assert 0 <= bin_of(below, share) < BINS
    assert bin_of(below, share) <= bin_of(share, share) == BINS - 1


def test_the_goals_are_those_of_the_documentation() -> None:
    assert (monitor_module.MAX_OPENING_SHARE, monitor_module.OPENING_WORDS) == (0.02, 5)
