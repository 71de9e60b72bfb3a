"""How pretraining went: its phases, spikes and speed, and how often and how well each source was read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from pipeline import storage
from pipeline.artifact import Artifact, ArtifactFolder
from pipeline.report.charts import Mark, Series, figure, lines
from pipeline.report.markup import Markup, Node, duration, element, note, number, percent, plural, rounded, table

NAMES = {"optimal": "best mix", "natural": "natural mix"}
ANSWERS = "answers."  # before the name of a set of prompts and answers, in an evaluation


class Speed(NamedTuple):
    """Of a model's training steps, without evaluation and checkpoints. mfu: None where the card's peak is unknown."""

    tokens_per_s: float
    mfu: float | None
    loader_share: float  # of the time, waiting for data
    seconds: float
    formula: str


def named(model: str) -> str:
    return NAMES.get(model, model)


def phase_marks(summary: Any) -> list[Mark]:
    """Where phases begin, but for the first: they are the same in all models of an artifact."""
    phases = next(iter(summary["models"].values()))["phases"]
    return [Mark(f"phase {number} begins", "diagonal", p["first_step"]) for number, p in enumerate(phases, 1)][1:]


def answer_curves(summary: Any) -> list[Markup]:
    """A chart for each answer set that was measured during training."""
    evaluations = next(iter(summary["models"].values()))["evaluations"]
    sets = [metric for metric in (evaluations[-1] if evaluations else {}) if metric.startswith(ANSWERS)]
    keys = [(name, named(name)) for name in summary["models"]]
    return [
        figure(
            lines(
                f"Bits per byte of the answers of {metric.removeprefix(ANSWERS)} during training",
                [
                    Series(named(name), name, [(e["step"], e[metric]) for e in model["evaluations"]])
                    for name, model in summary["models"].items()
                ],
                "step",
                "bits per byte of answers",
                marks=phase_marks(summary),
            ),
            f"Answers of {metric.removeprefix(ANSWERS)}, given their prompts; lower is better.",
            keys,
        )
        for metric in sets
    ]


def course(artifact: Artifact) -> list[Node]:
    """Everything but the losses."""
    models = artifact.summary["models"]
    return [
        _phases(models),
        *(_spikes(name, model) for name, model in models.items() if model["spikes"]),
        _speeds(artifact),
        _epochs(models),
        _packing(models),
    ]


def _phases(models: Mapping[str, Any]) -> Markup | None:
    if all(len(model["phases"]) == 1 for model in models.values()):
        return None
    rows = [
        (
            f"{named(name)}, phase {i}",
            number(phase["steps"]),
            rounded(phase["tokens"]),
            number(phase["context"]),
            number(phase["rope_base"]),
            "as scheduled" if phase["rates"] is None else " to ".join(f"{rate:g}" for rate in phase["rates"]),
            ", ".join(f"{source} {percent(share)}" for source, share in _shares(phase["ratios"]).items() if share),
        )
        for name, model in models.items()
        for i, phase in enumerate(model["phases"], 1)
    ]
    columns = [
        "phase",
        "#steps",
        "#tokens",
        "#tokens a sequence",
        "#position base",
        "share of the peak rate",
        "sources",
    ]
    return table("Phases of pretraining", columns, rows)


def _shares(ratios: Mapping[str, float]) -> dict[str, float]:
    return {source: ratio / sum(ratios.values()) for source, ratio in ratios.items()}


def _spikes(name: str, model: Any) -> Markup:
    spikes = model["spikes"]
    rewound = sum("resumed_from" in spike for spike in spikes)
    skipped = len(spikes) - rewound
    ends = [f"{n} {what}" for n, what in ((skipped, "skipped"), (rewound, "rewound")) if n]
    steps = ", ".join(number(spike["step"] + 1) for spike in spikes[:8]) + (", …" if len(spikes) > 8 else "")
    return note(
        f"{named(name)}: {plural(len(spikes), 'loss spike')}, {' and '.join(ends)}, at step {steps}.", kind="warning"
    )


def _speeds(artifact: Artifact) -> Markup | None:
    speeds = {name: found for name in artifact.summary["models"] if (found := speed(artifact, name)) is not None}
    if not speeds:
        return None
    rows = [
        (
            named(name),
            number(round(found.tokens_per_s)),
            "unknown" if found.mfu is None else percent(found.mfu),
            percent(found.loader_share),
            duration(found.seconds),
        )
        for name, found in speeds.items()
    ]
    columns = ["model", "#tokens per second", "#MFU", "#waiting for data", "#training steps"]
    formula = next(iter(speeds.values())).formula
    return element(
        "div",
        table("Speed of training, without evaluation and checkpoints", columns, rows),
        element("p", f"{formula}; unknown where the peak of the device is."),
    )


def speed(artifact: Artifact, model: str) -> Speed | None:
    """From the log of the run that made a model; None if the log was removed. Lines count by their tokens."""
    folder = ArtifactFolder(artifact.folder.parent.parent, artifact.folder.name).answers
    path = folder / "logs" / artifact.parts[-1].key / model / "log.jsonl"
    try:
        storage.fetched(path)
    except FileNotFoundError:
        return None
    if not path.is_file():
        return None
    first, *steps = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    told = [line for line in steps if "tokens_per_s" in line]
    before = [0, *(line["tokens"] for line in told)]
    tokens = [line["tokens"] - b for line, b in zip(told, before, strict=False)]
    seconds = [n / line["tokens_per_s"] for n, line in zip(tokens, told, strict=True)]
    if not sum(seconds):
        return None

    def mean(name: str) -> float:
        return float(sum(s * line[name] for s, line in zip(seconds, told, strict=True)) / sum(seconds))

    is_known = all(line["mfu"] is not None for line in told)
    return Speed(
        sum(tokens) / sum(seconds),
        mean("mfu") if is_known else None,
        mean("loader_share"),
        sum(seconds),
        first["run"]["mfu"],
    )


def _epochs(models: Mapping[str, Any]) -> Markup:
    sources = next(iter(models.values()))["epochs"]
    rows = [(source, *(f"{model['epochs'][source]:.2f}" for model in models.values())) for source in sources]
    return table("Epochs: how often each source was read", ["source", *(f"#{named(name)}" for name in models)], rows)


def _packing(models: Mapping[str, Any]) -> Markup:
    """Packing is of the data: where models read a source at the same context, they share its line."""
    found = {(row["source"], row["context"]): row for model in models.values() for row in model["packing"]}
    rows = [
        (
            source,
            number(context),
            number(row["sequences"]),
            number(row["trained"]),
            number(row["padded"]),
            number(row["cropped"]),
            percent(row["cut_documents"] / max(1, row["documents"])),
        )
        for (source, context), row in sorted(found.items())
    ]
    columns = ["source", "#tokens a sequence", "#sequences", "#targets", "#padded", "#cropped", "#documents cut"]
    return table("Packing: positions without a token, and tokens that are in no sequence", columns, rows)
