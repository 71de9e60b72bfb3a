"""Main text of HTML pages: outcomes, measures, engines, and quality on pages with a known main text."""

import io
import json
import re
import tarfile
from collections import Counter
from itertools import islice

import pyarrow as pa
import pytest
from pydantic import ValidationError

from pipeline.stage import PAYLOAD, Context, documents
from stages.extract import trafilatura_speed
from stages.extract.decoding import decoded
from stages.extract.html import ExtractHtml, ExtractHtmlConfig
from stages.extract.html_worker import HtmlExtractor
from stages.extract.pages import ExtractionOptions, Page
from tests.real_pages import real_pages, snippets

SENTENCE = "The committee met in the old hall and spoke about the rivers of the county for a long time. "
ARTICLE = (
    "<html><head><title>Rivers</title></head><body><nav><a href='/'>Home</a></nav>"
    f"<article><h1>Rivers</h1><p>{SENTENCE * 4}</p><p>{SENTENCE * 4}</p></article></body></html>"
)


@pytest.fixture(scope="module")
def stage():
    stage = ExtractHtml(ExtractHtmlConfig())
    stage.setup(Context(seed=1))
    yield stage
    stage._process.stop()


def batch(*pages, charset=None):
    meta = [("charset", charset)] if charset else []
    return documents(
        [
            {"id": f"p{i}", "source": "web", "url": "http://example.org/", "meta": meta, "payload": p}
            for i, p in enumerate(pages)
        ],
        [PAYLOAD],
    )


def test_main_text_replaces_the_payload(stage):
    outcome = stage.process(batch(ARTICLE.encode()))
    [row] = outcome.kept.to_pylist()
    assert SENTENCE.strip() in row["text"]
    assert "Home" not in row["text"]
    assert row["extract_html.title"] == "Rivers"
    assert "payload" not in row
    assert not outcome.removed


def test_a_page_without_main_text_is_dropped(stage):
    outcome = stage.process(batch(ARTICLE.encode(), b"<html><body><script>1</script></body></html>", b"\0\1"))
    assert outcome.kept["id"].to_pylist() == ["p0"]
    assert [(r.id, r.verdict, r.reason) for r in outcome.removed] == [
        ("p1", "dropped", "no_main_text"),
        ("p2", "dropped", "no_main_text"),
    ]


def test_a_text_does_not_depend_on_the_pages_before_it(stage):
    """trafilatura's duplicate test would drop what it has seen three times."""
    texts = stage.process(batch(*[ARTICLE.encode()] * 6)).kept["text"].to_pylist()
    assert len(texts) == 6
    assert len(set(texts)) == 1


def test_large_pages_are_dropped_unread():
    stage = ExtractHtml(ExtractHtmlConfig(max_bytes=100))
    stage.setup(Context(seed=1))
    [removal] = stage.process(batch(ARTICLE.encode())).removed
    stage._process.stop()
    assert (removal.verdict, removal.reason) == ("dropped", "too_large")
    assert removal.evidence == f"{len(ARTICLE)} bytes > 100"


def test_the_limit_of_a_page_is_at_most_what_one_write_can_pass_on():
    with pytest.raises(ValidationError, match="less than or equal to 1073741824"):
        ExtractHtmlConfig(max_bytes=2**30 + 1)


def test_a_row_without_payload_fails(stage):
    [removal] = stage.process(batch(None)).removed
    assert (removal.verdict, removal.reason) == ("failed", "no_payload")


GREEK = "Οι ποταμοί της κομητείας και οι λίμνες."


def test_the_header_charset_reaches_the_extractor(stage):
    page = ARTICLE.replace(SENTENCE, GREEK * 3).encode("iso-8859-7")
    assert GREEK in stage.process(batch(page, charset="iso-8859-7")).kept["text"][0].as_py()


