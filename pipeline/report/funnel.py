"""The funnel: from records to documents to tokens, by source and by step."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.ledger import Counts
from pipeline.report.charts import share_bar
from pipeline.report.facts import Facts, Step
from pipeline.report.markup import (
    Markup,
    Node,
    breakable,
    element,
    note,
    number,
    percent,
    plural,
    rounded,
    section,
    table,
)
from pipeline.report.sankey import sankey


def funnel_section(facts: Facts) -> Markup:
    """Cards by source, bars by step, the whole ledger folded away."""
    if not facts.steps:
        return section("funnel", "Funnel", note("No artifact is complete yet, so there is nothing to count."))
    return section(
        "funnel",
        "Funnel",
        _balance(facts),
        sankey(facts),
        element("div", [_source_card(facts, source) for source in facts.sources], class_="sources"),
        element("h3", "By step"),
        _legend(),
        _steps_table(facts),
        element(
            "details",
            element("summary", "The whole ledger, by step and source"),
            _ledger_table(facts),
        ),
    )


def _balance(facts: Facts) -> Markup:
    wrong = [
        f"{step.label}, {source}: {counts.missing():+,}"
        for step in facts.steps
        for source, counts in step.sources.items()
        if counts.missing()
    ]
    if wrong:
        return note("The ledger does not balance: ", "; ".join(wrong), kind="failure")
    joined = " + joined into others" if any(step.total.joined for step in facts.steps) else ""
    return element(
        "p",
        f"Every document is accounted for: in + created = kept + dropped + failed{joined} holds for each source at "
        f"{'the' if len(facts.steps) == 1 else 'each of the'} {plural(len(facts.steps), 'step')}.",
    )


def _source_card(facts: Facts, source: str) -> Markup:
    """The way of one source, as bars that share one scale."""
    rows = list(_way(facts, source))
    whole = max((n for _, n, _ in rows), default=0)
    style = facts.sources[source]
    ends = [f"{number(facts.documents[source])} documents"]
    if source in facts.tokens:
        ends.append(f"{rounded(facts.tokens[source])} tokens")
    return element(
        "article",
        element("h3", element("span", class_=f"key {style}", aria_hidden="true"), source),
        element("p", " and ".join(ends), class_="ends"),
        element(
            "ol",
            [
                element(
                    "li",
                    element("span", breakable(label), class_="step"),
                    share_bar([(label, n, style)], whole, f"{label}: {number(n)} of {number(whole)}"),
                    element("span", number(n), element("small", lost), class_="value"),
                )
                for label, n, lost in rows
            ],
        ),
        class_="source",
    )


def _way(facts: Facts, source: str) -> Iterator[tuple[str, int, str]]:
    """(label, documents, what was lost there) of the steps that changed the number of documents."""
    for step in facts.steps:
        counts = step.sources.get(source)
        if counts is None or step.is_aside:
            continue
        if step.reads_files:
            yield "records", counts.created, ""
        lost = counts.dropped.total() + counts.failed.total()
        if lost or (counts.created and not step.reads_files):
            joined = f" joined from {number(counts.joined)}" if counts.joined else ""
            yield step.label, counts.kept, joined + (f" −{percent(lost / counts.whole())}" if lost else "")
    yield "in the end", facts.documents[source], ""


def _legend() -> Markup:
    keys = (("kept", "kept"), ("dropped", "dropped by decision"), ("failed", "failed: bad input or error"))
    return element(
        "div",
        [element("span", element("span", class_=f"key {style}", aria_hidden="true"), label) for style, label in keys],
        class_="legend",
    )


def _steps_table(facts: Facts) -> Markup:
    rows = [
        (
            step_name(step),
            number(step.total.received),
            number(step.total.created),
            number(step.total.kept),
            number(step.total.dropped.total()),
            number(step.total.failed.total()),
            counts_bar(step.total, step.label),
        )
        for step in facts.steps
    ]
    total = table(
        "Documents at each step, all sources together; bars show shares of what came in",
        ("step", "#in", "#created", "#kept", "#dropped", "#failed", "~share"),
        rows,
    )
    asides = any(step.is_aside for step in facts.steps)
    return element(
        "div",
        total,
        element(
            "p",
            "Steps marked “aside” work on a copy: their documents go on without them, so what they drop is not lost.",
            class_="small",
        )
        if asides
        else None,
    )


def step_name(step: Step) -> Node:
    """Label of a step, with its stage where that says more."""
    stage = element("small", f" {step.stage}") if step.stage != step.label.rpartition(".")[2] else None
    return [step.label, stage, element("small", " aside", class_="aside") if step.is_aside else None]


def counts_bar(counts: Counts, label: str) -> Markup:
    """Kept, dropped and failed as shares of what came in."""
    whole = counts.whole()
    parts = [
        ("kept", counts.kept, "kept"),
        ("dropped", counts.dropped.total(), "dropped"),
        ("failed", counts.failed.total(), "failed"),
    ]
    said = ", ".join(f"{name} {number(n)}" for name, n, _ in parts)
    return share_bar(parts, whole, f"{label}: {said} of {number(whole)}")


def _ledger_table(facts: Facts) -> Markup:
    rows = [
        (
            step.label,
            source,
            *(number(n) for n in (counts.received, counts.created, counts.kept)),
            number(counts.dropped.total()),
            number(counts.failed.total()),
            _reasons(counts),
        )
        for step in facts.steps
        for source, counts in sorted(step.sources.items())
    ]
    columns = ("step", "source", "#in", "#created", "#kept", "#dropped", "#failed", "reasons")
    return table("The ledger", columns, rows)


def _reasons(counts: Counts) -> str:
    both = [*sorted(counts.dropped.items()), *((f"{name} (failed)", n) for name, n in sorted(counts.failed.items()))]
    both += sorted(counts.noted.items())
    both += [("joined into others", counts.joined)] * bool(counts.joined)
    return ", ".join(f"{name} {n:,}" for name, n in both)
