"""Deciding again from stored scores: the same answer as a new run gives, or an honest "unknown"."""

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.artifact import Artifact
from pipeline.errors import RecipeError
from pipeline.explain import explain
from pipeline.filter import Rule
from pipeline.rethreshold import rethreshold
from pipeline.stage import StageConfig
from tests.pipeline.test_filter import Capitals, Words
from tests.stages.in_process import removed_from, rows_of, run_here, write_lines

WORDS, CAPITALS = "tests.pipeline.test_filter:Words", "tests.pipeline.test_rethreshold:LimitedCapitals"
COSTLY = "tests.pipeline.test_rethreshold:CostlyLimitedCapitals"
UPPER = "tests.pipeline.test_filter:Upper"

LINES = [
    "Word",
    "two WORDS",
    "these are three",
    "NOW four words HERE",
    "",
    "OTHER lines",
    "ONE",
    "It has five words Now",
]


class CapitalsConfig(StageConfig):
    max_capitals: int | None = 3


class LimitedCapitals(Capitals):
    """Drops texts of many capitals."""

    config_type = CapitalsConfig
    rules = (Rule("too_many_capitals", "capitals.capitals", ">", "max_capitals"),)


class CostlyLimitedCapitals(LimitedCapitals):
    """As above, as if it took a GPU."""

    measures_dropped = False


def run(folder: Path, **options: Any) -> Artifact:
    """Run both filters with these options on LINES."""
    words = {k: v for k, v in options.items() if k in Words.config_type.model_fields}
    capitals = {k: v for k, v in options.items() if k not in words}
    write_lines(folder / "docs.jsonl", LINES)
    recipe = {
        "docs": {"stage": "json_lines", "files": "docs.jsonl"},
        "kept": {"from": "docs", "chain": [{WORDS: words}, {CAPITALS: capitals}]},
    }
    return run_here(folder, recipe)["kept"]


def endings(artifact: Artifact) -> dict[str, tuple[str, str]]:
    """Step and reason of every document of a run; empty strings for kept ones."""
    found = {row["id"]: ("", "") for row in rows_of(artifact)}
    return found | {row["id"]: (row["step"], row["reason"]) for row in removed_from(artifact)}


def selected(path: Path) -> dict[str, tuple[str, str]]:
    """Step and reason of every document of a selection."""
    return {row["id"]: (row["step"], row["reason"]) for row in pq.read_table(path).to_pylist()}


OPTIONS = st.fixed_dictionaries(
    {
        "min_words": st.none() | st.integers(0, 6),
        "max_words": st.none() | st.integers(0, 6),
        "max_capitals": st.none() | st.integers(0, 10),
        "not_first": st.lists(st.sampled_from(["NOW", "Word", "these"]), max_size=2),
    }
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(OPTIONS, OPTIONS)
def test_the_answer_is_what_a_run_with_these_thresholds_gives(
    tmp_path_factory: pytest.TempPathFactory, first: dict[str, Any], second: dict[str, Any]
) -> None:
    folder = tmp_path_factory.mktemp("first")
    run(folder, **first)
    stages = {name: "words" if name in Words.config_type.model_fields else "capitals" for name in second}
    changes = [f"{stages[name]}.{name}={'null' if value is None else value}" for name, value in second.items()]
    selection = rethreshold(folder / "run", "kept", changes)
    assert selected(selection.path) == endings(run(tmp_path_factory.mktemp("second"), **second))


def test_without_a_change_every_document_ends_as_it_did(tmp_path: Path) -> None:
    artifact = run(tmp_path)
    selection = rethreshold(tmp_path / "run", "kept", [])
    assert selection.before == selection.after
    rows = {row["id"]: row for row in pq.read_table(selection.path).to_pylist()}
    evidence = {row["id"]: row["evidence"] for row in removed_from(artifact)}
    assert {i: row["evidence"] for i, row in rows.items() if row["verdict"] == "dropped"} == evidence
    assert Counter(row["verdict"] for row in rows.values()) == {"kept": 2, "dropped": 6}


@pytest.mark.parametrize("between", [[UPPER, CAPITALS], [COSTLY]])
def test_what_a_later_stage_has_not_seen_is_unknown(tmp_path: Path, between: list[str]) -> None:
    write_lines(tmp_path / "docs.jsonl", LINES)
    recipe = {
        "docs": {"stage": "json_lines", "files": "docs.jsonl"},
        "kept": {"from": "docs", "chain": [{WORDS: {"min_words": 3}}, *({name: {}} for name in between)]},
    }
    before = endings(run_here(tmp_path, recipe)["kept"])
    selection = rethreshold(tmp_path / "run", "kept", ["words.min_words=2"])
    rows = pq.read_table(selection.path).to_pylist()
    unknown = [row["id"] for row in rows if row["verdict"] == "unknown"]
    assert len(unknown) == 2  # the two of two words
    assert all(before[i][1] == "too_few" for i in unknown)
    # one that the stricter rule alone had dropped and the looser drops too needs no later stage
    assert sum(row["reason"] == "too_few" for row in rows) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("words.min_wrds=2", "unknown option 'min_wrds'; did you mean 'min_words'"),
        ("wrds.min_words=2", "kept has no stage 'wrds'; did you mean 'words'"),
        ("min_words=2", "expected stage.option=value"),
        ("words.min_words=few", "kept.words: min_words: Input should be a valid integer"),
        ("gopher_quality.language=de", "changes what is measured, not what is kept"),
        ("upper.loud=true", "kept.upper is no filter"),
    ],
)
def test_what_is_no_threshold_is_refused(tmp_path: Path, change: str, message: str) -> None:
    write_lines(tmp_path / "docs.jsonl", LINES)
    recipe = {
        "docs": {"stage": "json_lines", "files": "docs.jsonl"},
        "kept": {"from": "docs", "chain": [{WORDS: {}}, {"gopher_quality": {}}, {UPPER: {}}]},
    }
    run_here(tmp_path, recipe)
    with pytest.raises(RecipeError, match=message.replace("(", r"\(")):
        rethreshold(tmp_path / "run", "kept", [change])
    assert not list(tmp_path.rglob("*.unfinished"))


def test_an_artifact_that_is_not_there_is_told(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(RecipeError, match="no finished artifact 'keep' of documents; did you mean 'kept'"):
        rethreshold(tmp_path / "run", "keep", [])


def test_an_artifact_that_ran_as_part_of_another_is_told_with_that_one(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(RecipeError, match="'docs' was run as part of 'kept': give 'kept' in its place"):
        rethreshold(tmp_path / "run", "docs", [])


def test_a_document_is_explained_by_every_threshold(tmp_path: Path) -> None:
    artifact = run(tmp_path, max_words=4)
    (long,) = (row["id"] for row in removed_from(artifact) if row["reason"] == "too_many")
    assert explain(tmp_path / "run", long).as_text().split("\n")[-7:] == [
        "    kept.words:",
        "      passes too_few: 5 words (drops < 2, min_words)",
        "      drops  too_many: 5 of these (drops > 4, max_words)",
        "      passes bad_first: It first (off, not_first)",
        "      passes bad_last: Now last (off, only_last)",
        "    kept.capitals:",
        "      passes too_many_capitals: 2 capitals (drops > 3, max_capitals)",
    ]
