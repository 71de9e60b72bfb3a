"""PDF papers typeset from pydoc's topics and from long docstrings, some pages only as scanned images.

Run as `python -m stages.demo_corpus.papers`: reads a PaperRequest as JSON from standard input and writes a
JSON PaperCounts to the file it is given. A process of its own because it imports the packages it quotes.
"""

import html
import io
import json
import pydoc_data.topics
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stages.demo_corpus.prose import blocks_of
from stages.demo_corpus.python_pages import long_docstrings, stable_order

_TARGET_CHARACTERS = 13_000  # about four pages
_MIN_CHARACTERS = 7_000
_MAX_CHARACTERS = 30_000
_MAX_PAPERS_PER_MODULE = 3
_SCAN_DPI = 150
_JPEG_QUALITY = 70


@dataclass(frozen=True)
class PaperRequest:
    """Write `count` papers into `folder`, those of them at positions `share`, `share + shares`, ...

    `scanned` papers carry one page as an image; the next `whole_scanned` papers are images throughout.
    """

    folder: str
    roots: tuple[str, ...]
    count: int
    scanned: int
    whole_scanned: int
    seed: int
    share: int
    shares: int


@dataclass(frozen=True)
class PaperCounts:
    """Files and pages written; `scanned_pages` of the pages are images without text."""

    pdf_files: int
    pdf_pages: int
    scanned_pages: int


@dataclass(frozen=True)
class _Paper:
    title: str
    sections: tuple[tuple[str, str], ...]

    @property
    def filename(self) -> str:
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-") + ".pdf"


def write_papers(request: PaperRequest) -> PaperCounts:
    """Typesets this share of the papers; the same request gives the same bytes on the same machine."""
    papers = [*_topic_papers(), *_docstring_papers(request.roots)]
    papers.sort(key=lambda paper: stable_order(request.seed, paper.title))
    papers = papers[: request.count]
    if len(papers) < request.count:
        raise ValueError(f"only {len(papers)} papers can be made of {', '.join(request.roots)}; {request.count} wanted")
    pages = scans = 0
    own = range(request.share, request.count, request.shares)
    for at in own:
        path = Path(request.folder) / papers[at].filename
        typeset = _typeset(papers[at], two_columns=at % 3 == 2, scans={})
        images = _page_images(
            typeset, at < request.scanned, request.scanned <= at < request.scanned + request.whole_scanned
        )
        path.write_bytes(_typeset(papers[at], two_columns=at % 3 == 2, scans=images) if images else typeset)
        pages += _page_count(typeset)
        scans += len(images)
    return PaperCounts(len(own), pages, scans)


def _topic_papers() -> Iterator[_Paper]:
    """Papers of the language reference: topics in alphabetical order, each paper a few pages."""
    parts = [(name, text) for name, text in sorted(pydoc_data.topics.topics.items())]
    for number, sections in enumerate(_packed(parts), start=1):
        yield _Paper(f"Python language reference {number:02d} {sections[0][0]}", tuple(sections))


def _docstring_papers(roots: tuple[str, ...]) -> Iterator[_Paper]:
    """Papers of the longest docstrings, grouped by the module they stand in."""
    by_module: dict[str, list[tuple[str, str]]] = {}
    for name, text in long_docstrings(roots, min_words=200):
        by_module.setdefault(name.rpartition(".")[0] or name, []).append((name, text))
    for module, parts in sorted(by_module.items()):
        for number, sections in enumerate(_packed(parts)[:_MAX_PAPERS_PER_MODULE], start=1):
            yield _Paper(f"Notes on {module} part {number}", tuple(sections))


