"""The one sentence that matters of a comparison, and how single numbers are written."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.compare.comparison import Comparison
from pipeline.compare.counts import Change, RuleChange
from pipeline.compare.documents import Ending
from pipeline.report.markup import number, percent, plural, rounded

NONE = "–"


def sentence(comparison: Comparison) -> str:
    """What B has more or less than A, and what moved most."""
    if comparison.is_same:
        so_far = "" if comparison.a.is_whole else " so far"
        return f"No differences{so_far}: both runs hold the same {plural(comparison.a.artifacts, 'artifact')}."
    if comparison.made_the_same:
        return f"Both runs made the same, although {_and(list(_asked(comparison)))} differ."
    found = [text for text in (_documents(comparison), _rule(comparison), _mix(comparison)) if text]
    return ("; ".join(found) or f"The runs differ in {_and(list(_places(comparison)))}") + "."


def _asked(comparison: Comparison) -> Iterator[str]:
    for name, changes in (
        ("the recipes", comparison.recipe),
        ("the versions", comparison.versions),
        ("the input files", comparison.inputs),
    ):
        if changes:
            yield name


def _places(comparison: Comparison) -> Iterator[str]:
    yield from _asked(comparison)
    names = (*comparison.only_a, *comparison.only_b, *comparison.other_kinds, *comparison.contents_differ)
    if names:
        shown = list(names[:6])
        yield "the artifacts " + ", ".join(shown) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    elif comparison.a.unfinished != comparison.b.unfinished:
        yield "how far they are"


def _documents(comparison: Comparison) -> str:
    documents, tokens = comparison.documents, comparison.tokens
    if documents.difference is None:
        return ""
    start = f"at {comparison.ends_at}, the last artifact of documents that both have, " if comparison.ends_at else ""
    text = f"{start}B keeps {amount(documents, 'document')}"
    if not documents.difference:
        text += _not_the_same_ones(comparison)
    if comparison.ends_at is None and tokens.difference is not None and tokens.is_different:
        text += f" and {amount(tokens, 'token', '')}"
    return text[0].upper() + text[1:]


def _not_the_same_ones(comparison: Comparison) -> str:
    """Of the last artifact whose documents differ."""
    if not comparison.memberships:
        return ""
    last = comparison.memberships[-1]
    if not last.lost.documents and not last.gained.documents:
        return ""
    return (
        f", not all the same ones (at {last.artifact}, {number(last.lost.documents)} of A's are lost and "
        f"{number(last.gained.documents)} are gained)"
    )


def amount(change: Change, what: str, than: str = " than A") -> str:
    """1,234 documents (4.1 %) fewer than A (8,766 instead of 10,000); as many documents as A (10,000)."""
    assert change.a is not None
    assert change.b is not None
    if change.a == change.b:
        return f"as many {what}s as A ({number(change.a)})"
    more = change.b - change.a
    share = f" ({percent(abs(more) / change.a)})" if change.a else ""
    word = "more" if more > 0 else "fewer"
    return f"{plural(int(abs(more)), what)}{share} {word}{than} ({number(change.b)} instead of {number(change.a)})"


def _rule(comparison: Comparison) -> str:
    moved = [rule for rule in comparison.moved_rules if rule.removed.is_different]
    if not moved:
        return ""
    rule = moved[0]
    count = rule.removed
    more = (count.b or 0) - (count.a or 0)
    verb = "fails" if rule.verdict == "failed" else "drops"
    then = f"{plural(int(abs(more)), 'document')} {'more' if more > 0 else 'fewer'}"
    instead = f"{number(count.b or 0)} instead of {number(count.a or 0)}"
    most = "moved most" if len(moved) > 1 else "moved"
    return f"{rule_name(rule)} {most}: it {verb} {then} ({instead})"


def rule_name(rule: RuleChange) -> str:
    """clean.gopher_quality, too_few_words."""
    return f"{rule.step}, {rule.reason}"


def _mix(comparison: Comparison) -> str:
    for mix in comparison.mixes:
        source, ratio = mix.moved_most
        if ratio.is_different:
            instead = f"{share(ratio.b)} instead of {share(ratio.a)}"
            return f"the best mix moved most at {source}: {instead}"
    return ""


def share(value: float | None) -> str:
    """Of a whole: 12 %, 1.2 %."""
    return NONE if value is None else percent(value)


def count(value: float | None) -> str:
    """1,234."""
    return NONE if value is None else number(value)


def many(value: float | None) -> str:
    """61.2 k."""
    return NONE if value is None else rounded(value)


def more(change: Change) -> str:
    """+1,234, −12, 0: how much more B has; – where one of them has none."""
    value = change.difference
    if value is None:
        return NONE
    return number(0) if not value else f"{'+' if value > 0 else '−'}{number(abs(value))}"


def more_share(change: Change) -> str:
    """+4.1 %: the difference as a share of A."""
    value = change.share
    if value is None or not value:
        return NONE if value is None else percent(0)
    return f"{'+' if value > 0 else '−'}{percent(abs(value))}" if abs(value) < 10 else f"× {number(round(1 + value))}"


def ending_words(ending: Ending, run: str) -> str:
    """What became of a document in the run (A or B) that does not keep it."""
    if ending.verdict == "absent":
        return f"never came to it in {run}"
    if ending.verdict == "unknown":
        return f"its text is not in {run}"
    return f"{ending.verdict} by {ending.step}: {ending.reason}"


def _and(names: list[str]) -> str:
    return ", ".join(names[:-1]) + " and " * (len(names) > 1) + names[-1]
