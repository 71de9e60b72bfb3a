"""Files of domains and URLs in the formats in which they are published."""

import bz2
import contextlib
import gzip
import io
import lzma
import tarfile
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import StageError
from stages.filters.urls.addresses import Address, address_of, canonical_host, folders_above
from stages.filters.urls.block_lists import BadLineError, HashTable, Reader, entries_of, hashed
from stages.filters.urls.suffixes import public_suffixes


def listed(line, allowed="none"):
    """Keys of the entries of a line."""
    return [entry.key for entry in entries_of(line, public_suffixes(), allowed)]


@cache
def tldextract_offline():
    from tldextract import TLDExtract

    return TLDExtract(suffix_list_urls=(), cache_dir=None, include_psl_private_domains=True)


def names_of(listed_entries, *names):
    """Those of the names that are listed as domains."""
    table = HashTable([listed_entries.domains])
    return [names[place] for place, _ in table.found(hashed(list(names)))]


@pytest.mark.parametrize(
    ("line", "domains"),
    [
        ("example.com", ["example.com"]),
        ("  EXAMPLE.com.\r\n", ["example.com"]),
        ("\ufeffexample.com", ["example.com"]),
        ("example.com # seen in June", ["example.com"]),
        ("*.example.com", ["example.com"]),
        (".example.com", ["example.com"]),
        ("example.com:8080", ["example.com"]),
        ("0.0.0.0 example.com www.example.com", ["example.com", "www.example.com"]),
        ("127.0.0.1\texample.com", ["example.com"]),
        ("::1 localhost ip6-localhost ip6-loopback", []),
        ("127.0.0.1 localhost localhost.localdomain", []),
        ("||example.com^", ["example.com"]),
        ("||example.com^$document,important", ["example.com"]),
        ("Bücher.example.de", ["xn--bcher-kva.example.de"]),
        ("xn--bcher-kva.example.de", ["xn--bcher-kva.example.de"]),
        ("пример.рф", ["xn--e1afmkfd.xn--p1ai"]),
        ("192.0.2.7", ["192.0.2.7"]),
        ("2001:DB8:0::7", ["[2001:db8::7]"]),
        ("[2001:db8::7]", ["[2001:db8::7]"]),
    ],
)
def test_lines_of_all_formats_name_domains(line, domains):
    assert listed(line) == domains


@pytest.mark.parametrize(
    "line", ["", "   ", "# comment", "! comment", "; comment", "[Adblock Plus 2.0]", "\ufeff# comment"]
)
def test_comments_and_blank_lines_list_nothing(line):
    assert listed(line) == []


@pytest.mark.parametrize(
    "line",
    [
        "two words",
        "example",
        "ex ample.com",
        "exam!ple.com",
        "someone@example.com",  # an e-mail address must not block everybody's
        "example.com:http",
        "example.com##.banner",
        "example.com^",
        "||example.com/path^",
        "||example.com^$third-party",
        "@@||example.com^",
        "/banner[0-9]+/",
        "/ads/*",
        "ads/banner",
        "256.1.1.1",
        "3.4",
        "co.uk",
        "com",
        "github.io",
        "anything.ck",
    ],
)
def test_other_lines_are_bad(line):
    with pytest.raises(BadLineError):
        listed(line)


def test_public_suffixes_are_listed_only_if_allowed():
    assert listed("github.io", "private") == ["github.io"]
    with pytest.raises(BadLineError, match="public suffixes"):
        listed("co.uk", "private")
    assert listed("co.uk", "all") == ["co.uk"]
    assert listed("xxx", "all") == ["xxx"]
    assert listed("www.ck") == ["www.ck"]  # an exception of the Public Suffix List


@pytest.mark.parametrize(
    ("line", "url"),
    [
        ("https://example.com/a", "http://www.EXAMPLE.com:80/a/#part"),
        ("example.com/a?b=1", "https://user:secret@example.com/a?b=1"),
        ("example.com/caf%C3%A9", "https://example.com/café"),
        ("https://example.com/", "http://example.com"),
    ],
)
def test_spellings_of_one_page_are_one_entry(line, url):
    assert listed(line) == [address_of(url).page]


