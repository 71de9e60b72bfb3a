"""`sluice plan` as a user meets it."""

import json
from pathlib import Path

import pytest

from pipeline.forecast.command import told
from tests.conftest import REPOSITORY, Sluice

FILES = 12


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """Twelve files of ten documents, of which eight are long enough; two of these lie in every file."""
    for i in range(FILES):
        texts = [f"{'word ' * 60} {j} of file {i}" for j in range(6)] + [f"{'word ' * 70} {j}" for j in range(2)]
        lines = [json.dumps({"text": text}) for text in [*texts, "short", "also short"]]
        (tmp_path / f"{i:02}.jsonl").write_text("\n".join(lines) + "\n")
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "name: forecast\nartifacts:\n  rows: {stage: json_lines, files: '*.jsonl'}\n"
        "  long: {from: rows, chain: ['tests.faults.stages:DropsShort']}\n"
        "  model: {from: long, stage: 'tests.pipeline.forecast.stages:ByBudget'}\n"
    )
    return path


def test_a_forecast_is_told_by_artifact_and_in_all_with_money(recipe: Path, sluice: Sluice) -> None:
    prices = ("--prices", REPOSITORY / "deploy/prices.yaml")
    common = ("plan", recipe, "--out", recipe.parent / "plan", "--address", sluice.address)
    output = sluice(*common, "--sample", "50%", *prices)
    assert "96" in output
    assert "…" not in output  # cut off by the width of a terminal
    assert "USD" in output
    assert "In all: " in output
    assert "Not forecast: model: its cost follows from a budget." in output
    assert "running" not in sluice(*common, "--sample", "50%", *prices)

    forecast, _ = json.JSONDecoder().raw_decode(sluice(*common, "--sample", "50%", "--json"))
    long = forecast["artifacts"]["long"]
    assert long["documents_in"]["low"] <= 120 <= long["documents_in"]["high"]  # each file has ten
    assert long["documents_out"]["value"] == pytest.approx(96, rel=0.01)
    assert long["gpu_hours"]["high"] == 0
    assert long["price"] is None
    assert forecast["not_forecast"] == {"model": "its cost follows from a budget"}

    more = sluice(*common, "--sample", "100%", "--verbose")
    assert "6 of 12 parts are there already" in more
    assert more.count("part handed out: ") == 6

    (line,) = sluice(*common, "--sample", "100%", "--quiet").splitlines()
    assert line.startswith("In all: ")


def test_prices_that_lack_one_are_refused_before_anything_runs(recipe: Path, sluice_alone: Sluice) -> None:
    prices = recipe.parent / "prices.yaml"
    prices.write_text("{currency: EUR, core_hour: 0.04, gpu_hour: -1, gb_month: 0.02}\n")
    output = sluice_alone("plan", recipe, "--prices", prices, "--out", recipe.parent / "plan", status=2)
    assert "gpu_hour" in output
    assert "months" in output
    assert "deploy/prices.yaml" in output
    assert not (recipe.parent / "plan").exists()


@pytest.mark.parametrize(
    ("number", "unit", "text"),
    [
        *((0, "", "0"), (0.00001, "", "<0.001"), (0.0123, "", "0.0123"), (999.9, "", "1 k"), (1234, "", "1.23 k")),
        *((5.6e12, "B", "5.6 TB"), (float("inf"), "", "?")),
    ],
)
def test_numbers_are_told_in_three_digits(number: float, unit: str, text: str) -> None:
    assert told(number, unit) == text
