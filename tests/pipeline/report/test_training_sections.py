"""Pretraining: the numbers of the artifacts, and honest words about them."""

from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from pipeline.report import write_report
from pipeline.report.facts import Facts
from pipeline.report.head import sentence
from pipeline.report.training import measured_gain, mix_of, model_section
from pipeline.run import Run
from tests.pipeline.report.mixes import mix_summary, model_summary, run_with


@pytest.fixture
def trained(tmp_path: Path) -> Run:
    """A mix, and models by it and by the natural mix; nothing of it was really trained."""
    mix = mix_summary()
    return run_with(tmp_path, mix, model_summary(mix))


def _sections(run: Run) -> dict[str, etree._Element]:
    html = write_report(run).read_text(encoding="utf-8")
    page = etree.fromstring(html.removeprefix("<!DOCTYPE html>\n"))
    return {section.get("id"): section for section in page.iter("section")}


def _text(node: etree._Element) -> str:
    return "".join(node.itertext()).replace("\u00a0", " ")


def test_the_measured_gain_is_natural_minus_best_at_the_last_evaluation(trained: Run) -> None:
    artifact = trained.artifacts()["model"]
    ends = {name: model["evaluations"][-1] for name, model in artifact.summary["models"].items()}
    weights = artifact.summary["weights"]
    expected = sum(w * (ends["natural"][m] - ends["optimal"][m]) for m, w in weights.items())
    gain = measured_gain(artifact)
    assert gain == pytest.approx(expected)
    assert gain is not None
    assert f"measured {abs(gain):.3f} {'better' if gain > 0 else 'worse'}" in sentence(Facts(trained))


@pytest.mark.parametrize(
    ("gain", "words"),
    [
        (-0.5, "The mix did not win: it ended 0.500 bits per byte worse"),
        (1e-9, "The mix won, but by no more than chance may give"),
        (50.0, "The mix won: it ended 50.000 bits per byte better"),
    ],
)
def test_the_verdict_says_plainly_who_won(trained: Run, gain: float, words: str) -> None:
    facts = Facts(trained)
    models = facts.artifacts["model"].summary["models"]
    for metric in facts.artifacts["model"].summary["weights"]:
        models["natural"]["evaluations"][-1][metric] = models["optimal"]["evaluations"][-1][metric] + gain
    section = model_section(facts)
    assert section is not None
    assert words in section


def test_both_models_are_drawn_in_each_chart(trained: Run) -> None:
    charts = list(_sections(trained)["model"].iter("svg"))
    paths = [[path.get("class") for path in chart.iter("path")] for chart in charts]
    curves = [[style for style in styles if style != "grid"] for styles in paths]
    assert curves == [["line optimal", "line natural"]] * 3  # held-out, loss, and the answers that are measured


def test_predicted_and_measured_gain_stand_side_by_side(trained: Run) -> None:
    facts = Facts(trained)
    artifact = facts.artifacts["model"]
    predicted = mix_of(artifact, facts)["optimum"]["gain"]
    rows = [[_text(cell) for cell in row] for row in _sections(trained)["model"].iter("tr")]
    (total,) = [row for row in rows if row[0] == "weighted mean"]
    gain = measured_gain(artifact)
    assert gain is not None
    assert [cell.lstrip("+−") for cell in total[3:]] == [f"{abs(gain):.3f}", f"{abs(predicted):.3f}"]


def test_predicted_gains_of_metrics_are_those_at_the_size_of_the_target(trained: Run) -> None:
    mix = Facts(trained).artifacts["mix"].summary
    at_proxies = mix["optimum"]["natural"]["metrics"][0] - mix["optimum"]["best"]["metrics"][0]
    expected = at_proxies * mix["transfer"]["extrapolated"][0]
    assert abs(expected - at_proxies) > 0.001
    rows = [[_text(cell) for cell in row] for row in _sections(trained)["model"].iter("tr")]
    (web,) = [row for row in rows if row[0] == "web"]
    assert web[-1].lstrip("+−") == f"{abs(expected):.3f}"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, "measured on proxies 0.166 better."),
        ({"beats_natural": False, "gain": 0.01}, "measured on proxies 0.010 better, which chance alone may give."),
        ({"beats_natural": False, "gain": -0.01}, "measured on proxies 0.010 worse."),
    ],
)
def test_without_a_model_the_sentence_tells_what_proxies_on_the_mix_did(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    mix = mix_summary()
    mix["confirmation"][-1] |= change
    assert sentence(Facts(run_with(tmp_path, mix))).endswith(words)


def test_the_sentence_names_no_more_than_six_sources(tmp_path: Path) -> None:
    mix = mix_summary(9, 9) | {"confirmation": []}
    assert " and 3 more: predicted " in sentence(Facts(run_with(tmp_path, mix)))
