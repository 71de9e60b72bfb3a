"""Dumps of question sites in, questions with their answers out."""

import bz2
import io
import json
import random
from pathlib import Path
from xml.sax.saxutils import quoteattr

import py7zr
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.locations.location import InputFile
from pipeline.stage import Context, Outcome, Removal
from stages.intake.post_html import post_text
from stages.intake.stack_exchange import StackExchange, StackExchangeConfig

SITE = "cooking.stackexchange.com"
MADE = "2011-02-03T04:05:06.007"
BY_4, BY_3 = "CC BY-SA 4.0", "CC BY-SA 3.0"


def post(number: int, kind: int, body: str, score: int = 0, **fields: object) -> str:
    values = {"Id": number, "PostTypeId": kind, "CreationDate": MADE, "Score": score, "Body": body} | fields
    attributes = " ".join(f"{k}={quoteattr(str(v), {chr(10): '&#xA;'})}" for k, v in values.items())
    return f"  <row {attributes} />\n"


def question(number: int, body: str = "<p>How?</p>", score: int = 0, **fields: object) -> str:
    return post(number, 1, body, score, **({"Title": f"Question {number}"} | fields))


def answer(number: int, to: int, body: str = "<p>So.</p>", score: int = 0, **fields: object) -> str:
    return post(number, 2, body, score, ParentId=to, **fields)


def posts(*rows: str) -> bytes:
    return ('\ufeff<?xml version="1.0" encoding="utf-8"?>\n<posts>\n' + "".join(rows) + "</posts>").encode()


def read(files: Path, **options: object) -> list[Outcome]:
    stage = StackExchange(StackExchangeConfig(files=files, **options))
    outcomes = [outcome for split in stage.splits() for outcome in stage.read(split, "qa", Context(seed=1))]
    for outcome in outcomes:
        assert outcome.created == {"qa": len(outcome.kept) + len(outcome.removed)}
    return outcomes


def kept(files: Path, **options: object) -> list[dict]:
    return [row for outcome in read(files, **options) for row in outcome.kept.to_pylist()]


def removed(files: Path, **options: object) -> list[Removal]:
    return [end for outcome in read(files, **options) for end in outcome.removed]


def reasons(files: Path, **options: object) -> list[tuple[str, str]]:
    return [(end.verdict, end.reason) for end in removed(files, **options)]


def packed(path: Path, members: dict[str, bytes], **options: object) -> None:
    with py7zr.SevenZipFile(path, "w", **options) as archive:
        for name, content in members.items():
            archive.writef(io.BytesIO(content), name)


@pytest.fixture
def site(tmp_path) -> Path:
    """A folder above that of a site, for Posts.xml in it."""
    (tmp_path / SITE).mkdir()
    return tmp_path


def written(site: Path, *rows: str) -> Path:
    (site / SITE / "Posts.xml").write_bytes(posts(*rows))
    return site


def test_a_document_is_a_question_with_its_answers_by_score(site):
    rows = [
        question(1, "<p>How long?</p>", 5, Title="Boiling eggs", Tags="<eggs><boiling>", AcceptedAnswerId=3,
                 ContentLicense=BY_3),
        answer(2, 1, "<p>Ten minutes.</p>", 1, ContentLicense=BY_4),
        answer(4, 1, "<p>Four minutes.</p>", 9, ContentLicense=BY_4),
        answer(3, 1, "<p>Six.</p>", 2, ContentLicense=BY_3),
    ]  # fmt: skip
    (row,) = kept(written(site, *rows))
    assert row["text"] == (
        "Boiling eggs\n\nHow long?\n\nAnswer:\nFour minutes.\n\nAccepted answer:\nSix.\n\nAnswer:\nTen minutes."
    )
    content = posts(*rows)
    assert row["id"] == f"qa/{SITE}/Posts.xml@{content.index(b'<row')}"
    place = row["origin"]
    assert content[place["offset"] :][: place["length"]].strip().decode() == rows[0].strip()
    assert (row["url"], row["date"]) == ("https://cooking.stackexchange.com/questions/1", MADE)
    assert dict(row["meta"]) == {
        "title": "Boiling eggs",
        "tags": "eggs, boiling",
        "score": "5",
        "answers": "3",
        "accepted": "3",
        "licence": "CC BY-SA 3.0, CC BY-SA 4.0",
    }


