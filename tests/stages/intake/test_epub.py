"""Books in, documents and reasons out."""

import io
import random
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.stage import Context, Removal
from stages.intake.book_text import book_text
from stages.intake.epub import Epub, EpubConfig
from tests.stages.intake import packing

CONTAINER = """<?xml version="1.0"?>
<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container">
  <rootfiles><rootfile full-path="OEBPS/book.opf" media-type="application/oebps-package+xml"/></rootfiles>
</container>"""
XHTML = "application/xhtml+xml"
METADATA = """<dc:title>The Title</dc:title><dc:creator>A. One</dc:creator><dc:creator>B. Two</dc:creator>
<dc:language>en-GB</dc:language><dc:date>1912-03-01</dc:date><dc:rights>CC BY 4.0</dc:rights>
<dc:identifier id="uid">https://example.org/books/7</dc:identifier>"""


def page(body: str, attributes: str = "") -> str:
    return f"""<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE html>
<html xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops">
<head><title>not text</title></head><body {attributes}>{body}</body></html>"""


def package(names: list[str], guide: str = "", properties: Mapping[str, str] | None = None) -> str:
    entries = "".join(
        f'<item id="i{n}" href="{name}" media-type="{XHTML}" properties="{(properties or {}).get(name, "")}"/>'
        for n, name in enumerate(names)
    )
    spine = "".join(f'<itemref idref="i{n}"/>' for n in range(len(names)))
    return f"""<?xml version="1.0"?>
<package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="uid">
<metadata xmlns:dc="http://purl.org/dc/elements/1.1/">{METADATA}</metadata>
<manifest>{entries}<item id="css" href="a.css" media-type="text/css"/></manifest><spine>{spine}</spine>{guide}
</package>"""


def write_book(
    path: Path, pages: Mapping[str, str], guide: str = "", properties: Mapping[str, str] | None = None
) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", "application/epub+zip", zipfile.ZIP_STORED)
        archive.writestr("META-INF/container.xml", CONTAINER)
        archive.writestr("OEBPS/book.opf", package(list(pages), guide, properties))
        for name, content in pages.items():
            archive.writestr(f"OEBPS/{name}", content)
    return path


CHAPTERS = {"b.xhtml": page("<h1>One</h1><p>First.</p>"), "a.xhtml": page("<h1>Two</h1><p>Second.</p>")}


def read(path: Path, **options: object) -> tuple[list[dict], list[Removal]]:
    return packing.read(Epub(EpubConfig(files=path, **options)), "books")


def only_removal(path: Path, **options: object) -> Removal:
    documents, (end,) = read(path, **options)
    assert documents == []
    return end


def test_a_book_is_a_document_of_its_chapters_in_reading_order(tmp_path):
    ((document,), _) = read(write_book(tmp_path / "a.epub", CHAPTERS))
    assert document["text"] == "One\n\nFirst.\n\nTwo\n\nSecond."
    assert re.fullmatch(r"books/a\.epub#[0-9a-f]{12}", document["id"])
    assert document["origin"]["length"] == (tmp_path / "a.epub").stat().st_size


def test_what_the_book_says_of_itself_is_kept(tmp_path):
    ((document,), _) = read(write_book(tmp_path / "a.epub", CHAPTERS))
    assert (document["language"], document["date"], document["url"]) == (
        "en",
        "1912-03-01",
        "https://example.org/books/7",
    )
    assert dict(document["meta"]) == {
        "title": "The Title",
        "creator": "A. One; B. Two",
        "identifier": "https://example.org/books/7",
        "licence": "CC BY 4.0",
    }


def test_each_chapter_may_be_a_document(tmp_path):
    pages = {**CHAPTERS, "empty.xhtml": page("<p> </p>")}
    documents, (end,) = read(write_book(tmp_path / "a.epub", pages), per_chapter=True)
    assert [document["text"] for document in documents] == ["One\n\nFirst.", "Two\n\nSecond."]
    assert [document["id"].partition("/OEBPS/")[2] for document in documents] == ["b.xhtml", "a.xhtml"]
    assert dict(documents[1]["meta"])["chapter"] == "OEBPS/a.xhtml"
    assert (end.verdict, end.reason, end.id[-11:]) == ("dropped", "empty", "empty.xhtml")


