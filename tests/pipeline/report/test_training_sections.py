"""Mix and pretraining: the numbers of the artifacts, and honest words about them."""

import copy
from typing import Any

import pytest
from lxml import etree

from pipeline.report import write_report
from pipeline.report.facts import Facts
from pipeline.report.head import sentence
from pipeline.report.mixture import doubts, repeat_noise
from pipeline.report.training import measured_gain, mix_of, model_section
from pipeline.run import Run


@pytest.fixture
def mix(trained: Run) -> Any:
    """Summary of a real mix, to be changed at will."""
    return copy.deepcopy(dict(trained.artifacts()["mix"].summary))


def _sections(run: Run) -> dict[str, etree._Element]:
    html = write_report(run).read_text(encoding="utf-8")
    page = etree.fromstring(html.removeprefix("<!DOCTYPE html>\n"))
    return {section.get("id"): section for section in page.iter("section")}


def _text(node: etree._Element) -> str:
    return "".join(node.itertext()).replace("\u00a0", " ")


def _believed(mix: Any) -> Any:
    """The same summary with a fit and a gain that leave nothing to doubt."""
    count = len(mix["metrics"])
    mix["evidence"]["families"]["blend"] = {"spearman": [0.99] * count, "rmse": [0.001] * count}
    mix["evidence"]["families"]["linear"] = {"spearman": [0.9] * count, "rmse": [0.1] * count}
    mix["optimum"] |= {"gain": 99.0, "gain_interval": [98.0, 100.0], "nearest_run_l1": 0.0}
    return mix


def test_the_mix_section_shows_ratios_fit_and_gain_of_the_artifact(trained: Run, mix: Any) -> None:
    said = _text(_sections(trained)["mix"])
    for j in range(len(mix["metrics"])):
        assert f"{mix['evidence']['families']['blend']['spearman'][j]:.3f}" in said
        assert f"{mix['evidence']['families']['linear']['rmse'][j]:.4f}" in said
        assert f"{mix['optimum']['epochs'][j]:.2f}" in said
    assert f"{abs(mix['optimum']['gain']):.3f}" in said


def test_each_metric_has_a_scatter_with_two_points_a_proxy(trained: Run, mix: Any) -> None:
    charts = [s for s in _sections(trained)["mix"].iter("svg") if "predicted against" in s.get("aria-label")]
    assert [len(list(chart.iter("circle"))) for chart in charts] == [2 * len(mix["runs"])] * len(mix["metrics"])


def test_a_convincing_fit_leaves_no_doubt(mix: Any) -> None:
    assert doubts(_believed(mix)) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"gain": 0.1, "gain_interval": [-0.1, 100.0]}, "includes no gain at all"),
        ({"gain": 97.0}, "outside its own interval"),
        ({"nearest_run_l1": 2.0}, "No proxy was trained near"),
    ],
)
def test_weak_optima_are_called_weak(mix: Any, change: dict[str, Any], words: str) -> None:
    convincing = _believed(mix)
    convincing["optimum"] |= change
    assert any(words in doubt for doubt in doubts(convincing))


def test_a_metric_that_is_ranked_poorly_is_named_unless_its_weight_is_zero(mix: Any) -> None:
    convincing = _believed(mix)
    convincing["evidence"]["families"]["blend"]["spearman"][1] = 0.5
    name = mix["metrics"][1].removeprefix("bpb.")
    assert any("ranks unseen mixtures poorly" in doubt and f"{name} (0.50)" in doubt for doubt in doubts(convincing))
    convincing["weights"][1] = 0.0
    assert not any("ranks unseen" in doubt for doubt in doubts(convincing))


def test_a_linear_model_that_is_as_good_is_admitted(mix: Any) -> None:
    convincing = _believed(mix)
    convincing["evidence"]["families"]["linear"]["rmse"] = convincing["evidence"]["families"]["blend"]["rmse"]
    assert any("straight-line model" in doubt for doubt in doubts(convincing))


def test_noise_is_the_spread_of_repeated_mixtures() -> None:
    runs = [((0.5, 0.5), 1.0), ((0.5, 0.5), 3.0), ((1.0, 0.0), 9.0)]
    summary = {"weights": [1.0], "runs": [{"mixture": list(m), "measured": [y]} for m, y in runs]}
    found = repeat_noise(summary)
    assert found is not None
    assert (found.sd, found.runs) == (pytest.approx(2**0.5), 2)  # of 1 and 3
    assert repeat_noise({"weights": [1.0], "runs": summary["runs"][1:]}) is None


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
    facts = Facts(Run.open(trained.folder))
    models = facts.artifacts["model"].summary["models"]
    for metric in facts.artifacts["model"].summary["weights"]:
        models["natural"]["evaluations"][-1][metric] = models["optimal"]["evaluations"][-1][metric] + gain
    section = model_section(facts)
    assert section is not None
    assert words in section


def test_both_loss_curves_are_drawn_in_both_charts(trained: Run) -> None:
    charts = list(_sections(trained)["model"].iter("svg"))
    curves = [[path.get("class") for path in chart.iter("path")] for chart in charts]
    assert curves == [["line optimal", "line natural"]] * 2


def test_predicted_and_measured_gain_stand_side_by_side(trained: Run) -> None:
    facts = Facts(trained)
    artifact = facts.artifacts["model"]
    predicted = mix_of(artifact, facts)["optimum"]["gain"]
    rows = [[_text(cell) for cell in row] for row in _sections(trained)["model"].iter("tr")]
    (total,) = [row for row in rows if row[0] == "weighted mean"]
    gain = measured_gain(artifact)
    assert gain is not None
    assert [cell.lstrip("+−") for cell in total[3:]] == [f"{abs(gain):.3f}", f"{abs(predicted):.3f}"]