def _packed(parts: list[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    """Consecutive parts in groups of about `_TARGET_CHARACTERS`; long ones are cut, a short rest left out."""
    groups: list[list[tuple[str, str]]] = [[]]
    for name, text in parts:
        groups[-1].append((name, text[:_MAX_CHARACTERS]))
        if _characters(groups[-1]) >= _TARGET_CHARACTERS:
            groups.append([])
    return [group for group in groups if _characters(group) >= _MIN_CHARACTERS]


def _characters(parts: list[tuple[str, str]]) -> int:
    return sum(len(text) for _, text in parts)


def _typeset(paper: _Paper, *, two_columns: bool, scans: dict[int, bytes]) -> bytes:
    """The paper as PDF; of a page numbered in `scans` (from 1) only that JPEG image is left."""
    from reportlab.lib.pagesizes import A4
    from reportlab.lib.units import cm
    from reportlab.lib.utils import ImageReader
    from reportlab.pdfgen.canvas import Canvas
    from reportlab.platypus import BaseDocTemplate, Frame, PageTemplate

    width, height = A4

    class ScanningCanvas(Canvas):  # type: ignore[misc]
        def showPage(self) -> None:  # noqa: N802
            scan = scans.get(self.getPageNumber())
            if scan is not None:
                self._code: list[str] = []  # what was drawn on this page so far
                self.drawImage(ImageReader(io.BytesIO(scan)), 0, 0, width, height)
            super().showPage()

    def running_head(canvas: Any, document: Any) -> None:
        canvas.setFont("Times-Italic", 9)
        canvas.drawString(2 * cm, height - 1.3 * cm, _latin(paper.title))
        canvas.drawRightString(width - 2 * cm, height - 1.3 * cm, "Collected documentation")
        canvas.drawCentredString(width / 2, 1.1 * cm, str(document.page))

    columns = 2 if two_columns else 1
    column_width = (width - 4 * cm - (columns - 1) * 0.6 * cm) / columns
    frames = [
        Frame(2 * cm + at * (column_width + 0.6 * cm), 1.8 * cm, column_width, height - 3.6 * cm, 0, 0, 0, 0)
        for at in range(columns)
    ]
    output = io.BytesIO()
    document = BaseDocTemplate(output, pagesize=A4, title=_latin(paper.title), author="Python", invariant=1)
    document.addPageTemplates([PageTemplate(frames=frames, onPage=running_head)])
    document.build(_flowables(paper, two_columns), canvasmaker=ScanningCanvas)
    return output.getvalue()


def _flowables(paper: _Paper, two_columns: bool) -> list[Any]:
    from reportlab.lib.enums import TA_JUSTIFY
    from reportlab.lib.styles import ParagraphStyle
    from reportlab.platypus import Paragraph, Preformatted

    size = 9 if two_columns else 10.5
    body = ParagraphStyle(
        "body",
        fontName="Times-Roman",
        fontSize=size,
        leading=size * 1.2,
        spaceAfter=size * 0.5,
        alignment=TA_JUSTIFY,
        embeddedHyphenation=1,
    )
    styles = {
        "paragraph": body,
        "bullet": ParagraphStyle("bullet", parent=body, leftIndent=12, bulletIndent=2),
        "definition": ParagraphStyle("definition", parent=body, leftIndent=14),
        "term": ParagraphStyle("term", parent=body, fontName="Times-Italic", spaceAfter=0, keepWithNext=1),
        "heading": ParagraphStyle("heading", parent=body, fontName="Times-Bold", keepWithNext=1),
    }
    section = ParagraphStyle("section", parent=styles["heading"], fontSize=size + 3, leading=size + 6, spaceBefore=8)
    title = ParagraphStyle("title", parent=section, fontSize=18, leading=22, spaceAfter=14)
    code = ParagraphStyle("code", fontName="Courier", fontSize=size - 2, leading=size, spaceAfter=size * 0.5)
    flowables: list[Any] = [Paragraph(html.escape(_latin(paper.title)), title)]
    for name, docstring in paper.sections:
        flowables.append(Paragraph(html.escape(_latin(name)), section))
        for block in blocks_of(docstring):
            text = _latin(block.text)
            if block.kind == "code":
                flowables.append(Preformatted(text, code, maxLineLength=52 if two_columns else 92))
            else:
                bullet = "\u2022" if block.kind == "bullet" else None
                flowables.append(
                    Paragraph(
                        html.escape(_hyphenated(_MARKUP.sub(r"\1", text))),
                        styles[block.kind],
                        bulletText=bullet,
                    )
                )
    return flowables


_MARKUP = re.compile(r"`+~?([^`]+)`+")
_SYLLABLE_BREAK = re.compile(r"(?<=[aeiouy][bcdfghklmnprstvz])(?=[bcdfghklmnprstvz][aeiouy][a-z])")
_LONG_WORD = re.compile(r"\b[a-z]{8,}\b")


def _hyphenated(text: str) -> str:
    """`text` with soft hyphens between two consonants inside long words, where English may break them."""
    return _LONG_WORD.sub(lambda word: _SYLLABLE_BREAK.sub("\u00ad", word[0]), text)


def _latin(text: str) -> str:
    """`text` in the characters of the standard PDF fonts; others become question marks."""
    return text.encode("cp1252", "replace").decode("cp1252")


def _page_images(pdf: bytes, one_page: bool, all_pages: bool) -> dict[int, bytes]:
    """Greyscale JPEGs of the pages to be scanned, by page number from 1: the second page, or all."""
    import pypdfium2

    if not one_page and not all_pages:
        return {}
    document = pypdfium2.PdfDocument(pdf)
    numbers = range(1, len(document) + 1) if all_pages else [min(2, len(document))]
    images: dict[int, bytes] = {}
    for number in numbers:
        page = document[number - 1].render(scale=_SCAN_DPI / 72, grayscale=True).to_pil()
        image = io.BytesIO()
        page.save(image, "JPEG", quality=_JPEG_QUALITY)
        images[number] = image.getvalue()
    document.close()
    return images


def _page_count(pdf: bytes) -> int:
    import pypdfium2

    document = pypdfium2.PdfDocument(pdf)
    count = len(document)
    document.close()
    return count


def main() -> None:
    """Entry point of the child process."""
    given = json.load(sys.stdin)
    request = PaperRequest(**{**given, "roots": tuple(given["roots"])})
    Path(sys.argv[1]).write_text(json.dumps(asdict(write_papers(request))), encoding="utf-8")


if __name__ == "__main__":
    main()
