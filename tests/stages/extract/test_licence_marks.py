"""Creative Commons marks in the source of web pages."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.extract.html_worker import HtmlExtractor
from stages.extract.licence_marks import Licence, creative_commons, licence
from stages.extract.pages import ExtractionOptions, Page
from tests.real_pages import snippets

BY_SA = "https://creativecommons.org/licenses/by-sa/4.0/"
PARAGRAPHS = "<p>The committee spoke about the rivers of the county for a long time.</p>" * 40


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("https://creativecommons.org/licenses/by-sa/4.0/deed.de", "CC-BY-SA-4.0"),
        ("http://creativecommons.org/licenses/by-nc-nd/3.0/de/", "CC-BY-NC-ND-3.0-DE"),
        ("https://creativecommons.org/licenses/by/3.0/igo/legalcode", "CC-BY-3.0-IGO"),
        ("http://creativecommons.org/licenses/by/2.5/scotland/", "CC-BY-2.5-SCOTLAND"),
        ("http://creativecommons.org/licenses/by-nd-nc/1.0/", "CC-BY-NC-ND-1.0"),
        ("https://creativecommons.org/licenses/by/4.0/de/", "CC-BY-4.0"),
        ("https://creativecommons.org/publicdomain/zero/1.0/", "CC0-1.0"),
        ("https://creativecommons.org/publicdomain/mark/1.0/", "CC-PDM-1.0"),
        ("http://creativecommons.org/licenses/publicdomain/", "CC-PDDC"),
        ("https:\\/\\/creativecommons.org\\/licenses\\/by\\/4.0", "CC-BY-4.0"),
        ("licensed CC BY-NC-SA 3.0", "CC-BY-NC-SA-3.0"),
        ("CCBYNCSA", "CC-BY-NC-SA"),
        ("cc-by", "CC-BY"),
        ("CC0", "CC0-1.0"),
        ("Creative Commons Attribution-NonCommercial-ShareAlike 4.0 International", "CC-BY-NC-SA-4.0"),
        ("Creative Commons Attribution-NoDerivs 2.0", "CC-BY-ND-2.0"),
        ("Creative Commons Attribution-Share Alike 3.0", "CC-BY-SA-3.0"),
        ("Creative Commons Attribution-Noncommercial-No Derivative Works 3.0 Unported", "CC-BY-NC-ND-3.0"),
        ("Creative Commons Attribution-No Derivative Works 3.0", "CC-BY-ND-3.0"),
        ("Creative Commons Attribution, Non-Commercial 4.0", "CC-BY-NC-4.0"),
        ("CC BY Non Commercial 4.0", "CC-BY-NC-4.0"),
        ("CC BY\u2013NC\u2013SA 4.0", "CC-BY-NC-SA-4.0"),
        ("CC\u00a0BY\u2011NC 4.0", "CC-BY-NC-4.0"),
        ("CC BY same as before", "CC-BY"),
        ("https://creativecommons.org/licenses/sampling+/1.0/", None),
        ("https://creativecommons.org/about/", None),
        ("soccbystander, CC byline, (c) 2020", None),
    ],
)
def test_a_licence_has_one_code_whatever_its_spelling(text, code):
    assert creative_commons(text) == code


@pytest.mark.parametrize(
    ("html", "evidence"),
    [
        (f'<head><link rel="license" href="{BY_SA}"></head>', "link_element"),
        (f'<p><a rel="nofollow license" href="{BY_SA}">CC</a></p>', "rel"),
        (f"<p><a href={BY_SA} rel=license>CC</a></p>", "rel"),
        (f'<span property="dct:license" resource="{BY_SA}"></span>', "rel"),
        (f'<a itemprop="license" href="{BY_SA}">CC</a>', "rel"),
        (f'<!-- <rdf:RDF><Work rdf:about=""><license rdf:resource="{BY_SA}" /></Work></rdf:RDF> -->', "rdf"),
        (f'{PARAGRAPHS}<footer><p>Texts: <a href="{BY_SA}">CC</a></p></footer>', "footer_link"),
        (f'{PARAGRAPHS}<div class="sidebar-widget"><a href="{BY_SA}">CC</a></div>', "footer_link"),
        (f'{PARAGRAPHS}<p>Photo: Ann, <a href="{BY_SA}">CC</a></p>{PARAGRAPHS}', "link"),
        (f'<figure><img src=a><figcaption><a rel="license" href="{BY_SA}">CC</a></figcaption></figure>', "link"),
        (f'<p class="wp-caption-text">Ann <a rel="license" href="{BY_SA}">CC</a></p>', "link"),
        (f'<figure><figcaption>A lake</figcaption></figure><a rel="license" href="{BY_SA}">CC</a>', "rel"),
    ],
)
def test_evidence_is_named_by_how_and_where_a_licence_is_stated(html, evidence):
    assert licence(html) == Licence("CC-BY-SA-4.0", evidence, ())


@pytest.mark.parametrize(
    "html",
    [
        "",
        f"<p>{BY_SA}</p>",
        f"<!-- icons under {BY_SA} -->",
        f'<script>var licence = "{BY_SA}";</script>',
        f'<img alt="Ann, {BY_SA}" src="a.png">',
        f'<a href="/x" title="&lt;a href={BY_SA}&gt;">x</a>',
        f"<textarea>&lt;a rel=&quot;license&quot; href=&quot;{BY_SA}&quot;&gt;</textarea>",
        '<svg xmlns:cc="http://creativecommons.org/ns#"></svg>',
    ],
)
def test_a_mention_is_no_mark(html):
    assert licence(html) is None


def test_the_strongest_evidence_counts_and_other_licences_are_named():
    html = (
        f'<div class="footer"><a href="{BY_SA}">CC</a></div>'
        '<a rel="license" href="https://creativecommons.org/licenses/by-nc/2.0/">CC</a>'
        f"{PARAGRAPHS}<p>Photo: <a href='https://creativecommons.org/licenses/by/2.0/'>CC</a></p>"
    )
    assert licence(html) == Licence("CC-BY-NC-2.0", "rel", ("CC-BY-SA-4.0",))
    assert licence("", "(c) 2020 Ann; CC BY 4.0") == Licence("CC-BY-4.0", "meta", ())


def script(*nodes: object) -> str:
    graph = json.dumps(nodes[0] if len(nodes) == 1 else {"@context": "https://schema.org", "@graph": nodes})
    return f"<script class=seo type='application/ld+json'>\n{graph}\n</script>"


@pytest.mark.parametrize(
    "html",
    [
        script({"@type": "Article", "license": BY_SA}),
        script({"@type": "Article", "license": BY_SA}).replace("/", "\\/").replace("<\\/", "</").replace("n\\/", "n/"),
        script({"@type": "Organization"}, {"@type": ["WebPage"], "license": {"@id": BY_SA}}),
        script({"@type": "WebPage", "mainEntity": {"@type": "Article", "license": [BY_SA]}}),
    ],
)
def test_json_ld_states_the_licence_of_the_text(html):
    assert licence(html) == Licence("CC-BY-SA-4.0", "json_ld", ())


def test_json_ld_of_pictures_and_data_says_nothing_about_the_text():
    nodes = [{"@type": kind, "license": BY_SA} for kind in ("ImageObject", "VideoObject", "Dataset")]
    assert licence(script(*nodes)) is None
    assert licence(script({"@type": "Article", "image": nodes[0]})) is None


def test_json_ld_that_is_broken_deep_or_large_states_nothing_or_is_read():
    whole = script({"@type": "Article", "license": BY_SA})
    assert licence(whole.replace("}", "")) is None
    assert licence(whole.replace("</script>", "")) == Licence("CC-BY-SA-4.0", "json_ld", ())
    deep = "[" * 100_000
    assert licence(f"<script type='application/ld+json'>{deep}\"{BY_SA}\"</script>") is None
    large = script({"@type": "Article", "articleBody": "text " * 200_000, "license": BY_SA})
    assert licence(large) == Licence("CC-BY-SA-4.0", "json_ld", ())


def test_of_very_many_mentions_the_first_and_the_last_are_looked_at():
    credits = f'<p>Photo: <a href="{BY_SA}">CC</a></p>{"x" * 1000}' * 3000
    html = f'{credits}<a rel="license" href="https://creativecommons.org/licenses/by/4.0/">CC</a>'
    found = licence(html)
    assert found is not None
    assert (found.code, found.evidence) == ("CC-BY-4.0", "rel")


@pytest.mark.parametrize(
    "filling", ["x", "<", "<!--", '<a class="', " class=foot", "<script", "creativecommons.org/licenses/by/4.0 "]
)
def test_a_malicious_page_costs_little(filling):
    started = time.process_time()
    licence(f"<a {filling * (2_000_000 // len(filling))} href='{BY_SA}'>")
    assert time.process_time() - started < 2


@given(st.text(alphabet="<>!-/\"'= acdehilnpr", max_size=60), st.text(alphabet="<>!-/\"'= acdehilnpr", max_size=60))
def test_no_source_is_too_broken(before, after):
    found = licence(f"{before}{BY_SA}{after}")
    assert found is None or found.code == "CC-BY-SA-4.0"


@pytest.mark.parametrize("engine", ["trafilatura", "resiliparse", "fast"])
def test_every_engine_reads_the_mark(engine):
    html = f'<html><body><article>{PARAGRAPHS}</article><footer><a href="{BY_SA}">CC</a></footer></body></html>'
    facts = HtmlExtractor(ExtractionOptions(engine=engine)).extract(Page(html.encode(), None, None)).facts
    assert (facts.licence, facts.licence_from, facts.licence_others) == ("CC-BY-SA-4.0", "footer_link", None)


KNOWN = {  # read by a person: what the page says of its own text
    "netzpolitik.org.abmahnungen.html": ("CC-BY-NC-SA-4.0", "footer_link"),  # its pictures are under other licences
    "creativecommons.ch.wie.html": ("CC-BY-4.0", "link"),  # explains all of them
    "telemedicus.info.rezension.html": ("CC-BY-NC-SA-3.0", "rdf"),
    "feuerwehrtaucher-oldenburg.de.ausbildung.html": None,  # its licence stands in meta elements
    "islamische-zeitung.de-Bundespräsident.html": ("CC-BY-4.0", "link"),  # of a picture
    "rueda.wikidot.com.enchufla.html": ("CC-BY-SA-3.0", "rel"),
}


def test_marks_of_real_pages(shared_data):
    found = {}
    for page, *_ in snippets(shared_data):
        if page.name in KNOWN:
            mark = licence(page.html.decode("utf-8", "replace"))
            found[page.name] = mark and (mark.code, mark.evidence)
    assert found == KNOWN
