"""Saved pages in, documents with their bytes out."""

import re

from pipeline.stage import Context
from stages.intake.files import FilesConfig
from stages.intake.html_files import HtmlFiles


def read(path):
    stage = HtmlFiles(FilesConfig(files=path))
    (split,) = stage.splits()
    (outcome,) = stage.read(split, "pages", Context(seed=1))
    assert outcome.created == {"pages": len(outcome.kept) + len(outcome.removed)}
    return outcome


def test_a_page_is_kept_as_bytes_without_text(tmp_path):
    content = b"<p>caf\xe9</p>"  # in whatever encoding
    (tmp_path / "a.html").write_bytes(content)
    (row,) = read(tmp_path).kept.to_pylist()
    assert (row["payload"], row["text"], row["mime"]) == (content, None, "text/html")
    assert re.fullmatch(r"pages/a\.html#[0-9a-f]{12}", row["id"])


def test_of_a_folder_only_pages_are_read(tmp_path):
    for name in ("b.htm", "a.html", "c.txt"):
        (tmp_path / name).write_bytes(b"<p>")
    assert [row["origin"]["path"] for row in read(tmp_path).kept.to_pylist()] == ["a.html", "b.htm"]


def test_an_empty_file_is_dropped(tmp_path):
    (tmp_path / "a.html").write_bytes(b"\n")
    assert [(end.verdict, end.reason, end.evidence) for end in read(tmp_path).removed] == [
        ("dropped", "empty", "a.html: 1 bytes")
    ]


def test_a_file_that_has_gone_fails(tmp_path):
    (tmp_path / "a.html").write_bytes(b"<p>")
    stage = HtmlFiles(FilesConfig(files=tmp_path))
    (split,) = stage.splits()
    (tmp_path / "a.html").unlink()
    (outcome,) = stage.read(split, "pages", Context(seed=1))
    assert [(end.verdict, end.reason) for end in outcome.removed] == [("failed", "unreadable")]
