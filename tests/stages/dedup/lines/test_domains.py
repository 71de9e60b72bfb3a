"""Which documents are of one publisher."""

import pyarrow as pa
import pytest

from stages.dedup.lines.domains import domain_hashes, registered_domain


@pytest.mark.parametrize(
    ("url", "domain"),
    [
        ("https://www.example.com/a?b#c", "example.com"),
        ("http://user:secret@News.Example.CO.UK:8080/x", "example.co.uk"),
        ("https://anna.blogspot.com/", "anna.blogspot.com"),
        ("https://github.io/", "github.io"),
        ("//cdn.example.org", "example.org"),
        ("example.net/page", "example.net"),
        ("https://www.ck/", "www.ck"),
        ("https://a.b.unknownsuffix/", "b.unknownsuffix"),
        ("https://bücher.example.de/", "example.de"),
        ("https://shop.bücher.de/", "xn--bcher-kva.de"),
        ("http://192.168.1.20/x", "192.168.1.20"),
        ("http://[2001:db8::1]:80/x", "[2001:db8::1]"),
        ("http://localhost:8000/", "localhost"),
        ("https://example.com./", "example.com"),
    ],
)
def test_the_registered_domain_is_a_label_below_a_public_suffix(url: str, domain: str) -> None:
    _, names = domain_hashes(pa.array([url]))
    assert list(names.values()) == [domain]


def test_documents_of_one_domain_have_one_hash_and_those_without_url_none() -> None:
    urls = ["https://a.example.com/1", None, "http://www.example.com", "", "https://example.org", "file:///tmp/x"]
    hashes, names = domain_hashes(pa.chunked_array([urls[:2], urls[2:]], pa.string()))
    a, none, b, empty, other, file = hashes.tolist()
    assert a == b != other
    assert {none, empty, file} == {0}
    assert names == {a: "example.com", other: "example.org"}


def test_a_suffix_of_a_firm_divides_sites_and_exceptions_of_the_list_hold() -> None:
    assert registered_domain("x.y.kawasaki.jp") == "x.y.kawasaki.jp"
    assert registered_domain("x.city.kawasaki.jp") == "city.kawasaki.jp"
