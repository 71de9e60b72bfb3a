"""The sample behind thresholds that can be moved, and the histograms."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pipeline.report.thresholds import thresholds_section
from tests.pipeline.report.test_thresholds import CAPITALS, WORDS, facts_of


def told(made: str) -> dict[str, Any]:
    """The data of the only artifact with thresholds."""
    (text,) = re.findall(r'<script type="application/json" id="what-if-kept">(.*?)</script>', made)
    found: dict[str, Any] = json.loads(text)
    return found


@pytest.fixture
def made(tmp_path: Path) -> str:
    return str(thresholds_section(facts_of(tmp_path, [{WORDS: {"min_words": 2}}, {CAPITALS: {"max_capitals": 4}}])))


def test_each_rule_that_compares_a_number_has_its_limit_and_what_was_measured(made: str) -> None:
    rules = {rule["option"]: rule for rule in told(made)["rules"]}
    assert list(rules) == ["words.min_words", "capitals.max_capitals"]  # max_words is off
    assert (rules["words.min_words"]["drops"], rules["words.min_words"]["limit"]) == ("<", 2)
    # The six documents of test_thresholds; the empty one has failed, and nothing is measured of it.
    assert sorted(rules["words.min_words"]["values"], key=str) == [1, 1, 2, 2, 4, None]
    assert sorted(rules["capitals.max_capitals"]["values"], key=str) == [1, 4, 5, 6, 7, None]


def test_a_document_that_no_threshold_brings_back_is_lost_whatever_they_are(made: str) -> None:
    assert sorted(told(made)["states"]) == ["0"] * 5 + ["1"]  # the empty one has failed


def test_what_a_stage_without_thresholds_drops_is_lost(tmp_path: Path) -> None:
    found = told(str(thresholds_section(facts_of(tmp_path, ["tests.faults.stages:DropsShort", CAPITALS]))))
    # Of fewer than three words are "One", "Two WORDS", "THESE three", "ONEWORD" and the empty one.
    assert sorted(found["states"]) == ["0"] + ["1"] * 5


def test_the_command_names_the_run_and_the_artifact(made: str) -> None:
    assert told(made)["command"] == "sluice rethreshold run kept"


def test_each_score_has_a_histogram_with_its_threshold(made: str) -> None:
    figures = re.findall(r"<figure data-rule.*?</figure>", made)
    assert len(figures) == 2
    assert all('class="threshold"' in one for one in figures)
    assert "drops &lt; 2: 2 documents" in figures[0]
    assert "drops &gt; 4: 3 documents" in figures[1]