@pytest.mark.parametrize("engine", ["trafilatura", "resiliparse", "fast"])
def test_text_can_always_be_stored(engine):
    """Lone surrogates have no UTF-8 form; NUL and other control characters break readers of Parquet written in C."""
    odd = "&#xD800; rivers &#0; \ud83d \x00 \x08 \x9f \ufffe &#11; &#27; \r\n"
    page = ARTICLE.replace("rivers", odd).encode("utf-8", "surrogatepass")
    extract = HtmlExtractor(ExtractionOptions(engine=engine)).extract(Page(page, None, None))
    assert extract.text.encode("utf-8")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufffe]", extract.text)
    assert "rivers" in extract.text


HEAD = """<html lang="de_AT"><head><title>Rivers – Site</title>
<link rel="stylesheet" href="/s.css"><link rel="Canonical" href="/rivers?page=1">
<meta property="og:title" content="Rivers of the county"><meta name="author" content="Ann  Smith">
<meta property="article:published_time" content="2021-05-04T10:00:00Z">
<meta name="GoogleBot" content="nosnippet"><meta name="robots" content="noindex, NoAI">
<meta name="MyBot" content="noai">
<meta name="GPTBot" content="none">
<meta name="TDM-Reservation" content=" 1 "><meta name="tdm-policy" content="https://example.org/tdm.json">
<meta name="DC.rights" content="(c) Ann Smith"><meta name="DC.rights" content="CC BY-SA 4.0"></head>"""


@pytest.mark.parametrize("engine", ["trafilatura", "resiliparse", "fast"])
def test_what_a_page_says_about_itself_is_measured_by_every_engine(engine):
    page = (HEAD + ARTICLE.partition("</head>")[2]).encode()
    facts = HtmlExtractor(ExtractionOptions(engine=engine)).extract(Page(page, None, "https://example.org/a/b")).facts
    assert facts.title == "Rivers of the county"
    assert facts.author == "Ann Smith"
    assert facts.date == "2021-05-04"
    assert facts.declared_language == "de-at"
    assert facts.canonical_url == "https://example.org/rivers?page=1"
    assert facts.links == 1
    assert facts.robots == "googlebot: nosnippet; noindex, noai; mybot: noai; gptbot: none"
    assert (facts.tdm_reservation, facts.tdm_policy) == ("1", "https://example.org/tdm.json")
    assert facts.rights == "(c) Ann Smith; CC BY-SA 4.0"
    assert (facts.licence, facts.licence_from) == ("CC-BY-SA-4.0", "meta")


@pytest.mark.parametrize(
    ("head", "language"),
    [
        ("<meta http-equiv='Content-Language' content='fr-CA'>", "fr-ca"),
        ("<meta property='og:locale' content='pt_BR'>", "pt-br"),
        ("<meta name='description' content='x'>", None),
    ],
)
def test_the_language_may_be_declared_in_a_meta_element(head, language):
    page = ARTICLE.replace("<head>", f"<head>{head}").encode()
    facts = HtmlExtractor(ExtractionOptions(engine="fast")).extract(Page(page, None, None)).facts
    assert facts.declared_language == language


@pytest.mark.parametrize(
    ("base", "href", "canonical"),
    [
        ("https://example.org/a", "javascript:void(0)", None),
        ("https://example.org/a", "http://[", None),
        (None, "/relative", None),
        (None, "http://example.org/", "http://example.org/"),
    ],
)
def test_a_canonical_address_is_absolute_or_absent(base, href, canonical):
    page = ARTICLE.replace("<head>", f'<head><link rel=canonical href="{href}">').encode()
    facts = HtmlExtractor(ExtractionOptions(engine="fast")).extract(Page(page, None, base)).facts
    assert facts.canonical_url == canonical


def test_title_and_date_are_left_out_on_request():
    for engine in ("trafilatura", "resiliparse", "fast"):
        extractor = HtmlExtractor(ExtractionOptions(engine=engine, metadata=False))
        facts = extractor.extract(Page(ARTICLE.encode(), None, None)).facts
        assert (facts.title, facts.date, facts.author) == (None, None, None)
        assert facts.links == 1


