"""The mix: a verdict that claims no more than was shown, every doubt, and plots of the numbers in the summary."""

import re
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from pipeline.report import write_report
from pipeline.report.mix.summary import Mix, objective_weights, repeat_noise
from pipeline.report.mix.verdict import conclusion, doubts
from pipeline.run import Run
from tests.pipeline.report.mixes import mix_summary, run_with

MOST_BYTES = 155_000  # of the section for 20 sources, 30 metrics and 200 proxies


@pytest.fixture
def mix() -> Any:
    """A summary that leaves nothing to doubt, to be changed at will."""
    return mix_summary()


def _section(folder: Path, mix: Any) -> etree._Element:
    html = write_report(run_with(folder, mix)).read_text(encoding="utf-8")
    page = etree.fromstring(html.removeprefix("<!DOCTYPE html>\n"))
    (section,) = [s for s in page.iter("section") if s.get("id") == "mix"]
    return section


def _text(node: etree._Element) -> str:
    return "".join(node.itertext()).replace("\u00a0", " ")


def _row(section: etree._Element, caption: str, head: str) -> list[str]:
    tables = [t for t in section.iter("table") if _text(t.find("caption")).startswith(caption)]
    rows = [[_text(cell) for cell in row] for t in tables for row in t.iter("tr")]
    (found,) = [row for row in rows if row[0] == head]
    return found[1:]


def _chart(section: etree._Element, words: str) -> etree._Element:
    found: etree._Element = next(s for s in section.iter("svg") if words in s.get("aria-label"))
    return found


def _dots(chart: etree._Element, style: str) -> int:
    return sum(p.get("d").count("h0") for p in chart.iter("path") if p.get("class") == f"dots {style}")


def _doubts(mix: Any) -> str:
    return "\n".join(doubts(Mix.of(mix, {})))


def _conclusion(mix: Any) -> tuple[str, str]:
    return conclusion(Mix.of(mix, {}))


# the verdict


def test_a_mix_that_won_in_training_and_between_sizes_is_called_confirmed_and_leaves_no_doubt(mix: Any) -> None:
    text, kind = _conclusion(mix)
    gain = mix["confirmation"][0]["gain"]
    assert text.startswith("Confirmed in training on proxies")
    assert f"size S: {gain:.3f} better" in text
    assert kind == "success"
    assert _doubts(mix) == ""


@pytest.mark.parametrize("beaten", [[0], [1], [0, 1]])
def test_a_mix_that_did_not_win_at_every_size_is_not_called_confirmed(mix: Any, beaten: list[int]) -> None:
    for i in beaten:
        mix["confirmation"][i] |= {"beats_natural": False, "gain": -0.0004, "gain_interval": [-0.0052, 0.004]}
    text, kind = _conclusion(mix)
    assert "confirmed" not in text.lower()
    assert "0.0004 worse, interval −0.0052 to +0.0040" in text
    assert kind == "warning"


def test_without_training_on_the_mix_the_gain_is_a_prediction(mix: Any) -> None:
    mix["confirmation"] = []
    text, kind = _conclusion(mix)
    assert "Not checked in training" in text
    assert "do not expect" not in text
    assert kind == "warning"


def test_a_predicted_gain_that_may_be_none_is_said_at_the_top(mix: Any) -> None:
    mix["confirmation"] = []
    mix["optimum"]["gain_interval"][0] = -0.001
    assert "includes no gain at all: do not expect this mix to win" in _conclusion(mix)[0]


def test_the_word_confirmed_stands_nowhere_unless_both_checks_were_passed(mix: Any, tmp_path: Path) -> None:
    mix["transfer"] |= {"confirmed": False, "verdict": "doubtful: the sizes agree by 0.6"}
    for check in mix["confirmation"]:
        check["beats_natural"] = False
    assert "confirmed" not in _text(_section(tmp_path, mix)).lower()


def test_agreement_of_sizes_and_victory_in_training_are_told_apart(mix: Any, tmp_path: Path) -> None:
    mix["transfer"] |= {"confirmed": False, "verdict": "doubtful: the sizes agree by 0.6"}
    text, kind = _conclusion(mix)
    assert "Confirmed in training on proxies" in text
    assert "Whether larger models rank mixtures alike is open" in text
    assert kind == "warning"
    assert "open, 0.96" in _text(_section(tmp_path, mix))


