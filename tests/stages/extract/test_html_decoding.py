"""From a page's bytes to text: declarations, their absence, and detection measured on the declaration of human rights
in many languages and encodings."""

import io
import json
import tarfile
import unicodedata

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.extract.decoding import decoded

GREEK = "Οι ποταμοί της κομητείας και οι λίμνες."
RUSSIAN = "Все люди рождаются свободными и равными в своем достоинстве и правах. "
HEAD = "<html><head><title>x</title></head><body class='a b'><div id=main><p>"


@pytest.mark.parametrize(
    ("html", "charset", "expected"),
    [
        (GREEK.encode(), None, GREEK),
        (GREEK.encode(), "iso-8859-1", GREEK),  # valid UTF-8 outranks a wrong header
        (b"\xef\xbb\xbf" + GREEK.encode(), None, GREEK),
        (b"\xff\xfe" + GREEK.encode("utf-16-le"), "utf-8", GREEK),
        (GREEK.encode("iso-8859-7"), "iso-8859-7", GREEK),
        (b"<meta charset='windows-1253'>" + GREEK.encode("cp1253"), None, "<meta charset='windows-1253'>" + GREEK),
        (b"<meta charset=utf-8>" + GREEK.encode("cp1253"), "windows-1253", "<meta charset=utf-8>" + GREEK),
        ("naïve “quotes”".encode("cp1252"), "ISO-8859-1", "naïve “quotes”"),  # as browsers read it
        ("川と湖".encode("iso2022_jp"), "iso-2022-jp", "川と湖"),
        ("川と湖".encode("iso2022_jp"), None, "川と湖"),
        ("河流与湖泊".encode("hz"), "hz-gb-2312", "河流与湖泊"),
        ("河流与湖泊".encode("hz") * 9, None, "河流与湖泊" * 9),
        ("강과 호수".encode("iso2022_kr"), "iso-2022-kr", "강과 호수"),
        ("똠방각하".encode("cp949"), "euc-kr", "똠방각하"),  # not in EUC-KR proper
        ("①髙".encode("cp932"), "shift_jis", "①髙"),  # not in Shift JIS proper
        ("龍馬".encode("gb18030"), "gb2312", "龍馬"),
        ((GREEK * 30).encode("iso-8859-7"), "no-such-charset", GREEK * 30),  # detected
        ((GREEK * 30).encode("iso-8859-7"), None, GREEK * 30),
        ((GREEK * 30).encode("iso-8859-7"), "utf-7", GREEK * 30),  # no encoding of the web
    ],
)
def test_charsets(html, charset, expected):
    assert decoded(html, charset) == expected


@pytest.mark.parametrize(
    "declaration",
    [
        '<meta http-equiv="Content-Type" content="text/html; charset=koi8-r">',
        '<META CHARSET="KOI8-R"/>',
        '<?xml version="1.0" encoding="koi8-r"?>',
    ],
)
def test_a_document_declares_its_charset(declaration):
    page = declaration + RUSSIAN
    assert decoded(page.encode("koi8-r"), None) == page


def test_the_header_outranks_the_document():
    page = "<meta charset=koi8-r>" + RUSSIAN
    assert decoded(page.encode("cp1251"), "windows-1251") == page


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("charset", [None, "utf-16", "utf-8"])
def test_utf_16_without_byte_order_mark_shows_by_its_zero_bytes(encoding, charset):
    page = HEAD + "普遍人权宣言" * 20
    assert decoded(page.encode(encoding), charset) == page


def test_a_meta_element_that_can_be_read_cannot_declare_utf_16():
    page = "<meta charset=utf-16>" + RUSSIAN * 5
    assert decoded(page.encode("cp1251"), None) == page


def test_a_zero_byte_in_a_page_of_ascii_is_no_utf_16():
    page = HEAD + "a\0b" + "rivers " * 20
    assert decoded(page.encode(), "utf-16") == page


def test_one_bad_byte_does_not_garble_a_page():
    text = decoded((GREEK * 30).encode() + b"\xff", "utf-8")
    assert text == GREEK * 30 + "\ufffd"


def test_utf_8_that_was_cut_stays_utf_8_whatever_the_header_says():
    page = HEAD + GREEK * 30
    assert decoded(page.encode()[:-2], "iso-8859-1") == page[:-2] + "\ufffd"


def test_escapes_of_terminals_are_no_japanese():
    page = "\x1b[1mbold\x1b[0m é"
    assert decoded(page.encode(), None) == page


