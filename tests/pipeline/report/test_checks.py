"""The quality classifier's section, on what the real stage reports."""

from pathlib import Path

from lxml import etree

from pipeline.artifact import Artifact, Part
from pipeline.ledger import Ledger
from pipeline.report.checks import classifier_section
from pipeline.report.facts import Facts
from pipeline.run import Run
from stages.filters.classifier import TrainQuality, TrainQualityConfig, _quality_of


def _section(run: Run, good: list[bool], scores: list[float]) -> etree._Element:
    sides = {side: {"training": 90, "held_out": good.count(side == "positive")} for side in ("positive", "negative")}
    summary = {"documents": sides} | _quality_of(good, scores)
    part = Part("key", "all", "data/key", (), Ledger(), summary)
    config = TrainQualityConfig(positive=("books",), negative=("pages",)).identity()
    step = {"label": "good.classifier", "stage": TrainQuality.name, "version": 1, "config": config}
    facts = Facts(run)
    artifact = Artifact("good.classifier", TrainQuality.produces, "0" * 32, Path("nowhere"), (step,), {}, (part,))
    facts.artifacts = {"good.classifier": artifact}
    section = classifier_section(facts)
    assert section is not None
    return etree.fromstring(section)


def _text(node: etree._Element) -> str:
    return "".join(node.itertext()).replace("\u00a0", " ")


def test_precision_recall_and_area_are_shown(filtered: Run) -> None:
    section = _section(filtered, [True] * 50 + [False] * 50, [0.9] * 40 + [0.2] * 10 + [0.1] * 50)
    facts = [(_text(fact[0]), _text(fact[1])) for fact in section.iter("div") if fact.find("dt") is not None]
    assert facts == [("precision at 0.5", "100 %"), ("recall at 0.5", "80 %"), ("area under the ROC curve", "1.000")]
    assert "take these numbers as a hint" not in _text(section)


def test_few_held_out_documents_are_called_few(filtered: Run) -> None:
    section = _section(filtered, [True] * 3 + [False] * 50, [0.9] * 3 + [0.1] * 50)
    assert "only 3 good and 50 other documents" in _text(section)


def test_a_classifier_that_calls_nothing_good_is_called_useless(filtered: Run) -> None:
    section = _section(filtered, [True] * 50 + [False] * 50, [0.47] * 100)
    assert "it has learnt nothing usable" in _text(section)
