"""JSON Lines in, documents and reasons out."""

import gzip
import json
import lzma
import random
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.stage import Context, Outcome, Removal
from stages.intake.json_lines import JsonLines, JsonLinesConfig, parsed

LINES = b'{"id": 7, "text": "one"}\n\n{"text": "two"}\n'


def zstd(content: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(content, asbytes=True))


def read(path: Path, **options: object) -> list[Outcome]:
    stage = JsonLines(JsonLinesConfig(files=path, **options))
    outcomes = [outcome for split in stage.splits() for outcome in stage.read(split, "corpus", Context(seed=1))]
    for outcome in outcomes:
        assert outcome.created == {"corpus": len(outcome.kept) + len(outcome.removed)}
    return outcomes


def kept(path: Path, **options: object) -> list[dict]:
    return [row for outcome in read(path, **options) for row in outcome.kept.to_pylist()]


def removed(path: Path) -> list[Removal]:
    return [end for outcome in read(path) for end in outcome.removed]


@pytest.mark.parametrize("packed", [bytes, gzip.compress, lzma.compress, zstd])
def test_compression_is_told_by_content_not_by_name(tmp_path, packed):
    (tmp_path / "a.jsonl").write_bytes(packed(LINES))
    assert [row["text"] for row in kept(tmp_path)] == ["one", "two"]


@pytest.mark.parametrize("packed", [gzip.compress, lzma.compress, zstd])
def test_compressed_files_put_one_after_the_other_are_one(tmp_path, packed):
    (tmp_path / "a.jsonl").write_bytes(packed(LINES) + packed(LINES))
    assert [row["text"] for row in kept(tmp_path)] == ["one", "two"] * 2


def test_the_id_is_the_line_s_place_in_the_content_and_the_origin_s_id_is_kept(tmp_path):
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(LINES))
    first, second = kept(tmp_path)
    assert (first["id"], first["meta"]) == ("corpus/a.jsonl.gz@0", [("id", "7")])
    assert (second["id"], second["meta"]) == (f"corpus/a.jsonl.gz@{LINES.index(b'{', 1)}", [])
    assert (second["origin"]["offset"], second["origin"]["length"]) == (26, len(b'{"text": "two"}\n'))


def test_known_fields_become_columns_and_other_scalars_metadata(tmp_path):
    row = {"text": "t", "url": "u", "date": "2020", "language": "de", "licence": "MIT", "n": 3, "ok": True, "x": [1]}
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    (document,) = kept(tmp_path)
    assert (document["url"], document["date"], document["language"]) == ("u", "2020", "de")
    assert document["meta"] == [("licence", "MIT"), ("n", "3"), ("ok", "true")]


def test_text_and_id_may_have_other_names(tmp_path):
    (tmp_path / "a.json").write_text('{"body": "t", "key": "k"}')
    (document,) = kept(tmp_path, text_field="body", id_field="key")
    assert (document["text"], document["meta"]) == ("t", [("id", "k")])


@pytest.mark.parametrize(
    ("line", "verdict", "reason"),
    [
        (b"{", "failed", "bad_json"),
        (b"[1]", "failed", "bad_json"),
        (b'{"text": "\xe9"}', "failed", "bad_json"),
        (b'{"text": "\\ud800"}', "failed", "bad_json"),
        (b"[" * 100_000, "failed", "bad_json"),
        (b'{"body": "t"}', "failed", "no_text_field"),
        (b'{"text": null}', "failed", "no_text_field"),
        (b'{"text": 3}', "failed", "no_text_field"),
        (b'{"text": " "}', "dropped", "empty"),
    ],
)
def test_a_bad_line_costs_that_line_only(tmp_path, line, verdict, reason):
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "before"}\n' + line + b'\n{"text": "after"}\n')
    assert [row["text"] for row in kept(tmp_path)] == ["before", "after"]
    (end,) = removed(tmp_path)
    assert (end.verdict, end.reason, end.id) == (verdict, reason, "corpus/a.jsonl@19")


@pytest.mark.parametrize("packed", [gzip.compress, lzma.compress, zstd])
def test_of_a_file_that_breaks_off_the_first_lines_are_kept(tmp_path, packed):
    numbers = random.Random(1)
    lines = [json.dumps({"text": f"{n} {numbers.random()}"}) for n in range(20_000)]
    content = packed("\n".join(lines).encode())
    (tmp_path / "a.jsonl").write_bytes(content[: len(content) // 2])
    texts = [row["text"] for row in kept(tmp_path)]
    assert 5_000 < len(texts) < 11_000
    assert texts == [json.loads(line)["text"] for line in lines[: len(texts)]]
    (end,) = removed(tmp_path)
    assert (end.verdict, end.reason) == ("failed", "unreadable")
    offset = sum(len(line) + 1 for line in lines[: len(texts)])
    assert end.evidence.startswith(f"a.jsonl: byte {offset} of its content: ")


def test_a_file_that_has_gone_fails(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(LINES)
    stage = JsonLines(JsonLinesConfig(files=tmp_path))
    (split,) = stage.splits()
    (tmp_path / "a.jsonl").unlink()
    (outcome,) = stage.read(split, "corpus", Context(seed=1))
    assert [(end.verdict, end.reason) for end in outcome.removed] == [("failed", "unreadable")]


def test_each_file_is_a_task(tmp_path):
    for name in ("b.ndjson", "a.json.xz", "c.jsonl.zst", "d.txt"):
        (tmp_path / name).write_bytes(LINES)
    splits = JsonLines(JsonLinesConfig(files=tmp_path)).splits()
    assert [split.names for split in splits] == [("a.json.xz",), ("b.ndjson",), ("c.jsonl.zst",)]


@given(st.dictionaries(st.text(max_size=5), st.none() | st.integers() | st.text() | st.lists(st.integers())))
def test_any_object_is_parsed_as_it_was_written(fields):
    assert parsed(json.dumps(fields, ensure_ascii=False).encode()) == fields


@given(st.binary(max_size=40))
def test_any_bytes_are_parsed_or_refused(line):
    with suppress(ValueError):
        assert isinstance(parsed(line), dict)


def test_a_real_corpus_is_read_whole(shared_data):
    (first, *others) = read(shared_data / "text" / "general_brown.jsonl.zst")
    assert len(first.kept) + sum(len(outcome.kept) for outcome in others) == 253
