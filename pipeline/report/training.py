"""Pretraining: loss curves, held-out bits per byte, and what the mix was worth in the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.artifact import Artifact
from pipeline.report.charts import Series, figure, lines
from pipeline.report.facts import Facts, metric_label
from pipeline.report.markup import Markup, Node, cards, element, note, number, rounded, section, signed, table
from pipeline.report.mix.summary import repeat_noise
from pipeline.report.training_course import answer_curves, course, named, phase_marks


def model_section(facts: Facts) -> Markup | None:
    """All pretrained models of the run."""
    found = facts.of_kind("model")
    if not found:
        return None
    return section("model", "Pretraining", [_model(artifact, facts) for artifact in found])


def objective(summary: Any, model: str) -> float | None:
    """Weighted mean of the held-out bits per byte at the end; None if the model was never evaluated."""
    evaluations = summary["models"][model]["evaluations"]
    return _weighted(evaluations[-1], summary["weights"]) if evaluations else None


def measured_gain(artifact: Artifact) -> float | None:
    """How much lower (better) the best mix ended than the natural one; None if they cannot be compared."""
    if not {"optimal", "natural"} <= set(artifact.summary["models"]):
        return None
    best, natural = objective(artifact.summary, "optimal"), objective(artifact.summary, "natural")
    return None if best is None or natural is None else natural - best


def mix_of(artifact: Artifact, facts: Facts) -> Any:
    """Summary of the mix that a model was trained by; None if it is not there, or a file was taken in its place."""
    if artifact.summary["mix_file"] is not None:
        return None
    mixes = [a.summary for name in artifact.inputs if (a := facts.artifacts.get(name)) and a.kind == "mix"]
    return mixes[0] if mixes else None


def chance_difference(mix: Any) -> float:
    """By how much two trainings on one mixture typically differ, judged by repeated proxies; 0 if there are none."""
    repeats = repeat_noise(mix, mix["weights"]) if mix else None
    return 0.0 if repeats is None else 2**0.5 * repeats.sd  # the difference of two independent values


def _weighted(evaluation: Mapping[str, float], weights: Mapping[str, float]) -> float:
    return sum(weight * evaluation[metric] for metric, weight in weights.items()) / sum(weights.values())


def _model(artifact: Artifact, facts: Facts) -> Node:
    models = artifact.summary["models"]
    first = next(iter(models.values()))
    return [
        element("h3", artifact.name),
        cards(
            [
                ("parameters", rounded(sum(first["parameters"].values()))),
                ("training tokens", rounded(first["tokens"])),
                ("steps", number(first["steps"])),
                *((f"{named(m)}: bits per byte", _end(artifact.summary, m)) for m in models),
            ]
        ),
        _verdict(artifact, facts),
        element(
            "div",
            _held_out_curves(artifact.summary),
            _loss_curves(artifact.summary),
            *answer_curves(artifact.summary),
            class_="grid",
        ),
        _end_table(artifact, facts),
        course(artifact),
        [note(f"{name}: {message}") for name, model in models.items() for message in model["messages"]],
    ]


def _end(summary: Any, model: str) -> str:
    value = objective(summary, model)
    return "–" if value is None else f"{value:.3f}"


def _verdict(artifact: Artifact, facts: Facts) -> Markup | None:
    gain, mix = measured_gain(artifact), mix_of(artifact, facts)
    if gain is None:
        return note("There is no model on the natural mix to compare with (compare_natural is off).")
    weights = artifact.summary["weights"]
    predicted = f"; the prediction was {signed(_weighted(_predicted_gains(mix), weights))}" if mix else ""
    repeats, by_chance = repeat_noise(mix, mix["weights"]) if mix else None, chance_difference(mix)
    hint = (
        ""
        if repeats is None
        else f" For scale: two proxies trained on one mixture typically differ by {by_chance:.3f} "
        f"(estimated from {repeats.runs} proxies)."
    )
    if gain <= 0:
        text = f"The mix did not win: it ended {-gain:.3f} bits per byte worse than the natural mix{predicted}.{hint}"
        return note(text, kind="warning")
    ended = f"it ended {gain:.3f} bits per byte better than the natural mix{predicted}.{hint}"
    if gain < by_chance:
        return note(f"The mix won, but by no more than chance may give: {ended}", kind="warning")
    return note(f"The mix won: {ended}", kind="success")


def _held_out_curves(summary: Any) -> Markup:
    series = [
        Series(named(name), name, [(e["step"], _weighted(e, summary["weights"])) for e in model["evaluations"]])
        for name, model in summary["models"].items()
    ]
    chart = lines(
        "Held-out bits per byte during training", series, "step", "held-out bits per byte", marks=phase_marks(summary)
    )
    caption = "Weighted mean over the sources' held-out documents: the two lines can be compared."
    return figure(chart, caption, [(name, named(name)) for name in summary["models"]])


def _loss_curves(summary: Any) -> Markup:
    series = [
        Series(named(name), name, [(step, loss) for step, loss in model["losses"]])
        for name, model in summary["models"].items()
    ]
    chart = lines("Training loss", series, "step", "loss, nats per token", marks=phase_marks(summary))
    caption = (
        "Training loss, each model on its own mixture: easier text gives a lower line, so only each line's own course "
        "means something."
    )
    return figure(chart, caption, [(name, named(name)) for name in summary["models"]])


def _end_table(artifact: Artifact, facts: Facts) -> Markup | None:
    models, weights = artifact.summary["models"], artifact.summary["weights"]
    if any(not model["evaluations"] for model in models.values()):
        return None
    ends = {name: model["evaluations"][-1] for name, model in models.items()}
    mix = mix_of(artifact, facts)
    gains = _predicted_gains(mix)
    both = "natural" in ends and "optimal" in ends

    def row(label: str, values: Mapping[str, float], predicted: float | None) -> tuple[Node, ...]:
        cells: list[Node] = [f"{values[name]:.3f}" for name in ends]
        if both:
            cells.append(signed(values["natural"] - values["optimal"]))
            cells.append("–" if predicted is None else signed(predicted))
        return label, *cells

    rows = [
        row(metric_label(metric), {name: end[metric] for name, end in ends.items()}, gains.get(metric))
        for metric in weights
    ]
    whole = {name: _weighted(end, weights) for name, end in ends.items()}
    rows.append(row("weighted mean", whole, _weighted(gains, weights) if mix else None))
    columns = ["held-out source", *(f"#{named(name)}" for name in ends)]
    if both:
        columns += ["#measured gain", "#predicted gain"]
    return table("Held-out bits per byte at the end; a gain above zero is better", columns, rows, "totals")


def _predicted_gains(mix: Any) -> dict[str, float]:
    """Of each metric, at the target's size as far as slopes tell."""
    if mix is None:
        return {}
    best, natural = mix["optimum"]["best"]["metrics"], mix["optimum"]["natural"]["metrics"]
    slopes = mix["transfer"]["extrapolated"] if mix["transfer"] else [1.0] * len(best)
    return {metric: slopes[m] * (natural[m] - best[m]) for m, metric in enumerate(mix["metrics"])}
