"""Faster stand-ins against trafilatura's originals: same elements, same paragraphs, same documents."""

import json
import re
import subprocess
import sys
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree, html

from stages.extract import trafilatura_speed
from stages.extract.trafilatura_speed import UnsupportedVersionError, paragraphs, readability, replacements
from stages.extract.trafilatura_speed.xpaths import MAX_VALUES, UnsupportedXPathError, Walk, _Column, read_xpath
from tests.real_pages import real_pages

PAGES_IN_TESTS = 14
MAX_PAGE_BYTES = 200_000
MODES_IN_TESTS = ("default", "precision", "recall, formatted, images")  # tests/benchmarks/html_extraction.py has all


def expressions() -> dict[str, Any]:
    """trafilatura's own XPath objects by name and number."""
    found = {}
    for module in ("trafilatura.xpaths", "trafilatura.settings"):
        for name, value in vars(import_module(module)).items():
            for i, xpath in enumerate(value if isinstance(value, list) else [value]):
                if isinstance(xpath, etree.XPath):
                    found[f"{name}[{i}]"] = xpath
    return found


XPATHS = expressions()
LISTS = sorted({name.partition("[")[0] for name in XPATHS})
WALKS = {name: Walk([xpath]) for name, xpath in XPATHS.items()}
LIST_WALKS = {name: Walk([xpath for key, xpath in XPATHS.items() if key.startswith(f"{name}[")]) for name in LISTS}


def is_first_only(name: str) -> bool:
    return any(path.first for path in read_xpath(XPATHS[name].path))


def assert_same_elements(tree: Any) -> None:
    for name, xpath in XPATHS.items():
        expected = xpath(tree)
        # "[1]" is asked for the first match only
        assert WALKS[name](tree)[0] == (expected[:1] if is_first_only(name) else expected), name
        assert WALKS[name].first(tree) == expected[:1] or "]//" in xpath.path, name


def every_token() -> list[str]:
    """Words of the expressions: what class and id must look like to matter to them."""
    quoted = [text for xpath in XPATHS.values() for text in re.findall(r"'([^']*)'", xpath.path)]
    return sorted({word for text in quoted for word in re.findall(r"[\w-]+", text)})


