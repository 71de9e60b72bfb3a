"""A comparison as one self-contained page: no network, no script."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.resources import files

from pipeline.compare.comparison import Comparison, Side
from pipeline.compare.documents import Ended, Membership, Sample, to_read
from pipeline.compare.tables import Grid, Told, ended_title, remarks, sections
from pipeline.compare.words import sentence
from pipeline.report.charts import legend, share_bar
from pipeline.report.markup import (
    Markup,
    Node,
    breakable,
    element,
    note,
    number,
    percent,
    section,
    table,
)

# Whatever a sample may hold, nothing is loaded, run or sent.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
STYLES = ("quiet", "kept")  # of A and of B


def page(comparison: Comparison) -> str:
    """The whole document: HTML that is well-formed XML as well."""
    told = [] if comparison.is_same else sections(comparison)
    style = files("pipeline.report").joinpath("report.css").read_text(encoding="utf-8")
    style += files("pipeline.compare").joinpath("compare.css").read_text(encoding="utf-8")
    links = [element("a", one.title, href=f"#{one.anchor}") for one in told]
    return "<!DOCTYPE html>\n" + element(
        "html",
        element(
            "head",
            element("meta", charset="utf-8"),
            element("meta", http_equiv="Content-Security-Policy", content=POLICY),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("meta", name="color-scheme", content="light dark"),
            element("title", f"{_title(comparison)}: comparison"),
            element("style", Markup(style)),
        ),
        element(
            "body",
            _head(comparison),
            element("nav", links, aria_label="Sections") if links else None,
            element("main", [_section(one, comparison) for one in told]),
        ),
        lang="en",
    )


def _head(comparison: Comparison) -> Markup:
    return element(
        "header",
        element("p", "Sluice · two runs compared", class_="kicker"),
        element("h1", _title(comparison)),
        element("p", sentence(comparison), class_="lead"),
        element("dl", _side("A", comparison.a), _side("B", comparison.b), class_="runs"),
        [note(text, kind="warning") for text in remarks(comparison)],
    )


def _title(comparison: Comparison) -> str:
    a, b = comparison.a.name, comparison.b.name
    return f"{a}, two runs" if a == b else f"{a} and {b}"


def _side(letter: str, side: Side) -> Markup:
    style = STYLES["AB".index(letter)]
    return element(
        "div",
        element("dt", element("span", class_=f"key {style}", aria_hidden="true"), letter),
        element("dd", element("strong", side.name), " ", element("code", side.folder), f" {side.status}"),
    )


def _section(told: Told, comparison: Comparison) -> Markup:
    return section(
        told.anchor,
        told.title,
        [element("p", text) for text in told.words],
        [_grid(grid) for grid in told.grids],
        _samples(comparison.memberships) if told.anchor == "documents" else None,
    )


def _grid(grid: Grid) -> Node:
    if not grid.pairs:
        return table(grid.caption, grid.columns, map(_cells, grid.rows), "fitting")
    most = max((max(pair) for pair in grid.pairs), default=0.0)
    rows = [
        [name, _pair(row[0], *pair, most), *rest]
        for row, pair in zip(grid.rows, grid.pairs, strict=True)
        for name, *rest in [_cells(row)]
    ]
    return [
        legend([("quiet", "A"), ("kept", "B")]),
        table(grid.caption, [grid.columns[0], "~A above B", *grid.columns[1:]], rows, "drawn"),
    ]


def _cells(row: tuple[str, ...]) -> list[Node]:
    return [breakable(row[0]), *row[1:]]


def _pair(label: str, a: float, b: float, most: float) -> Markup:
    """Two bars of one scale, A's above B's."""
    bars = [
        share_bar([(name, value, style)], most, f"{label}, {name}: {value:g}")
        for name, value, style in zip("AB", (a, b), STYLES, strict=True)
    ]
    return element("div", bars, class_="bars")


def _samples(memberships: Sequence[Membership]) -> Iterator[Node]:
    """What was lost and gained, by what became of it in the other run; and texts that are not the same."""
    for one, said, other, side, endings in to_read(memberships):
        if endings:
            yield element("h3", f"{one.artifact}: {number(side.documents)} {said}, to read")
            samples = [_ended(ended, other, side.documents, is_open=i == 0) for i, ended in enumerate(endings)]
            yield element("div", samples, class_="endings")
    for one in memberships:
        if one.edited is not None and one.edited.samples:
            yield element("h3", f"{one.artifact}: texts that differ, from shortly before their first difference")
            yield [_two_texts(*sample) for sample in one.edited.samples]


def _ended(ended: Ended, other: str, whole: int, is_open: bool) -> Markup:
    return element(
        "details",
        element("summary", ended_title(ended, other), element("small", f" {percent(ended.documents / whole)}")),
        element("div", [_sample(sample) for sample in ended.samples], class_="samples"),
        open="open" if is_open else None,
    )


def _sample(sample: Sample) -> Markup:
    return element(
        "article",
        element("p", element("code", sample.id), class_="id"),
        element("p", sample.url, class_="url") if sample.url else None,
        element("p", sample.evidence, class_="evidence") if sample.evidence else None,
        element("pre", sample.excerpt.strip(), dir="auto"),
        class_="sample",
    )


def _two_texts(document: str, a: str, b: str) -> Markup:
    return element(
        "article",
        element("p", element("code", document), class_="id"),
        element(
            "div",
            [
                element("div", element("p", letter, class_="small"), element("pre", text, dir="auto"))
                for letter, text in (("A", a), ("B", b))
            ],
            class_="pair",
        ),
        class_="sample",
    )
