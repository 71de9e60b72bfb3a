"""The top of the report: what came of the run, in one sentence."""

from __future__ import annotations

from typing import Any

from pipeline.report.facts import Facts
from pipeline.report.markup import SPACE, Markup, Node, cards, duration, element, note, number, percent, rounded
from pipeline.report.mix.summary import named
from pipeline.report.training import chance_difference, measured_gain, mix_of

STATES = {"done": "complete", "running": "still running, or killed", "failed": "failed", "interrupted": "interrupted"}


def head(facts: Facts) -> Markup:
    """Name, state, the sentence that matters, notes and what is unfinished."""
    state = facts.state
    versions = f" · sluice {state.versions['sluice']}" if "sluice" in state.versions else ""
    return element(
        "header",
        element("p", f"Sluice run · {STATES.get(state.status, state.status)}{versions}", class_="kicker"),
        element("h1", state.name),
        element("p", sentence(facts), class_="lead"),
        _facts(facts),
        note(state.message, kind="failure") if state.message else None,
        [note(text) for text in state.notes],
        _unfinished(facts),
    )


def sentence(facts: Facts) -> str:
    """Records to documents to tokens in how long; the best mix, predicted and measured."""
    text = f"{number(facts.records.total())} records became {number(facts.documents.total())} documents"
    if facts.tokens:
        text += f" and {rounded(facts.tokens.total())} tokens"
    if facts.seconds:
        text += f" in {duration(facts.seconds)}"
    return text + _mix_words(facts) + "."


def _mix_words(facts: Facts) -> str:
    models = facts.of_kind("model")
    mixes = facts.of_kind("mix")
    summary = mix_of(models[-1], facts) if models else None
    if summary is None:
        summary = mixes[-1].summary if mixes else None
    if summary is None:
        return ""
    optimum = summary["optimum"]
    shares = sorted(zip(optimum["best"]["ratios"], summary["sources"], strict=True), reverse=True)
    ratios = named([f"{source} {percent(ratio)}" for ratio, source in shares])
    text = f"; best mix: {ratios}: predicted {_better(optimum['gain'])} than the natural mix"
    gain = measured_gain(models[-1]) if models else None
    if gain is None:
        return text + _check_words(summary)
    doubt = ", which chance alone may give" if 0 < gain < chance_difference(summary) else ""
    return f"{text}, measured {abs(gain):.3f} {_word(gain)}{doubt}"


def _check_words(mix: Any) -> str:
    """What proxies trained on the mix and on the natural one say, where no large model was."""
    if not mix["confirmation"]:
        return ""
    check = mix["confirmation"][-1]
    doubt = "" if check["beats_natural"] else ", which chance alone may give" if check["gain"] > 0 else ""
    return f", measured on proxies {abs(check['gain']):.3f} {_word(check['gain'])}{doubt}"


def _better(gain: float) -> str:
    return f"{abs(gain):.3f}{SPACE}bits per byte {_word(gain)}"


def _word(gain: float) -> str:
    return "better" if gain > 0 else "worse"


def _facts(facts: Facts) -> Markup:
    shown: list[tuple[str, Node]] = [
        ("records", number(facts.records.total())),
        ("documents", number(facts.documents.total())),
    ]
    if facts.tokens:
        shown.append(("tokens", rounded(facts.tokens.total())))
    shown.append(("failed", number(facts.failed)))
    models = [gain for a in facts.of_kind("model") if (gain := measured_gain(a)) is not None]
    if models:
        shown.append(("measured gain", f"{'+' if models[-1] > 0 else '−'}{abs(models[-1]):.3f}"))
    return cards(shown)


def _unfinished(facts: Facts) -> Markup | None:
    missing = [name for name in facts.state.artifacts if name not in facts.artifacts]
    if not missing:
        return None

    def described(name: str) -> str:
        planned = facts.state.parts.get(name, 0)
        commits = facts.run.artifact_folder(name).committed_count()
        return f"{name} ({min(commits, planned)} of {planned} parts)" if planned else name

    return note(
        "Not complete, so not in this report: ",
        ", ".join(map(described, missing)),
        ". Run the same command again to go on.",
        kind="warning",
    )
