"""JSON Lines in, documents and reasons out."""

import io
import json
import random
import zlib
from contextlib import suppress
from pathlib import Path

import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from pipeline.stage import Context, Removal
from stages.intake.json_lines import JsonLines, JsonLinesConfig, parsed
from tests.stages.intake import packing
from tests.stages.intake.packing import PACKINGS

LINES = b'{"id": 7, "text": "one"}\n\n{"text": "two"}\n'
COMPRESSED = [name for name in PACKINGS if name != "plain"]


def read(path: Path, **options: object) -> tuple[list[dict], list[Removal]]:
    return packing.read(JsonLines(JsonLinesConfig(files=path, **options)))


def kept(path: Path, **options: object) -> list[dict]:
    return read(path, **options)[0]


def only_removal(path: Path, **options: object) -> tuple[str, str, str, str]:
    (end,) = read(path, **options)[1]
    return end.verdict, end.reason, end.id, end.evidence


@pytest.mark.parametrize("packed", PACKINGS)
def test_compression_is_told_by_content_not_by_name(tmp_path, packed):
    (tmp_path / "a.jsonl").write_bytes(PACKINGS[packed](LINES))
    assert [row["text"] for row in kept(tmp_path)] == ["one", "two"]


@pytest.mark.parametrize("packed", PACKINGS)
def test_compressed_files_put_one_after_the_other_are_one(tmp_path, packed):
    (tmp_path / "a.jsonl").write_bytes(PACKINGS[packed](LINES) * 2)
    assert [row["text"] for row in kept(tmp_path)] == ["one", "two"] * 2


def test_zstd_with_the_longest_window_is_read(tmp_path):
    options = {zstd.CompressionParameter.window_log: 31, zstd.CompressionParameter.enable_long_distance_matching: 1}
    writer = zstd.ZstdCompressor(options=options)  # a stream of unknown size, or the window would be cut to the size
    (tmp_path / "a.jsonl").write_bytes(writer.compress(LINES) + writer.flush())
    assert [row["text"] for row in kept(tmp_path)] == ["one", "two"]


def test_the_id_is_the_line_s_place_in_the_content_and_the_origin_s_id_is_kept(tmp_path):
    (tmp_path / "a.jsonl.gz").write_bytes(PACKINGS["gzip"](LINES))
    first, second = kept(tmp_path)
    assert (first["id"], first["meta"]) == ("corpus/a.jsonl.gz@0", [("id", "7")])
    assert (second["id"], second["meta"]) == (f"corpus/a.jsonl.gz@{LINES.index(b'{', 1)}", [])
    assert (second["origin"]["offset"], second["origin"]["length"]) == (26, len(b'{"text": "two"}\n'))


def test_known_fields_become_columns_and_other_scalars_metadata(tmp_path):
    row = {"text": "t", "url": "u", "date": 2020, "language": "de", "license": "MIT", "n": 3, "ok": True, "x": [1]}
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    (document,) = kept(tmp_path)
    assert (document["url"], document["date"], document["language"]) == ("u", "2020", "de")
    assert document["meta"] == [("licence", "MIT"), ("n", "3"), ("ok", "true")]


def test_columns_may_come_from_other_fields_and_nested_ones(tmp_path):
    row = {"payload": {"content": "t", "by": {"lang": "fr"}}, "key": "k", "a.b": "dotted", "link": "u", "url": "other"}
    (tmp_path / "a.json").write_text(json.dumps(row))
    columns = {"text": "payload.content", "language": "payload.by.lang", "id": "key", "url": "link", "date": "a.b"}
    (document,) = kept(tmp_path, columns=columns)
    assert (document["text"], document["language"], document["url"]) == ("t", "fr", "u")
    assert document["date"] == "dotted"  # a field whose very name has a dot
    assert document["meta"] == [("id", "k"), ("url", "other")]


def test_several_fields_of_text_are_joined_by_a_blank_line(tmp_path):
    lines = [
        '{"title": "T", "body": "b"}',
        '{"title": null, "body": "b"}',
        '{"title": "T"}',
        '{"title": 1, "body": "b"}',
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    documents, (failed,) = read(tmp_path, columns={"text": ["title", "body"]})
    assert [document["text"] for document in documents] == ["T\n\nb", "b", "T"]
    assert failed.evidence.endswith("in 'title' or 'body' no string but int, str")


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        ("all", [("n", "1")]),
        ("none", []),
        (["n", "tags", "by.name", "absent"], [("n", "1"), ("tags", '["é"]'), ("by.name", "x")]),
    ],
)
def test_which_other_fields_become_metadata_is_an_option(tmp_path, meta, expected):
    (tmp_path / "a.jsonl").write_text('{"text": "t", "n": 1, "tags": ["é"], "by": {"name": "x"}}')
    assert kept(tmp_path, meta=meta)[0]["meta"] == expected


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
    assert only_removal(tmp_path)[:3] == (verdict, reason, "corpus/a.jsonl@19")


def test_a_line_over_the_cap_costs_that_line_only(tmp_path):
    long = json.dumps({"text": "x" * 200})
    (tmp_path / "a.jsonl").write_text(f'{{"text": "before"}}\n{long}\n{{"text": "after"}}\n')
    assert [(row["text"], row["id"]) for row in kept(tmp_path, max_line_bytes=50)] == [
        ("before", "corpus/a.jsonl@0"),
        ("after", f"corpus/a.jsonl@{19 + len(long) + 1}"),
    ]
    assert only_removal(tmp_path, max_line_bytes=50)[1:3] == ("too_large", "corpus/a.jsonl@19")
    assert len(kept(tmp_path, max_line_bytes=len(long) + 1)) == 3


