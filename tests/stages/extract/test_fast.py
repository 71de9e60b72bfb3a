"""The fast mode: how it reads HTML, what it takes for main text, how it writes it down, and how good it is."""

import os
import re
import subprocess
import sys
import time
from html import unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.extract.fast import FastOptions, FastPage, extract
from stages.extract.html_worker import decoded
from tests.benchmarks.extraction_quality import article_scores, snippet_scores
from tests.real_pages import article_benchmark, real_pages, snippets

SENTENCE = "The committee met in the old hall, and spoke about the rivers of the county for a long time."
OTHER = "Nobody had expected that the smallest of them, the Wey, would flood the market twice."
MARKDOWN = FastOptions(markdown=True)


def page(body: str, head: str = "") -> str:
    return f"<!doctype html><html lang=en><head><title>Rivers</title>{head}</head><body>{body}</body></html>"


def text(html: str) -> str:
    return extract(html).text


# --- reading HTML


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        (f"<p>{SENTENCE}<p>{OTHER}", [SENTENCE, OTHER]),  # end tags may be absent
        (f"<P CLASS=x>{SENTENCE}</P>", [SENTENCE]),
        (f"<p title='a > b'>{SENTENCE}</p>", [SENTENCE]),  # an attribute value may hold ">"
        (f"<p>{SENTENCE}<!-- <p>not shown</p> --></p>", [SENTENCE]),
        (f"<p>{SENTENCE}<!--> {OTHER}</p>", [f"{SENTENCE} {OTHER}"]),  # an empty comment
        (f"<p>{SENTENCE}<script>if (a < b) document.write('<p>no</p>')</script></p>", [SENTENCE]),
        (f"<style>p {{ color: red }}</style><p>{SENTENCE}</p>", [SENTENCE]),
        (f"<p>{SENTENCE} 1 < 2 &amp;&#32;3 &gt; 2</p>", [f"{SENTENCE} 1 < 2 & 3 > 2"]),
        (f"<p>{SENTENCE}<br>{OTHER}</p>", [SENTENCE, OTHER]),
        (f"<p>Ri<b>ver</b>s&nbsp;\n &nbsp;and lakes. {SENTENCE}</p>", [f"Rivers and lakes. {SENTENCE}"]),
        (f"<p>soft\u00adly, {SENTENCE}</p>", [f"softly, {SENTENCE}"]),
        (f"<p>{SENTENCE}</p><svg><title/><path d='M0'/><text>drawn</text></svg><p>{OTHER}</p>", [SENTENCE, OTHER]),
        (f"<p>{SENTENCE}</p><svg><g><p>{OTHER}</p>", [SENTENCE, OTHER]),  # a paragraph ends the drawing
        (f"<p>{SENTENCE}</p></html><p>{OTHER}</p>", [SENTENCE, OTHER]),
        (SENTENCE, [SENTENCE]),
        (f"<p>{SENTENCE}</p><p class='cut", [SENTENCE]),
    ],
)
def test_html_is_read_as_browsers_read_it(html, expected):
    assert text(html).splitlines() == expected


@pytest.mark.parametrize(
    "html",
    [
        "",
        " \n",
        "<",
        "<!--",
        "<p",
        "</",
        "\0",
        "<script>var rivers = 'long';</script>",
        "<frameset><frame src=a.html><noframes>no frames</noframes></frameset>",
        "<body></body>",
    ],
)
def test_pages_without_text_have_none(html):
    assert text(html) == ""


@pytest.mark.parametrize(
    "html",
    [
        "<div>" * 100_000 + SENTENCE,
        "<b><i>" * 100_000 + SENTENCE + "</i></b>" * 100_000,
        "<a href=x>" * 100_000 + "</a>" * 100_000 + f"<p>{SENTENCE}",
        "<table><tr><td>" * 50_000 + SENTENCE,
        "<p>" + "<div>" * 1000 + "</p>" * 100_000 + f"<p>{SENTENCE}",
        "<ul><li>" * 100_000 + SENTENCE,
    ],
    ids=["div", "inline", "links", "tables", "unopened end tags", "lists"],
)
def test_deep_nesting_costs_linear_time(html):
    text(page(SENTENCE))  # compiled, or loaded from numba's cache
    started = time.process_time()
    assert SENTENCE in text(html)
    assert time.process_time() - started < 2


