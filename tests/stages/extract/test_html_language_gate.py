"""The language gate: what it drops, what its audit tells, and that the audit does not depend on how work is split."""

import re

import pytest
from pydantic import ValidationError

from pipeline.stage import PAYLOAD, Context, documents
from stages.extract.html import ExtractHtml, ExtractHtmlConfig, LanguageGateConfig
from stages.extract.language_gate import LanguageGate

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


def test_several_languages_may_be_kept():
    rows = batch(page(ENGLISH), page(GERMAN), page("Комиссия собралась в старом зале и долго говорила о реках. "))
    result = outcome(rows, keep=["en", "de"], audit=0)
    assert result.kept["id"].to_pylist() == ["web/p0", "web/p1"]


def test_a_page_with_next_to_no_text_passes():
    """Too little to judge: extraction says what it is."""
    [removal] = outcome(batch(page("")), audit=0).removed
    assert removal.reason == "no_main_text"


def test_the_audit_extracts_a_gated_page_all_the_same():
    [right] = outcome(batch(page(GERMAN)), audit=1).removed
    assert (right.verdict, right.reason) == ("dropped", "language_gate_right")
    assert right.evidence.startswith("main text: de ")
    assert right.excerpt.startswith("Der Ausschuss")


def test_the_audit_tells_whether_the_gate_was_right():
    gate = LanguageGate(LanguageGateConfig(keep=("en",)).options())
    gated = gate.ending(page(GERMAN).decode())
    verdict, reason, evidence = gate.judged(gated, ENGLISH * 4)
    assert (verdict, reason) == ("dropped", "language_gate_wrong")
    assert re.match(r"main text: en 0\.\d\d in \d+ characters; p\(en\) 0\.0\d\d < 0\.05; the page is de", evidence)
    assert gate.judged(gated, GERMAN * 4)[1] == "language_gate_right"
    assert gate.judged(gated, "")[1:] == ("language_gate_right", f"no main text; {gated[2]}")


def test_a_page_that_is_largely_in_a_wanted_language_passes_whatever_its_main_text_is_taken_to_be():
    gate = LanguageGate(LanguageGateConfig(keep=("en",)).options())
    assert gate.ending(page(GERMAN).decode())
    assert gate.ending(page(GERMAN, footer=ENGLISH * 60).decode()) is None


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
