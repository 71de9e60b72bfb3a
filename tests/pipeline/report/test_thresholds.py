"""The table of thresholds: measures of all documents, and what each rule drops by itself."""

import re
from pathlib import Path
from typing import Any

from pipeline.report import page
from pipeline.report.facts import Facts
from pipeline.report.thresholds import thresholds_section
from pipeline.run import Run
from tests.stages.in_process import run_here, write_lines

WORDS, CAPITALS = "tests.pipeline.test_filter:Words", "tests.pipeline.test_rethreshold:LimitedCapitals"


def facts_of(folder: Path, chain: list[Any]) -> Facts:
    write_lines(folder / "docs.jsonl", ["One", "Two WORDS", "THESE three", "and FOUR words here", "", "ONEWORD"])
    run_here(folder, {"docs": {"stage": "json_lines", "files": "docs.jsonl"}, "kept": {"from": "docs", "chain": chain}})
    return Facts(Run.open(folder / "run"))


def rows(made: str) -> dict[str, list[str]]:
    """Cells of each row of the tables, by what heads the row."""
    found = {}
    for row in re.findall(r"<tr>(.*?)</tr>", made):
        cells = [re.sub("<[^>]*>", "", cell) for cell in re.findall(r"<t[hd].*?</t[hd]>", row)]
        found[cells[0]] = cells[1:]
    return found


def test_each_rule_has_its_threshold_its_measures_and_what_it_drops(tmp_path: Path) -> None:
    facts = facts_of(tmp_path, [{WORDS: {"min_words": 2}}, {CAPITALS: {"max_capitals": 4}}])
    found = rows(str(thresholds_section(facts)))
    # words: 1, 2, 2, 4 and 1, one not measured; capitals: 1, 6, 5, 4, 0, 7
    assert found["kept.words: too_few"] == [
        "words &lt; 2 (min_words)",
        "1",
        "1",
        "2",
        "2",
        "3.6",
        "2 (33 %)".replace(" %", "\u00a0%"),
        "1",
    ]
    assert found["kept.words: too_many"][0] == "max_words is off"
    assert found["kept.capitals: too_many_capitals"][-2:] == ["3 (50\u00a0%)", "2"]
    assert "From 6 of 6 documents" in page(facts)


def test_a_run_without_filters_has_no_such_section(tmp_path: Path) -> None:
    assert thresholds_section(facts_of(tmp_path, [{"tests.pipeline.test_filter:Upper": {}}])) is None
