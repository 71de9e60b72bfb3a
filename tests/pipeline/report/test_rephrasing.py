"""The section on rephrasing: what was planned, what passed, what it cost, and samples."""

import inspect
import json
import logging
import re
from pathlib import Path

import pytest
import yaml
from lxml import etree

from pipeline.report.facts import Facts
from pipeline.report.rephrasing import rephrasing_section
from pipeline.run import Run
from tests.pipeline.report.runs import HOSTILE_TEXT
from tests.stages.in_process import run_here, write_lines
from tests.stages.rephrase.small_pipeline import STAGE
from tests.stages.rephrase.small_styles import write_styles

REFUSED = {3: "support", 8: "support", 13: "number_precision"}
HOSTILE = 5
ADDRESS = "ada.byron@analytical-engines.org"


def pairs() -> list[tuple[str, str]]:
    """Docstrings, and what a model may have made of them."""
    found = []
    for _, value in inspect.getmembers(logging):
        text = " ".join((inspect.getdoc(value) or "").split())
        if len(text) > 150 and text not in [source for source, _ in found]:
            found.append((text, text[: 2 * len(text) // 3]))
    return found[:30]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A rephrasing of two sources in two styles, some answers refused and one hostile."""
    folder: Path = tmp_path_factory.mktemp("rephrased")
    lines = []
    for i, (source, answer) in enumerate(pairs()):
        told = f"{REFUSED[i]}!" if i in REFUSED else HOSTILE_TEXT if i == HOSTILE else answer
        hostile = HOSTILE_TEXT[:100] if i == HOSTILE else ""
        lines.append(f"Ask {ADDRESS}. {source}{hostile} || {told}")
    write_lines(folder / "docs.jsonl", lines[:20])
    write_lines(folder / "books.jsonl", lines[20:])
    styles = write_styles(folder / "styles.yaml", plain={}, other={})
    options = {"style": ["plain", "other"], "styles": str(styles), "max_synthetic_share": {"docs": 0.5, "books": 0.2}}
    run_here(
        folder,
        {
            "docs": {"stage": "json_lines", "files": "docs.jsonl"},
            "books": {"stage": "json_lines", "files": "books.jsonl"},
            "new": {"stage": STAGE, "from": ["docs", "books"], "price_in": 2, "price_out": 10, **options},
        },
    )
    return Run.open(folder / "run")


@pytest.fixture(scope="module")
def root(run: Run) -> etree._Element:
    made = rephrasing_section(Facts(run))
    assert made is not None
    return etree.fromstring(made)


def said(node: etree._Element) -> str:
    return " ".join("".join(node.itertext()).replace("\u00a0", " ").split())


def rows(root: etree._Element, caption: str) -> list[list[str]]:
    (table,) = [table for table in root.iter("table") if said(table.find("caption")).startswith(caption)]
    return [[said(cell) for cell in row.iter("td", "th")] for row in table.find("tbody").iter("tr")]


def test_the_plan_says_what_limits_each_source(root: etree._Element) -> None:
    by_source = {row[0]: row for row in rows(root, "What was planned")}
    assert by_source["docs"][1:6] == ["20", "20", "100 %", "100 %", "all that suit a style"]
    assert by_source["books"][5] == "the option max_synthetic_share"


def test_acceptance_by_style_and_by_gate(root: etree._Element) -> None:
    by_style = rows(root, "Acceptance by style")
    assert [row[0] for row in by_style] == ["other", "plain"]
    written, passed = (sum(int(row[column]) for row in by_style) for column in (1, 2))
    assert written - passed == len(REFUSED)
    by_gate = rows(root, "What was refused")
    assert [row[:3] for row in by_gate] == [["support", "2", "67 %"], ["number_precision", "1", "33 %"]]


def test_rejections_and_the_synthetic_share_by_source(root: etree._Element) -> None:
    by_source = {row[0]: row for row in rows(root, "What came of")}
    assert by_source["docs"][1:3] == ["20", "3 (15 %)"]
    assert by_source["books"][5].endswith("of at most 20 %")


def headline(root: etree._Element) -> dict[str, str]:
    return {said(fact.find("dt")): said(fact.find("dd")) for fact in root.iter("div") if fact.find("dt") is not None}


def test_the_headline_counts_tokens_and_cost(root: etree._Element, run: Run) -> None:
    facts = headline(root)
    (noted,) = [c.noted for c in Facts(run).artifacts["new.written"].ledger.last().values() if c.noted]
    assert facts["tokens out"] == f"{noted['rephrase_completion_tokens']:,}"
    cost = (2 * noted["rephrase_prompt_tokens"] + 10 * noted["rephrase_completion_tokens"]) / 1e6
    assert facts["cost"] == f"{cost:.2g}"
    assert facts["kept"] == str(sum(c.kept for c in Facts(run).artifacts["new"].ledger.last().values()))
    assert "of which 3 asked again" in said(root)


def test_the_cost_is_that_of_the_prices_that_the_recipe_gives_today(run: Run) -> None:
    def cost(**prices: float) -> str | None:
        facts = Facts(run)
        recipe = yaml.safe_load(facts.recipe_text)
        recipe["artifacts"]["new"] |= prices
        facts.recipe_text = yaml.safe_dump(recipe)
        return headline(etree.fromstring(rephrasing_section(facts) or "")).get("cost")

    assert cost(price_in=0, price_out=0) is None
    assert float(cost(price_in=2e6, price_out=0).replace(",", "")) == pytest.approx(
        float(cost(price_in=1e6, price_out=0).replace(",", "")) * 2
    )


def test_a_sample_stands_beside_its_source_with_the_differences_marked(root: etree._Element) -> None:
    shown = [[said(side) for side in pair.iter("pre")] for pair in root.iterfind(".//div[@class='compared']")]
    known = {source[:60] for source, _ in pairs()}
    assert len(shown) >= 6
    assert all(source.partition(". ")[2][:60] in known for source, _ in shown)
    assert any("||" in said(mark) for mark in root.iter("del"))


def test_private_data_that_no_model_saw_is_not_shown_either(root: etree._Element) -> None:
    assert ADDRESS not in said(root)
    assert all("Ask <EMAIL>." in said(pair) for pair in root.iterfind(".//div[@class='compared']"))


def test_refused_documents_are_shown_with_gate_and_evidence(root: etree._Element) -> None:
    (fold,) = [d for d in root.iter("details") if said(d.find("summary")).startswith("Documents that a gate refused")]
    evidence = [said(pair.find("p")) for pair in fold.iterfind("div")]
    assert len(evidence) == 3
    assert evidence[0].startswith("number_precision 0.31 < 0.6; in the style ")


def test_what_a_text_holds_is_never_markup(run: Run) -> None:
    made = rephrasing_section(Facts(run)) or ""
    assert "<script" not in made
    assert "<img" not in made
    assert "\u202e" not in made


def test_the_same_run_gives_the_same_section(run: Run) -> None:
    assert rephrasing_section(Facts(run)) == rephrasing_section(Facts(Run.open(run.folder)))


def warnings_of(folder: Path, **options: object) -> list[str]:
    """What the section warns of where answers come out far longer than their style lets expect."""
    write_lines(folder / "docs.jsonl", [f"{source} || {answer * 4}" for source, answer in pairs()])
    short = {"gates": {"length_ratio": {"min": 0.01, "max": 0.09}}}
    styles = write_styles(folder / "styles.yaml", plain=short, long={"tokens": [100_000, 200_000]})
    stage = {"stage": STAGE, "from": "docs", "style": ["plain", "long"], "styles": str(styles), **options}
    run_here(folder, {"docs": {"stage": "json_lines", "files": "docs.jsonl"}, "new": stage})
    made = etree.fromstring(rephrasing_section(Facts(Run.open(folder / "run"))) or "")
    return [said(p) for p in made.iter("p") if "warning" in (p.get("class") or "")]


def test_warnings_of_plan_and_monitor_are_told(tmp_path: Path) -> None:
    warnings = warnings_of(tmp_path, max_synthetic_share=0.2)
    assert warnings[0].startswith("No document of the sample is written in the style long")
    assert "came out longer than was planned" in warnings[-1]


def test_a_budget_that_was_passed_is_told(tmp_path: Path) -> None:
    warnings = warnings_of(tmp_path, budget_tokens=700)
    assert re.fullmatch(r"The answers took [\d,]+ tokens, more than the budget of 700\.", warnings[-1])


def test_a_run_that_has_only_planned_shows_its_plan(run: Run, tmp_path: Path) -> None:
    state = json.loads((run.folder / "run.json").read_text())
    there = Facts(run)
    only = {name: artifact for name, artifact in there.artifacts.items() if name in ("docs", "books", "new.plan")}
    there.artifacts = only
    assert state["artifacts"].keys() > only.keys()
    assert "Nothing is written yet" in said(etree.fromstring(rephrasing_section(there) or ""))


def test_a_run_without_rephrasing_has_no_such_section(tmp_path: Path) -> None:
    write_lines(tmp_path / "docs.jsonl", ["a text"])
    run_here(tmp_path, {"docs": {"stage": "json_lines", "files": "docs.jsonl"}})
    assert rephrasing_section(Facts(Run.open(tmp_path / "run"))) is None
