"""What documents hold, and what they are called, is text in a report: it neither runs nor loads anything."""

import json

import pytest
from lxml import etree

from pipeline.report.script import script, script_source
from tests.conftest import Sluice

HOSTILE = (
    "<script>alert(1)</script>",
    "</script></style></pre><svg onload=alert(1)>",
    '"><img src=x onerror=alert(1)>',
    '<iframe src="data:text/html,<script>alert(1)</script>"></iframe>',
    "<a href=javascript:alert(1)>a</a>",
    "<meta http-equiv=refresh content='0;url=https://evil.example/'>",
    "<base href=https://evil.example/><form action=/x><input></form>",
    "]]><x onclick='alert(1)'>&#60;script&#62;",
    "\u202egpj.exe\u2066 \u200b\ufeff",
    "<!--><script>alert(1)</script>-->",
)
LIVE_TAGS = {
    *("link", "img", "iframe", "frame", "object", "embed", "base", "form", "input", "button", "textarea"),
    *("select", "video", "audio", "source", "track", "template", "portal", "applet", "math", "image", "use"),
    *("foreignobject", "animate", "set", "x"),
}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, ray_address: str) -> str:
    """The report of a run over documents whose texts, ids, URLs and files are hostile."""
    folder = tmp_path_factory.mktemp("hostile")
    rows = [
        {"text": f"{text} {text}", "id": text, "url": f"https://evil.example/{text}", "source": text, "subset": text}
        for text in HOSTILE
    ]
    (folder / "<img src=x onerror=alert(1)>.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "broken<script>.jsonl").write_text("<script>alert(1)</script>\n")
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        "name: hostile\nartifacts:\n"
        "  docs: {stage: json_lines, files: '*.jsonl'}\n"
        "  kept: {from: docs, chain: [language: {keep: [en]}, gopher_quality: {min_words: 5}]}\n"
        "  unique: {stage: dedup, from: kept}\n"
    )
    Sluice(ray_address).run(recipe)
    return (folder / "run/report.html").read_text(encoding="utf-8")


def elements(page: str) -> list[etree._Element]:
    return list(etree.fromstring(page.encode()).iter(etree.Element))


def test_no_element_or_attribute_runs_or_loads_anything(page: str) -> None:
    assert "alert(1)" in page  # the documents are there
    assert sum(etree.QName(element).localname == "meta" for element in elements(page)) == 4
    for element in elements(page):
        assert etree.QName(element).localname.lower() not in LIVE_TAGS
        for name, value in element.attrib.items():
            assert not name.lower().startswith("on")
            assert name.lower() not in ("src", "srcdoc", "action", "formaction", "xlink:href", "data", "background")
            assert name != "href" or value.startswith("#")
            assert name != "style" or "url(" not in value


def test_only_the_reports_own_script_runs_and_data_cannot_end_its_element(page: str) -> None:
    scripts = [element for element in elements(page) if etree.QName(element).localname.lower() == "script"]
    own, blocks = scripts[-1], scripts[:-1]
    assert page.count(str(script())) == 1
    assert own.text == str(script()).removeprefix("<script>").removesuffix("</script>").replace(
        "<![CDATA[", ""
    ).replace("]]>", "")
    assert blocks
    assert all(block.get("type") == "application/json" and not set(block.text) & set("<>&") for block in blocks)
    assert page.count("<script") == len(scripts)


def test_no_character_hides_or_reorders_what_is_shown(page: str) -> None:
    data = [json.loads(e.text) for e in elements(page) if e.get("type") == "application/json"]
    page += json.dumps(data, ensure_ascii=False)
    assert not {c for c in page if c in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200b\ufeff\x00\x1b"}


def test_a_browser_is_told_to_load_run_and_send_nothing_before_it_sees_anything_else(page: str) -> None:
    charset, policy = elements(page)[2:4]
    assert charset.get("charset") == "utf-8"
    assert policy.get("http-equiv") == "Content-Security-Policy"
    rules = {rule.split()[0]: rule.split()[1:] for rule in policy.get("content").split(";")}
    assert rules == {
        "default-src": ["'none'"],
        "script-src": [script_source()],
        "style-src": ["'unsafe-inline'"],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
    }