@pytest.fixture(scope="module")
def pages(shared_data):
    """Every so many of the real pages, the largest left out."""
    small = [page for page in real_pages(shared_data) if len(page.html) <= MAX_PAGE_BYTES]
    return small[:: len(small) // PAGES_IN_TESTS]


# ---------------------------------------------------------------- odd documents

TAGS = (
    *("div", "section", "article", "main", "aside", "details", "header", "footer", "nav", "figure", "time", "author"),
    *("p", "span", "a", "ul", "ol", "li", "item", "list", "h1", "h2", "table", "tr", "td", "pre", "code", "quote"),
    *("br", "lb", "select", "option", "strong", "em", "form", "svg", "script", "blockquote", "ref", "rel", "o:p"),
)
NAMES = ("class", "id", "role", "style", "itemprop", "rel", "data-component", "aria-hidden", "href", "hidden")
ODD = ("", " ", "\t", "\n", "É", "İ", "ſ", "&amp;", "&#9;", "\u00a0", "\u2028", "Σ", "me")
attribute_values = st.lists(st.sampled_from([*every_token(), *ODD]), max_size=3).flatmap(
    lambda words: st.tuples(
        st.sampled_from(["", " ", "-", "_", "\t"]), st.sampled_from([str, str.upper, str.title])
    ).map(lambda how: how[1](how[0].join(words)))
)
texts = st.sampled_from(
    [
        "",
        " ",
        "\n ",
        "me",
        "The river rose, the town slept.",
        "a  b\tc",
        "©",
        "\u00ad\u200b",
        "Ω ΟΔΟΣ",
        "x" * 60,
        "12.3.2020",
    ]
)
attributes = st.dictionaries(st.sampled_from(NAMES), attribute_values, max_size=4)


def opened(tag: str, values: dict[str, str]) -> str:
    return f"<{tag}" + "".join(f' {name}="{value}"' for name, value in values.items()) + ">"


nodes = st.recursive(
    st.one_of(texts, st.sampled_from(["<!-- nav -->", "<?php menu ?>", "<br>", "<br><br>"])),
    lambda inner: st.tuples(st.sampled_from(TAGS), attributes, st.lists(inner, max_size=4)).map(
        lambda node: f"{opened(node[0], node[1])}{''.join(node[2])}</{node[0]}>"
    ),
    max_leaves=25,
)
documents = st.tuples(attributes, st.lists(nodes, max_size=6)).map(
    lambda parts: f"<html><head><title>T</title></head>{opened('body', parts[0])}{''.join(parts[1])}</body></html>"
)
generated = settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


# ---------------------------------------------------------------- expressions


def test_every_expression_for_content_and_metadata_is_understood():
    assert len(WALKS) > 30


@generated
@given(documents)
def test_a_walk_selects_what_xpath_selects(document):
    assert_same_elements(html.document_fromstring(document))


@generated
@given(documents)
def test_lists_of_expressions_share_a_walk(document):
    tree = html.document_fromstring(document)
    for name, walk in LIST_WALKS.items():
        for i, found in enumerate(walk(tree)):
            if not is_first_only(f"{name}[{i}]"):
                assert found == XPATHS[f"{name}[{i}]"](tree), f"{name}[{i}]"


def test_a_walk_selects_what_xpath_selects_on_real_pages(pages):
    for page in pages:
        assert_same_elements(html.document_fromstring(page.html))


@pytest.mark.parametrize(
    "attributes",
    [
        'class="x" id="cookie"',
        'id="cookie" class="x"',
        'id="x" class="cookie"',
        'class="cookie" id="x"',
        'id="" class="cookie"',
    ],
)
def test_of_two_attributes_the_first_in_the_source_counts(attributes):
    tree = html.document_fromstring(f"<body><div {attributes}>x</div></body>")
    xpath = etree.XPath(".//*[contains(@id|@class, 'cookie')]")
    assert Walk([xpath])(tree)[0] == xpath(tree)


@pytest.mark.parametrize(
    ("path", "selected"),
    [
        (".//p[re:test(@class, 'fulltext', 'i')]", "<p class='FullText'>"),
        (".//p[re:test(@class, '^nav')]", "<p class='navbar'>"),
        (".//p[contains(translate(@id, 'CM', 'cm'), 'main-content')]", "<p id='Main-Content'>"),
        (".//p[starts-with(@class, 'a.c')]", "<p class='a.c d'>"),
        (".//p[@class='a' or @id='a']", "<p id='a'>"),
        (".//p[@data-x]", "<p data-x>"),
        (".//p[not(.//h1) or @id='a']", "<p>"),
        (".//p[.//b]", "<p><b>"),
        (".//p[rel='me' or @id='a']", "<p><rel>me</rel>"),
        (".//p[@id='a' and not(self::b or @class)]", "<p id='a'>"),
    ],
)
def test_each_kind_of_test(path, selected):
    others = "<p class='abc fulltex' id='b'>x</p><b id='a'>y</b><p class='xnav' id='a'><i>z</i><rel>you</rel></p>"
    tree = html.document_fromstring(f"<body>{others}{selected}w</p><h1>v</h1></body>")
    xpath = etree.XPath(path, namespaces={"re": "http://exslt.org/regular-expressions"})
    assert Walk([xpath])(tree)[0] == xpath(tree)
    assert tree.xpath("//p")[2] in xpath(tree)


@pytest.mark.parametrize("inside", ["<h1>t</h1>", "<h2>t</h2>"])
@pytest.mark.parametrize("name", ["infinite-scroll", "mvp-post-add-box"])
def test_an_expression_that_looks_inside_the_element(name, inside):
    assert_same_elements(html.document_fromstring(f"<body><div class='{name}'>{inside}</div><h1>u</h1></body>"))


@pytest.mark.parametrize(
    "path",
    [
        "./div",
        ".//div[2]",
        ".//div[last()]",
        ".//p/text()",
        ".//a[@href > 3]",
        ".//*",
        ".//p[not(contains(@id, ''))]",
        ".//a[",
    ],
)
def test_other_expressions_are_left_to_lxml(path):
    with pytest.raises(UnsupportedXPathError):
        Walk([SimpleNamespace(path=path)])


def test_what_is_remembered_is_bounded():
    [column] = Walk([etree.XPath(".//p[contains(@class, 'nav')]")])._columns.values()
    for i in range(MAX_VALUES + 10):
        column[f"c{i}"]
    assert isinstance(column, _Column)
    assert len(column) <= MAX_VALUES
    assert column["x" * 10_000 + "nav"] == 1
    assert not any(len(value) > 1000 for value in column)


# ---------------------------------------------------------------- justext and readability


def justext_result(maker: Any, classify: Any, tree: Any) -> list[tuple[str, int, str, str]]:
    from justext.core import revise_paragraph_classification
    from justext.utils import get_stoplist

    found = maker.make_paragraphs(tree)
    classify(found, tuple(sorted(get_stoplist("English"))), 50, 150, 0.1, 0.2, 0.25, True)
    revise_paragraph_classification(found, 150)
    return [(p.text, p.chars_count_in_links, p.cf_class, p.class_type) for p in found]


def assert_same_paragraphs(tree: Any) -> None:
    from justext import core

    expected = justext_result(core.ParagraphMaker, core.classify_paragraphs, tree)
    assert justext_result(paragraphs.ParagraphMaker, paragraphs.classify_paragraphs, tree) == expected


@generated
@given(documents)
def test_paragraphs_are_those_of_justext(document):
    assert_same_paragraphs(html.document_fromstring(document))


def test_paragraphs_are_those_of_justext_on_real_pages(pages):
    for page in pages:
        assert_same_paragraphs(html.document_fromstring(page.html))


@given(st.text(alphabet=" \t\n\r\x0b\x1c\x85\u2028\u00a0ab"))
def test_white_space_is_normalized_as_in_justext(text):
    from justext.utils import normalize_whitespace

    assert paragraphs.normalized(text) == normalize_whitespace(text)


@given(attribute_values, attribute_values)
def test_readability_weighs_class_and_id_alike(class_names, identifier):
    from trafilatura.readability_lxml import Document as Original

    element = html.Element("div", {"class": class_names, "id": identifier})
    assert readability.Document(element).class_weight(element) == Original(element).class_weight(element)


@given(attribute_values, attribute_values)
def test_readability_drops_the_same_candidates(class_names, identifier):
    from trafilatura.readability_lxml import Document as Original

    left = []
    for document in (readability.Document, Original):
        tree = html.document_fromstring("<body><p>x</p></body>")
        tree.find(".//p").attrib.update({"class": class_names, "id": identifier})
        document(tree).remove_unlikely_candidates()
        left.append(html.tostring(tree))
    assert left[0] == left[1]


def test_readability_forgets_link_lengths_before_it_changes_the_tree():
    from trafilatura.readability_lxml import Document as Original

    link = "<a href='/'>a<span><form>" + "text of a form in a link " * 12 + "</form></span></a>"
    page = f"<body><div class='content'><div>{link}<p>{'some words without commas ' * 12}</p></div></div></body>"
    ours, theirs = (document(html.document_fromstring(page)).summary() for document in (readability.Document, Original))
    assert ours == theirs


def readability_scores(document: Any, page: str) -> tuple[str | None, dict[str, float]]:
    """The best candidate's id, and the score of each candidate by id, as get_article and sanitize see it."""
    read = document(html.document_fromstring(page))
    candidates = read.score_paragraphs()
    best = read.select_best_candidate(candidates)
    return best and best.elem.get("id"), {elem.get("id"): candidates[elem].score for elem in candidates}


PARAGRAPH = "<p>A sentence, with commas, that is long enough to be scored.</p>"
LINKED = f"<p><a href='/'>{'Only a link, with commas, that is long enough. ' * 3}</a></p>"


@pytest.mark.parametrize(
    "inner",
    [
        f"<div id='a'>{LINKED * 9}</div><div id='b'>{PARAGRAPH}</div>",  # links cost the highest its place
        f"<div id='a'>{PARAGRAPH}</div><div id='b'>{PARAGRAPH}</div>",  # of equal ones the first
        f"<div id='b' class='comment'>{PARAGRAPH}</div>",  # none above 0
        f"<div id='c' class='comment'>{PARAGRAPH}</div><div id='sidebar' class='comment'>{PARAGRAPH}</div>"
        f"<div id='b'>{PARAGRAPH}</div>",  # some below 0
        "<p>short</p>",
    ],
)
def test_readability_prefers_the_same_candidate(inner):
    from trafilatura.readability_lxml import Document as Original

    page = f"<html id='h'><body id='body'>{inner}</body></html>"
    assert readability_scores(readability.Document, page) == readability_scores(Original, page)


def test_readability_scores_are_those_from_before_elements_are_removed():
    from trafilatura.readability_lxml import Document as Original

    # without the heading's link, the list would keep enough of its score to stay
    part = f"<ul class='promo'><h2><a href='/'>{'A long link in a heading ' * 30}</a></h2>{PARAGRAPH * 12}</ul>"
    page = f"<body><div id='content'>{PARAGRAPH * 9}{part}</div></body>"
    ours, theirs = (document(html.document_fromstring(page)).summary() for document in (readability.Document, Original))
    assert ours == theirs


@generated
@given(documents)
def test_what_may_be_unlikely_holds_all_that_readability_removes(document):
    tree = html.document_fromstring(document)
    known = set(readability.MAY_BE_UNLIKELY(tree))
    tree.set("id", "kept")
    unlikely = [e for e in tree.iterdescendants("*") if readability._is_unlikely(e.get("class"), e.get("id"))]
    assert known.issuperset(unlikely)


@pytest.mark.parametrize("formatting", [False, True])
@pytest.mark.parametrize(
    "cells",
    [
        "<cell/><cell/>",
        "<cell> a|b </cell><cell role='head'>c\nd</cell>",
        "<cell>a</cell>tail<cell/> <cell><p>b</p></cell>",
        "<cell><list><item>x<table><row><cell>deep</cell><cell/></row></table></item></list></cell>",
    ],
)
def test_table_cells_are_written_as_by_trafilatura(cells, formatting):
    import trafilatura.xml

    table = etree.fromstring(
        f"<body><table><row>{cells}</row></table><list><item>i<cell>in item</cell></item></list></body>"
    )
    ours: list[str] = []
    theirs: list[str] = []
    serializer = replacements._Serializer()
    with pytest.MonkeyPatch.context() as patch:
        trafilatura.xml.process_element(table, theirs, formatting)
        patch.setattr(trafilatura.xml, "process_element", serializer.process_element)
        serializer.process_element(table, ours, formatting)
    assert "".join(ours) == "".join(theirs)


@generated
@given(documents)
def test_readability_summaries_are_the_same(document):
    from trafilatura.readability_lxml import Document as Original

    ours, theirs = (html.document_fromstring(document) for _ in range(2))
    assert readability.Document(ours).summary() == Original(theirs).summary()


# ---------------------------------------------------------------- whole pages

COMPARE = """
import json, logging, sys
from tests.benchmarks.html_extraction import MODES, fields
logging.disable(logging.CRITICAL)
if sys.argv[1] == "ours":
    from stages.extract.trafilatura_speed import install
    install()
for line in sys.stdin:
    page, url = json.loads(line)
    print(json.dumps({mode: repr(fields(page, url, MODES[mode])) for mode in sys.argv[2:]}))
"""


def all_fields(pages: list[tuple[str, str | None]]) -> tuple[list[Any], list[Any]]:
    """Fields of the pages in all modes, by plain trafilatura and by ours, each in a process of its own."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", COMPARE, which, *MODES_IN_TESTS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for which in ("plain", "ours")
    ]
    results = [process.communicate("".join(json.dumps(page) + "\n" for page in pages))[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    plain, ours = ([json.loads(line) for line in result.splitlines()] for result in results)
    assert len(plain) == len(ours) == len(pages)
    return plain, ours


def test_documents_are_the_same_on_real_pages(pages):
    from stages.extract.decoding import decoded

    plain, ours = all_fields([(decoded(page.html, None), page.url) for page in pages])
    assert ours == plain
    assert sum(documents["default"] != "None" for documents in plain) > PAGES_IN_TESTS // 2


ARTICLE = "<p>" + "The committee met in the old hall and spoke about the rivers of the county. " * 4 + "</p>"
CHOSEN = [
    "<div class='author'>Jane Doe<span class='date'> and Mary Smith</span></div>",  # removed inside of a candidate
    "<div id='comments'><span class='author'>A Troll</span></div><p class='byline'>Jane Doe</p>",  # candidate inside
    "<div class='x'><a class='title' rel='author'>Some Title</a></div>",  # a candidate that is removed itself
    "<b>77 from 17/05/2018 11, or 5 / 2016, v2.2019/03.1 and 1 2017-05-06 2</b>",  # dates in the page's text only
    "<b>12 20160203 4</b><b>a1.2.15b</b>",
    "<b>Copyright 1999-2014 by us</b>",
    "<nav>Here you find<p>our menu with many dishes</p></nav><svg><text>drawn</text><svg>in it</svg></svg>Behind.",
    "<aside>Aside <aside>inner</aside> tail</aside> loose <aside>second</aside>",
    "<div>" + "<a href='/a'>one of the links</a> " * 6 + "</div><ul><li><a href='/b'>b</a></li></ul>",
    "<div class='cookie-banner'>We use cookies</div><div id='footer'>Foot</div><p class='hide-print'>hidden</p>",
]


def test_documents_are_the_same_on_odd_pages():
    """Odd parts before and within an article; drawn once, as a process a page would be slow."""
    parts: list[tuple[str, str]] = [(part, "<article>") for part in CHOSEN]

    @settings(max_examples=60, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(nodes, st.sampled_from(["<article>", "<div class='post'>", "<main>", "<div id='content'>", ""]))
    def draw(node: str, start: str) -> None:
        parts.append((node, start))

    draw()
    drawn: list[tuple[str, str | None]] = [("", None), ("<html></html>", None), ("<p>x</p>", None), ("\0", None)]
    aside = "<aside>Aside</aside><footer>Foot</footer><i class='OneTrust-Banner'>We use cookies</i>"
    side = "<p>Short.</p><div class='sidebar'><p>" + "Said at the side of the page only. " * 6 + "</p></div>"
    drawn.append((f"<html><body>{side}</body></html>", None))  # the page is needed after readability has changed it
    said = "that is said here, and nowhere else, in a few words more than needed. "
    names = ("remark", "agegate", "combx", "extra", "shoutbox", "foot", "rss", "x")
    unlikely = "".join(f"<div class='{name}'>{name} {said * 4}</div>" for name in names)
    drawn.append(
        (f"<html><body><div>{unlikely}<div class='sidebar'>Side</div></div></body></html>", None)
    )  # readability alone finds something
    pruned = f"<article class='newsletter'>{ARTICLE}</article>"
    entry = f"<div class='entry-content'>{pruned}{ARTICLE}</div>"
    listed = f"<dl class='comments'><dd>{pruned}</dd></dl>"
    for first in (entry, listed):  # what would be selected first is removed
        drawn.append((f"<html><body>{first}<article>{ARTICLE * 2}</article></body></html>", None))
    drawn.append((f"<html><body>{aside}<b>All that this page says.</b></body></html>", None))  # too short an extraction
    for part, start in parts:
        body = f"{part}{start}{ARTICLE}{part}{ARTICLE}"
        drawn.append((f"<html><head><title>T</title></head><body>{body}</body></html>", "https://example.org/a"))
    plain, ours = all_fields(drawn)
    for page, expected, found in zip(drawn, plain, ours, strict=True):
        assert found == expected, page


def test_another_release_is_refused(monkeypatch):
    monkeypatch.setitem(trafilatura_speed.VERIFIED, "trafilatura", "2.3.0")
    monkeypatch.setattr(trafilatura_speed, "_installed", False)
    with pytest.raises(UnsupportedVersionError, match=r"trafilatura \d.* \(verified: 2.3.0\)"):
        trafilatura_speed.install()
