"""How pretraining went, as the report shows it."""

import json
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from pipeline.report import write_report
from pipeline.report.training_course import speed
from pipeline.run import Run
from tests.pipeline.report.mixes import mix_summary, model_summary, run_with


def phased() -> dict[str, Any]:
    """A model of two phases with a spike, and answers measured."""
    summary = model_summary(mix_summary())
    for model in summary["models"].values():
        main = {**model["phases"][0], "steps": 225, "ratios": {"web": 3.0, "code": 1.0}}
        later = {"first_step": 225, "steps": 75, "ratios": {"code": 1.0}, "context": 256, "rates": [1.0, 0.1]}
        model["phases"] = [main, {**main, **later, "rope_base": 500_000.0}]
        model["losses"].insert(0, [0, 6.0])
        model["epochs"] = {"web": 0.5, "code": 1.75}
        row = {"sequences": 10, "trained": 590, "cropped": 7, "documents": 40, "cut_documents": 10}
        model["packing"] = [{"source": "code", "context": 64, "padded": 50, **row}]
        for i, evaluation in enumerate(model["evaluations"]):
            evaluation["answers.sums"] = 4.5 - i
    spikes = [{"step": 9, "loss": 8.5}, {"step": 19, "loss": None, "resumed_from": 15}]
    summary["models"]["optimal"]["spikes"] = spikes
    return summary


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return run_with(tmp_path, mix_summary(), phased())


def section(run: Run) -> etree._Element:
    page = etree.fromstring(write_report(run).read_text(encoding="utf-8").removeprefix("<!DOCTYPE html>\n"))
    (found,) = [section for section in page.iter("section") if section.get("id") == "model"]
    return found


def text(node: etree._Element) -> str:
    return "".join(node.itertext()).replace("\u00a0", " ")


def row(run: Run, caption: str, head: str) -> list[str]:
    (table,) = [table for table in section(run).iter("table") if text(table.find("caption")).startswith(caption)]
    rows = [[text(cell) for cell in line] for line in table.iter("tr")]
    (found,) = [line[1:] for line in rows if line[0] == head]
    return found


def test_a_phase_begins_at_a_line_in_every_chart(run: Run) -> None:
    borders = [
        [text(line) for line in chart.iter("line") if line.get("class") == "line diagonal"]
        for chart in section(run).iter("svg")
    ]
    assert borders == [["phase 2 begins: 225"]] * 4  # held-out, loss, two sets of answers


def test_a_run_of_one_phase_has_no_border_and_no_table_of_phases(tmp_path: Path) -> None:
    plain = section(run_with(tmp_path, mix_summary(), model_summary(mix_summary())))
    assert not [line for line in plain.iter("line") if line.get("class") == "line diagonal"]
    assert "Phases of pretraining" not in text(plain)


def test_phases_are_told_with_their_shares_contexts_and_rates(run: Run) -> None:
    assert row(run, "Phases", "best mix, phase 1") == [
        "225", "50.0 k", "64", "10,000", "as scheduled", "web 75 %, code 25 %",
    ]  # fmt: skip
    assert row(run, "Phases", "natural mix, phase 2")[2:] == ["256", "500,000", "1 to 0.1", "code 100 %"]


def test_answers_have_a_curve_for_each_model(run: Run) -> None:
    (chart,) = [c for c in section(run).iter("svg") if "answers of sums" in text(c)]
    styles = [path.get("class") for path in chart.iter("path") if path.get("class") != "grid"]
    assert styles == ["line optimal", "line natural"]
    assert "best mix: 2.500 at 300" in text(chart)


def test_spikes_are_told_by_what_became_of_them(run: Run) -> None:
    (told,) = [text(p) for p in section(run).iter("p") if "spike" in text(p)]
    assert told == "best mix: 2 loss spikes, 1 skipped and 1 rewound, at step 10, 20."


def test_epochs_and_packing_are_told_by_source(run: Run) -> None:
    assert row(run, "Epochs", "code") == ["1.75", "1.75"]
    assert row(run, "Packing", "code") == ["64", "10", "590", "50", "7", "25 %"]


def log(run: Run, lines: list[dict[str, Any]], model: str = "optimal") -> None:
    artifact = run.artifacts()["model"]
    path = artifact.folder / "answers" / "logs" / artifact.parts[0].key / model / "log.jsonl"
    path.parent.mkdir(parents=True)
    first = {"run": {"parameters": 1200, "flops_per_token": 7200, "mfu": "MFU = a / b"}}
    path.write_text("".join(json.dumps(line) + "\n" for line in [first, *lines]))


def test_speed_is_the_mean_over_the_time_of_all_steps(run: Run) -> None:
    """1,000 tokens at 100 a second, then 1,000 at 1,000: 2,000 in 11 seconds."""
    log(
        run,
        [
            {"step": 10, "tokens": 1000, "tokens_per_s": 100.0, "mfu": 0.1, "loader_share": 0.0},
            {"step": 10, "bpb.web": 2.0},
            {"step": 20, "tokens": 2000, "tokens_per_s": 1000.0, "mfu": 0.65, "loader_share": 0.55},
        ],
    )
    assert row(run, "Speed", "best mix") == ["182", "15 %", "5.0 %", "11 s"]
    assert "MFU = a / b" in text(section(run))


def test_without_a_log_or_a_known_peak_nothing_is_made_up(run: Run) -> None:
    assert "Speed of training" not in text(section(run))
    log(run, [{"step": 1, "tokens": 10, "tokens_per_s": 5.0, "mfu": None, "loader_share": 0.0}], "natural")
    assert row(run, "Speed", "natural mix")[1] == "unknown"
    assert "best mix" not in [text(cell) for table in section(run).iter("table") for cell in table.iter("th")][:1]


def test_a_real_run_tells_its_speed(trained: Run) -> None:
    artifact = trained.artifacts()["model"]
    for model in artifact.summary["models"]:
        found = speed(artifact, model)
        assert found is not None
        assert found.tokens_per_s > 0
        assert found.mfu is None  # of a CPU
        assert found.formula.startswith("MFU = ")


def test_a_model_by_a_file_is_not_held_against_what_the_mix_predicted(tmp_path: Path) -> None:
    summary = model_summary(mix_summary())
    summary["mix_file"] = "other.yaml"
    assert "the prediction was" not in text(section(run_with(tmp_path, mix_summary(), summary)))
