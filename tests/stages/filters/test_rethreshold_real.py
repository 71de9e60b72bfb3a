"""Stored scores of real documents answer for other thresholds as a new run does."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.artifact import Artifact
from pipeline.rethreshold import rethreshold
from tests.real_texts import real_texts
from tests.stages.in_process import removed_from, rows_of, run_here, write_lines

FILTERS = ("language", "gopher_repetition", "gopher_quality", "c4", "fineweb")
CHANGES: list[dict[str, Any]] = [
    {"language.min_score": 0.3},
    {"language.keep": "[en, de, fr]", "language.min_score": "{fr: 0.9, default: 0.5}"},
    {"gopher_repetition.max_dup_5_gram": 0.5, "gopher_repetition.max_top_2_gram": 0.05},
    {"gopher_quality.min_words": 10, "gopher_quality.min_stop_words": "null"},
    {"c4.max_curly_bracket_lines": "null", "c4.min_sentences": 1},
    {"fineweb.max_short_line_ratio": 0.9, "fineweb.min_line_punct_ratio": "null", "gopher_quality.min_words": 5},
]


def run(folder: Path, lines: list[dict[str, str]], changes: dict[str, Any]) -> Artifact:
    """Run all heuristics with these thresholds."""
    from pipeline.recipe import parsed_value

    write_lines(folder / "docs.jsonl", lines)
    options: dict[str, dict[str, Any]] = {name: {} for name in FILTERS}
    options["c4"]["remove_unpunctuated_lines"] = False
    for change, value in changes.items():
        stage, _, option = change.partition(".")
        options[stage][option] = parsed_value(str(value))
    recipe = {
        "docs": {"stage": "json_lines", "files": "docs.jsonl"},
        "kept": {"from": "docs", "chain": [{name: options[name]} for name in FILTERS]},
    }
    return run_here(folder, recipe)["kept"]


@pytest.fixture(scope="module")
def lines(shared_data: Path) -> list[dict[str, str]]:
    """Some of each source; every fifth is made like a template or a list, so that all filters have something to do."""
    found = []
    for i, text in enumerate(real_texts(shared_data, max_characters=8000)):
        if i % 40 == 0:
            more = ["", "{ }\n", "\n".join(text.text[:400].split()), "cookies use cookies.\n", text.text[:300]][
                i // 40 % 5
            ]
            found.append({"text": more + text.text})
    return found


@pytest.mark.parametrize("changes", CHANGES, ids=lambda changes: ", ".join(changes))
def test_the_selection_is_what_a_run_keeps(
    tmp_path: Path, lines: list[dict[str, str]], changes: dict[str, Any]
) -> None:
    before = run(tmp_path / "first", lines, {})
    assert 0 < len(rows_of(before)) < len(lines)
    selection = rethreshold(tmp_path / "first/run", "kept", [f"{key}={value}" for key, value in changes.items()])
    now = run(tmp_path / "second", lines, changes)
    expected = {row["id"]: ("", "", "") for row in rows_of(now)}
    expected |= {row["id"]: (row["step"], row["reason"], row["evidence"]) for row in removed_from(now)}
    rows = pq.read_table(selection.path).to_pylist()
    assert {row["id"]: (row["step"], row["reason"], row["evidence"]) for row in rows} == expected
    assert selection.before != selection.after
