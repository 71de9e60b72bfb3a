"""PDFs: how their pages were read, why so, and how good the text is that came of them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow.parquet as pq

from pipeline.artifact import DOCUMENTS_FILE, Artifact, read_tables
from pipeline.report.charts import figure, histogram, share_bar
from pipeline.report.facts import Facts
from pipeline.report.markup import Markup, Node, element, number, percent, section, table

STAGE = "pdf_documents"
BINS = 20
LANES = {
    "text": "by their text layer",
    "ocr_layer": "by the text layer that an earlier OCR put behind the picture",
    "ocr": "by OCR",
    "vision": "by a vision-language model",
    "blank": "nothing is on them",
    "unread": "not: they need OCR, which is off",
    "failed": "not: they cannot be loaded or drawn",
}


def pdf_section(facts: Facts) -> Markup | None:
    """Pages by lane and reason for each artifact made of PDFs; None without any."""
    made = [
        _artifact(artifact, pages)
        for artifact in facts.of_kind("documents")
        if (pages := _pages(artifact)) and any(not name.startswith("hard") for name in pages)
    ]
    return section("pdf", "PDF pages", made) if made else None


def _pages(artifact: Artifact) -> Counter[str]:
    """Pages by "lane: reason", and by "hard: reason" those that a vision-language model should have read."""
    found: Counter[str] = Counter()
    for step in artifact.steps:
        if step["stage"] == STAGE:
            for counts in artifact.ledger.steps[str(step["label"])].values():
                found.update(
                    {name.removeprefix("page "): n for name, n in counts.noted.items() if name.startswith("page ")}
                )
    return found


def _artifact(artifact: Artifact, pages: Counter[str]) -> Node:
    read = {name: n for name, n in pages.items() if not name.startswith("hard: ")}
    hard = sorted(((n, name.removeprefix("hard: ")) for name, n in pages.items() if name not in read), reverse=True)
    whole = sum(read.values())
    rows = [
        (
            lane,
            reason.replace("_", " "),
            number(n),
            percent(n / whole),
            share_bar([(lane, n, _style(lane))], whole, f"{lane}, {reason}: {number(n)} of {number(whole)} pages"),
        )
        for (lane, reason), n in sorted(
            ((tuple(name.split(": ", 1)), n) for name, n in read.items()),
            key=lambda found: (list(LANES).index(found[0][0]), -found[1]),
        )
    ]
    lanes = Counter[str]()
    for name, n in read.items():
        lanes[name.split(": ", 1)[0]] += n
    said = "; ".join(f"{number(lanes[lane])} {LANES[lane]}" for lane in LANES if lanes[lane])
    return element(
        "div",
        element("h3", artifact.name),
        element("p", f"{number(whole)} pages were read: {said}."),
        table("Pages by the way they were read", ("read by", "because", "#pages", "#share", "~share of pages"), rows),
        element(
            "p",
            "Pages that a vision-language model should read and none has: "
            + ", ".join(f"{number(n)} ({reason.replace('_', ' ')})" for n, reason in hard)
            + ".",
        )
        if hard
        else None,
        _quality(artifact),
    )


def _style(lane: str) -> str:
    return "failed" if lane == "failed" else "dropped" if lane == "unread" else "kept"


def _quality(artifact: Artifact) -> Markup | None:
    found = [
        tables["pdf.quality"].drop_null().to_numpy()
        for path in artifact.file_paths(DOCUMENTS_FILE)
        if "pdf.quality" in pq.read_schema(path).names  # a stage behind may have made documents of its own
        for tables in read_tables(path, ["pdf.quality"], rows=65_536)
    ]
    values = np.concatenate([np.empty(0), *found])
    if not len(values):
        return None
    counts = np.histogram(values, BINS, (0.0, 1.0))[0].tolist()
    chart = histogram(
        f"{artifact.name}: quality of documents", [("documents", "kept", counts)], "quality", "of documents"
    )
    return figure(
        chart,
        "Quality of each document: the product of what share of its characters is no garbage, of its pages could be "
        "read, of its words a dictionary knows, and of the OCR's confidence. The stage pdf_quality drops by it.",
    )
