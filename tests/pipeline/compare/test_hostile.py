"""What documents hold, and what they, their files and options are called, is text in a comparison."""

import json
from pathlib import Path

import pytest
from lxml import etree

from pipeline.compare.comparison import Comparison, compare
from pipeline.compare.page import page
from pipeline.compare.text import lines
from pipeline.report.markup import rendered
from tests.pipeline.report.runs import made
from tests.security.test_report import HOSTILE, LIVE_TAGS

INVISIBLE = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200b\ufeff\x00\x1b\x07\x08\r")
STEERING = "\x1b]0;title\x07\x1b[2J\x08\r"  # sets a terminal's title, and clears it
LONG = "<b onclick=alert(1)> " * 250_000  # 5 MB


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """Two runs over documents whose texts, URLs, ids (by the names of files) and options are hostile; the second keeps
    fewer."""
    runs = []
    for name, min_words in (("a", 1), ("b", 400_000)):
        folder: Path = tmp_path_factory.mktemp(name)
        texts = (*HOSTILE, LONG)
        rows = [
            {
                "text": f"{text} {name}",
                "id": f"{STEERING}{text[:80]}",
                "url": f"https://evil.example/{text[:80]}",
                "subset": text[:80],
            }
            for text in texts
        ]
        (folder / f"<img src={name} onerror=alert(1)>{STEERING}.jsonl").write_text("\n".join(map(json.dumps, rows)))
        artifacts = {
            "docs": {"stage": "json_lines", "files": "*.jsonl"},
            "kept": {"from": "docs", "chain": [{"gopher_quality": _all_off(min_words, name)}]},
        }
        runs.append(made(folder, artifacts).folder)
    return compare(*runs)


def _all_off(min_words: int, name: str) -> dict[str, object]:
    limits = ("max_words", "min_mean_word_length", "max_mean_word_length", "max_symbol_ratio", "max_bullet_lines")
    limits += ("max_ellipsis_lines", "min_alphabetic_words", "min_stop_words")
    stop_words = [f"<script>alert(1)</script>\x1b[2J{name}"]
    return {"min_words": min_words, "stop_words": stop_words, **dict.fromkeys(limits)}


def test_the_documents_are_on_the_page(hostile: Comparison) -> None:
    assert sum(one.lost.documents for one in hostile.memberships) >= len(HOSTILE)
    shown = page(hostile)
    texts = [sample.excerpt for one in hostile.memberships for e in one.lost.endings for sample in e.samples]
    assert texts
    assert all(rendered(text.strip()) in shown for text in texts)


def test_no_element_or_attribute_runs_or_loads_anything(hostile: Comparison) -> None:
    elements = list(etree.fromstring(page(hostile).removeprefix("<!DOCTYPE html>\n")).iter(etree.Element))
    assert sum(element.tag == "meta" for element in elements) == 4
    for element in elements:
        assert element.tag.lower() not in LIVE_TAGS
        for name, value in element.attrib.items():
            assert not name.lower().startswith("on")
            assert name.lower() not in ("src", "srcdoc", "action", "formaction", "xlink:href", "data", "background")
            assert name != "href" or value.startswith("#")
            assert name != "style"


def test_no_character_hides_or_reorders_what_is_shown_or_steers_the_terminal(hostile: Comparison) -> None:
    text = "\n".join(lines(hostile))
    assert "]0;title" in text
    assert not INVISIBLE & set(text)
    assert not INVISIBLE & set(page(hostile))


def test_a_long_text_is_an_excerpt(hostile: Comparison) -> None:
    assert len(page(hostile)) < 200_000
    assert len("\n".join(lines(hostile))) < 50_000