def test_the_accepted_answer_may_come_first(site):
    rows = [question(1, AcceptedAnswerId=3), answer(2, 1, "b", 5), answer(3, 1, "c", -1)]
    (row,) = kept(written(site, *rows), accepted_first=True)
    assert row["text"].endswith("Accepted answer:\nc\n\nAnswer:\nb")


def test_markdown_has_headings(site):
    (row,) = kept(written(site, question(1, "<pre><code>x</code></pre>"), answer(2, 1)), markdown=True)
    assert row["text"] == "# Question 1\n\n```\nx\n```\n\n## Answer\n\nSo."


def test_answers_may_come_before_their_question_and_far_from_it(site):
    others = [question(n) for n in range(10, 700)]
    rows = kept(written(site, answer(5, 9), *others, question(9)))
    assert [row["url"].rpartition("/")[2] for row in rows] == [str(n) for n in range(9, 700)]
    assert rows[0]["text"].endswith("Answer:\nSo.")


def test_every_row_that_is_in_no_document_has_its_reason(site):
    rows = [
        question(1, score=1),
        answer(2, 1, score=1),
        answer(3, 1, score=-4),
        answer(4, 99, score=3),
        question(5, score=-7),
        answer(6, 5, score=3),
        post(7, 4, "<p>A tag.</p>"),
        question(8, "<p> </p>", 1),
        answer(9, 1, "<!-- -->", 4),
        answer(10, 1, score=0),
        answer(2, 1, score=1),
    ]
    options = {"min_question_score": 0, "min_answer_score": -1, "max_answers": 1}
    documents = kept(written(site, *rows), **options)
    found = {end.evidence: (end.verdict, end.reason) for end in removed(site, **options)}
    assert found == {
        "post 3: score -4 < -1": ("dropped", "low_score"),
        "question 99 is not in the dump, or was dropped": ("dropped", "no_question"),
        "post 5: score -7 < 0": ("dropped", "low_score"),
        "question 5 is not in the dump, or was dropped": ("dropped", "no_question"),
        "PostTypeId 4": ("dropped", "not_a_question_or_answer"),
        "post 8: no text": ("dropped", "empty"),
        "post 9: no text": ("dropped", "empty"),
        "question 1 has 2 answers > 1": ("dropped", "over_max_answers"),
        "post 2 again": ("dropped", "duplicate"),
    }
    (document,) = documents
    assert len(found) + len(documents) + int(dict(document["meta"])["answers"]) == len(rows)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ('  <row Id="5" PostTypeId="1" Body="a & b" />\n', "bad_xml"),
        ('  <row Id="5" PostTypeId="1" Body="&lol;" />\n', "bad_xml"),
        ('  <row PostTypeId="1" Body="a" />\n', "bad_row"),
        ('  <row Id="five" PostTypeId="1" Body="a" />\n', "bad_row"),
        ('  <row Id="5" PostTypeId="2" Body="a" />\n', "bad_row"),
        (f'  <row Id="{2**70}" PostTypeId="1" Body="a" />\n', "bad_row"),
        (question(5, "x" * (4 << 20)), "too_large"),
    ],
)
def test_a_broken_row_costs_that_row_only(site, broken, reason):
    written(site, question(1), broken, question(2))
    assert [row["url"][-2:] for row in kept(site)] == ["/1", "/2"]
    assert reasons(site) == [("failed", reason)]


def test_an_archive_gives_the_same_documents(site):
    rows = [question(1), answer(2, 1), question(3)]
    members = {"Badges.xml": b"<badges/>" * 999, "Posts.xml": posts(*rows), "Votes.xml": b"<votes/>"}
    packed(site / f"{SITE}.7z", members)
    plain = [(row["text"], row["url"], row["origin"]["offset"]) for row in kept(written(site, *rows) / "*" / "*.xml")]
    (site / SITE / "Posts.xml").unlink()
    rows = kept(site)
    assert [(row["text"], row["url"], row["origin"]["offset"]) for row in rows] == plain
    assert rows[0]["id"].startswith(f"qa/{SITE}.7z@")


def test_compressed_posts_are_read_as_they_are(site):
    (site / SITE / "Posts.xml.bz2").write_bytes(bz2.compress(posts(question(1))))
    assert len(kept(site)) == 1