MARKUP = """
<p> </p> <div> </div> <a_href=x> </a> <ul> <li> </ul> <table> <tr> <td> </table> <h2> </h2> <pre> </pre> <br> <nav>
<svg> </svg> <title> </title> <!-- --> <script> </script> <body> </body> <head> <article> </article> <p_hidden>
<section_class='comment'> <article_class='post-content'> < > </ <! & " ' = &amp; &#65; &#xD800; 川と湖の話をした。
Ünï \0
"""
pieces = st.sampled_from([piece.replace("_", " ") for piece in MARKUP.split()]) | st.sampled_from(["\n", SENTENCE])


@given(st.lists(pieces | st.text(max_size=8), max_size=60).map("".join), st.booleans())
def test_any_input_gives_text_of_that_input(html, markdown):
    found = extract(html, FastOptions(markdown=markdown)).text
    found.encode()  # has a UTF-8 form
    raw = re.sub(r"[\0\xad\u200b\ufeff]", "", html)
    without_tags = unescape(re.sub(r"<[^>]*>", "", raw))
    for word in re.findall(r"\w+", found):
        assert word in without_tags or word in unescape(raw)


# --- what is main text


@pytest.mark.parametrize(
    "other",
    [
        "<nav><a href=/>Home</a> <a href=/b>Boats</a></nav>",
        "<div class=sidebar><h3>More</h3><p>Boats and trains are what we like to write about here.</p></div>",
        "<ul><li><a href=/1>One river</a></li><li><a href=/2>Another river</a></li></ul>",
        "<div id=comments><p>I do not agree with the committee, and never have.</p></div>",
        "<div class='cookie-notice'><p>We use cookies, as everybody does; please agree to all of them.</p></div>",
        "<p style='display: none'>Hidden text that nobody is meant to read at all.</p>",
        "<footer><p>All rights reserved, and all wrongs avenged, by the county council.</p></footer>",
        "<form><label>Name</label><select><option>Wey</option></select><button>Send</button></form>",
        "<h2>Related pages</h2>",
        "<div>Share</div>",
    ],
)
@pytest.mark.parametrize("where", ["before", "after", "inside"])
def test_what_is_beside_the_main_text_is_left_out(other, where):
    article = [f"<p>{SENTENCE}</p>"] * 3 + [f"<p>{OTHER}</p>"] * 3
    if where == "inside":
        article.append(other)
    around = f"<article>{''.join(article)}</article>"
    html = page({"before": other + around, "after": around + other, "inside": around}[where])
    assert text(html).splitlines() == [SENTENCE] * 3 + [OTHER] * 3


def test_a_container_that_calls_itself_a_sidebar_but_holds_the_text_is_kept():
    html = page(f"<div class='content-with-sidebar'>{f'<p>{SENTENCE}</p>' * 5}</div>")
    assert text(html).splitlines() == [SENTENCE] * 5


def test_comments_are_kept_where_they_are_all_there_is():
    html = page(f"<div class=comments>{f'<p>{SENTENCE}</p>' * 5}</div><p>Thread</p>")
    assert SENTENCE in text(html)


def test_a_lead_beside_the_container_is_kept():
    html = page(f"<div><p class=lead>{OTHER}</p><div class=article-body>{f'<p>{SENTENCE}</p>' * 5}</div></div>")
    assert text(html).splitlines() == [OTHER, *[SENTENCE] * 5]


def test_text_in_two_languages_of_markup_weighs_the_same():
    """A page of Chinese without spaces is main text as much as one of English."""
    chinese = "川と湖の話をした。委員会は古い会館に集まり、郡の川について長い間話し合った。"
    html = page(f"<div><a href=/>首页</a> <a href=/a>新闻</a></div><div>{f'<p>{chinese}</p>' * 3}</div>")
    assert text(html).splitlines() == [chinese] * 3


def test_a_page_of_short_lines_keeps_them():
    rows = "".join(f"<tr><td>{name}</td><td>{length} km</td></tr>" for name, length in (("Wey", 140), ("Mole", 80)))
    html = page(f"<div><a href=/>Home</a></div><h2>Rivers</h2><table>{rows}</table>")
    assert text(html).splitlines() == ["Rivers", "Wey | 140 km", "Mole | 80 km"]


def test_a_thread_of_posts_is_kept_whole():
    posts = [f"{SENTENCE} Post {number} says so." for number in range(6)]
    html = page("".join(f"<div class=post><b>someone</b><div class=message>{post}</div></div>" for post in posts))
    assert [line for line in text(html).splitlines() if line.startswith("The")] == posts


def test_text_of_a_page_drawn_by_scripts_is_taken_from_its_metadata():
    metadata = f'{{"@type": "Article", "articleBody": "<p>{SENTENCE}</p>\\n{OTHER} {OTHER} {OTHER}"}}'
    html = page("<div id=app></div>", f"<script type='application/ld+json'>{metadata}</script>")
    assert text(html).splitlines() == [SENTENCE, f"{OTHER} {OTHER} {OTHER}"]


