"""The funnel as a Sankey diagram: each source a stream from records to tokens, what is lost branches off."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.report.facts import Facts, Step
from pipeline.report.markup import Markup, Node, element, number, plural, rounded

WIDTH, NAMES, ENDS, FOOT = 1080.0, 150.0, 130.0, 26.0
STREAMS = 300.0  # height of all streams together where they are widest
LEAST_LANE, GAP, NODE = 32.0, 16.0, 9.0
LEAST = 1.5  # one document among millions is still there
MOST_SOURCES = 16
MOST_REASONS = 5  # of one step in a title
BRANCH = (22.0, 9.0)  # how far what is lost goes aside and down
LONGEST_LABEL = 30


@dataclass(frozen=True)
class Stop:
    """One source at one column: documents that came in or were made there, and those that went on."""

    column: int
    came: int
    kept: int
    said: str


def sankey(facts: Facts) -> Node:
    """The diagram with its numbers as titles; None while no source has come to an end."""
    columns = [step for step in facts.steps if not step.is_aside and (step.reads_files or _changes(step))]
    readers = [step for step in columns if step.reads_files]
    if not readers or not facts.documents.total():
        return None
    names = [readers, *([step] for step in columns if not step.reads_files)]
    streams = {source: _stops(names, source) for source in facts.sources}
    widest = {source: max(max(stop.came, stop.kept) for stop in stops) for source, stops in streams.items() if stops}
    shown = sorted(widest, key=lambda source: -widest[source])[:MOST_SOURCES]
    sources = [source for source in facts.sources if source in shown]
    if not sources:
        return None
    scale = STREAMS / sum(widest[source] for source in sources)
    titles = ["read", *(steps[0].label for steps in names[1:])]
    step = (WIDTH - NAMES - ENDS) / len(titles)
    xs = [NAMES + step * column for column in range(len(titles) + 1)]
    parts: list[Node] = []
    head = 24 + 3.6 * max(len(_cut(title)) for title in titles)  # titles slope upwards
    y = head
    for source in sources:
        lane = max(LEAST_LANE, widest[source] * scale)
        parts.append(_stream(facts, source, streams[source], xs, y, scale))
        y += lane + GAP
    parts += [_title(xs[column], head - 10, title) for column, title in enumerate(titles)]
    totals = [sum(one.total.kept for one in steps) for steps in names]
    parts += [_text(x, y + 12, rounded(n), "start", "n") for x, n in zip(xs, totals, strict=False)]
    parts.append(_text(NAMES - 10, y + 12, "documents kept", "end"))
    hidden = len(widest) - len(sources)
    caption = (
        "Each stream is a source, as wide as its documents at each step that changed their number; pale branches are "
        "what left there: dropped, failed or joined into others."
    )
    if hidden:
        caption += f" The {MOST_SOURCES} largest sources; {hidden} more are in the ledger."
    picture = element(
        "svg",
        element("title", "From records to documents, by source"),
        *parts,
        viewBox=f"0 0 {WIDTH:.0f} {y + FOOT:.0f}",
        role="img",
        aria_label="From records to documents by source; the table below has the same numbers",
        class_="sankey",
    )
    return element(
        "figure",
        element("div", picture, class_="scroll", role="region", aria_label="Funnel as a diagram", tabindex="0"),
        element("figcaption", caption),
    )


def _changes(step: Step) -> bool:
    total = step.total
    return bool(total.created or total.joined or total.dropped.total() or total.failed.total())


def _stops(columns: Sequence[Sequence[Step]], source: str) -> list[Stop]:
    stops = []
    for column, steps in enumerate(columns):
        found = [step.sources[source] for step in steps if source in step.sources]
        came = sum(counts.received + counts.created for counts in found)
        if not came:
            continue
        reasons = sum((counts.dropped + counts.failed for counts in found), Counter[str]())
        lost = sorted(reasons.items(), key=lambda reason: (-reason[1], reason[0]))[:MOST_REASONS]
        said = f"{source}, {steps[0].label if column else 'read'}: {number(came)} came, "
        kept = sum(counts.kept for counts in found)
        said += f"{number(kept)} kept" + "".join(f", {reason} {number(n)}" for reason, n in lost)
        joined = sum(counts.joined for counts in found)
        said += f", {number(joined)} joined into others" if joined else ""
        stops.append(Stop(column, came, kept, said))
    return stops


def _stream(facts: Facts, source: str, stops: Sequence[Stop], xs: Sequence[float], y: float, scale: float) -> Node:
    style = facts.sources[source]
    parts: list[Node] = []

    def height(documents: int) -> float:
        return max(documents * scale, LEAST) if documents else 0.0

    for stop, after in zip(stops, [*stops[1:], None], strict=True):
        x, came, kept = xs[stop.column], height(stop.came), height(stop.kept)
        if stop.came > stop.kept:
            parts.append(_branch(x + NODE, y + kept, y + max(came, kept + LEAST)))
        end = xs[after.column] if after else xs[-1]
        if kept:
            parts.append(_rectangle(x + NODE, y, end - x - NODE, kept, f"fill stream {style}"))
        parts.append(_rectangle(x, y, NODE, max(came, LEAST), f"fill {style}", stop.said))
    documents = facts.documents[source]
    told = plural(documents, "document") if documents < 1e5 else f"{rounded(documents)} documents"
    parts.append(_text(NAMES - 10, y + 13, _cut(source, 20), "end", "label"))
    parts.append(_text(NAMES - 10, y + 27, rounded(stops[0].came), "end"))
    parts.append(_text(xs[-1] + 6, y + 13, told, "start", "label"))
    if source in facts.tokens:
        parts.append(_text(xs[-1] + 6, y + 27, f"{rounded(facts.tokens[source])} tokens", "start"))
    return element("g", parts)


def _branch(x: float, top: float, bottom: float) -> Markup:
    """What leaves the stream: to the side, down, and out."""
    aside, down = BRANCH
    middle, end = x + aside / 2, x + aside
    steps = (
        f"M{x:.1f} {top:.1f}C{middle:.1f} {top:.1f} {middle:.1f} {top + down:.1f} {end:.1f} {top + down:.1f}"
        f"V{bottom + down:.1f}C{middle:.1f} {bottom + down:.1f} {middle:.1f} {bottom:.1f} {x:.1f} {bottom:.1f}Z"
    )
    return element("path", d=steps, class_="fill dropped")


def _rectangle(x: float, y: float, width: float, height: float, style: str, title: str | None = None) -> Markup:
    inside = element("title", title) if title else None
    return element("rect", inside, x=x, y=y, width=max(width, 0.0), height=height, class_=style)


def _title(x: float, y: float, label: str) -> Markup:
    slope = f"rotate(-32 {x + 4:.0f} {y:.0f})"
    return element("text", _cut(label), x=x + 4, y=y, transform=slope, class_="label")


def _text(x: float, y: float, text: str, anchor: str, style: str | None = None) -> Markup:
    return element("text", text, x=round(x), y=round(y), text_anchor=anchor, class_=style)


def _cut(label: str, most: int = LONGEST_LABEL) -> str:
    return label if len(label) <= most else f"{label[: most - 1]}…"