# doubts


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"gain_interval": [0.5, 0.9]}, "outside its own interval"),
        ({"gain": 0.00001, "gain_interval": [0.000005, 0.00002]}, "less than twice the spread"),
        ({"warnings": ["the mixture is 0.61 from the nearest run"]}, "The mixture is 0.61 from the nearest run."),
    ],
)
def test_weak_optima_are_called_weak(mix: Any, change: dict[str, Any], words: str) -> None:
    mix["optimum"] |= change
    assert words in _doubts(mix)


def test_a_metric_that_is_ranked_poorly_is_named_unless_its_weight_is_zero(mix: Any) -> None:
    mix["evidence"]["families"]["stack"]["spearman"][1] = 0.5
    assert "ranks unseen mixtures poorly for code (0.50)" in _doubts(mix)
    mix["used_weights"][1] = 0.0
    assert "ranks unseen" not in _doubts(mix)


def test_a_linear_model_that_is_as_good_is_admitted(mix: Any) -> None:
    mix["evidence"]["families"]["linear"]["rmse"] = mix["evidence"]["families"]["stack"]["rmse"]
    assert "A straight-line model predicts web, code" in _doubts(mix)


def test_a_noisy_metric_is_named_with_what_is_left_of_its_weight(mix: Any) -> None:
    mix["signal"]["ratio"][:2], mix["signal"]["factor"][:2] = [2.0, 0.9], [0.5, 0.0]
    mix["used_weights"][1] = 0.0
    found = _doubts(mix)
    assert "web (2.0 times its noise: 50 % of its weight kept)" in found.replace("\u00a0", " ")
    assert "code (0.9 times its noise: left out)" in found
    mix["used_weights"][1] = 1.0  # all were noise, so that the weights stand as they were given
    assert "code (0.9 times its noise: used for want of a better one)" in _doubts(mix)


def test_a_search_that_ended_above_the_noise_is_told(mix: Any) -> None:
    mix["rounds"][-1] |= {"regret": 0.02, "noise": 0.01}
    assert "ended before its expected regret (0.02) fell below the noise of a proxy (0.01)" in _doubts(mix)


@pytest.mark.parametrize(("within", "is_doubted"), [(0.79, False), (0.3, True)])
def test_intervals_that_hold_too_rarely_are_told_if_it_is_not_chance(mix: Any, within: float, is_doubted: bool) -> None:
    for one in mix["rounds"][1:]:
        one["fresh_within"] = within
    fresh = mix["rounds"][-1]["runs"] - mix["rounds"][0]["runs"]
    assert (f"of {fresh} predictions for proxies that it had not seen" in _doubts(mix)) == is_doubted


def test_noise_is_the_spread_of_repeated_mixtures() -> None:
    runs = [((0.5, 0.5), 1.0), ((0.5, 0.5), 3.0), ((1.0, 0.0), 9.0)]
    summary = {"runs": [{"mixture": list(m), "measured": [y]} for m, y in runs]}
    found = repeat_noise(summary, [1.0])
    assert found is not None
    assert (found.sd, found.runs) == (pytest.approx(2**0.5), 2)  # of 1 and 3
    assert repeat_noise({"runs": summary["runs"][1:]}, [1.0]) is None


def test_metrics_count_in_the_objective_by_used_weight_and_slope(mix: Any) -> None:
    expected = [w * s for w, s in zip(mix["used_weights"], mix["transfer"]["extrapolated"], strict=True)]
    assert objective_weights(mix) == expected
    assert objective_weights(mix | {"transfer": None}) == mix["used_weights"]


def test_the_best_measured_of_a_round_is_by_the_objective_of_all_other_tables(tmp_path: Path) -> None:
    mix = mix_summary()
    last = str(mix["rounds"][-1]["round"])
    assert _row(_section(tmp_path, mix), "Rounds", last)[1] == f"{min(Mix.of(mix, {}).objectives):.3f}"


# numbers and plots


def test_ratios_tokens_epochs_and_limits_of_each_source_are_shown(mix: Any, tmp_path: Path) -> None:
    mix["optimum"]["epochs"][1] = 3.21
    mix["optimum"]["upper"][1] = 0.777
    shown = _row(_section(tmp_path, mix), "Ratios", "code")
    assert shown[7] == "3.21"
    assert shown[4] == "0 % – 78 %"


