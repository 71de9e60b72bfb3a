"""Wiki dumps in, articles as readers see them out."""

import bz2
import gzip
import hashlib
import io
import lzma
import os
import random
import re
import signal
import tracemalloc
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from xml.sax.saxutils import escape

import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from pipeline.stage import Context, Outcome, Removal
from stages.intake.decompression import Chunk, chunks
from stages.intake.mediawiki import Mediawiki, MediawikiConfig
from stages.intake.records import Records
from stages.intake.wikitext import WikitextOptions, plain_text
from stages.intake.wikitext_process import WikitextProcess

HEAD = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="de">
  <siteinfo>
    <sitename>Wikipedia</sitename>
    <base>https://de.wikipedia.org/wiki/Wikipedia:Hauptseite</base>
    <namespaces>
      <namespace key="0" case="first-letter" />
      <namespace key="1" case="first-letter">Diskussion</namespace>
      <namespace key="6" case="first-letter">Datei</namespace>
      <namespace key="14" case="first-letter">Kategorie</namespace>
    </namespaces>
  </siteinfo>
"""
TAIL = "</mediawiki>\n"


def page(title: str, text: str, ns: int = 0, model: str = "wikitext", redirect: str = "", number: int = 7) -> str:
    return f"""  <page>
    <title>{escape(title)}</title>
    <ns>{ns}</ns>
    <id>{number}</id>{redirect}
    <revision>
      <id>901</id>
      <timestamp>2024-05-01T10:00:00Z</timestamp>
      <model>{model}</model>
      <format>text/x-wiki</format>
      <text bytes="{len(text)}" xml:space="preserve">{escape(text)}</text>
    </revision>
  </page>
