"""Pass rates on tests in the format of olmOCR-bench, per engine: ``python -m tests.benchmarks.pdf_bench``.

Each test states a fact about one page that a person has checked. The kinds, as olmOCR-bench describes them:

- present, absent: a text is, or is not, in the page's text (the first or last so many characters of it, if the test
  says so), but for ``max_diffs`` differences;
- order: one text begins before another;
- table: a cell of that text is in a table, Markdown or HTML, beside, above or under given cells or headings;
- baseline: the page has letters or digits and does not end in a loop; or, of a blank page, at most ``max_length``;
- math: a formula is in the text as LaTeX. The benchmark compares formulas as drawn; here their source has to agree,
  blanks aside, so that this rate is a lower bound. It is printed apart.

Every PDF without a baseline test gets one, as there. Text is compared in NFC, blanks folded, emphasis removed, quotes
and hyphens made plain.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from typing import Any

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "pdf"
MAX_LOOPS = 30  # of one to five characters at a text's end, as there
KINDS = ("present", "absent", "order", "table", "baseline")

Test = dict[str, Any]
Engine = Callable[[Path, int], str]  # path, page from 1 -> Markdown

_PLAIN = str.maketrans({**dict.fromkeys("‘’‚", "'"), **dict.fromkeys("“”„", '"'), **dict.fromkeys("–—‑‒−", "-"),
                        "＿": "_", "\u00b5": "\u03bc"})  # fmt: skip
_EMPHASIS = (re.compile(r"\*\*(.*?)\*\*"), re.compile(r"__(.*?)__"), re.compile(r"\*(.*?)\*"), re.compile(r"_(.*?)_"))


def normalized(text: str) -> str:
    """Text as it is compared."""
    text = re.sub(r"</?[bi]>", "", re.sub(r"<br\s*/?>", " ", text))
    for emphasis in _EMPHASIS:
        text = emphasis.sub(r"\1", text)
    return unicodedata.normalize("NFC", re.sub(r"\s+", " ", text)).translate(_PLAIN)


# Fuzzy search


def near_matches(pattern: str, text: str, max_diffs: int) -> Iterator[int]:
    """Ends of the parts of a text that differ from a pattern by at most so many characters."""
    if max_diffs == 0:
        yield from (found.start() + len(pattern) for found in re.finditer(f"(?={re.escape(pattern)})", text))
        return
    distances = list(range(len(pattern) + 1))  # from the pattern's first n characters to a part that ends here
    for end, character in enumerate(text, start=1):
        before = distances[0]
        for n, expected in enumerate(pattern, start=1):
            diagonal, before = before, distances[n]
            distances[n] = min(diagonal + (expected != character), before + 1, distances[n - 1] + 1)
        if distances[-1] <= max_diffs:
            yield end


def has(text: str, pattern: str, max_diffs: int) -> bool:
    return next(near_matches(pattern, text, max_diffs), None) is not None


def ratio(first: str, second: str) -> float:
    """Share of two texts that a longest common subsequence covers, 0 to 1."""
    row = [0] * (len(second) + 1)
    for a in first:
        before = 0
        for n, b in enumerate(second, start=1):
            diagonal, before = before, row[n]
            row[n] = diagonal + 1 if a == b else max(before, row[n - 1])
    return 2 * row[-1] / (len(first) + len(second)) if first or second else 1.0


# Tables


@dataclass
class Table:
    """Cells by row and column; a cell that spans several stands in each."""

    cells: dict[tuple[int, int], str] = field(default_factory=dict)
    headings: set[tuple[int, int]] = field(default_factory=set)
    spans: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)  # place -> place of its first cell

    def neighbour(self, place: tuple[int, int], down: int, right: int) -> tuple[int, int] | None:
        """The next cell in a direction that is not the same cell."""
        own = self.spans.get(place, place)
        while place in self.cells and self.spans.get(place, place) == own:
            place = (place[0] + down, place[1] + right)
        return place if place in self.cells else None

    def heading(self, place: tuple[int, int], down: int, right: int) -> list[str]:
        """Texts of the headings in a direction; without any, that of the last cell."""
        found, last = [], ""
        following = self.neighbour(place, down, right)
        while following is not None:
            last = self.cells[following]
            if following in self.headings:
                found.append(last)
            following = self.neighbour(following, down, right)
        return found or [last]


def markdown_tables(text: str) -> Iterator[Table]:
    rows: list[list[str]] = []
    for line in [*text.splitlines(), ""]:
        if "|" in line:
            cells = re.split(r"(?<!\\)\|", line.strip().removeprefix("|").removesuffix("|"))
            rows.append([cell.strip().replace("\\|", "|") for cell in cells])
            continue
        if len(rows) >= 2 and all(re.fullmatch(r":?-+:?", cell) for cell in rows[1]):
            kept = [rows[0], *rows[2:]]
            cells_at = {(r, c): cell for r, row in enumerate(kept) for c, cell in enumerate(row)}
            yield Table(cells_at, {(0, c) for c in range(len(kept[0]))})
        rows = []


def html_tables(text: str) -> Iterator[Table]:
    if "<table" not in text:
        return
    from lxml import html

    for element in html.fromstring(f"<div>{text}</div>").iter("table"):
        table = Table()
        for r, row in enumerate(element.iter("tr")):
            c = 0
            for cell in row.iterchildren("td", "th"):
                while (r, c) in table.cells:
                    c += 1
                for down in range(int(cell.get("rowspan") or 1)):
                    for right in range(int(cell.get("colspan") or 1)):
                        place = (r + down, c + right)
                        table.cells[place] = " ".join(cell.text_content().split())
                        table.spans[place] = (r, c)
                        if cell.tag == "th" or row.getparent().tag == "thead":
                            table.headings.add(place)
        yield table


DIRECTIONS = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}


def passes_table(test: Test, text: str) -> bool:
    tables = [*markdown_tables(text), *html_tables(text)]
    return any(_is_cell(test, table, place) for table in tables for place in table.cells)


def _is_cell(test: Test, table: Table, place: tuple[int, int]) -> bool:
    def alike(expected: str, found: list[str]) -> bool:
        least = max(0.5, 1 - test.get("max_diffs", 0) / len(expected))
        return any(ratio(normalized(expected), normalized(text)) >= least for text in found)

    if not alike(test["cell"], [table.cells[place]]):
        return False
    for name, direction in DIRECTIONS.items():
        neighbour = table.neighbour(place, *direction) if test.get(name) else None
        if test.get(name) and not (neighbour and alike(test[name], [table.cells[neighbour]])):
            return False
    if test.get("top_heading") and not alike(test["top_heading"], table.heading(place, -1, 0)):
        return False
    return not test.get("left_heading") or alike(test["left_heading"], table.heading(place, 0, -1))


# The other kinds


def passes(test: Test, text: str) -> bool:
    """Whether a test's fact holds of the Markdown of its page.

    Raises:
        ValueError: for a kind of test that is not known.
    """
    match test["type"]:
        case "present":
            return _is_present(test, normalized(text))
        case "absent":
            return not _is_present(test, normalized(text))
        case "order":
            return _is_in_order(test, normalized(text))
        case "table":
            return passes_table(test, text)
        case "baseline":
            return _is_sound(test, text)
        case "math":
            formulas = re.findall(r"\$\$(.+?)\$\$|\$(.+?)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", text, re.DOTALL)
            return re.sub(r"\s", "", test["math"]) in {re.sub(r"\s", "", "".join(f)) for f in formulas}
        case kind:
            raise ValueError(f"test {test['id']}: kind {kind!r} is not known")


def _is_present(test: Test, text: str) -> bool:
    pattern = normalized(test["text"])
    if not test.get("case_sensitive", True):
        pattern, text = pattern.lower(), text.lower()
    first, last = test.get("first_n"), test.get("last_n")
    if first or last:
        text = (text[:first] if first else "") + (text[-last:] if last else "")
    return has(text, pattern, test.get("max_diffs", 0))


def _is_in_order(test: Test, text: str) -> bool:
    before, after = normalized(test["before"]), normalized(test["after"])
    firsts = [end - len(before) for end in near_matches(before, text, test.get("max_diffs", 0))]
    lasts = [end - len(after) for end in near_matches(after, text, test.get("max_diffs", 0))]
    return bool(firsts and lasts) and min(firsts) < max(lasts)


def _is_sound(test: Test, text: str) -> bool:
    written = sum(character.isalnum() for character in text)
    if test.get("max_length") is not None:
        return written <= int(test["max_length"])
    folded = re.sub(r"\s+", " ", text)
    loops = (len(_loop(folded, size)) // size for size in range(1, 6))
    return written > 0 and all(count <= MAX_LOOPS for count in loops)


def _loop(text: str, size: int) -> str:
    """The end of a text that repeats its last so many characters, without these."""
    unit, start = text[-size:], len(text) - size
    while start >= size and text[start - size : start] == unit:
        start -= size
    return text[start : len(text) - size]


# Engines


def ours(ocr: str) -> Engine:
    """The pipeline's own reading of a page, which is then assembled as a document of one page."""
    from stages.pdf.document import assembled
    from stages.pdf.reading import ReadingOptions, pages_of

    options = ReadingOptions(ocr=ocr)  # type: ignore[arg-type]

    def read(path: Path, page: int) -> str:
        return assembled(list(pages_of(path, page - 1, page, options))).text

    return read


