"""The language gate: what it drops, what its audit tells, and that the audit does not depend on how work is split."""

import re

import pytest
from pydantic import ValidationError

from pipeline.stage import PAYLOAD, Context, documents
from stages.extract.html import ExtractHtml, ExtractHtmlConfig

ENGLISH = "The committee met in the old hall and spoke about the rivers of the county for a long time. "
GERMAN = "Der Ausschuss traf sich im alten Saal und sprach lange über die Flüsse und Seen des Landkreises. "


def page(text: str, footer: str = "") -> bytes:
    footer = f"<footer><p>{footer}</p></footer>" if footer else ""
    body = f"<p>{text * 4}</p>" * 3 if text else ""
    return f"<html><head><title>T</title></head><body>{footer}<article>{body}</article></body></html>".encode()


def batch(*pages: bytes, first: int = 0):
    rows = [{"id": f"web/p{i}", "source": "web", "payload": html} for i, html in enumerate(pages, first)]
    return documents(rows, [PAYLOAD])


def outcome(rows, engine="trafilatura", **gate):
    stage = ExtractHtml(ExtractHtmlConfig(engine=engine, language_gate={"keep": ["en"], **gate}))
    stage.setup(Context(seed=1))
    result = stage.process(rows)
    stage._process.stop()
    return result


@pytest.mark.parametrize("engine", ["trafilatura", "resiliparse", "fast"])
def test_pages_that_are_hardly_in_a_wanted_language_are_dropped_unextracted(engine):
    result = outcome(batch(page(ENGLISH), page(GERMAN)), engine, audit=0)
    assert result.kept["id"].to_pylist() == ["web/p0"]
    [removal] = result.removed
    assert (removal.id, removal.verdict, removal.reason) == ("web/p1", "dropped", "language_gate")
    assert re.fullmatch(r"p\(en\) 0\.0\d\d < 0\.05; the page is de 0\.\d\d|.*de 1\.00", removal.evidence)
    assert removal.excerpt == ""
    assert removal.scores["extract_html.links"] == 0  # measured all the same


def test_several_languages_may_be_kept():
    rows = batch(page(ENGLISH), page(GERMAN), page("Комиссия собралась в старом зале и долго говорила о реках. "))
    result = outcome(rows, keep=["en", "de"], audit=0)
    assert result.kept["id"].to_pylist() == ["web/p0", "web/p1"]


def test_a_page_with_next_to_no_text_passes():
    """Too little to judge: extraction says what it is."""
    [removal] = outcome(batch(page("")), audit=0).removed
    assert removal.reason == "no_main_text"


def test_the_audit_extracts_and_tells_whether_the_gate_was_right():
    footer = GERMAN * 80  # drowns the English article
    [right, wrong] = outcome(batch(page(GERMAN), page(ENGLISH, footer=footer)), audit=1).removed
    assert (right.verdict, right.reason) == ("dropped", "language_gate_right")
    assert right.evidence.startswith("main text: de ")
    assert right.excerpt.startswith("Der Ausschuss")
    assert (wrong.verdict, wrong.reason) == ("dropped", "language_gate_wrong")
    assert re.match(
        r"main text: en 0\.\d\d in \d+ characters; p\(en\) 0\.0\d\d < 0\.05; the page is de", wrong.evidence
    )


def test_an_audited_page_without_main_text_was_gated_rightly():
    only_links = b"<html><body>" + f"<nav><a href='/'>{GERMAN}</a></nav>".encode() * 9
    [removal] = outcome(batch(only_links), "resiliparse", audit=1).removed
    assert removal.reason == "language_gate_right"
    assert removal.evidence.startswith("no main text; p(en) 0.0")


def test_the_audit_takes_the_same_pages_however_work_is_split():
    pages = [page(GERMAN)] * 60
    whole = {r.id: r.reason for r in outcome(batch(*pages), "resiliparse", audit=0.3).removed}
    parts = [outcome(batch(*pages[i : i + 20], first=i), "resiliparse", audit=0.3).removed for i in (0, 20, 40)]
    assert {r.id: r.reason for part in parts for r in part} == whole
    audited = sum(reason == "language_gate_right" for reason in whole.values())
    assert 8 <= audited <= 28  # of 60, expected 18


def test_the_gate_and_its_model_are_part_of_the_identity():
    without = ExtractHtmlConfig().identity()["language_gate"]
    with_gate = ExtractHtmlConfig(language_gate={"keep": ["en"]}).identity()["language_gate"]
    assert without is None
    assert with_gate["keep"] == ["en"]
    assert re.fullmatch("[0-9a-f]{64}", with_gate["model"])


def test_a_gate_without_languages_is_refused():
    with pytest.raises(ValidationError, match="keep"):
        ExtractHtmlConfig(language_gate={"keep": []})
