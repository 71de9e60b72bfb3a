"""What tells one input from another: content of local files, URL and version of those on servers."""

import pytest

from pipeline.errors import InputError
from pipeline.locations.location import InputFile
from pipeline.run import InputDigests


@pytest.fixture
def digests(tmp_path):
    return InputDigests(tmp_path / "run")


def of_url(digests, url, version=None):
    return digests.of(InputFile(url.partition("?")[0], url, None, version))


def test_a_local_file_is_told_by_its_content(digests, tmp_path):
    for name, content in (("a", "one"), ("b", "one"), ("c", "two")):
        (tmp_path / name).write_text(content)
    a, b, c = (digests.of(InputFile(name, str(tmp_path / name))) for name in "abc")
    assert a == b != c


def test_a_local_file_that_is_not_there_is_named(digests, tmp_path):
    with pytest.raises(InputError, match=r"gone\.warc cannot be read: No such file"):
        digests.of(InputFile("gone.warc", str(tmp_path / "gone.warc")))


def test_a_url_is_told_by_its_version(digests):
    assert of_url(digests, "https://h/a", '"1"') != of_url(digests, "https://h/a", '"2"')


def test_a_query_that_names_the_file_counts(digests):
    assert of_url(digests, "https://h/get?file=0") != of_url(digests, "https://h/get?file=1")


@pytest.mark.parametrize("name", ["X-Amz-Signature", "sig", "token", "Expires", "Key-Pair-Id"])
def test_a_new_signature_does_not_count_and_is_not_told(digests, name):
    one, two = (of_url(digests, f"https://h/a?file=0&{name}={value}") for value in ("s3cret", "other"))
    assert one == two
    assert "s3cret" not in one
