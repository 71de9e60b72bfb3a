"""What URLs in a recipe mean."""

from __future__ import annotations

import sys

import fsspec
import pytest

from pipeline.errors import InputError
from pipeline.locations.listing import matching_urls
from pipeline.locations.location import RemoteOptions

OPTIONS = RemoteOptions()


def test_a_web_address_is_one_file_and_no_request() -> None:
    (file,) = matching_urls("https://user:password@host.invalid/a.gz?signature=secret", (".warc",), OPTIONS)
    assert file.name == "https://host.invalid/a.gz"
    assert file.location == "https://user:password@host.invalid/a.gz?signature=secret"


def test_web_servers_have_no_patterns() -> None:
    with pytest.raises(InputError, match=r"https://host/\*.gz: a web server cannot be listed"):
        matching_urls("https://host/*.gz", (), OPTIONS)
    assert matching_urls("https://[::1]:80/a?b=*", (), OPTIONS)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("memory://listing/a.gz", ["a.gz"]),
        ("memory://listing/*.gz", ["a.gz"]),
        ("memory://listing/**/*.gz", ["a.gz", "b/c.gz"]),
        ("memory://listing", ["a.gz", "b/c.gz"]),
        ("memory://listing/b/c.txt", ["b/c.txt"]),
    ],
)
def test_other_stores_are_listed_by_fsspec(pattern: str, names: list[str]) -> None:
    fsspec.filesystem("memory").pipe({"/listing/a.gz": b"1", "/listing/b/c.gz": b"22", "/listing/b/c.txt": b"333"})
    found = matching_urls(pattern, (".gz",), OPTIONS)
    assert [file.name for file in found] == [f"memory://listing/{name}" for name in names]
    assert all(file.size_bytes and file.version for file in found)


def test_what_no_package_reads_is_an_error_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"nonsense://a/b: .*nonsense"):
        matching_urls("nonsense://a/b", (), OPTIONS)
    monkeypatch.setitem(sys.modules, "gcsfs", None)  # as if it were not installed
    with pytest.raises(InputError, match=r"gs://bucket/a\*: .*pip install gcsfs"):
        matching_urls("gs://bucket/a*", (), OPTIONS)


def test_a_store_without_the_file_is_an_error() -> None:
    with pytest.raises(InputError, match="memory://nowhere"):
        matching_urls("memory://nowhere/*", (), OPTIONS)