# --- how it is written

STRUCTURED = page(
    f"<article><h1>Rivers</h1><p>{SENTENCE}</p><h2>Names</h2><ol><li>Wey<ul><li>North<li>South</ul><li>Mole</ol>"
    f"<p>{OTHER}</p><pre><code>def area(a):\n    return a &lt; 1\n\nprint(1)\n</code></pre>"
    "<table><tr><th>Name<th>Length<th>Note<tr><td>Wey<td>140<td><tr><td>Mole | Mill<td><td>short</table></article>"
)


def test_plain_text():
    assert text(STRUCTURED).splitlines() == [
        SENTENCE,
        "Names",
        "- Wey",
        "- North",
        "- South",
        "- Mole",
        OTHER,
        "def area(a):",
        "    return a < 1",
        "",
        "print(1)",
        "Name | Length | Note",
        "Wey | 140",
        "Mole | Mill | short",
    ]


def test_markdown():
    assert extract(STRUCTURED, MARKDOWN).text.splitlines() == [
        SENTENCE,
        "",
        "## Names",
        "",
        "- Wey",
        "  - North",
        "  - South",
        "- Mole",
        "",
        OTHER,
        "",
        "```",
        "def area(a):",
        "    return a < 1",
        "",
        "print(1)",
        "```",
        "",
        "| Name | Length | Note |",
        "| --- | --- | --- |",
        "| Wey | 140 |",
        "| Mole \\| Mill |  | short |",
    ]


def test_tables_can_be_left_out():
    assert "Wey | 140" not in extract(STRUCTURED, FastOptions(tables=False)).text


@pytest.mark.parametrize(
    ("head", "title"),
    [
        ("", "Rivers"),
        ("<meta property='og:title' content='The Rivers &amp; Lakes'>", "The Rivers & Lakes"),
        ("<meta property='og:title' content=''>", "Rivers"),
    ],
)
def test_title(head, title):
    assert extract(page(f"<p>{SENTENCE}</p>", head)).title == title


def test_the_page_that_was_parsed_tells_what_its_head_says():
    parsed = FastPage(
        page(
            "<p>A <a href='/b'>link</a> <a name=c>anchor</a></p>",
            "<meta name=robots CONTENT='no&amp;no'><link rel=canonical>",
        )
    )
    assert parsed.attributes("html") == [{"lang": "en"}]
    assert parsed.attributes("meta") == [{"name": "robots", "content": "no&no"}]
    assert parsed.attributes("link") == [{"rel": "canonical"}]
    assert parsed.links == 1
    assert parsed.quick_text(8) == "A link a"


# --- on real pages


def test_kernels_agree_with_their_source(tmp_path):
    program = "import sys; from stages.extract.fast import extract; print(extract(sys.stdin.read()).text)"
    uncompiled = subprocess.run(
        [sys.executable, "-W", "ignore::RuntimeWarning", "-c", program],
        env={**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        input=STRUCTURED,
        capture_output=True,
        text=True,
        check=True,
    )
    assert uncompiled.stdout == text(STRUCTURED) + "\n"


def test_every_real_page_is_read_as_another_parser_reads_it(shared_data):
    """Nearly all words that lexbor finds in the body are found, and nearly no others."""
    from resiliparse.extract.html2text import extract_plain_text

    shares = []
    for number, real in enumerate(real_pages(shared_data)):
        if number % 4:
            continue
        html = decoded(real.html, None)
        theirs = re.findall(r"\w+", extract_plain_text(html, alt_texts=False, form_fields=False).replace("\xad", ""))
        ours = re.findall(r"\w+", FastPage(html).quick_text(10**7))
        if len(theirs) >= 50:
            shares.append(len(set(theirs) & set(ours)) / len(set(theirs)))
    assert len(shares) > 150
    assert sum(share > 0.9 for share in shares) / len(shares) > 0.95


def test_quality_on_articles_with_a_known_body(shared_data):
    """trafilatura 2.3.1 with precision has F1 0.965 on these pages."""
    pairs = [(text(decoded(real.html, None)), truth) for real, truth in article_benchmark(shared_data)]
    assert article_scores(pairs)[2] > 0.97


def test_quality_on_pages_with_known_snippets(shared_data):
    """trafilatura 2.3.1 in its fast mode has F1 0.927 on these pages, in its default mode 0.932."""
    rows = [(text(decoded(real.html, None)), wanted, unwanted) for real, wanted, unwanted in snippets(shared_data)]
    assert snippet_scores(rows)[2] > 0.93