@pytest.mark.parametrize("array", ['[\n{"text": "a"},\n{"text": "b"}\n]', '\n [{"text": "a"}]'])
def test_one_json_array_is_refused_with_what_to_do(tmp_path, array):
    (tmp_path / "a.json").write_text(array)
    verdict, reason, _, evidence = only_removal(tmp_path)
    assert (verdict, reason) == ("failed", "not_lines")
    assert "jq -c '.[]'" in evidence


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "t"}\n', encoding="utf-8-sig")
    assert [row["text"] for row in kept(tmp_path)] == ["t"]


@pytest.mark.parametrize("packed", COMPRESSED)
def test_of_a_file_that_breaks_off_all_lines_before_the_break_are_kept(tmp_path, packed):
    numbers = random.Random(1)
    lines = [json.dumps({"text": numbers.randbytes(150).hex()}) for _ in range(6_000)]
    content = PACKINGS[packed]("\n".join(lines).encode())
    (tmp_path / "a.jsonl").write_bytes(content[: len(content) * 2 // 3])
    documents, (end,) = read(tmp_path)
    texts = [row["text"] for row in documents]
    assert 2_000 < len(texts) < 4_100
    assert texts == [json.loads(line)["text"] for line in lines[: len(texts)]]
    assert (end.verdict, end.reason) == ("failed", "unreadable")
    offset = sum(len(line) + 1 for line in lines[: len(texts)])
    assert end.evidence.startswith(f"a.jsonl: byte {offset} of its content: ")


@pytest.fixture(scope="module")
def cut_file(tmp_path_factory):
    return tmp_path_factory.mktemp("cut") / "a.jsonl"


@given(st.data())
def test_a_gzip_file_cut_anywhere_gives_each_line_that_zlib_can_still_decode(cut_file, data):
    numbers = random.Random(data.draw(st.integers(0, 3)))
    content = "".join(json.dumps({"text": f"{n} {numbers.random()}"}) + "\n" for n in range(50)).encode()
    packed = PACKINGS["gzip"](content)
    cut = data.draw(st.integers(2, len(packed) - 1))
    cut_file.write_bytes(packed[:cut])
    documents, (end,) = read(cut_file)
    # the decoder in use may hold the very last byte back
    decodable = zlib.decompressobj(31).decompress(packed[:cut])[:-1]
    assert len(documents) >= decodable.count(b"\n")
    assert [row["text"] for row in documents] == [json.loads(x)["text"] for x in content.split(b"\n")[: len(documents)]]
    assert end.reason == "unreadable"


@given(st.sampled_from(COMPRESSED), st.data())
def test_damage_anywhere_never_raises_and_never_invents(cut_file, packed, data):
    content = b"".join(b'{"text": "line %d"}\n' % n for n in range(30))
    damaged = bytearray(PACKINGS[packed](content))
    at = data.draw(st.integers(0, len(damaged) - 1))
    damaged[at] ^= data.draw(st.integers(1, 255))
    cut_file.write_bytes(damaged[: data.draw(st.integers(0, len(damaged)))])
    documents, removed = read(cut_file)
    assert len(documents) + len(removed) <= 100


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
    assert [[file.name for file in split.files] for split in splits] == [["a.json.xz"], ["b.ndjson"], ["c.jsonl.zst"]]


VALUES = st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.integers())


@given(st.lists(st.fixed_dictionaries({"text": st.text(min_size=1)}, optional={"url": st.text(), "n": st.integers()})))
def test_any_documents_come_back_through_every_compression(cut_file, rows):
    content = b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)
    expected = [
        (row["text"], row.get("url"), [("n", str(row["n"]))] if "n" in row else [])
        for row in rows
        if row["text"].strip()
    ]
    for packed in PACKINGS.values():
        cut_file.write_bytes(packed(content))
        documents, removed = read(cut_file)
        assert [(row["text"], row["url"], row["meta"]) for row in documents] == expected
        assert {end.reason for end in removed} <= {"empty"}


@given(st.dictionaries(st.text(max_size=5), VALUES))
def test_any_object_is_parsed_as_it_was_written(fields):
    assert parsed(json.dumps(fields, ensure_ascii=False).encode()) == fields


@given(st.binary(max_size=40))
def test_any_bytes_are_parsed_or_refused(line):
    with suppress(ValueError):
        assert isinstance(parsed(line), dict)


def test_memory_does_not_grow_with_what_a_file_unfolds_to(tmp_path):
    import tracemalloc

    packed = io.BytesIO()
    with zstd.ZstdFile(packed, "wb") as file:
        for _ in range(300):
            file.write(b" " * 1_000_000)
    (tmp_path / "bomb.jsonl").write_bytes(packed.getvalue())
    tracemalloc.start()
    assert only_removal(tmp_path, max_line_bytes=1_000_000)[1] == "too_large"
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


def test_a_real_corpus_is_read_whole(shared_data):
    documents, removed = read(shared_data / "text" / "general_brown.jsonl.zst")
    assert (len(documents), removed) == (253, [])
