"""What the documents are that the line ends with: languages, domains, lengths, dates, and some to read."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.artifact import DOCUMENTS_FILE, Artifact, read_tables
from pipeline.report.charts import Plot, figure
from pipeline.report.facts import Facts
from pipeline.report.markup import Markup, Node, element, number, percent, rounded, section, table

SEEN = 20_000  # documents that are looked at
SHOWN = 12  # languages, domains and years that are named
SAMPLES = 2  # documents of each source to read
EXCERPT = 1500  # characters
SAMPLED_SOURCES = 8
DECADES = 6  # lengths from 10 characters to 10 million
BINS = 10  # of each decade


@dataclass
class Looked:
    """What was found in the documents that were looked at."""

    documents: int = 0
    characters: int = 0
    languages: Counter[str] = field(default_factory=Counter)
    domains: Counter[str] = field(default_factory=Counter)
    years: Counter[str] = field(default_factory=Counter)
    lengths: list[NDArray[np.int64]] = field(default_factory=list)
    samples: dict[str, list[tuple[int, str, str, str]]] = field(default_factory=dict)  # draw, id, url, text by source


def documents_section(facts: Facts) -> Markup | None:
    """Tables and charts of some parts; None while no documents are there."""
    named = [name for artifact in facts.ends for name in _with_texts(facts, artifact)]
    ends = [facts.artifacts[name] for name in dict.fromkeys(named)]
    if not ends:
        return None
    found = Looked()
    for artifact in ends:
        for rows in _rows(artifact, SEEN // len(ends)):
            _look(found, rows, facts.seed)
    whole = sum(counts.kept for artifact in ends for counts in artifact.ledger.last().values())
    names = ", ".join(artifact.name for artifact in ends)
    return section(
        "documents",
        "Documents",
        element(
            "p", f"Of {names}: {number(found.documents)} of {number(whole)}, of parts drawn at random.", class_="small"
        ),
        element(
            "div",
            _lengths(found),
            _shares("Languages", "language", found.languages, found.documents),
            _shares("Domains", "domain", found.domains, found.documents),
            _shares("Years", "year", found.years, found.documents, by_name=True),
            class_="grid",
        ),
        _samples(facts, found),
    )


def _with_texts(facts: Facts, artifact: Artifact) -> Iterator[str]:
    """The artifact, or those it was made of where it holds no texts any more, as encoded documents do."""
    path = next(artifact.file_paths(DOCUMENTS_FILE), None)
    if path is None:
        return
    if "text" in pq.read_schema(path).names:
        yield artifact.name
        return
    for name in artifact.inputs:
        if name in facts.artifacts:  # of a run that is made anew, what was read may not be there yet
            yield from _with_texts(facts, facts.artifacts[name])


def _rows(artifact: Artifact, most: int) -> Iterator[pa.Table]:
    """Documents of parts in an order that says nothing about their contents, until they are enough."""
    wanted = ["id", "source", "text", "url", "date", "language"]
    documents = 0
    for part in sorted(artifact.parts, key=lambda part: hashlib.blake2b(part.key.encode()).digest()):
        if not any(file.path == DOCUMENTS_FILE for file in part.files):
            continue
        path = artifact.file_of(part, DOCUMENTS_FILE)
        there = set(pq.read_schema(path).names)
        for rows in read_tables(path, [name for name in wanted if name in there], 1024):
            documents += rows.num_rows
            yield rows
            if documents >= most:
                return


def _look(found: Looked, rows: pa.Table, seed: str) -> None:
    columns = {name: rows.column(name).to_pylist() for name in rows.column_names if name != "text"}
    nothing = [None] * rows.num_rows
    found.documents += rows.num_rows
    found.languages.update(language or "not told" for language in columns.get("language", nothing))
    found.domains.update(_domain(url) for url in columns.get("url", nothing))
    found.years.update(_year(date) for date in columns.get("date", nothing))
    lengths = pc.fill_null(pc.utf8_length(rows.column("text")), 0).to_numpy().astype(np.int64)
    found.lengths.append(lengths)
    found.characters += int(lengths.sum())
    for i, (id_, source) in enumerate(zip(columns["id"], columns["source"], strict=True)):
        draw = int.from_bytes(hashlib.blake2b(f"{seed}/{id_}".encode(), digest_size=8).digest())
        drawn = found.samples.setdefault(source, [])
        if len(drawn) < SAMPLES or draw < drawn[-1][0]:
            text = rows.column("text").slice(i, 1)
            drawn.append((draw, id_, columns.get("url", nothing)[i] or "", str(text[0].as_py() or "")[:EXCERPT]))
            drawn.sort()
            del drawn[SAMPLES:]


def _domain(url: str | None) -> str:
    try:
        return (urlsplit(url or "").hostname or "none").removeprefix("www.")
    except ValueError:  # a URL that is none
        return "none"


def _year(date: str | None) -> str:
    year = (date or "")[:4]
    return year if len(year) == 4 and year.isdecimal() and year.isascii() else "not told"


def _lengths(found: Looked) -> Markup:
    lengths = np.concatenate(found.lengths)
    logs = np.log10(np.maximum(lengths, 10))
    edges = np.linspace(1, 1 + DECADES, DECADES * BINS + 1)
    counts = np.histogram(np.minimum(logs, edges[-1]), edges)[0]
    plot = Plot([1, 1 + DECADES], [0, float(counts.max())], height=240)
    plot.y_low = 0.0
    plot.x_axis("characters, as a power of ten")
    plot.y_axis("documents")
    for low, high, count in zip(edges, edges[1:], counts.tolist(), strict=False):
        if count:
            title = f"{rounded(10**low)} to {rounded(10**high)} characters: {number(count)} documents"
            box = {"x": plot.x(low), "y": plot.y(count), "width": plot.x(high) - plot.x(low) - 0.6}
            height = plot.y(0) - plot.y(count)
            plot.parts.append(element("rect", element("title", title), **box, height=height, class_="fill kept"))
    median, most = np.quantile(lengths, (0.5, 0.95)).tolist()
    caption = f"Lengths: half of the documents have at most {rounded(median)} characters, 95 % at most {rounded(most)}."
    return figure(plot.svg("Lengths of documents in characters"), caption)


def _shares(title: str, column: str, counts: Counter[str], whole: int, by_name: bool = False) -> Node:
    """The most frequent values; None where none is told of any document."""
    if not set(counts) - {"not told", "none"}:
        return None
    shown = sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:SHOWN]
    rest = sum(counts.values()) - sum(n for _, n in shown)
    rows = sorted(shown) if by_name else shown
    told = [(name, number(n), percent(n / whole)) for name, n in rows]
    if rest:
        told.append((f"{len(counts) - len(shown):,} others", number(rest), percent(rest / whole)))
    return table(title, (column, "#documents", "#share"), told)


def _samples(facts: Facts, found: Looked) -> Node:
    sources = [source for source in facts.sources if source in found.samples][:SAMPLED_SOURCES]
    return [
        element("h3", "Some of them, drawn at random"),
        [
            element(
                "details",
                element("summary", source),
                element("div", [_sample(*drawn[1:]) for drawn in found.samples[source]], class_="samples"),
            )
            for source in sources
        ],
    ]


def _sample(id_: str, url: str, text: str) -> Markup:
    return element(
        "div",
        element("p", url or id_, class_="url"),
        element("pre", text, tabindex="0"),
        class_="sample",
    )
