"""Text files in, documents and reasons out."""

import codecs
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.stage import Context, Removal
from stages.intake.plain_text import PlainText, PlainTextConfig, decoded
from tests.stages.intake import packing
from tests.stages.intake.packing import PACKINGS

JAPANESE = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。"
GERMAN = "Größe und Maß süßer Äpfel: über fünf Öfen weiß man’s nicht. "


def read(path: Path, **options: object) -> tuple[list[dict], list[Removal]]:
    return packing.read(PlainText(PlainTextConfig(files=path, **options)))


@pytest.mark.parametrize("packed", PACKINGS)
def test_a_file_is_a_document(tmp_path, packed):
    (tmp_path / "a.txt").write_bytes(PACKINGS[packed](b"one\r\ntwo\rthree\n"))
    ((document,), removed) = read(tmp_path)
    assert removed == []
    assert document["text"] == "one\ntwo\nthree\n"
    assert (document["mime"], document["meta"]) == ("text/plain", [("encoding", "utf-8")])
    assert document["origin"]["length"] == 15
    assert document["id"] == f"corpus/a.txt#{document['origin']['digest'][:12]}"


def test_a_separator_makes_several(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"one\n%%\ntwo\n\n%%\n \n%%\nthree")
    documents, removed = read(tmp_path, separator="\n%%\n")
    assert [document["text"] for document in documents] == ["one", "two\n", "three"]
    assert [document["id"].rpartition("@")[2] for document in documents] == ["0", "7", "20"]
    assert [(d["origin"]["offset"], d["origin"]["length"]) for d in documents] == [(0, 3), (7, 4), (20, 5)]
    assert removed == []


def test_a_form_feed_separates_pages(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"one\x0ctwo\x0c")
    assert [document["text"] for document in read(tmp_path, separator="\f")[0]] == ["one", "two"]


@pytest.mark.parametrize(
    ("text", "encoding", "name"),
    [
        (GERMAN, "utf-8", "utf-8"),
        (GERMAN, "utf-8-sig", "utf-8"),
        (GERMAN, "utf-16", "utf-16-le"),
        (codecs.BOM_UTF16_BE.decode("utf-16-be") + GERMAN, "utf-16-be", "utf-16-be"),
        (GERMAN, "utf-32", "utf-32-le"),
        (GERMAN * 10, "cp1252", "cp1252"),
        (JAPANESE * 3, "shift_jis", "shift_jis"),
        (JAPANESE * 3, "euc_jp", "euc_jp"),
    ],
)
def test_the_encoding_is_told_by_mark_or_content(text, encoding, name):
    found, used = decoded(text.encode(encoding), None)
    assert found == text.removeprefix("\ufeff")
    assert codecs.lookup(used) == codecs.lookup(name)


@pytest.mark.parametrize("wrong", [b"\xff", b"\x80", b"\xe9"])
def test_one_wrong_byte_does_not_turn_utf_8_into_something_else(wrong):
    text = "Un café, s’il vous plaît: l’été déjà à la plage où il a été. " * 20  # uchardet's answer: windows-1250
    found, encoding = decoded(wrong + text.encode(), None)
    assert (found, encoding) == ("\ufffd" + text, "utf-8")


def test_an_encoding_that_is_given_is_used(tmp_path):
    (tmp_path / "a.txt").write_bytes("Łódź".encode("cp1250"))
    assert read(tmp_path, encoding="cp1250")[0][0]["text"] == "Łódź"


@pytest.mark.parametrize(
    "content",
    [b"GIF89a\0\0\1", random.Random(1).randbytes(3000), bytes(range(1, 32)) * 9, b"\xff\xfe" + b"\0\xd8" * 9],
)
def test_binary_data_are_not_text(tmp_path, content):
    (tmp_path / "a.txt").write_bytes(content)
    documents, (end,) = read(tmp_path)
    assert (documents, end.verdict, end.reason) == ([], "failed", "not_text")


def test_an_encoding_that_does_not_fit_fails(tmp_path):
    (tmp_path / "a.txt").write_bytes((GERMAN * 10).encode("cp1252"))
    (end,) = read(tmp_path, encoding="utf-8")[1]
    assert end.reason == "not_text"
    assert "are not utf-8" in end.evidence


@pytest.mark.parametrize("separator", [None, "\f"])
def test_an_empty_file_is_dropped(tmp_path, separator):
    (tmp_path / "a.txt").write_bytes(b" \n")
    documents, (end,) = read(tmp_path, separator=separator)
    assert (documents, end.verdict, end.reason) == ([], "dropped", "empty")


def test_a_file_over_the_cap_fails_also_if_it_is_compressed(tmp_path):
    (tmp_path / "a.txt.gz").write_bytes(PACKINGS["gzip"](b"x" * 1001))
    documents, (end,) = read(tmp_path, max_bytes=1000)
    assert (documents, end.reason, end.evidence) == ([], "too_large", "a.txt.gz: more than 1000 bytes")
    assert len(read(tmp_path, max_bytes=1001)[0]) == 1


def test_a_file_that_breaks_off_or_has_gone_fails(tmp_path):
    (tmp_path / "a.txt").write_bytes(PACKINGS["xz"](b"text")[:-1])
    (tmp_path / "b.txt").write_bytes(b"text")
    stage = PlainText(PlainTextConfig(files=tmp_path))
    (split,) = stage.splits()
    (tmp_path / "b.txt").unlink()
    (outcome,) = stage.read(split, "corpus", Context(seed=1))
    assert [(end.id, end.reason) for end in outcome.removed] == [
        ("corpus/a.txt#unread", "unreadable"),
        ("corpus/b.txt#unread", "unreadable"),
    ]


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"])))
def test_any_text_comes_back(text):
    text = text.removeprefix("\ufeff")
    assert decoded(text.encode(), None)[0] == text
    assert decoded(text.encode("utf-8-sig"), None)[0] == text


@given(st.binary(max_size=200))
def test_any_bytes_are_text_or_refused(content):
    try:
        text, _ = decoded(content, None)
    except ValueError:
        return
    assert "\0" not in text
    text.encode()