def test_a_bar_ends_at_its_ratio_and_its_limits_are_drawn(mix: Any, tmp_path: Path) -> None:
    chart = _chart(_section(tmp_path, mix), "Ratios of the best mix")
    rects = [(r.get("class"), float(r.get("x")), float(r.get("width"))) for r in chart.iter("rect")]
    ratios, upper = mix["optimum"]["best"]["ratios"], mix["optimum"]["upper"]
    bars = [width for style, _, width in rects if style != "fill allowed"]
    allowed = [width for style, _, width in rects if style == "fill allowed"]
    assert bars[1] / bars[2] == pytest.approx(ratios[1] / ratios[2], rel=0.01)
    assert allowed[2] / bars[2] == pytest.approx(upper[2] / ratios[2], rel=0.01)


def test_the_worth_of_used_up_sources_is_a_bar_each(mix: Any, tmp_path: Path) -> None:
    mix["optimum"] |= {"worth_of_epoch": [0.0, 0.001, 0.002, 0.0], "worth_of_billion_tokens": [0.0, 0.01, 0.03, 0.0]}
    chart = _chart(_section(tmp_path, mix), "Fall of the objective for one billion")
    widths = [float(r.get("width")) for r in chart.iter("rect")]
    assert widths[1] / widths[0] == pytest.approx(3, rel=0.01)


def test_each_metric_has_its_proxies_baseline_and_checks_in_a_scatter(mix: Any, tmp_path: Path) -> None:
    charts = [s for s in _section(tmp_path, mix).iter("svg") if "predicted against" in s.get("aria-label")]
    assert len(charts) == len(mix["metrics"])
    later = sum(run["round"] > 0 for run in mix["runs"])
    for chart in charts:
        # several on one pixel are drawn once
        assert 0.8 * len(mix["runs"]) <= _dots(chart, "linear") <= len(mix["runs"])
        assert 0.6 * later <= _dots(chart, "later") <= later
        assert [c.get("class") for c in chart.iter("circle")] == ["dot checked", "dot checked-natural"]


def test_checks_of_another_size_are_no_test_of_the_fit_and_not_in_its_scatter(mix: Any, tmp_path: Path) -> None:
    mix["confirmation"] = mix["confirmation"][1:]
    assert list(_chart(_section(tmp_path, mix), "predicted against").iter("circle")) == []


def test_the_table_of_metrics_gives_weights_noise_and_fit_of_regression_and_baseline(mix: Any, tmp_path: Path) -> None:
    mix["weights"][0], mix["used_weights"][0], mix["signal"]["ratio"][0] = 0.25, 0.11, 2.2
    mix["evidence"]["families"]["stack"]["region_rmse"][0] = 0.0789
    shown = _row(_section(tmp_path, mix), "The fit by metric", "web")
    assert shown[:4] == ["25 %", "11 %", "2.2", "0.0040"]
    assert shown[4:9] == ["0.991", "0.902", "0.0050", "0.0310", "0.0789"]


def test_what_a_direction_costs_is_told_in_points_of_sources(mix: Any, tmp_path: Path) -> None:
    mix["optimum"]["flat_directions"] = [
        {"direction": [-0.02, 0.02, 0.0, 0.0], "rise": 0.0012},
        {"direction": [0.5, -0.3, -0.2, 0.0], "rise": 0.002},
    ]
    said = [_text(li) for li in _section(tmp_path, mix).iter("li")]
    assert said == [
        "5 points from web to code cost 0.0012",
        "5 points from code (3.0), papers (2.0) to web cost 0.002",
    ]


def test_shares_on_the_path_of_weights_lie_one_upon_another(mix: Any, tmp_path: Path) -> None:
    chart = _chart(_section(tmp_path, mix), "the best mix by its weight")
    areas = [p for p in chart.iter("path") if p.get("class").startswith("area")]
    heights = [float(re.findall(r"[\d.]+", p.get("d"))[1]) for p in areas]
    assert heights == sorted(heights)  # the topmost, drawn first, is the whole
    assert heights[0] == 14  # the top of the frame