def test_a_rare_encoding_is_believed_where_the_page_states_its_language():
    text = "Visi žmonės gimsta laisvi ir lygūs savo orumu ir teisėmis. Jiems suteiktas protas ir sąžinė. " * 10
    page = f'<html lang="lt"><body><p>{text}'
    assert decoded(page.encode("iso8859-13"), None) == page


@given(st.binary(max_size=300), st.one_of(st.none(), st.text(max_size=20)))
def test_no_bytes_and_no_label_fail(html, charset):
    assert isinstance(decoded(html, charset), str)


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1))
def test_utf_8_is_read_as_it_was_written(text):
    assert decoded(("<p>é" + text).encode(), "iso-8859-1") == "<p>é" + text


LEGACY = (
    [("rus", name) for name in ("koi8-r", "cp1251", "iso-8859-5", "cp866")]
    + [("ukr", "koi8-u"), ("ukr", "cp1251"), ("bel", "cp1251"), ("bul", "cp1251"), ("srp_cyrl", "cp1251")]
    + [("jpn", name) for name in ("shift_jis", "euc-jp", "iso2022_jp", "utf-16-be")]
    + [("cmn_hans", name) for name in ("gb18030", "hz", "utf-16-le")]
    + [("cmn_hant", "big5"), ("kor", "euc-kr"), ("tha", "cp874"), ("tur", "cp1254"), ("vie", "cp1258")]
    + [("heb", "cp1255"), ("heb", "iso-8859-8"), ("arb", "cp1256"), ("arb", "iso-8859-6"), ("urd", "cp1256")]
    + [("ell_monotonic", "cp1253"), ("ell_monotonic", "iso-8859-7"), ("ron_1993", "cp1250")]
    + [(language, "cp1250") for language in ("pol", "ces", "hun", "slk", "slv", "hrv")]
    + [(language, "iso-8859-2") for language in ("pol", "ces", "hun")]
    + [(language, "cp1252") for language in ("deu", "fra", "spa", "por_PT", "ita", "swe", "nob", "fin", "dan", "isl")]
    + [("nld", "cp1252"), ("eng", "cp1252")]
)
FILE_ENCODINGS = {"Latin1": "cp1252", "Latin2": "cp1250", "Greek": "cp1253", "Turkish": "cp1254", "EUC": "euc-jp"}
FILE_ENCODINGS |= {"UTF8": "utf-8", "HZ": "hz", "Cyrillic": "cp1251"}  # Latin2, Cyrillic: as their bytes show


def test_charset_accuracy_without_any_declaration(shared_data):
    """Real texts in real encodings, whole and as pages of 300 characters: at most 3 % are not read exactly."""
    cases = _paragraph_cases(shared_data) + _file_cases(shared_data)
    wrong = [name for name, html, text in cases if decoded(html, None) != text]
    assert len(cases) > 240
    assert len(wrong) <= 0.03 * len(cases), wrong


def test_charset_accuracy_with_the_header(shared_data):
    """Declared, every page is read exactly."""
    cases = [case for case in _paragraph_cases(shared_data) if "cp1258" not in case[0]]
    wrong = [
        name for name, html, text in cases if decoded(html, name.split()[1].replace("cp125", "windows-125")) != text
    ]
    assert wrong == []


def _paragraph_cases(folder):
    paragraphs = {}
    raw = pa.CompressedInputStream(folder / "langid" / "udhr_unicode_paragraphs.jsonl.zst", "zstd").read()
    for line in raw.splitlines():
        row = json.loads(line)
        paragraphs.setdefault(row["lang_file"], []).append(row["text"])
    cases = []
    for language, encoding in LEGACY:
        text = "".join(f"<p>{paragraph}</p>" for paragraph in paragraphs[language])
        if encoding == "cp1258":  # writes tones as combining characters
            text = "".join(_with_tone_apart(character) for character in text)
        text = HEAD + text.encode(encoding, "ignore").decode(encoding)
        cases += [(f"{language} {encoding} {n}", text[:n].encode(encoding), text[:n]) for n in (6000, 300)]
    return cases


def _with_tone_apart(character):
    marks = unicodedata.normalize("NFD", character)
    return unicodedata.normalize("NFC", marks[:2]) + marks[2:] if len(marks) > 2 else marks


def _file_cases(folder):
    raw = pa.CompressedInputStream(folder / "langid" / "udhr_legacy_encodings.tar.zst", "zstd").read()
    cases = []
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        for member in archive:
            encoding = FILE_ENCODINGS.get(member.name.rpartition("-")[2])
            if member.isfile() and encoding:
                html = HEAD.encode() + archive.extractfile(member).read()
                cases.append((member.name, html, html.decode(encoding, "replace")))
    return cases