"""


def dump(*pages: str) -> bytes:
    return (HEAD + "".join(pages) + TAIL).encode()


def read(path: Path, **options: object) -> list[Outcome]:
    stage = Mediawiki(MediawikiConfig(files=path, **options))
    outcomes = []
    for split in stage.splits():
        outcomes += stage.read(split, "wiki", Context(seed=1))
    for outcome in outcomes:
        assert outcome.created == {"wiki": len(outcome.kept) + len(outcome.removed)}
    return outcomes


def kept(path: Path, **options: object) -> list[dict]:
    return [row for outcome in read(path, **options) for row in outcome.kept.to_pylist()]


def removed(path: Path, **options: object) -> list[Removal]:
    return [end for outcome in read(path, **options) for end in outcome.removed]


def reasons(path: Path, **options: object) -> list[tuple[str, str]]:
    return [(end.verdict, end.reason) for end in removed(path, **options)]


@pytest.fixture
def wiki(tmp_path) -> Path:
    return tmp_path / "dewiki-pages-articles.xml"


def test_a_page_is_a_document_that_begins_with_its_title(wiki):
    content = dump(page("Äpfel & Birnen", "Der '''Apfel''' ist eine [[Frucht|Kernfrucht]]."))
    wiki.write_bytes(content)
    (row,) = kept(wiki, licence="CC BY-SA 4.0")
    start, end = content.index(b"<page>"), content.index(b"</page>") + len(b"</page>")
    assert row["text"] == "Äpfel & Birnen\n\nDer Apfel ist eine Kernfrucht."
    assert row["id"] == f"wiki/dewiki-pages-articles.xml@{start}"
    assert row["url"] == "https://de.wikipedia.org/wiki/%C3%84pfel_%26_Birnen"
    assert (row["language"], row["date"]) == ("de", "2024-05-01T10:00:00Z")
    assert row["origin"]["offset"] == start
    assert row["origin"]["length"] == end - start
    assert row["origin"]["digest"] == hashlib.sha256(content[start:end]).hexdigest()
    meta = {"title": "Äpfel & Birnen", "page_id": "7", "revision_id": "901", "licence": "CC BY-SA 4.0"}
    assert dict(row["meta"]) == meta


def test_every_page_that_is_no_article_is_dropped_with_its_reason(wiki):
    pages = [
        page("Diskussion:A", "Ja.", ns=1),
        page("B", "#REDIRECT [[A]]", redirect='\n    <redirect title="A" />'),
        page("C", "body {}", model="css"),
        page("D", "{{Infobox|x=1}}[[Kategorie:Obst]]"),
        page("E", ""),
        page("F", "Text."),
    ]
    wiki.write_bytes(dump(*pages))
    assert [row["text"] for row in kept(wiki)] == ["F\n\nText."]
    found = [(end.verdict, end.reason, end.evidence) for end in removed(wiki)]
    assert found == [
        ("dropped", "namespace", "Diskussion:A: namespace 1"),
        ("dropped", "redirect", "B to A"),
        ("dropped", "not_wikitext", "C: model css"),
        ("dropped", "empty", "D: no text in 33 characters"),
        ("dropped", "empty", "E: no text in 0 characters"),
    ]


def test_other_namespaces_can_be_read(wiki):
    wiki.write_bytes(dump(page("Diskussion:A", "Ja.", ns=1), page("A", "Nein.")))
    assert [dict(row["meta"])["title"] for row in kept(wiki, namespaces=(1,))] == ["Diskussion:A"]


def test_links_into_namespaces_by_their_local_names_are_left_out(wiki):
    wiki.write_bytes(dump(page("A", "Eins[[Datei:A.jpg|mini|Bild]] zwei.[[Kategorie:Obst]] [[Vorlage:X]]")))
    assert kept(wiki)[0]["text"] == "A\n\nEins zwei. Vorlage:X"


PACKED = [bytes, partial(bz2.compress, compresslevel=1), gzip.compress, lzma.compress, zstd.compress]


@pytest.mark.parametrize("packed", PACKED)
def test_compression_is_told_by_content(wiki, packed):
    wiki.write_bytes(packed(dump(page("A", "Text."))))
    assert [row["text"] for row in kept(wiki)] == ["A\n\nText."]


def test_a_page_of_a_multistream_dump_can_be_fetched_by_its_stream(wiki):
    streams = [HEAD, page("A", "Eins.") + page("B", "Zwei."), page("C", "Drei."), TAIL]
    packed = [bz2.compress(stream.encode()) for stream in streams]
    wiki.write_bytes(b"".join(packed))
    rows = kept(wiki)
    offsets = [int(dict(row["meta"])["stream_offset"]) for row in rows]
    assert offsets == [len(packed[0]), len(packed[0]), len(packed[0] + packed[1])]
    fetched = bz2.BZ2Decompressor().decompress(wiki.read_bytes()[offsets[2] :])
    assert fetched.strip() == page("C", "Drei.").strip().encode()
    content = "".join(streams).encode()
    places = [(row["origin"]["offset"], row["origin"]["length"]) for row in rows]
    assert all(content[at : at + length].startswith(b"<page>") for at, length in places)


@pytest.mark.parametrize("packed", PACKED)
def test_of_a_dump_that_breaks_off_the_first_pages_are_kept(wiki, packed):
    numbers = random.Random(1)
    pages = [page(f"T{n}", f"{numbers.random()} " * 20) for n in range(1200)]
    content = packed(dump(*pages))
    wiki.write_bytes(content[: len(content) * 2 // 3])
    titles = [dict(row["meta"])["title"] for row in kept(wiki)]
    assert 100 < len(titles) < 900
    assert titles == [f"T{n}" for n in range(len(titles))]
    (end,) = removed(wiki)
    assert (end.verdict, end.reason) == ("failed", "truncated" if packed is bytes else "unreadable")
    at = int(end.id.rpartition("@")[2])
    assert dump(*pages)[at:].lstrip().startswith(f"<page>\n    <title>T{len(titles)}<".encode())
    assert end.evidence.startswith(f"dewiki-pages-articles.xml: byte {at} of its content: ")


def test_a_dump_cut_between_two_pages_is_known_to_be_cut(wiki):
    wiki.write_bytes(dump(page("A", "Text.")).removesuffix(TAIL.encode()))
    assert [row["text"] for row in kept(wiki)] == ["A\n\nText."]
    assert reasons(wiki) == [("failed", "truncated")]


def test_a_file_that_is_no_dump_fails(wiki):
    wiki.write_bytes(b"<html></html>")
    assert reasons(wiki) == [("failed", "not_mediawiki")]


def test_a_file_that_has_gone_fails(wiki):
    wiki.write_bytes(dump())
    stage = Mediawiki(MediawikiConfig(files=wiki))
    (split,) = stage.splits()
    wiki.unlink()
    (outcome,) = stage.read(split, "wiki", Context(seed=1))
    assert [(end.verdict, end.reason) for end in outcome.removed] == [("failed", "unreadable")]


@pytest.mark.parametrize(
    "broken",
    [
        "<page><title>X</page>",
        page("X", "a").replace("<text ", "<text bytes="),
        page("X", "a").replace("<ns>0</ns>", ""),
        page("X", "a").replace("<ns>0</ns>", "<ns>zero</ns>"),
        page("X", "a").replace(">a<", ">&lol;<"),
        page("X", "a").replace(">a<", ">\x00<"),
    ],
)
def test_a_broken_page_costs_that_page_only(wiki, broken):
    wiki.write_bytes(dump(page("A", "Eins."), broken, page("B", "Zwei.")))
    assert [row["text"] for row in kept(wiki)] == ["A\n\nEins.", "B\n\nZwei."]
    assert reasons(wiki) == [("failed", "bad_xml")]


def test_entities_of_a_document_type_are_never_expanded(wiki):
    lol = '<!DOCTYPE m [<!ENTITY a "ha"><!ENTITY b "&a;&a;"><!ENTITY f SYSTEM "file:///etc/passwd">]>\n'
    pages = [page("A", "x").replace(">x<", ">&b;<"), page("B", "x").replace(">x<", ">&f;<"), page("C", "Text.")]
    wiki.write_bytes(lol.encode() + dump(*pages))
    assert [row["text"] for row in kept(wiki)] == ["C\n\nText."]
    assert reasons(wiki) == [("failed", "bad_xml")] * 2


def test_a_broken_siteinfo_is_told_and_the_pages_are_read(wiki):
    wiki.write_bytes(dump(page("A", "Text.")).replace(b"</sitename>", b""))
    (row,) = kept(wiki)
    assert (row["text"], row["url"]) == ("A\n\nText.", None)
    assert reasons(wiki) == [("failed", "bad_siteinfo")]


def test_a_page_over_the_cap_is_dropped_and_reading_goes_on(wiki):
    wiki.write_bytes(dump(page("A", "x" * 900_000), page("B", "Text.")))
    assert [row["text"] for row in kept(wiki, max_page_bytes=10_000)] == ["B\n\nText."]
    assert reasons(wiki, max_page_bytes=10_000) == [("dropped", "too_large")]


def test_a_page_that_hangs_the_parser_fails_at_the_deadline(wiki):
    wiki.write_bytes(dump(page("A", "Eins."), page("B", "{{a|b=" * 1500), page("C", "Drei.")))
    outcomes = read(wiki, page_deadline_s=0.3)
    texts = [text for outcome in outcomes for text in outcome.kept["text"].to_pylist()]
    assert texts == ["A\n\nEins.", "C\n\nDrei."]
    (end,) = [end for outcome in outcomes for end in outcome.removed]
    assert (end.verdict, end.reason, end.excerpt[:6]) == ("failed", "deadline", "{{a|b=")
    assert end.evidence.endswith("of its content: B: more than 0.3 s of CPU time")


def test_memory_does_not_grow_with_the_file():
    def endless(pages: int) -> Iterator[Chunk]:
        return (Chunk(n, page(f"T{n}", "x" * 2000).encode() * 50) for n in range(pages))

    def peak(pages: int) -> int:
        tracemalloc.start()
        start, end = re.compile(rb"<page[\s>]"), re.compile(rb"</page>")
        assert sum(1 for _ in Records(endless(pages), start, end, 10_000)) == pages * 50
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    assert peak(400) < 1.5 * peak(40)


def test_a_record_over_the_cap_is_not_gathered_in_memory():
    pieces = (Chunk(0, content) for content in [b"<r>", *[b"x" * 100_000] * 300, b"</r>"])
    tracemalloc.start()
    (record,) = Records(pieces, re.compile(b"<r>"), re.compile(b"</r>"), 200_000)
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (record.length, record.content) == (30_000_007, None)
    assert used < 2_000_000


@given(
    st.lists(st.text("ab<>\n", max_size=30), max_size=8),
    st.lists(st.integers(1, 9), min_size=1, max_size=30),
    st.integers(1, 40),
)
def test_records_are_found_however_the_content_comes_in_pieces(texts, sizes, max_bytes):
    bodies = [text.replace("</r>", "").replace("<r>", "").encode() for text in texts]
    content = b"head " + b"\n".join(b"<r>" + body + b"</r>" for body in bodies) + b" tail"
    pieces, at = [], 0
    while at < len(content):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(Chunk(0, content[at : at + size]))
        at += size
    records = Records(pieces, re.compile(b"<r>"), re.compile(b"</r>"), max_bytes)
    found = list(records)
    whole = re.findall(rb"<r>.*?</r>", content, re.DOTALL)
    assert [content[r.offset : r.offset + r.length] for r in found] == whole
    assert [r.content for r in found] == [r if len(r) <= max_bytes else None for r in whole]
    assert records.position == len(content)
    assert records.tail == (b" tail" if found else content)
    assert records.head == content[: content.index(b"<r>")] if found else content


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=4), st.sampled_from(PACKED[1:]))
def test_streams_are_decoded_one_after_the_other_with_their_offsets(parts, packed):
    streams = [packed(part) for part in parts]
    found = list(chunks(io.BytesIO(b"".join(streams) + b"\0" * 8)))
    assert b"".join(chunk.content for chunk in found) == b"".join(parts)
    starts = [sum(map(len, streams[:n])) for n in range(len(streams))]
    assert [chunk.stream_offset for chunk in found] == [at for at, part in zip(starts, parts, strict=True) if part]


# --- wikitext ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        ("'''Bold''' and ''italic'' and '''''both'''''", "Bold and italic and both"),
        ("The dogs' ''own''", "The dogs' own"),
        ("[[Berlin]], [[Berlin|the capital]], [[bus]]es, [[:fr:Lyon|Lyon]]", "Berlin, the capital, buses, Lyon"),
        ("One [[File:a.jpg|thumb|A [[b]] c]]two [[Image:x.png]]three", "One two three"),
        ("One[[de:Eins]][[zh-min-nan:X]] [[Category:A|B]]", "One"),
        ("See [https://a.org the site], [https://b.org] and https://c.org.", "See the site, and https://c.org."),
        (
            "One.<ref>Source</ref> Two.<ref name=a /> Three<ref group='n'>{{cite|x}}</ref>, four.",
            "One. Two. Three, four.",
        ),
        ("Paris ({{IPA|x}}) is", "Paris is"),
        ("Paris ({{IPA|x}}, a city) is", "Paris (a city) is"),
        ("Paris (a city; {{IPA|x}}) calls main() twice", "Paris (a city) calls main() twice"),
        ("A {{citation needed}} b{{x}}c {{y}}.", "A bc."),
        ("A <!-- hidden --> b", "A b"),
        ("x &lt; y &amp;&nbsp;z &eacute; &#8364;", "x < y & z é €"),
        ("__NOTOC__A __init__ method", "A __init__ method"),
        ("E = mc<sup>2</sup>, H<sub>2</sub>O, 1<sup>st</sup>", "E = mc², H₂O, 1st"),
        ("a<br />b<div class='navbox'>nav</div><span style='display:none'>c</span>", "a\nb"),
        ("Mass <math>\\frac{a}{b}</math>.", "Mass $\\frac{a}{b}$."),
        ("Set <code>x = 1</code> or <nowiki>[[x]] ''y''</nowiki>", "Set x = 1 or [[x]] ''y''"),
        ("{{lang|fr|la ''vie''}} {{lang-fr|oui}} {{transliteration|ja|hai}}", "la vie oui hai"),
        ("{{convert|5|km|mi}}, {{convert|5|-|10|kg|lb|abbr=on}}, {{convert|3|x|4|m}}", "5 km, 5–10 kg, 3 × 4 m"),
        ("{{nowrap|a b}}{{snd}}c{{!}}d {{frac|1|2}} {{frac|3|1|2}}", "a b – c|d 1/2 3 1/2"),
        ("{{val|5|u=km}} {{circa|1500}} {{formatnum:12345}} {{abbr|c.|circa}}", "5 km c. 1500 12345 c."),
        ("<gallery>\nFile:a.jpg|b\n</gallery>\nText", "Text"),
        ("{| class='wikitable'\n| a\n|}\nText", "Text"),
        ("One\n\n\n\n\nTwo", "One\n\nTwo"),
        ("One\n{{box}}\nTwo", "One\nTwo"),
        ("5\u00a0km \x01\x04 0", "5 km 0"),
    ],
)
def test_wikitext_becomes_what_a_reader_sees(wikitext, text):
    assert plain_text(wikitext) == text


def test_a_heading_inside_a_cell_is_text_of_the_cell():
    assert plain_text("{|\n| a\n== b ==\n|}", WikitextOptions(tables=True)) == "a b"


def test_lists_keep_their_levels():
    assert plain_text("* a\n** b [[c]]\n# d\n* {{x}}\n: e\n; term : def") == "- a\n  - b c\n- d\ne\nterm: def"


ARTICLE = """Intro.
== History ==
=== Early ===
Text.
=== Late ===
{{empty}}
== Code ==
<syntaxhighlight lang="python">
def f():


    return "[[x]] {{y}}"
