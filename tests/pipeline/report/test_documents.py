"""What the documents are that a line ends with."""

import json
import re
from pathlib import Path

from pipeline.report.documents import documents_section
from pipeline.report.facts import Facts
from pipeline.run import Run
from tests.pipeline.report.runs import made

ROWS = [
    {"text": "a" * 100, "url": "https://www.a.example/1", "date": "2021-03-01", "language": "en"},
    {"text": "b" * 1000, "url": "http://a.example/2", "date": "2021-04-01T00:00:00Z", "language": "en"},
    {"text": "c" * 1000, "url": "http://[broken", "date": "yesterday", "language": "de"},
    {"text": "d" * 10_000},
]


def section_of(folder: Path) -> str:
    (folder / "docs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    run = made(folder, {"docs": {"stage": "json_lines", "files": "docs.jsonl"}})
    return str(documents_section(Facts(run)))


def rows(html: str, caption: str) -> list[list[str]]:
    (table,) = (t for t in re.findall(r"<table>.*?</table>", html) if f"<span>{caption}</span>" in t)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall("<tr>(.*?)</tr>", table)[1:]]
    return [[cell.replace("\u00a0", " ") for cell in row] for row in cells]


def test_languages_domains_and_years_are_counted(tmp_path: Path) -> None:
    html = section_of(tmp_path)
    assert rows(html, "Languages") == [["en", "2", "50 %"], ["de", "1", "25 %"], ["not told", "1", "25 %"]]
    assert rows(html, "Domains") == [["a.example", "2", "50 %"], ["none", "2", "50 %"]]
    assert rows(html, "Years") == [["2021", "2", "50 %"], ["not told", "2", "50 %"]]


def test_lengths_are_drawn_and_told(tmp_path: Path) -> None:
    html = section_of(tmp_path)
    assert "half of the documents have at most 1,000 characters" in html
    assert re.findall(r"characters: (\d+) documents", html) == ["1", "2", "1"]


def test_the_same_documents_are_drawn_each_time(tmp_path: Path) -> None:
    run = tmp_path / "run"
    first = section_of(tmp_path)
    assert str(documents_section(Facts(Run.open(run)))) == first
    assert first.count("<pre") == 2


def test_where_the_line_ends_without_texts_those_before_it_are_told(trained: Run) -> None:
    facts = Facts(trained)
    assert [artifact.name for artifact in facts.ends] == ["tokens.encoded"]
    assert "Of unique:" in str(documents_section(facts))