@pytest.mark.parametrize(
    "other", ["example.com/A", "example.com/a?b", "example.com/a/b", "example.org/a", "example.com:81/a"]
)
def test_other_pages_are_other_entries(other):
    assert listed("example.com/a") != [address_of(f"http://{other}").page]


def test_a_page_lies_below_its_folders_and_its_site():
    folders = list(folders_above(address_of("https://www.example.com/a/b.html?c").page))
    assert folders == [b"example.com/a/b.html?c", b"example.com/a/b.html", b"example.com/a", b"example.com"]


@pytest.mark.parametrize(
    "url", ["", "://", "http://", "http://[::", "http://%", "http://a..b//", "http://\x00", "xn--\udfff"]
)
def test_what_is_no_url_has_an_address_nevertheless(url):
    assert isinstance(address_of(url.encode("utf-8", "replace").decode()), Address)


@given(st.text(max_size=60))
def test_any_text_has_an_address_and_its_host_is_canonical_already(text):
    host = address_of("http://" + text).domains[0]
    assert canonical_host(host) == host or "%" in host


@given(st.binary(max_size=200))
def test_any_line_has_entries_or_is_bad(line):
    with contextlib.suppress(BadLineError):
        listed(line.decode("utf-8", "replace"))


LABELS = st.sampled_from(
    ["com", "uk", "co", "example", "github", "io", "ck", "www", "kobe", "city", "jp", "a", "bücher"]
)


@given(st.lists(LABELS, min_size=1, max_size=5).map(".".join))
def test_public_suffixes_are_those_of_tldextract(host):
    extracted = tldextract_offline()(host)
    is_suffix = bool(extracted.suffix) and not extracted.domain and not extracted.subdomain
    kind = public_suffixes().kind(canonical_host(host))
    assert (kind is not None) == is_suffix
    if is_suffix:
        assert kind == ("private" if extracted.is_private else "registry")


def test_bad_lines_are_counted_by_kind_and_the_others_used(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes(
        b"# list\n\nexample.com\r\nEXAMPLE.org\nnot a domain\nco.uk\nthis neither\n\xff\xfe.com\nb\xc3\xbccher.de\n"
    )
    entries = Reader("adult").read([path])
    assert names_of(entries, "example.com", "example.org", "xn--bcher-kva.de", "co.uk") == [
        "example.com",
        "example.org",
        "xn--bcher-kva.de",
    ]
    assert entries.problems() == (
        f"4 of 9 lines are not used: 2 several words (first in {path}, line 5: 'not a domain'); 1 public suffixes, "
        "which would block all domains below (see the option public_suffixes) "
        f"(first in {path}, line 6: 'co.uk'); 1 not UTF-8 (first in {path}, line 8: '\ufffd\ufffd.com')"
    )


@given(
    st.lists(
        st.sampled_from(
            ["a.com", "B.org ", "\tc.co.uk\r", "co.uk", "x.ck", "www.ck", "#", "", "e f", "-.com", "a-.b1", "é.fr"]
        )
    )
)
def test_the_kernel_reads_lines_as_entries_of_does(lines):
    import tempfile
    from pathlib import Path

    expected, bad = [], 0
    for line in lines:
        try:
            expected += listed(line)
        except BadLineError:
            bad += 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "list"
        path.write_text("\n".join(["first.com", *lines]), encoding="utf-8")
        entries = Reader("adult").read([path])
    hashes = np.concatenate(entries.domains)
    assert sorted(hashes.tolist()) == sorted(hashed(["first.com", *expected]).tolist())
    assert sum(entries.bad.values()) == bad


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, bytes])
def test_compressed_files_are_read(tmp_path, pack):
    path = tmp_path / "list"
    path.write_bytes(pack(b"example.com\nexample.org"))
    assert names_of(Reader("adult").read([path]), "example.com", "example.org") == ["example.com", "example.org"]