def test_an_archive_of_other_tables_is_dropped(site):
    packed(site / "stackoverflow.com-Votes.7z", {"Votes.xml": b"<votes/>"})
    (end,) = removed(site)
    assert (end.verdict, end.reason) == ("dropped", "no_posts")
    assert end.evidence == "stackoverflow.com-Votes.7z: no Posts.xml among Votes.xml"


def test_a_name_that_leads_out_of_the_archive_is_never_a_path(site, monkeypatch):
    with monkeypatch.context() as writer:
        writer.setattr("py7zr.py7zr.check_archive_path", lambda name: True)  # it refuses to write such names
        packed(site / f"{SITE}.7z", {"../../escaped.xml": b"x", "../Posts.xml": posts(question(1))})
    before = sorted(site.parent.rglob("*"))
    read(site)
    assert sorted(site.parent.rglob("*")) == before


def test_an_archive_that_unpacks_to_too_much_fails_and_what_came_before_is_kept(site):
    content = posts(question(1), *(question(n, "0" * 200_000) for n in range(2, 40)))
    packed(site / f"{SITE}.7z", {"Posts.xml": content})
    assert (site / f"{SITE}.7z").stat().st_size < len(content) / 100
    rows = kept(site, max_unpacked_bytes=3_000_000)
    assert 1 <= len(rows) <= 15
    assert reasons(site, max_unpacked_bytes=3_000_000) == [("failed", "too_large")]
    assert len(kept(site, max_unpacked_bytes=len(content))) == 39


def noise(size: int = 100) -> list[str]:
    numbers = random.Random(1)
    return [question(n, f"<p>{numbers.randbytes(size).hex()}</p>") for n in range(1, 4000)]


@pytest.mark.parametrize(("damage", "least"), [("cut", 0), ("overwritten", 500)])
def test_of_a_damaged_archive_what_could_be_read_is_kept(site, damage, least):
    """A cut archive has lost the list of its files, which is at its end: nothing of it can be read."""
    path = site / f"{SITE}.7z"
    packed(path, {"Posts.xml": posts(*noise(size=450))}, filters=[{"id": py7zr.FILTER_LZMA2, "preset": 0}])
    content = path.read_bytes()
    middle = len(content) * 4 // 5
    rest = b"\xff" * 999 + content[middle + 999 :]
    path.write_bytes(content[:middle] + rest * (damage == "overwritten"))
    outcomes = read(site)
    urls = [url for outcome in outcomes for url in outcome.kept["url"].to_pylist()]
    assert least <= len(urls) < 3500
    assert urls == [f"https://{SITE}/questions/{n}" for n in range(1, len(urls) + 1)]
    assert [end.reason for outcome in outcomes for end in outcome.removed] == ["unreadable"]