@pytest.mark.parametrize("engine", ["trafilatura", "resiliparse", "fast"])
def test_tables_are_left_out_on_request(engine):
    rows = "".join(f"<tr><td>{SENTENCE}</td><td>{i}77 metres</td></tr>" for i in range(4))
    page = Page(ARTICLE.replace("</article>", f"<table>{rows}</table><p>{SENTENCE}</p></article>").encode(), None, None)
    with_tables = HtmlExtractor(ExtractionOptions(engine=engine)).extract(page).text
    without = HtmlExtractor(ExtractionOptions(engine=engine, tables=False)).extract(page).text
    assert "377 metres" in with_tables
    assert "377 metres" not in without


@pytest.mark.parametrize(
    "options",
    [
        {"engine": "resiliparse", "format": "markdown"},
        {"engine": "resiliparse", "precision": True},
        {"engine": "resiliparse", "compare": False},
        {"engine": "fast", "recall": True},
        {"engine": "fast", "compare": False},
    ],
)
def test_an_option_that_an_engine_cannot_honour_is_refused(options):
    with pytest.raises(ValidationError, match=f"the engine {options['engine']} has no {list(options)[1]}: "):
        ExtractHtmlConfig(**options)


@pytest.mark.parametrize("every", [40, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("precision", [False, True])
def test_the_same_text_from_a_tree_as_from_the_string(shared_data, every, precision):
    """Every fallback of trafilatura works from the tree, so that a page need be parsed only once."""
    from trafilatura import bare_extraction

    extractor = HtmlExtractor(ExtractionOptions(precision=precision))
    options = {"include_comments": False, "with_metadata": True, "favor_precision": precision}
    pages = (
        real_pages(shared_data) if every == 1 else islice((page for page, *_ in snippets(shared_data)), 0, None, every)
    )
    for page in pages:
        expected = bare_extraction(decoded(page.html, None), url=page.url, **options)
        extract = extractor.extract(Page(page.html, None, page.url))
        assert extract.text == ((expected.text or "").strip() if expected else ""), page.name
        if expected:
            assert (extract.facts.title, extract.facts.date) == (expected.title, expected.date), page.name


def test_the_user_is_told_when_the_fast_functions_do_not_fit(monkeypatch):
    assert ExtractHtml(ExtractHtmlConfig()).note() is None
    monkeypatch.setitem(trafilatura_speed.VERIFIED, "trafilatura", "0.9")
    note = ExtractHtml(ExtractHtmlConfig()).note()
    assert note is not None
    assert re.search(r"twice as long.*trafilatura [\d.]+ \(known: 0.9\)", note)
    assert ExtractHtml(ExtractHtmlConfig(engine="fast")).note() is None


def test_precision_and_recall_exclude_each_other():
    with pytest.raises(ValidationError, match="exclude each other"):
        ExtractHtmlConfig(precision=True, recall=True)


def test_the_engines_release_is_part_of_the_identity():
    assert re.fullmatch(r"\d+\.\d+.*", ExtractHtmlConfig().identity()["trafilatura"])
    assert re.fullmatch(r"\d+\.\d+.*", ExtractHtmlConfig(engine="resiliparse").identity()["resiliparse"])


def words(text: str) -> Counter[str]:
    return Counter(re.findall(r"\w+", text.lower()))


def test_word_f1_on_articles_with_a_known_body(stage, shared_data):
    """trafilatura's published 4-gram F1 on the whole benchmark is 0.96; single words are a little easier."""
    folder = shared_data / "html_extraction" / "article_extraction_benchmark"
    raw = pa.CompressedInputStream(folder / "pages.tar.zst", "zstd").read()
    truth = [
        json.loads(line)
        for line in pa.CompressedInputStream(folder / "ground_truth.jsonl.zst", "zstd").read().splitlines()
    ][::3]
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        pages = [archive.extractfile(row["file"]).read() for row in truth]
    outcome = stage.process(batch(*pages))
    texts = dict(zip(outcome.kept["id"].to_pylist(), outcome.kept["text"].to_pylist(), strict=True))
    f1 = []
    for i, row in enumerate(truth):
        found, expected = words(texts.get(f"p{i}", "")), words(row["articleBody"])
        f1.append(2 * (found & expected).total() / (found.total() + expected.total()))
    assert sum(f1) / len(f1) > 0.95
