"""Markdown: what a parser of it reads is what the page shows."""

import html
import re
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from stages.extract.html_worker import HtmlExtractor
from stages.extract.markdown import repaired
from stages.extract.pages import ExtractionOptions, Page
from tests.real_pages import real_pages

PARSER = MarkdownIt("commonmark").enable("table")
PROSE = "The committee met in the old hall and spoke about the rivers of the county for a long time. " * 3
CODE = """\
def rivers(county):
    # all of them
    if county["name"] < "Z" and not x | y:

        return [`river` for river in county]
"""


def markdown(body: str, engine: str = "trafilatura", **options: bool) -> str:
    page = f"<html><head><title>Of rivers</title></head><body><article>{body}<p>{PROSE}</p></article></body></html>"
    extractor = HtmlExtractor(ExtractionOptions(engine=engine, markdown=True, **options))
    return extractor.extract(Page(page.encode(), None, None)).text


def table_cells(text: str) -> list[list[list[str]]]:
    """Tables, rows, cells as a parser reads them."""
    tables: list[list[list[str]]] = []
    tokens = PARSER.parse(text)
    for token, following in pairwise(tokens):
        if token.type == "table_open":
            tables.append([])
        elif token.type == "tr_open":
            tables[-1].append([])
        elif token.type in ("th_open", "td_open"):
            tables[-1][-1].append(following.content)
    return tables


@pytest.mark.parametrize("engine", ["trafilatura", "fast"])
def test_headings_and_lists_are_kept(engine):
    text = markdown(
        f"<h1>Rivers</h1><p>{PROSE}</p><h2>Names</h2><ul><li>Elbe river</li><li>Oder river</li></ul>", engine
    )
    kinds = [(token.type, token.tag) for token in PARSER.parse(text)]
    assert ("heading_open", "h1") in kinds
    assert ("heading_open", "h2") in kinds
    assert [kind for kind, _ in kinds].count("list_item_open") == 2


@pytest.mark.parametrize("engine", ["trafilatura", "fast"])
def test_code_keeps_its_lines_and_indentation(engine):
    text = markdown(f"<p>{PROSE}</p><pre><code>{html.escape(CODE)}</code></pre><p>{PROSE}</p>", engine)
    [fence] = [token for token in PARSER.parse(text) if token.type == "fence"]
    assert fence.content == CODE


def test_highlighted_code_keeps_its_lines():
    """As Sphinx writes it: a span for each token."""
    spans = re.sub(
        r"(\w+)", r'<span class="n">\1</span>', html.escape(CODE).replace("&quot;", '"').replace("&#x27;", "'")
    )
    text = markdown(f'<p>{PROSE}</p><div class="highlight"><pre><span></span>{spans}</pre></div><p>{PROSE}</p>')
    [fence] = [token for token in PARSER.parse(text) if token.type == "fence"]
    assert "    # all of them\n" in fence.content
    assert fence.content.count("\n") == CODE.count("\n")


def test_a_table_without_header_cells_is_a_table_too():
    rows = "<tr><td>Elbe</td><td>1094</td></tr><tr><td>Oder | Odra</td><td>840</td></tr>"
    text = markdown(f"<p>{PROSE}</p><table>{rows}</table>")
    assert table_cells(text) == [[["Elbe", "1094"], ["Oder | Odra", "840"]]]


def test_rows_of_a_table_are_as_long_as_the_longest():
    """A parser shows no more cells than the header has."""
    text = repaired("| Rivers | \n| Elbe | 1094 | Cuxhaven | \n| Oder | 840 | ", None)
    assert table_cells(text) == [[["Rivers", "", ""], ["Elbe", "1094", "Cuxhaven"], ["Oder", "840", ""]]]


def test_a_table_of_one_column_is_layout():
    assert repaired("before\n| Elbe | \n| Oder\nafter", None) == "before\nElbe\n\nOder\n\nafter"


def test_bars_in_code_are_no_table():
    code = "```\n| a | b |\n| c |\n\n\n| d |\n```"
    assert repaired(code, None) == code


def test_the_title_becomes_the_heading_of_a_text_without_one():
    assert repaired("Text", "Of [rivers] & *lakes*") == "# Of \\[rivers\\] & \\*lakes\\*\n\nText"
    assert repaired("# Rivers\n\nText", "Of rivers") == "# Rivers\n\nText"
    assert repaired("```\n# no heading\n```", "Of rivers") == "# Of rivers\n\n```\n# no heading\n```"
    assert repaired("Text", None) == "Text"


@given(st.text("|\\` a-\n#", max_size=60))
def test_no_words_are_lost_or_added(text):
    assert re.findall("a+", repaired(text, None)) == re.findall("a+", text)


@pytest.mark.slow
def test_every_table_of_real_pages_is_read_as_a_table(shared_data: Path):
    """Lines of cells that a parser takes for a paragraph: 3,561 lines on 102 pages before the repair."""
    extractor = HtmlExtractor(ExtractionOptions(markdown=True))
    for page in real_pages(shared_data):
        if b"<table" not in page.html:
            continue
        text = extractor.extract(Page(page.html, None, page.url)).text
        tokens = PARSER.parse(text)
        covered = {
            i for t in tokens if t.map and t.type in ("table_open", "fence", "code_block") for i in range(*t.map)
        }
        stray = [line for i, line in enumerate(text.split("\n")) if line.startswith("|") and i not in covered]
        assert stray == [], page.name