</syntaxhighlight>
== References ==
{{reflist}}
=== Notes ===
<references />
== External links ==
[[Category:X]]
"""


def test_sections_that_hold_no_text_go_with_their_headings():
    code = 'def f():\n\n\n    return "[[x]] {{y}}"'
    assert plain_text(ARTICLE) == f"Intro.\n\nHistory\n\nEarly\n\nText.\n\nCode\n\n{code}"


def test_markdown_marks_headings_and_code():
    code = '```python\ndef f():\n\n\n    return "[[x]] {{y}}"\n```'
    text = f"Intro.\n\n## History\n\n### Early\n\nText.\n\n## Code\n\n{code}"
    assert plain_text(ARTICLE, WikitextOptions(markdown=True)) == text
    assert plain_text("Set <code>x</code>", WikitextOptions(markdown=True)) == "Set `x`"


TABLE = """{| class="wikitable"
|+ Rivers
! Name !! Length
|-
| [[Rhine]] || 1230<ref>x</ref>
|-
| Elbe<br>river
| 1094
|}"""


def test_tables_are_rows_of_cells_if_wanted():
    plain = "Rivers\n\nName | Length\nRhine | 1230\nElbe river | 1094"
    assert plain_text(TABLE, WikitextOptions(tables=True)) == plain
    marked = "Rivers\n\n| Name | Length |\n| --- | --- |\n| Rhine | 1230 |\n| Elbe river | 1094 |"
    assert plain_text(TABLE, WikitextOptions(tables=True, markdown=True)) == marked
    assert plain_text(TABLE.replace("wikitable", "infobox"), WikitextOptions(tables=True)) == ""


words = st.text("abcxyz é1", min_size=1, max_size=8).map(lambda text: f"w{text}w")


def nested(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(words, inner).map("[[{0[0]}|{0[1]}]]".format),
        st.tuples(words, inner).map("{{{{{0[0]}|x={0[1]}}}}}".format),
        inner.map("[[File:a.jpg|thumb|{}]]".format),
        inner.map('<ref name="a">{}</ref>'.format),
        words.map("'''{}'''".format),
        inner.map('<div class="a">{}</div>'.format),
        inner.map("\n* {}\n".format),
        words.map("\n== {} ==\n".format),  # a heading ends with its line
        inner.map('\n{{| class="a"\n! h\n|-\n| {}\n|}}\n'.format),
        words.map("[https://a.org {}] ".format),  # links do not nest
        words.map("<!-- [[{}]] -->".format),
        inner.map("<code>{}</code>".format),
        inner.map("<li>{}</li>".format),
        inner.map("{{{{nowrap|{}}}}}".format),
        st.lists(inner, min_size=2, max_size=3).map(" ".join),
    )


@given(st.recursive(words, nested, max_leaves=12), st.booleans(), st.booleans())
def test_nothing_of_well_formed_markup_is_left_over(wikitext, markdown, tables):
    text = plain_text(wikitext, WikitextOptions(markdown, tables))
    assert re.search(r"\{\{|\}\}|\[\[|\]\]|<ref|</|\{\||\|\}|'''|<!--|==|[\x00-\x08]", text) is None


@given(st.text("[]{}|<>'=*#:;!-\n/refab \"&;_\x01\x04\x050", max_size=60), st.booleans())
def test_any_text_gives_text_that_can_be_written(wikitext, markdown):
    text = plain_text(wikitext, WikitextOptions(markdown=markdown, tables=True))
    assert re.search(r"[\x00-\x08]", text) is None
    text.encode()


@given(st.lists(words, min_size=1, max_size=20).map(" ".join))
def test_prose_stays_as_it_is(prose):
    assert plain_text(prose).split() == prose.split()


def test_a_killed_parser_is_replaced():
    with WikitextProcess(deadline_s=10) as process:
        assert process.text("'''a'''", WikitextOptions()) == "a"
        before = process.pid
        os.kill(before, signal.SIGKILL)
        os.waitid(os.P_PID, before, os.WEXITED | os.WNOWAIT)
        assert process.text("c", WikitextOptions()) == "c"
        assert process.pid != before


def test_no_process_is_left_behind():
    with WikitextProcess(deadline_s=10) as process:
        process.text("a", WikitextOptions())
        child = process.pid
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_the_parts_of_a_split_dump_are_found_in_a_folder(tmp_path):
    name = "enwiki-20240101-pages-articles1.xml-p1p41242.bz2"
    (tmp_path / name).write_bytes(b"")
    stage = Mediawiki(MediawikiConfig(files=(tmp_path,)))
    assert [file.name for split in stage.splits() for file in split.files] == [name]