@pytest.mark.parametrize(("packing", "reason"), [(bytes, "bad_xml"), (lambda c: bz2.compress(c, 1), "unreadable")])
def test_of_a_file_that_breaks_off_the_first_rows_are_kept(site, packing, reason):
    content = packing(posts(*noise()))
    (site / SITE / "Posts.xml").write_bytes(content[: len(content) // 2])
    rows = kept(site)
    assert 500 < len(rows) < 3000
    assert [row["url"].rpartition("/")[2] for row in rows] == [str(n) for n in range(1, len(rows) + 1)]
    assert reasons(site) == [("failed", reason)]


def test_a_file_cut_between_two_rows_is_known_to_be_cut(site):
    (site / SITE / "Posts.xml").write_bytes(posts(question(1)).removesuffix(b"</posts>"))
    assert len(kept(site)) == 1
    assert reasons(site) == [("failed", "truncated")]


def test_a_file_that_has_gone_fails(site):
    stage = StackExchange(StackExchangeConfig(files=written(site)))
    (split,) = stage.splits()
    (site / SITE / "Posts.xml").unlink()
    (outcome,) = stage.read(split, "qa", Context(seed=1))
    assert [(end.verdict, end.reason) for end in outcome.removed] == [("failed", "unreadable")]


@pytest.mark.parametrize(
    ("name", "host"),
    [
        ("dba.stackexchange.com.7z", "dba.stackexchange.com"),
        ("stackoverflow.com-Posts.7z", "stackoverflow.com"),
        ("dumps/superuser.com/Posts.xml", "superuser.com"),
    ],
)
def test_the_site_is_told_from_the_name(name, host):
    stage = StackExchange(StackExchangeConfig(files="x"))
    assert stage._site(InputFile(name, name)) == host


def test_a_site_that_cannot_be_told_must_be_said(tmp_path):
    (tmp_path / "Posts.xml").write_bytes(posts(question(1)))
    with pytest.raises(InputError, match="say which with `site: cooking"):
        kept(tmp_path)
    assert kept(tmp_path, site="a.org")[0]["url"] == "https://a.org/questions/1"


# --- the text of a post -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("html", "plain", "markdown"),
    [
        ("<p>a  b\nc<br>d</p><p>e</p>", "a b c\nd\n\ne", "a b c\nd\n\ne"),
        ("<p>x &lt; y &amp;&#39;</p>", "x < y &'", "x < y &'"),
        ("<pre class='lang-py s'><code>if x:\n    y\n\nz\n</code></pre>", "if x:\n    y\n\nz",
         "```py\nif x:\n    y\n\nz\n```"),
        ("<pre><code>a ``` b</code></pre>", "a ``` b", "````\na ``` b\n````"),
        ("<p>Use <code>a</code>, <em>b</em> and <strong>c</strong></p>", "Use a, b and c", "Use `a`, *b* and **c**"),
        ("<ul><li>a</li><li>b<ol><li>c</li><li>d</li></ol></li></ul>", "- a\n- b\n  1. c\n  2. d",
         "- a\n- b\n  1. c\n  2. d"),
        ("<ol><li><p>a</p><p>b</p></li></ol>", "1. a\n\n   b", "1. a\n\n   b"),
        ("<blockquote><p>a</p><p>b</p></blockquote>c", "> a\n>\n> b\n\nc", "> a\n>\n> b\n\nc"),
        ("<a href='https://a.org'>b</a> <a href='/c'>d</a>", "b d", "[b](https://a.org) d"),
        ("<h2>a</h2><hr><img src='b.png' alt='c'>", "a", "## a\n\n---\n\n![c](b.png)"),
        ("<table><tr><th>a</th><th>b</th></tr><tr><td>c</td><td>d</td></tr></table>", "a | b\nc | d",
         "| a | b |\n| --- | --- |\n| c | d |"),
        ("10<sup>6</sup><script>x</script><!-- y -->", "10⁶", "10⁶"),
        ("<b><pre>a</pre></b>", "a", "```\na\n```"),
        ("", "", ""),
    ],
)  # fmt: skip
def test_a_post_keeps_code_lists_and_quotes(html, plain, markdown):
    assert (post_text(html, False), post_text(html, True)) == (plain, markdown)


@given(st.text("<>/abpreulodi \n&;\"'=!-", max_size=60), st.booleans())
def test_any_html_gives_text(html, markdown):
    post_text(html, markdown).encode()


def threads(shared_data: Path) -> list[dict]:
    from backports import zstd

    path = shared_data / "text" / "qa_stackexchange.jsonl.zst"
    return [json.loads(line) for line in zstd.decompress(path.read_bytes()).splitlines()]


def test_real_threads_come_back_with_the_same_words(shared_data, site):
    real = threads(shared_data)[:200]
    rows, number = [], 10_000
    for at, thread in enumerate(real, 1):
        rows.append(question(at, thread["body_html"], thread["score"], Title=thread["title"], Tags=thread["tags"]))
        for reply in thread["answers"]:
            rows.append(answer(number, at, reply["body_html"], reply["score"]))
            number += 1
    random.Random(1).shuffle(rows)
    documents = kept(written(site, *rows))
    assert len(documents) + sum(int(dict(d["meta"])["answers"]) for d in documents) + len(removed(site)) == len(rows)
    for thread, document in zip(real, documents, strict=True):
        expected = thread["text"].replace("Answer:", "").split()
        missing = [word for word in expected if word not in document["text"]]
        assert len(missing) <= 0.02 * len(expected), missing


def test_nested_tables_take_no_longer_than_others(site):
    """A walk over all rows below each table would take 2 to the power of 60 steps."""
    body = "<table><tr><td>" * 60 + "deep" + "</td></tr></table>" * 60
    [document] = kept(written(site, question(1, body)))
    assert "deep" in document["text"]


def test_a_posts_file_that_is_named_itself_tells_its_site_by_its_folder(tmp_path):
    folder = tmp_path / "cooking.stackexchange.com"
    folder.mkdir()
    (folder / "Posts.xml").write_bytes(posts(question(1)))
    [document] = kept(folder / "Posts.xml")
    assert document["url"] == "https://cooking.stackexchange.com/questions/1"
