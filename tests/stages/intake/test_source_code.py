"""Source files in, documents and reasons out."""

import re
from pathlib import Path

import pytest

from pipeline.stage import Context, Outcome
from stages.intake.source_code import SourceCode, SourceCodeConfig


def read(files: Path, **options: object) -> Outcome:
    stage = SourceCode(SourceCodeConfig(files=files, **options))
    (split,) = stage.splits()
    (outcome,) = stage.read(split, "code", Context(seed=1))
    assert outcome.created == {"code": len(outcome.kept) + len(outcome.removed)}
    return outcome


def removals(outcome: Outcome) -> list[tuple[str, str, str]]:
    return [(removed.verdict, removed.reason, removed.evidence) for removed in outcome.removed]


def test_a_file_is_a_document_with_its_programming_language(tmp_path):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "a.py").write_text("x = 1\n\nprint('ä')\n")
    (row,) = read(tmp_path).kept.to_pylist()
    assert re.fullmatch(r"code/lib/a\.py#[0-9a-f]{12}", row["id"])
    assert row["text"] == "x = 1\n\nprint('ä')\n"
    assert (row["language"], row["meta"], row["source_code.lines"]) == (None, [("code_language", "python")], 3)


def test_a_last_line_without_an_end_counts(tmp_path):
    (tmp_path / "a.c").write_bytes(b"int a;\r\nint b;")
    assert read(tmp_path).kept["source_code.lines"].to_pylist() == [2]


def test_of_a_folder_only_source_files_are_read(tmp_path):
    (tmp_path / "a.rs").write_text("fn main() {}\n")
    (tmp_path / "notes.txt").write_text("notes\n")
    assert [row["origin"]["path"] for row in read(tmp_path).kept.to_pylist()] == ["a.rs"]


def test_another_file_that_a_pattern_matches_is_dropped(tmp_path):
    (tmp_path / "notes.txt").write_text("notes\n")
    assert removals(read(tmp_path / "*")) == [
        ("dropped", "not_code", "notes.txt: the suffix '.txt' is not among the suffixes of code")
    ]


def test_suffixes_can_be_chosen(tmp_path):
    (tmp_path / "a.nim").write_text("echo 1\n")
    (row,) = read(tmp_path, suffixes={".nim": "nim"}).kept.to_pylist()
    assert row["meta"] == [("code_language", "nim")]


@pytest.mark.parametrize(
    ("content", "evidence"),
    [(b"a = 1 # \xe9\n", "a.py: not UTF-8 at byte 8"), (b"a\0b", "a.py: a NUL at byte 1")],
)
def test_a_file_that_is_not_text_fails(tmp_path, content, evidence):
    (tmp_path / "a.py").write_bytes(content)
    assert removals(read(tmp_path)) == [("failed", "not_text", evidence)]


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    (tmp_path / "a.cs").write_bytes(b"\xef\xbb\xbfclass A {}\n")
    assert read(tmp_path).kept["text"].to_pylist() == ["class A {}\n"]


def test_an_empty_file_is_dropped(tmp_path):
    (tmp_path / "__init__.py").write_text(" \n")
    assert removals(read(tmp_path)) == [("dropped", "empty", "__init__.py: no visible character")]


def test_a_line_of_more_than_1000_characters_drops_the_file(tmp_path):
    short = "x\n" * 100
    (tmp_path / "a.js").write_text(short + "a" * 1000 + "\n")
    (tmp_path / "b.js").write_text(short + "a" * 1001 + "\n")
    outcome = read(tmp_path)
    assert [row["origin"]["path"] for row in outcome.kept.to_pylist()] == ["a.js"]
    assert removals(outcome) == [("dropped", "longest_line", "b.js: a line of 1001 characters > 1000")]


def test_lines_of_more_than_100_characters_on_average_drop_the_file(tmp_path):
    (tmp_path / "a.js").write_text("a" * 150 + "\n" + "a" * 50 + "\n")
    (tmp_path / "b.js").write_text("a" * 150 + "\n" + "a" * 51 + "\n")
    outcome = read(tmp_path)
    assert [row["origin"]["path"] for row in outcome.kept.to_pylist()] == ["a.js"]
    assert removals(outcome) == [("dropped", "mean_line", "b.js: mean line 100.5 characters > 100")]


def test_a_file_over_the_cap_is_dropped_unread(tmp_path):
    (tmp_path / "a.py").write_text("x = 1\n")
    assert len(read(tmp_path, max_file_bytes=6).kept) == 1
    assert removals(read(tmp_path, max_file_bytes=5)) == [("dropped", "too_large", "a.py: 6 bytes > 5")]


def test_a_file_that_has_gone_fails(tmp_path):
    (tmp_path / "a.py").write_text("x = 1\n")
    stage = SourceCode(SourceCodeConfig(files=tmp_path))
    (split,) = stage.splits()
    (tmp_path / "a.py").unlink()
    (outcome,) = stage.read(split, "code", Context(seed=1))
    assert removals(outcome) == [("failed", "unreadable", "a.py: No such file or directory")]


def test_the_standard_library_is_read_almost_whole():
    import json

    outcome = read(Path(json.__file__).parent)
    assert {row["origin"]["path"] for row in outcome.kept.to_pylist()} >= {"decoder.py", "encoder.py", "scanner.py"}
