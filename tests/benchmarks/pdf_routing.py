"""CPU milliseconds a page of routing PDFs and of reading their text layers; which lanes and reasons pages get.

Run ``python -m tests.benchmarks.pdf_routing [--pdfs FOLDER] [--pages]``; the folder is ../shared/data/pdf by default.
OCR is not called: pages that it would have to judge are told as ``doubt``.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import process_time
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
ROUTING = ("load", "characters", "what shows", "signals and rules")
"""The steps that every page takes, whatever its lane."""


@dataclass
class Measured:
    """What the pages of some files took."""

    seconds: Counter[str] = field(default_factory=Counter)  # CPU, by step
    pages: list[tuple[Path, int, str]] = field(default_factory=list)  # number and end of each
    characters: int = 0
    refused: Counter[str] = field(default_factory=Counter)  # files, by reason

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        start = process_time()
        yield
        self.seconds[name] += process_time() - start


def measured(paths: Sequence[Path]) -> Measured:
    """Route the pages of these files."""
    from stages.pdf.reading import UnreadablePdf, opened
    from stages.pdf.routing import FontTrials
    from stages.pdf.signals import FontSamples

    found = Measured()
    for path in paths:
        try:
            with opened(path) as document:
                samples, trials = FontSamples(), FontTrials()
                for number in range(len(document)):
                    found.pages.append((path, number, _page(document, number, samples, trials, found)))
        except UnreadablePdf as error:
            found.refused[error.reason] += 1
    return found


def _page(document: Any, number: int, samples: Any, trials: Any, found: Measured) -> str:
    import pypdfium2 as pdfium

    from stages.pdf.characters import characters_of
    from stages.pdf.layout import blocks_of
    from stages.pdf.routing import route
    from stages.pdf.signals import signals_of
    from stages.pdf.text_layer import text_layer, unseen

    try:
        with found.step("load"):
            page = document[number]
    except pdfium.PdfiumError:
        return "failed unreadable"
    with found.step("characters"):
        characters = characters_of(page)
    with found.step("what shows"):
        skipped = unseen(page, characters)
    with found.step("signals and rules"):
        lane, reason, _ = route(signals_of(page, characters, skipped, samples), trials)
    if lane == "text":
        with found.step("fragments"):
            layer = text_layer(characters, skipped)
        with found.step("layout"):
            blocks_of(layer.fragments, layer.width, layer.height, is_ocr=False)
    page.close()
    found.characters += len(characters)
    return f"{lane} {reason}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pdfs", type=Path, default=REPOSITORY.parent / "shared" / "data" / "pdf")
    parser.add_argument("--pages", action="store_true", help="tell the lane of each page")
    options = parser.parse_args()
    paths = sorted(options.pdfs.rglob("*.pdf"))
    measured(paths)  # kernels are compiled or loaded, tables built
    found = measured(paths)
    count = len(found.pages)
    print(f"{count} pages of {len(paths)} files, {found.characters / count:.0f} characters a page")
    print(f"files refused: {dict(found.refused)}")
    ends = Counter(end for _, _, end in found.pages)
    in_text_lane = sum(pages for end, pages in ends.items() if end.startswith("text"))
    for name, seconds in found.seconds.items():
        print(f"  {name:20} {1000 * seconds / (count if name in ROUTING else in_text_lane):6.2f} ms of CPU a page")
    routing = 1000 * sum(found.seconds[name] for name in ROUTING) / count
    reading = 1000 * sum(found.seconds[name] for name in ("fragments", "layout")) / in_text_lane
    print(f"  routing              {routing:6.2f}\n  the text lane in all {routing + reading:6.2f}")
    for end, pages in ends.most_common():
        print(f"{pages:6} {end}")
    if options.pages:
        for path, number, end in found.pages:
            print(f"{path.relative_to(options.pdfs)}, page {number + 1}: {end}")


if __name__ == "__main__":
    main()