def test_slopes_are_shown_with_what_is_expected_at_the_target(mix: Any, tmp_path: Path) -> None:
    mix["transfer"]["slopes"][2], mix["transfer"]["extrapolated"][2] = 0.61, 0.37
    section = _section(tmp_path, mix)
    assert _row(section, "Agreement of both sizes", "papers")[2:] == ["0.61 ± 0.05", "0.37"]
    assert _dots(_chart(section, "Slopes of the metrics"), "optimal") == len(mix["metrics"])


def test_each_seed_of_a_check_is_a_dot_and_its_gain_stands_beside_the_predicted_one(mix: Any, tmp_path: Path) -> None:
    mix["confirmation"][1] |= {"best": [1.0, 1.1, 1.2], "natural": [1.3, 1.4, 1.5], "predicted_gain": 0.25}
    section = _section(tmp_path, mix)
    chart = _chart(section, "Size M: measured objective")
    assert (_dots(chart, "optimal"), _dots(chart, "natural")) == (3, 3)
    row = _row(section, "Objective in training", "M")
    assert row[1:3] == ["1.400 ± 0.100", "1.100 ± 0.100"]
    assert "0.250" in row[5]


# all kinds of summaries


@pytest.mark.parametrize(
    "absent",
    [
        {"confirmation": []},
        {"transfer": None},
        {"signal": None},
        {"rounds": [], "learning_curve": [], "weight_path": []},
        {"confirmation": [], "transfer": None, "signal": None, "rounds": [], "learning_curve": [], "weight_path": []},
    ],
    ids=["no_confirmation", "one_size", "no_signal", "no_rounds", "nothing"],
)
def test_what_was_not_measured_is_left_out_or_said(mix: Any, tmp_path: Path, absent: dict[str, Any]) -> None:
    mix |= absent
    mix["evidence"]["noise"] = None
    mix["optimum"]["flat_directions"] = []
    if absent.get("rounds") == []:
        mix["runs"] = mix["runs"][:-3]  # nor was any mixture repeated
    section = _section(tmp_path, mix)
    assert "None" not in _text(section)
    assert "nan" not in _text(section)
    assert ("unknown how much of any difference is chance" in _text(section)) == (absent.get("rounds") == [])


def test_a_first_round_without_stop_rule_is_drawn(mix: Any, tmp_path: Path) -> None:
    mix["rounds"] = [mix["rounds"][0] | {"regret": None, "noise": None}]
    assert "Expected regret" not in [s.get("aria-label") for s in _section(tmp_path, mix).iter("svg")]


def test_a_large_mix_stays_small_and_says_what_it_leaves_out(tmp_path: Path) -> None:
    section = _section(tmp_path, mix_summary(20, 30, 200))
    assert len(etree.tostring(section)) < MOST_BYTES
    assert sum("predicted against" in s.get("aria-label") for s in section.iter("svg")) == 12
    said = _text(section)
    assert "Charts show the 12 metrics with most weight; tables hold all. Of 200 proxies they show one in 2." in said
    assert "The 10 largest of 20 sources." in said
    heads = [_text(row[0]) for row in section.iter("tr")]
    assert heads.count("answers.set9") == 4  # in every table of metrics


def test_every_plot_has_a_title_and_a_caption_and_nothing_runs(mix: Any, tmp_path: Path) -> None:
    section = _section(tmp_path, mix)
    figures = list(section.iter("figure"))
    assert len(figures) == len(list(section.iter("svg"))) > 15
    for figure in figures:
        assert _text(figure.find("figcaption"))
        assert figure.find("svg").get("aria-label") == _text(figure.find("svg/title"))
    assert not list(section.iter("script"))


def test_the_made_up_summary_has_no_part_that_a_real_one_lacks(trained: Run, mix: Any) -> None:
    assert _lacking(mix, dict(trained.artifacts()["mix"].summary), "") == []


def _lacking(made: Any, real: Any, where: str) -> list[str]:
    if isinstance(made, dict) and isinstance(real, dict):
        own_names = where.endswith((".families", ".family_weights", ".base", ".second"))
        found = [] if own_names else [f"{where}.{key}" for key in made if key not in real]
        return found + [one for key in made if key in real for one in _lacking(made[key], real[key], f"{where}.{key}")]
    if isinstance(made, list) and isinstance(real, list) and made and real:
        return _lacking(made[0], real[0], f"{where}[]")
    return []