def test_cover_navigation_and_copyright_page_are_left_out_and_named(tmp_path):
    pages = {
        "cover.xhtml": page("<p>Cover</p>"),
        "nav.xhtml": page(
            '<nav epub:type="landmarks"><a epub:type="copyright-page" href="rights.xhtml">Rights</a>'
            '<a epub:type="toc" href="a.xhtml#toc">Contents</a></nav>'
        ),
        "rights.xhtml": page("<p>All rights</p>"),
        "toc.xhtml": page("<p>Contents</p>", 'epub:type="toc"'),
        **CHAPTERS,
    }
    guide = '<guide><reference type="cover" href="cover.xhtml"/><reference type="toc" href="b.xhtml#x"/></guide>'
    ((document,), _) = read(write_book(tmp_path / "a.epub", pages, guide, {"nav.xhtml": "nav"}))
    assert document["text"] == "One\n\nFirst.\n\nTwo\n\nSecond."
    assert dict(document["meta"])["left_out"] == (
        "OEBPS/nav.xhtml (navigation), OEBPS/rights.xhtml (copyright), OEBPS/cover.xhtml (cover), "
        "OEBPS/toc.xhtml (navigation)"
    )


BODY = """<h2>A<br/>heading</h2><p>One <i>two </i>three&#160;x &mdash; so&shy;ft<br/>line</p>
<ul><li>a<ul><li><p>b</p><p>more of b</p></li></ul></li><li>c</li></ul><ol><li>x</li><li>y</li></ol>
<blockquote><p>said</p><p>twice<br/>over</p></blockquote><pre><code>if x:
    y  = 1</code></pre>
<table><caption>Caption</caption><tr><th>a|b</th><th><b>c</b></th></tr><tr><td><p>1</p><p>2</p></td><td/></tr></table>
<table><tr><td>for the layout</td></tr></table>
<p>E <math alttext="x^2"><mi>x</mi></math>. <script>no</script>tail</p><hr/><em><p>block</p></em>end"""

MARKDOWN = """## A heading

One *two* three\xa0x — soft
line

- a
  - b

    more of b
- c

1. x
2. y

> said

> twice
> over

```
if x:
    y  = 1
```

Caption

| a\\|b | **c** |
| --- | --- |
| 1 2 |  |

for the layout

E x^2. tail

---

block

end"""

PLAIN = """A
heading

One two three\xa0x — soft
line

- a
  - b

    more of b
- c

1. x
2. y

said

twice
over

if x:
    y  = 1

Caption

a|b\tc
1 2\t

for the layout

E x^2. tail

block

end"""


def test_headings_lists_quotations_code_and_tables_become_markdown_or_plain_lines():
    assert book_text(page(BODY).encode(), markdown=True) == MARKDOWN
    assert book_text(page(BODY).encode(), markdown=False) == PLAIN


def test_text_between_the_cells_of_a_table_is_kept_before_it():
    assert book_text(b"<table><tr><p>note</p><td>a</td><td>b</td></tr></table>", markdown=False) == "note\n\na\tb"


def test_nesting_without_bound_is_read_or_refused():
    assert book_text(b"<div>" * 1000 + b"deep" + b"</div>" * 1000, markdown=False) == "deep"
    with pytest.raises(ValueError, match="depth"):
        book_text(b"<div>" * 100_000 + b"deep", markdown=False)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1"])
def test_a_chapter_is_in_the_encoding_that_it_names(encoding):
    text = page("<p>Größe</p>").replace('encoding="utf-8"', f'encoding="{encoding.removesuffix("-sig")}"')
    assert book_text(text.encode(encoding), markdown=False) == "Größe"


def test_entities_that_a_book_defines_are_not_expanded(tmp_path):
    bomb = '<!DOCTYPE html [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;"><!ENTITY f SYSTEM "file:///etc/passwd">]>'
    pages = {"a.xhtml": page("<p>x &b; &f; y</p>").replace("<!DOCTYPE html>", bomb)}
    ((document,), _) = read(write_book(tmp_path / "a.epub", pages))
    assert "aaaa" not in document["text"]
    assert "root" not in document["text"]


def test_encrypted_chapters_fail_and_obfuscated_fonts_do_not(tmp_path):
    for name, algorithm in (
        ("drm", "http://www.w3.org/2001/04/xmlenc#aes128-cbc"),
        ("font", "http://www.idpf.org/2008/embedding"),
    ):
        path = write_book(tmp_path / f"{name}.epub", CHAPTERS)
        with zipfile.ZipFile(path, "a") as archive:
            encrypted = f'<enc:EncryptedData><enc:EncryptionMethod Algorithm="{algorithm}"/></enc:EncryptedData>'
            enc = 'xmlns:enc="http://www.w3.org/2001/04/xmlenc#"'
            archive.writestr("META-INF/encryption.xml", f"<encryption {enc}>{encrypted}</encryption>")
    assert only_removal(tmp_path / "drm.epub").reason == "encrypted"
    assert len(read(tmp_path / "font.epub")[0]) == 1