def test_zstd_files_are_read(tmp_path):
    from backports import zstd

    path = tmp_path / "list"
    path.write_bytes(zstd.compress(b"example.com\n"))
    assert names_of(Reader("adult").read([path]), "example.com") == ["example.com"]


def test_a_file_larger_than_a_block_is_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("stages.filters.urls.block_lists.BLOCK_BYTES", 7)
    path = tmp_path / "list"
    path.write_text("\n".join(f"site{i}.com" for i in range(50)) + "\nbad line\n")
    entries = Reader("adult").read([path])
    assert len(names_of(entries, *(f"site{i}.com" for i in range(50)))) == 50
    assert "line 51: 'bad line'" in entries.problems()


def archive(path, **files):
    """A tar.gz in UT1's layout; a name without content is a link to the category that the name stands for."""
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo("blacklists/" + name.replace("__", "/"))
            if "__" not in name:
                member.type, member.linkname = tarfile.SYMTYPE, content
                tar.addfile(member)
            else:
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content.encode()))
    return path


@pytest.fixture
def ut1(tmp_path):
    return archive(
        tmp_path / "blacklists.tar.gz",
        adult__domains="adult.example.com\n192.0.2.1\n",
        adult__urls="example.com/adult\n",
        adult__expressions="(^|[-.])adults?([-.]|$)\n(a\\1)\n",
        adult__usage="black",
        press__domains="press.example.com\n",
        porn="adult",
    )


def test_categories_of_an_archive_are_chosen(ut1):
    entries = Reader("adult", ["adult"]).read([ut1])
    assert names_of(entries, "adult.example.com", "192.0.2.1", "press.example.com") == [
        "adult.example.com",
        "192.0.2.1",
    ]
    assert [len(hashes) for hashes in entries.urls] == [1]
    assert entries.expressions == []


def test_a_category_may_be_a_link_to_another(ut1):
    assert names_of(Reader("adult", ["porn"]).read([ut1]), "adult.example.com", "press.example.com") == [
        "adult.example.com"
    ]


def test_expressions_are_read_on_request_and_those_of_other_dialects_are_bad(ut1):
    entries = Reader("adult", ["adult"], with_expressions=True).read([ut1])
    assert entries.expressions == ["(^|[-.])adults?([-.]|$)"]
    assert "1 expressions that RE2 does not know" in entries.problems()


def test_an_archive_of_several_categories_is_not_used_whole(ut1):
    with pytest.raises(StageError, match=r"list x: choose categories of .*blacklists.tar.gz: adult, porn, press"):
        Reader("list x").read([ut1])


def test_an_unknown_category_is_an_error_that_names_the_known_ones(ut1):
    with pytest.raises(StageError, match="has no category adlut; it has adult, porn, press"):
        Reader("adult", ["adlut"]).read([ut1])


@pytest.mark.parametrize("content", [b"", b"# nothing\n\n", b"\xff\xfee\0x\0", b"one two\n"])
def test_a_file_without_any_entry_is_an_error_that_names_it(tmp_path, content):
    path = tmp_path / "list.txt"
    path.write_bytes(content)
    with pytest.raises(StageError, match=r"list adult: the list .*list.txt has no entry that can be used"):
        Reader("list adult").read([path])


def test_a_file_that_breaks_off_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "list.gz"
    path.write_bytes(gzip.compress(b"".join(b"%d.com\n" % i for i in range(9999)))[:-20])
    with pytest.raises(StageError, match=r"list.gz cannot be read to its end"):
        Reader("adult").read([path])
    with pytest.raises(StageError, match="there is no list"):
        Reader("adult").read([tmp_path / "none"])


@given(st.lists(st.sets(st.integers(0, 40)), max_size=4), st.lists(st.integers(0, 50)))
def test_a_table_finds_each_hash_under_all_its_lists(lists, wanted):
    table = HashTable([[hashed([str(n) for n in sorted(numbers)])] for numbers in lists])
    found = list(table.found(hashed([str(n) for n in wanted])))
    assert found == [(place, k) for place, n in enumerate(wanted) for k, numbers in enumerate(lists) if n in numbers]
