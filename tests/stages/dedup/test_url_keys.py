"""Which URLs count as one."""

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stages.dedup.url_keys import normalized_url, url_hashes

PIECES = ["http", "https", ":", "//", "/", "www.", "WWW.", "a.b", "Ex.com", ":80", ":443", ":8080", "@", "#", "?", "&"]
PIECES += ["=", "utm_source", "UTM_x", "gclid", "q", "1", " ", "\t", ".", "é", "%20", "ftp", "x.y-z+1", "[::1]"]
URLS = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)


def hashes(*urls: str | None) -> list[int | None]:
    return url_hashes(pa.array(urls, pa.string())).to_pylist()


@pytest.mark.parametrize(
    "spelling",
    [
        "http://example.com/a",
        "HTTPS://www.Example.COM:443/a/",
        "//example.com/a#top",
        "example.com./a//",
        " http://user:secret@example.com:80/a?utm_source=x&gclid=1\n",
    ],
)
def test_spellings_of_one_address_are_equal(spelling: str) -> None:
    assert normalized_url(spelling) == "example.com/a"


def test_parameters_count_in_any_order() -> None:
    assert normalized_url("a.com/?b=2&a=1&a=0&&utm_id=3") == "a.com?a=0&a=1&b=2"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a.com/x", "a.com/X"),
        ("a.com/x", "b.com/x"),
        ("a.com", "a.com:8080"),
        ("a.com/?id=1", "a.com/?id=2"),
        ("a.com/?id=1", "a.com/?id=1&id=1"),
        ("a.com/?id", "a.com/id"),
        ("m.a.com", "a.com"),
        ("wwx.a.com", "a.com"),
    ],
)
def test_other_addresses_differ(one: str, other: str) -> None:
    assert normalized_url(one) != normalized_url(other)
    first, second = hashes(one, other)
    assert first != second


def test_no_url_has_no_hash() -> None:
    assert hashes(None, "", " \n", "#", "http://", "#top", "//", "?utm_source=a") == [None] * 8


@given(st.lists(URLS | st.text(max_size=20), max_size=8))
@example(
    [
        "http://@@a.b:80/",
        "a.b",
        "a.b?",
        "a.b/?&",
        "a.b?utm_=1",
        "a.b?utm",
        "http:/a.b",
        "http//a.b",
        "1http://a.b",
        "www.www.a.b",
    ]
)
@example(["?q=1", "/?q=1", "//?q=1", "a@b?c@d", "a.b/?q#x?q", "a.b:", "a.b.:80", "a.b.:81"])
def test_hashes_are_equal_where_normalised_urls_are(urls: list[str]) -> None:
    normalized = [normalized_url(url) for url in urls]
    found = hashes(*urls)
    for a, first in enumerate(found):
        for b, second in enumerate(found):
            if first is not None and second is not None:
                assert (first == second) == (normalized[a] == normalized[b])
