"""README.md of an exported model: what it is, what it was trained on and how well it does, for people and for hubs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mixes.mix_file import MixFile


def model_card(
    title: str,
    mixture: Mapping[str, float],
    mix: MixFile,
    sources: Mapping[str, Any],
    training: Mapping[str, Any],
    evaluation: Mapping[str, float],
    phases: Sequence[Mapping[str, Any]] = (),
) -> str:
    """YAML front matter, then Markdown.

    mixture: source -> share of the tokens trained on. sources: what the token shards hold of each (see shards_of).
    training: what was done, each under its name, in the order of the card. evaluation: metric -> bits per byte at the
    end. phases: first_step, steps, tokens, ratios, context, rope_base of each; told where there are several.
    """
    front = {"library_name": "transformers", "pipeline_tag": "text-generation", "tags": ["sluice"]}
    total = sum(mixture.values())
    tokens = training["tokens"]
    rows = [
        (
            name,
            f"{share / total:.2%}",
            f"{share / total * tokens:,.0f}",
            f"{sources[name]['train']['tokens']:,}",
            f"{share / total * tokens / sources[name]['train']['tokens']:.2f}",
            f"{sources[name]['train']['documents']:,}",
            mix.sources[name].fingerprint or "unknown",
        )
        for name, share in mixture.items()
        if share > 0
    ]
    gain, (low, high) = mix.evidence.gain, mix.evidence.gain_interval
    checks = [f"- Checked at size {check.size}: {check.verdict}." for check in mix.confirmation]
    of_answers = ", and of answers to prompts" if any(metric.startswith("answers.") for metric in evaluation) else ""
    return "\n".join(
        [
            "---",
            *(f"{key}: {json.dumps(value)}" for key, value in front.items()),  # JSON is YAML
            "---",
            "",
            f"# {_shown(title)}",
            "",
            "Trained by Sluice. A base model: it continues text and follows no instructions.",
            "",
            "## Training",
            "",
            *_table(("setting", "value"), [(name, str(value)) for name, value in training.items()]),
            "",
            "## Data",
            "",
            *_table(("source", "share", "tokens", "unique tokens", "epochs", "documents", "fingerprint"), rows),
            "",
            *(_phases(phases) if len(phases) > 1 else ()),
            "## Why these shares",
            "",
            f"- Predicted by {mix.evidence.runs} proxies to be better than the natural shares by {gain:.4f} "
            f"({low:.4f} to {high:.4f} in 80 % of cases) in the weighted mean of bits per byte.",
            *checks,
            "",
            "## Evaluation",
            "",
            f"Bits per byte of documents that were held out{of_answers}; lower is better.",
            "",
            *_table(("metric", "bits per byte"), [(name, f"{value:.4f}") for name, value in evaluation.items()]),
            "",
        ]
    )


def _phases(phases: Sequence[Mapping[str, Any]]) -> list[str]:
    columns = ("phase", "steps", "tokens", "tokens a sequence", "position base", "sources")
    rows = [
        (
            str(number),
            f"{phase['steps']:,}",
            f"{phase['tokens']:,}",
            f"{phase['context']:,}",
            f"{phase['rope_base']:,.0f}",
            ", ".join(f"{source} {share:.2%}" for source, share in _shares(phase["ratios"]).items() if share > 0),
        )
        for number, phase in enumerate(phases, 1)
    ]
    return ["## Phases", "", *_table(columns, rows), ""]


def _shares(ratios: Mapping[str, float]) -> dict[str, float]:
    return {source: ratio / sum(ratios.values()) for source, ratio in ratios.items()}


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(_shown(cell) for cell in row)} |" for row in (columns, ["---"] * len(columns), *rows)]


def _shown(text: str) -> str:
    """Within a cell or a heading: no sign of Markdown's or HTML's has its meaning."""
    return "".join(f"\\{sign}" if sign in "\\|`*_[]<>#&" else " " if sign in "\r\n" else sign for sign in text)