def test_a_book_that_unfolds_to_more_than_the_cap_fails(tmp_path):
    write_book(tmp_path / "a.epub", {"a.xhtml": page("<p>" + " " * 10_000_000 + "</p>")})
    assert (tmp_path / "a.epub").stat().st_size < 50_000
    end = only_removal(tmp_path, max_unpacked_bytes=1_000_000)
    assert (end.verdict, end.reason, end.evidence) == (
        "failed",
        "too_large",
        "a.epub: unfolds to more than 1000000 bytes",
    )


def test_a_reference_cannot_lead_out_of_the_book(tmp_path):
    (tmp_path / "secret.xhtml").write_text(page("<p>secret</p>"))
    path = write_book(tmp_path / "a.epub", {"../../secret.xhtml": page("<p>in the archive</p>")})
    end = only_removal(path)
    assert (end.reason, end.evidence) == ("unreadable", "a.epub: ../secret.xhtml is not in the book")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("META-INF/container.xml", "<container/>"),
        ("META-INF/container.xml", ""),
        ("OEBPS/book.opf", "<package/>"),
        ("OEBPS/book.opf", "not XML"),
    ],
)
def test_an_archive_that_is_no_book_is_unreadable(tmp_path, name, content):
    files = {"META-INF/container.xml": CONTAINER, "OEBPS/book.opf": package(list(CHAPTERS))} | {name: content}
    with zipfile.ZipFile(tmp_path / "a.epub", "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    assert only_removal(tmp_path).reason == "unreadable"


def test_a_book_of_pictures_is_dropped(tmp_path):
    write_book(tmp_path / "a.epub", {"a.xhtml": page('<img src="1.png"/>')})
    assert (only_removal(tmp_path).verdict, only_removal(tmp_path).reason) == ("dropped", "no_text")


def test_a_file_that_has_gone_fails(tmp_path):
    stage = Epub(EpubConfig(files=write_book(tmp_path / "a.epub", CHAPTERS)))
    (split,) = stage.splits()
    (tmp_path / "a.epub").unlink()
    (outcome,) = stage.read(split, "books", Context(seed=1))
    assert [(end.id, end.reason) for end in outcome.removed] == [("books/a.epub#unread", "unreadable")]


def test_damaged_books_end_as_kept_or_failed(tmp_path):
    numbers = random.Random(1)
    sound = write_book(tmp_path / "sound", CHAPTERS).read_bytes()
    for file in range(150):
        damaged = bytearray(sound[: numbers.randrange(len(sound))] if file % 3 == 0 else sound)
        for _ in range(file % 7):
            damaged[numbers.randrange(len(damaged))] = numbers.randrange(256)
        (tmp_path / f"{file}.epub").write_bytes(damaged)
    documents, removed = read(tmp_path)
    assert len(documents) + len(removed) == 150
    assert {end.reason for end in removed} <= {"unreadable", "encrypted", "no_text"}
    assert len(removed) > 50


TAGS = ("p", "li", "ul", "td", "table", "i", "pre", "tr", "h1", "blockquote")
TREES = st.recursive(
    st.text("ab <&\n", max_size=5),
    lambda inner: st.tuples(st.sampled_from(TAGS), st.lists(inner, max_size=4)),
    max_leaves=12,
)


def markup(node: str | tuple) -> str:
    if isinstance(node, str):
        return node.replace("&", "&amp;").replace("<", "&lt;")
    return f"<{node[0]}>{''.join(map(markup, node[1]))}</{node[0]}>"


@given(TREES)
def test_no_word_is_lost_in_any_nesting(tree):
    from lxml import html

    source = f"<body>{markup(tree)}</body>"
    words = sorted("".join("".join(html.document_fromstring(source).itertext()).split()))
    text = book_text(source.encode(), markdown=False)
    assert sorted("".join(text.replace("- ", "").split())) == words


def test_a_zip_member_is_read_no_further_than_the_cap():
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("META-INF/container.xml", " " * 50_000_000)
    import tracemalloc

    from stages.intake.epub import UnreadableBook, _Files

    tracemalloc.start()
    with zipfile.ZipFile(content) as archive, pytest.raises(UnreadableBook, match="more than 1000000 bytes"):
        _Files(archive, 1_000_000).read("META-INF/container.xml")
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()
