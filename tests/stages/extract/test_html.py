"""Main text of HTML pages: charsets, outcomes, the deadline, and quality on pages with a known main text."""

import io
import json
import re
import subprocess
import sys
import tarfile
import time
from collections import Counter

import pyarrow as pa
import pytest
from pydantic import ValidationError

from pipeline.stage import PAYLOAD, Context, documents
from stages.extract import html_worker
from stages.extract.html import ExtractHtml, ExtractHtmlConfig, Extractor
from stages.extract.html_worker import Page, decoded

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
    stage._extractor.stop()


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
    stage._extractor.stop()
    assert (removal.verdict, removal.reason) == ("dropped", "too_large")
    assert removal.evidence == f"{len(ARTICLE)} bytes > 100"


def test_a_row_without_payload_fails(stage):
    [removal] = stage.process(batch(None)).removed
    assert (removal.verdict, removal.reason) == ("failed", "no_payload")


def test_a_page_over_the_deadline_fails_and_the_next_one_is_extracted():
    slow = ("<html><body><article>" + f"<p>{SENTENCE}</p>" * 50_000).encode()  # several seconds
    stage = ExtractHtml(ExtractHtmlConfig(deadline_s=1.0))
    stage.setup(Context(seed=1))
    started = time.monotonic()
    outcome = stage.process(batch(slow, ARTICLE.encode()))
    stage._extractor.stop()
    assert [(r.id, r.verdict, r.reason, r.evidence) for r in outcome.removed] == [
        ("p0", "failed", "deadline", "more than 1 s")
    ]
    assert outcome.kept["id"].to_pylist() == ["p1"]
    assert time.monotonic() - started < 30


def test_a_process_that_dies_costs_one_page():
    extractor = Extractor({}, deadline_s=60)
    extractor._process.kill()
    extractor._process.wait()
    first = extractor.extract(Page(ARTICLE.encode(), None, None))
    second = extractor.extract(Page(ARTICLE.encode(), None, None))
    extractor.stop()
    assert first.error == "the extracting process died with signal 9"
    assert SENTENCE.strip() in second.text


def test_an_error_of_the_extractor_is_the_pages_failure():
    stage = ExtractHtml(ExtractHtmlConfig())
    stage._extractor = Extractor({"no_such_option": 1}, deadline_s=60)
    [removal] = stage.process(batch(ARTICLE.encode())).removed
    stage._extractor.stop()
    assert (removal.verdict, removal.reason) == ("failed", "extraction_error")
    assert "no_such_option" in removal.evidence


def test_the_process_ends_with_its_parent():
    program = (
        "from stages.extract.html import Extractor; import os; e = Extractor({}, 9); print(e._process.pid); os._exit(0)"
    )
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True, timeout=60)
    folder = f"/proc/{int(done.stdout)}"
    for _ in range(100):
        try:
            with open(f"{folder}/stat") as file:
                state = file.read().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return
        if state == "Z":
            return
        time.sleep(0.05)
    pytest.fail("the extracting process outlived its parent by 5 s")


GREEK = "Οι ποταμοί της κομητείας και οι λίμνες."


@pytest.mark.parametrize(
    ("html", "charset", "expected"),
    [
        (GREEK.encode(), None, GREEK),
        (GREEK.encode(), "iso-8859-1", GREEK),  # valid UTF-8 outranks a wrong header
        (b"\xef\xbb\xbf" + GREEK.encode(), None, GREEK),
        (b"\xff\xfe" + GREEK.encode("utf-16-le"), "utf-8", GREEK),
        (GREEK.encode("iso-8859-7"), "iso-8859-7", GREEK),
        (b"<meta charset='windows-1253'>" + GREEK.encode("cp1253"), None, "<meta charset='windows-1253'>" + GREEK),
        (b"<meta charset=utf-8>" + GREEK.encode("cp1253"), "windows-1253", "<meta charset=utf-8>" + GREEK),
        ("naïve “quotes”".encode("cp1252"), "ISO-8859-1", "naïve “quotes”"),  # as browsers read it
        ("川と湖".encode("iso2022_jp"), "iso-2022-jp", "川と湖"),
        ((GREEK * 30).encode("iso-8859-7"), "no-such-charset", GREEK * 30),  # detected
        ((GREEK * 30).encode("iso-8859-7"), None, GREEK * 30),
    ],
)
def test_charsets(html, charset, expected):
    assert decoded(html, charset) == expected


def test_one_bad_byte_does_not_garble_a_page():
    text = decoded((GREEK * 30).encode() + b"\xff", "utf-8")
    assert text == GREEK * 30 + "\ufffd"


def test_the_header_charset_reaches_the_extractor(stage):
    page = ARTICLE.replace(SENTENCE, GREEK * 3).encode("iso-8859-7")
    assert GREEK in stage.process(batch(page, charset="iso-8859-7")).kept["text"][0].as_py()


def test_text_can_always_be_stored():
    page = ARTICLE.replace("rivers", "&#xD800; rivers &#0; \ud83d").encode("utf-8", "surrogatepass")
    text = html_worker.extract(Page(page, None, None), {}).text
    assert text.encode("utf-8")


def test_precision_and_recall_exclude_each_other():
    with pytest.raises(ValidationError, match="exclude each other"):
        ExtractHtmlConfig(precision=True, recall=True)


def test_the_extractors_release_is_part_of_the_identity():
    assert re.fullmatch(r"\d+\.\d+.*", ExtractHtmlConfig().identity()["trafilatura"])


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