def pdfium_text(path: Path, page: int) -> str:
    import pypdfium2 as pdfium

    document = pdfium.PdfDocument(path)
    try:
        return str(document[page - 1].get_textpage().get_text_bounded())
    finally:
        document.close()


def pdftotext(path: Path, page: int) -> str:
    command = ["pdftotext", "-f", str(page), "-l", str(page), str(path), "-"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def tesseract(path: Path, page: int) -> str:
    """At 300 dpi, as its authors advise."""
    import cv2
    import pypdfium2 as pdfium

    document = pdfium.PdfDocument(path)
    try:
        picture = document[page - 1].render(scale=300 / 72).to_numpy()
    finally:
        document.close()
    encoded = cv2.imencode(".png", picture)[1].tobytes()
    command = ["tesseract", "stdin", "stdout", "--dpi", "300"]
    return subprocess.run(command, input=encoded, check=True, capture_output=True).stdout.decode()


def engines() -> dict[str, Engine]:
    """Those that can run here, by name; says which cannot."""
    found = {"ours": ours("auto"), "ours, text layers alone": ours("off"), "pypdfium2": pdfium_text}
    for program, engine in {"pdftotext": pdftotext, "tesseract": tesseract}.items():
        if shutil.which(program):
            found[program] = engine
        else:
            print(f"{program}: the program is not installed here, so it is not measured")
    return found


# The report


def load_tests(path: Path) -> list[Test]:
    """The tests of a JSON Lines file, and a baseline test for each page that has none."""
    tests: list[Test] = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    tests = [test for test in tests if test.get("checked") != "rejected"]
    with_baseline = {test["pdf"] for test in tests if test["type"] == "baseline"}
    for pdf, page in sorted(
        {(test["pdf"], min(t["page"] for t in tests if t["pdf"] == test["pdf"])) for test in tests}
    ):
        if pdf not in with_baseline:
            tests.append({"pdf": pdf, "page": page, "id": f"{pdf} baseline", "type": "baseline"})
    return tests


def cpu_s() -> float:
    """CPU seconds of this process and of its children that have ended."""
    return sum(usage.ru_utime + usage.ru_stime for usage in map(getrusage, (RUSAGE_SELF, RUSAGE_CHILDREN)))


def measure(engine: Engine, tests: list[Test], pdfs: Path, verbose: bool) -> None:
    by_page: dict[tuple[str, int], list[Test]] = defaultdict(list)
    for test in tests:
        by_page[test["pdf"], test["page"]].append(test)
    passed: Counter[str] = Counter()
    total: Counter[str] = Counter(test["type"] for test in tests)
    spent_s = []
    for (pdf, page), on_page in sorted(by_page.items()):
        start = cpu_s()
        text = engine(pdfs / pdf, page)
        spent_s.append(cpu_s() - start)
        for test in on_page:
            if passes(test, text):
                passed[test["type"]] += 1
            elif verbose:
                fact = {key: value for key, value in test.items() if key not in ("id", "pdf", "page", "checked")}
                print(f"  failed {test['id']} ({pdf}, page {page}): {json.dumps(fact, ensure_ascii=False)}")
    for kind in [*KINDS, "math"]:
        if total[kind]:
            print(f"  {kind:10}{passed[kind]:4} of {total[kind]:4}  {passed[kind] / total[kind]:6.1%}")
    of_all, right = sum(total[kind] for kind in KINDS), sum(passed[kind] for kind in KINDS)
    print(f"  all but math {right} of {of_all}  {right / max(1, of_all):.1%}")
    median_s = sorted(spent_s)[len(spent_s) // 2]
    print(f"  CPU seconds a page: mean {sum(spent_s) / len(spent_s):.3f}, median {median_s:.3f}, {len(spent_s)} pages")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tests", type=Path, default=SHARED / "ground_truth" / "olmocr_bench_tests.jsonl")
    parser.add_argument("--pdfs", type=Path, default=SHARED, help="folder that the tests' file names are relative to")
    parser.add_argument("--engine", action="append", help="measure these engines alone, by name")
    parser.add_argument("--verbose", action="store_true", help="name each test that fails")
    options = parser.parse_args()
    tests = load_tests(options.tests)
    for name, engine in engines().items():
        if not options.engine or name in options.engine:
            print(name)
            measure(engine, tests, options.pdfs, options.verbose)


if __name__ == "__main__":
    main()
