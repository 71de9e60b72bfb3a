"""The section on quality, on what the real stages report."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lxml import etree

from pipeline.artifact import Artifact, Part
from pipeline.graph import build_graph
from pipeline.ledger import Ledger
from pipeline.recipe import recipe_of
from pipeline.report.facts import Facts
from pipeline.report.quality import GROUPS, quality_section
from pipeline.run import Run
from stages.filters.quality.cutoffs import Cutoff, QualityCutoffs
from stages.filters.quality.evaluation import quality_of
from stages.filters.quality.training import GRID, TrainQuality, TrainQualityConfig
from tests.stages.in_process import write_lines


@pytest.fixture
def empty_run(tmp_path: Path) -> Run:
    """A run that has just begun."""
    write_lines(tmp_path / "docs.jsonl", ["text"])
    values = {"name": "here", "artifacts": {"docs": {"stage": "json_lines", "files": "docs.jsonl"}}}
    run = Run(tmp_path / "run")
    run.begin(build_graph(recipe_of(tmp_path / "recipe.yaml", values)), {})
    return run


def _section(run: Run, stage: type[Any], summary: Mapping[str, Any]) -> etree._Element:
    part = Part("key", "all", "data/key", (), Ledger(), summary)
    config = TrainQualityConfig(positive=("books",), negative=("pages",)).identity()
    step = {"label": "good.classifier", "stage": stage.name, "version": 1, "config": config}
    facts = Facts(run)
    facts.artifacts = {
        "good.one": Artifact("good.one", stage.produces, "0" * 32, Path("nowhere"), (step,), {}, (part,))
    }
    section = quality_section(facts)
    assert section is not None
    return etree.fromstring(section)


def _classifier(run: Run, good: list[bool], scores: list[float], **more: Any) -> etree._Element:
    sides = {side: {"training": 90, "held_out": good.count(side == "positive")} for side in ("positive", "negative")}
    summary = {"documents": sides, "settings": GRID[0], "trials": []} | quality_of(np.array(good), np.array(scores))
    return _section(run, TrainQuality, summary | more)


def _cutoffs(run: Run, cutoffs: list[Cutoff], absent: tuple[str, ...] = ()) -> etree._Element:
    summary = {"score": "quality.score", "cutoffs": [vars(c) for c in cutoffs], "absent_sources": absent}
    return _section(run, QualityCutoffs, summary)


def _text(node: etree._Element) -> str:
    return "".join(node.itertext()).replace("\u00a0", " ")


def _rows(section: etree._Element) -> list[list[str]]:
    return [[_text(cell) for cell in row] for row in section.iter("tr")]


def test_measures_on_held_out_documents_are_shown(empty_run: Run) -> None:
    section = _classifier(empty_run, [True] * 50 + [False] * 50, [0.9] * 40 + [0.2] * 10 + [0.1] * 50)
    facts = {_text(fact[0]): _text(fact[1]) for fact in section.iter("div") if fact.find("dt") is not None}
    assert facts == {
        "area under the ROC curve": "1.000",
        "average precision": "1.000",
        "precision at 0.5": "100 %",
        "recall at 0.5": "80 %",
        "Brier score": "0.073 of 0.250",
    }
    assert not section.xpath("//p[contains(@class, 'warning')]")


def test_the_calibration_curve_has_a_point_for_each_bin(empty_run: Run) -> None:
    section = _classifier(empty_run, [True] * 50 + [False] * 50, [0.9] * 40 + [0.2] * 60)
    titles = [_text(dot) for dot in section.iter("circle")]
    assert titles == [
        "60 documents: mean score 0.200, 17 % good",
        "40 documents: mean score 0.900, 100 % good",
    ]


def test_few_held_out_documents_are_called_few(empty_run: Run) -> None:
    section = _classifier(empty_run, [True] * 3 + [False] * 50, [0.9] * 3 + [0.1] * 50)
    assert "only 3 good and 50 other documents" in _text(section)


def test_a_classifier_that_calls_nothing_good_is_called_useless(empty_run: Run) -> None:
    assert "it has learnt nothing usable" in _text(_classifier(empty_run, [True] * 50 + [False] * 50, [0.47] * 100))


def test_uneven_sides_are_told(empty_run: Run) -> None:
    sides = {side: {"training": n, "held_out": 50} for side, n in (("positive", 100), ("negative", 300))}
    section = _classifier(empty_run, [True] * 50 + [False] * 50, [0.9] * 50 + [0.1] * 50, documents=sides)
    assert "It learnt from 100 good and 300 other documents" in _text(section)


def test_trials_are_listed_and_the_chosen_one_is_marked(empty_run: Run) -> None:
    trials = [{**settings, "auc": 0.9, "brier": 0.1} for settings in GRID[:3]]
    section = _classifier(empty_run, [True] * 50 + [False] * 50, [0.9] * 100, trials=trials, settings=GRID[1])
    marks = [row[0] for row in _rows(section) if row[0] in ("", "chosen")]
    assert marks == ["", "", "chosen", ""]  # the first is the heading


def test_cutoffs_are_shown_by_source_and_language(empty_run: Run) -> None:
    section = _cutoffs(
        empty_run,
        [
            Cutoff("web", "de", 20, 10, 0.1, 0.25, 1),
            Cutoff("web", "en", 100, 100, 0.1, 0.5, 10),
            Cutoff("x", None, 1, 0, 0.1, None, 0),
        ],
    )
    assert _rows(section)[1:] == [
        ["web", "en", "100", "0", "0.5", "10", "10 %", "10 %"],
        ["web", "de", "20", "10", "0.25", "1", "10 %", "10 %"],
        ["x", "–", "1", "1", "–", "0", "10 %", "–"],
    ]
    assert not section.xpath("//p[contains(@class, 'warning')]")


def test_equal_scores_that_make_a_share_larger_are_told(empty_run: Run) -> None:
    section = _cutoffs(empty_run, [Cutoff("web", "en", 100, 100, 0.1, 0.5, 60)])
    assert "In 1 of 1 groups more documents are kept than wanted" in _text(section)


def test_of_many_groups_the_largest_are_shown(empty_run: Run) -> None:
    section = _cutoffs(empty_run, [Cutoff("web", f"l{i}", i, i, 1.0, 0.0, i) for i in range(1, 100)])
    assert len(_rows(section)) == 1 + GROUPS
    assert f"The {GROUPS} largest of 99 groups" in _text(section)


def test_a_source_without_documents_is_named(empty_run: Run) -> None:
    section = _cutoffs(empty_run, [Cutoff("web", "en", 1, 1, 1.0, 0.5, 1)], absent=("wbe",))
    assert "top_share names wbe" in _text(section)


def test_a_run_without_a_classifier_has_no_such_section(empty_run: Run) -> None:
    assert quality_section(Facts(empty_run)) is None
