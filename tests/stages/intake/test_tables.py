"""Tables in, documents and reasons out."""

import csv
import datetime
import io
import string
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.stage import Context, Removal
from stages.intake.tables import Tables, TablesConfig
from tests.stages.in_process import rows_of, run_here
from tests.stages.intake import packing
from tests.stages.intake.packing import PACKINGS


def read(path: Path, **options: object) -> tuple[list[dict], list[Removal]]:
    return packing.read(Tables(TablesConfig(files=path, **options)))


def texts(path: Path, **options: object) -> list[str]:
    documents, removed = read(path, **options)
    assert removed == []
    return [document["text"] for document in documents]


def csv_bytes(rows: Sequence[Sequence[str]], **options: object) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, **options).writerows(rows)
    return text.getvalue().encode()


def arrow_file(table: pa.Table, rows_per_batch: int | None = None) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, rows_per_batch)
    return bytes(sink.getvalue())


def arrow_stream(table: pa.Table, rows_per_batch: int | None = None) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, rows_per_batch)
    return bytes(sink.getvalue())


def parquet(table: pa.Table, rows_per_group: int | None = None) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=rows_per_group)
    return bytes(sink.getvalue())


BINARY = {"parquet": parquet, "file": arrow_file, "stream": arrow_stream}


@pytest.fixture(scope="module")
def table_file(tmp_path_factory):
    return tmp_path_factory.mktemp("table") / "t.csv"


CELL = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(st.lists(st.tuples(CELL, CELL), max_size=20))
def test_any_cells_come_back_from_csv_through_every_compression(table_file, cells):
    content = csv_bytes([("text", "note"), *cells])
    for packed in PACKINGS.values():
        table_file.write_bytes(packed(content))
        documents, removed = read(table_file)
        kept = [(row["text"], dict(row["meta"])["note"]) for row in documents]
        assert kept == [(text, note) for text, note in cells if text.strip()]
        assert {end.reason for end in removed} <= {"empty"}


@given(st.lists(st.tuples(CELL, CELL | st.none(), st.integers(-(2**63), 2**63 - 1)), max_size=20))
def test_any_values_come_back_from_parquet_and_arrow(table_file, rows):
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    types = (pa.large_string(), pa.string(), pa.int64())
    arrays = [pa.array(values, type_) for values, type_ in zip(columns, types, strict=True)]
    table = pa.table(dict(zip(("text", "url", "n"), arrays, strict=True)))
    for pack in BINARY.values():
        table_file.write_bytes(pack(table, 7))
        documents, _ = read(table_file)
        kept = [(row["text"], row["url"], row["meta"]) for row in documents]
        assert kept == [(text, url, [("n", str(n))]) for text, url, n in rows if text.strip()]


def test_a_document_is_named_by_file_and_row(tmp_path):
    (tmp_path / "a.csv").write_text("text,url,date,license,stars\none,u,2020-01-02,MIT,5\n\ntwo,v,,,\n")
    first, second = read(tmp_path)[0]
    assert (first["id"], first["url"], first["date"]) == ("corpus/a.csv@0", "u", "2020-01-02")
    assert first["meta"] == [("licence", "MIT"), ("stars", "5")]
    assert (second["id"], second["origin"]["path"], second["origin"]["offset"]) == ("corpus/a.csv@1", "a.csv", 1)


def test_cells_hold_quotes_commas_and_lines(tmp_path):
    (tmp_path / "a.csv").write_bytes(b'text,n\r\n"one, ""two""\nthree",1\r\nplain "quotes",2\r\n')
    assert texts(tmp_path) == ['one, "two"\nthree', 'plain "quotes"']


def test_the_delimiter_follows_the_name_or_the_option(tmp_path):
    (tmp_path / "a.tsv.gz").write_bytes(PACKINGS["gzip"](b"text\tn\none, two\t1\n"))
    (tmp_path / "b.csv").write_text("text;n\none, two;1\n")
    assert texts(tmp_path / "a.tsv.gz") == ["one, two"]
    assert texts(tmp_path / "b.csv", delimiter=";") == ["one, two"]


def test_without_quotes_a_quote_is_a_character(tmp_path):
    (tmp_path / "a.tsv").write_text('text\tn\n"one\t1\n')
    assert texts(tmp_path, quotes=False) == ['"one']


def test_without_a_header_columns_are_called_by_their_place(tmp_path):
    (tmp_path / "a.csv").write_text("1,one\n2,two\n")
    documents, _ = read(tmp_path, header=False, columns={"text": "1", "id": "0"})
    assert [(row["text"], row["meta"]) for row in documents] == [("one", [("id", "1")]), ("two", [("id", "2")])]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "gb18030"])
def test_any_encoding_can_be_given(tmp_path, encoding):
    (tmp_path / "a.csv").write_bytes("text,n\n文字,1\n".encode(encoding))
    assert texts(tmp_path, encoding=encoding.removesuffix("-sig")) == ["文字"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"one,two,three", "cell_count"),
        (b"one", "cell_count"),
        (b'"one"two,1', "bad_csv"),
        (b"caf\xe9,1", "bad_encoding"),
        (b" ,1", "empty"),
        (b"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx,1", "bad_csv"),
    ],
)
def test_a_bad_row_of_csv_costs_that_row_only(tmp_path, row, reason):
    (tmp_path / "a.csv").write_bytes(b"text,n\nbefore,1\n" + row + b"\nafter,2\n")
    documents, (end,) = read(tmp_path, max_cell_characters=30)
    assert [document["text"] for document in documents] == ["before", "after"]
    assert (end.id, end.reason) == ("corpus/a.csv@1", reason)


def test_a_quote_that_is_never_closed_fails(tmp_path):
    (tmp_path / "a.csv").write_text('text,n\nbefore,1\n"one,2\ntwo,3\n')
    documents, (end,) = read(tmp_path)
    assert [document["text"] for document in documents] == ["before"]
    assert (end.id, end.reason) == ("corpus/a.csv@1", "bad_csv")


def test_a_file_without_lines_is_given_up_in_bounded_memory(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"text,n\n" + b"x" * 1000)
    documents, (end,) = read(tmp_path, max_cell_characters=100)
    assert (documents, end.reason) == ([], "too_large")


@pytest.mark.parametrize(
    ("header", "reason"),
    [(b"text,n,text", "bad_header"), (b'"text"x,n', "bad_header"), (b"body,n", "no_text_field")],
)
def test_a_header_that_does_not_serve_fails(tmp_path, header, reason):
    (tmp_path / "a.csv").write_bytes(header + b"\none,1,2\n" if header.count(b",") == 2 else header + b"\none,1\n")
    documents, (end,) = read(tmp_path)
    assert (documents, end.verdict, end.reason) == ([], "failed", reason)


def test_columns_without_a_name_are_left_out(tmp_path):
    (tmp_path / "a.csv").write_text(",text,\n0,one,\n")
    assert read(tmp_path)[0][0]["meta"] == []


@given(st.data())
def test_a_csv_file_cut_anywhere_keeps_the_rows_before_the_break(table_file, data):
    rows = [(f"text {n}", f"note,\n{n}") for n in range(30)]
    packed = PACKINGS[data.draw(st.sampled_from(sorted(PACKINGS)))](csv_bytes([("text", "note"), *rows]))
    table_file.write_bytes(packed[: data.draw(st.integers(0, len(packed)))])
    documents, removed = read(table_file)
    assert [document["text"] for document in documents] == [text for text, _ in rows[: len(documents)]]
    assert len(removed) <= 20  # few bytes of a compressed file look like a text


NESTED = pa.table(
    {
        "payload": [{"content": "one", "by": {"lang": "fr"}}, {"content": "two", "by": None}, None],
        "tags": [["a"], [], None],
        "n": [1.5, None, 3.0],
    }
)


@pytest.mark.parametrize("kind", BINARY)
def test_nested_fields_are_reached_by_dots(tmp_path, kind):
    (tmp_path / "a.parquet").write_bytes(BINARY[kind](NESTED))
    options = {"columns": {"text": "payload.content", "language": "payload.by.lang"}}
    documents, (end,) = read(tmp_path, **options)
    assert [(row["text"], row["language"], row["meta"]) for row in documents] == [
        ("one", "fr", [("n", "1.5")]),
        ("two", None, []),
    ]
    assert (end.id, end.reason) == ("corpus/a.parquet@2", "no_text_field")
    assert read(tmp_path, meta="tags", **options)[0][0]["meta"] == [("tags", '["a"]')]


@pytest.mark.parametrize("kind", BINARY)
def test_dates_become_text_of_iso_8601_whatever_their_unit_and_year(tmp_path, kind):
    when = pa.array([1_577_934_245_000_000_001, None], pa.timestamp("ns", "UTC"))
    far = pa.array([300_000_000_000, 0], pa.timestamp("s"))
    day = pa.array([datetime.date(2020, 1, 2), None])
    table = pa.table({"text": ["a", "b"], "date": when, "far": far, "day": day})
    (tmp_path / "a.parquet").write_bytes(BINARY[kind](table))
    first, second = read(tmp_path)[0]
    assert first["date"] == "2020-01-02T03:04:05.000000001Z"
    meta = dict(first["meta"])
    assert (meta["day"], meta["far"][:9]) == ("2020-01-02", "11476-08-")
    assert second["date"] is None


@pytest.mark.parametrize("kind", BINARY)
def test_a_missing_column_of_text_fails_the_file_and_names_those_there(tmp_path, kind):
    (tmp_path / "a.parquet").write_bytes(BINARY[kind](pa.table({"body": ["one"]})))
    documents, (end,) = read(tmp_path)
    assert (documents, end.reason) == ([], "no_text_field")
    assert end.evidence == "a.parquet: row 0: no column 'text'; there are: body"


def test_a_value_that_is_no_text_costs_its_row_only(tmp_path):
    words = pa.Array.from_buffers(
        pa.string(), 3, [None, pa.array([0, 3, 4, 7], pa.int32()).buffers()[1], pa.py_buffer(b"one\xfftwo")]
    )
    (tmp_path / "a.parquet").write_bytes(parquet(pa.table({"text": words})))
    documents, (end,) = read(tmp_path)
    assert [document["text"] for document in documents] == ["one", "two"]
    assert (end.id, end.reason) == ("corpus/a.parquet@1", "bad_value")


@pytest.mark.parametrize("kind", ["file", "stream"])
def test_arrow_that_breaks_off_keeps_its_batches_before(tmp_path, kind):
    table = pa.table({"text": [f"text {n}" for n in range(100)]})
    content = BINARY[kind](table, 10)
    for size in range(0, len(content), 97):
        (tmp_path / "a.arrow").write_bytes(content[:size])
        documents, removed = read(tmp_path)
        assert [document["text"] for document in documents] == table["text"].to_pylist()[: len(documents)]
        assert len(documents) >= 10 * (size * 100 // len(content) // 10 - 2)
        if kind == "file" and size > 8:
            assert [(end.verdict, end.reason) for end in removed] == [("failed", "unreadable")]


@given(st.sampled_from(sorted(BINARY)), st.data())
def test_damage_never_raises(table_file, kind, data):
    content = bytearray(BINARY[kind](pa.table({"text": ["a b c"] * 40, "n": range(40)}), 10))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(8, len(content) - 1))] = data.draw(st.integers(0, 255))
    table_file.write_bytes(content[: data.draw(st.integers(8, len(content)))])
    read(table_file)


def test_a_parquet_file_without_its_end_fails_and_so_does_a_compressed_one(tmp_path):
    content = parquet(pa.table({"text": ["one"]}))
    (tmp_path / "a.parquet").write_bytes(content[:-1])
    (tmp_path / "b.parquet").write_bytes(PACKINGS["gzip"](content))
    documents, removed = read(tmp_path)
    assert (documents, [end.reason for end in removed]) == ([], ["unreadable", "compressed_parquet"])


def test_only_the_columns_in_use_are_read(tmp_path, monkeypatch):
    (tmp_path / "a.parquet").write_bytes(parquet(pa.table({"text": ["one"], "n": [1], "payload": [{"x": 1}]})))
    asked = []
    original = pq.ParquetFile.iter_batches
    monkeypatch.setattr(
        pq.ParquetFile, "iter_batches", lambda self, *a, **k: asked.append(k["columns"]) or original(self, *a, **k)
    )
    for meta in ("none", "all", ("payload.x",)):
        read(tmp_path, meta=meta)
    assert asked == [["text"], ["n", "text"], ["payload.x", "text"]]


def test_arrow_inside_another_compression_is_read(tmp_path):
    (tmp_path / "a.arrow.zst").write_bytes(PACKINGS["zstd"](arrow_file(pa.table({"text": ["one"]}))))
    assert texts(tmp_path) == ["one"]


@pytest.mark.parametrize("options", [{"delimiter": '"'}, {"delimiter": "ab"}, {"encoding": "hex"}, {"encoding": "no"}])
def test_options_that_cannot_be_are_refused(tmp_path, options):
    with pytest.raises(ValidationError):
        TablesConfig(files=tmp_path, **options)


def test_any_printable_file_is_read_or_refused_row_by_row(tmp_path):
    (tmp_path / "a.csv").write_text(string.printable * 20)
    read(tmp_path)


def test_real_tables_are_read_whole(shared_data):
    path = shared_data / "mixing" / "regmix" / "reference_mixtures.csv"
    rows = list(csv.DictReader(path.open(newline="")))
    field = next(iter(rows[0]))
    assert texts(path, columns={"text": field}) == [row[field] for row in rows]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("text,Größe\nabc,1\n".encode("latin-1"), "bad_header"),
        ("text,size\nabc,1\n".encode("utf-16"), "bad_header"),
        (b"PK\x03\x04" + bytes(100), "unreadable"),
        (b"FEA1" + bytes(100), "unreadable"),
    ],
)
def test_a_file_that_is_no_csv_in_this_encoding_is_one_failed_row(tmp_path, content, reason):
    (tmp_path / "a.csv").write_bytes(content)
    rows, [end] = read(tmp_path / "a.csv")
    assert not rows
    assert (end.verdict, end.reason) == ("failed", reason)


def test_a_list_of_licences_is_kept(tmp_path):
    table = pa.table({"text": ["a"], "licences": [["MIT", "Apache-2.0"]]})
    (tmp_path / "a.parquet").write_bytes(parquet(table))
    [row], _ = read(tmp_path / "a.parquet", columns={"licence": "licences"})
    assert dict(row["meta"])["licence"] == "MIT, Apache-2.0"


CARRY = {"embedding": "list<float32>", "score": "float64"}
FLOAT32 = st.floats(width=32, allow_nan=False)


@given(
    st.lists(st.tuples(st.none() | st.lists(FLOAT32 | st.none(), max_size=4), st.none() | st.floats(allow_nan=False)))
)
def test_carried_columns_of_parquet_and_arrow_come_back_with_their_types(table_file, rows):
    vectors, scores = [vector for vector, _ in rows], [score for _, score in rows]
    embedding = pa.array(vectors, pa.list_(pa.float32()))
    table = pa.table({"text": ["a"] * len(rows), "embedding": embedding, "score": pa.array(scores, pa.float64())})
    for pack in BINARY.values():
        table_file.write_bytes(pack(table, 7))
        documents, removed = read(table_file, carry=CARRY)
        assert [(row["embedding"], row["score"], row["meta"], removed) for row in documents] == [
            (vector, score, [], []) for vector, score in rows
        ]


@pytest.mark.parametrize("kind", BINARY)
def test_a_row_that_fails_takes_no_carried_value_from_another(tmp_path, kind):
    many = range(1200)
    columns = {"text": ["a" if n % 3 else " " for n in many], "score": [n / 2 for n in many]}
    (tmp_path / "a.parquet").write_bytes(BINARY[kind](pa.table(columns)))
    documents, removed = read(tmp_path, carry={"score": "float64"})
    assert [(row["id"], row["score"]) for row in documents] == [(f"corpus/a.parquet@{n}", n / 2) for n in many if n % 3]
    assert len(removed) == 400


@pytest.mark.parametrize("kind", BINARY)
def test_a_score_of_an_earlier_run_is_carried_under_its_name_with_a_dot(tmp_path, kind):
    (tmp_path / "a.parquet").write_bytes(BINARY[kind](pa.table({"text": ["a", ""], "edu.score": [0.5, 1.0]})))
    [row], [end] = read(tmp_path, carry={"edu.score": "float64"})
    assert (row["edu.score"], row["meta"], end.scores) == (0.5, [], {})


@pytest.mark.parametrize("kind", BINARY)
@pytest.mark.parametrize(
    "embedding",
    [
        pa.array([[1, 2], None], pa.list_(pa.int8())),
        pa.array([[1, 2], None], pa.list_(pa.float64(), 2)),
        pa.array([[1, 2], None], pa.large_list(pa.float64())),
        pa.array([[1, 2], None], pa.list_(pa.field("element", pa.float32(), nullable=False))),
        pa.array([None, None]),
    ],
    ids=lambda array: str(array.type),
)
def test_columns_of_other_types_are_cast_to_one_schema(tmp_path, kind, embedding):
    table = pa.table({"text": ["a", "b"], "embedding": embedding, "score": [1, None]})
    (tmp_path / "a.parquet").write_bytes(BINARY[kind](table))
    documents, removed = read(tmp_path, carry=CARRY)
    assert [row["embedding"] for row in documents] == embedding.to_pylist()
    assert [(type(row["score"]), row["score"]) for row in documents] == [(float, 1.0), (type(None), None)]
    assert (schemas_of(tmp_path, carry=CARRY), removed) == ([CARRIED_SCHEMA], [])


CARRIED_SCHEMA = [("embedding", pa.list_(pa.float32())), ("score", pa.float64())]


def schemas_of(path: Path, **options: object) -> list[list[tuple[str, pa.DataType]]]:
    """Names and types of the carried columns of each batch."""
    stage = Tables(TablesConfig(files=path, **options))
    outcomes = [outcome for split in stage.splits() for outcome in stage.read(split, "corpus", Context(seed=1))]
    return [[(f.name, f.type) for f in outcome.kept.schema if f.name in stage.config.carry] for outcome in outcomes]


@pytest.mark.parametrize("kind", BINARY)
@pytest.mark.parametrize(
    ("columns", "reason", "evidence"),
    [
        ({"score": [1.0]}, "no_column", "row 0: no column 'embedding', to be carried; there are: text, score"),
        ({"embedding": ["x"], "score": [1]}, "column_type", "row 0: the column 'embedding' is string, not list<item"),
        ({"embedding": [[2**60]], "score": [1]}, "column_type", "row 0: the column 'embedding' is list<"),
        ({"embedding": [[1]], "score": [2**60 + 1]}, "column_type", "row 0: the column 'score' is int64, not double"),
    ],
)
def test_a_file_without_the_column_or_of_a_type_that_does_not_fit_fails(tmp_path, kind, columns, reason, evidence):
    (tmp_path / "a.parquet").write_bytes(BINARY[kind](pa.table({"text": ["a"], **columns})))
    documents, (end,) = read(tmp_path, carry=CARRY)
    assert (documents, end.verdict, end.reason) == ([], "failed", reason)
    assert end.evidence.startswith(f"a.parquet: {evidence}")
    assert schemas_of(tmp_path, carry=CARRY) == [CARRIED_SCHEMA]


def test_a_carried_score_decides_which_copy_stays(tmp_path):
    table = pa.table({"text": ["the same ten words stand in each of these rows"] * 3, "score": [1, 3, 2]})
    (tmp_path / "a.parquet").write_bytes(parquet(table))
    artifacts = {
        "web": {"stage": "tables", "files": str(tmp_path / "a.parquet"), "carry": {"score": "float64"}},
        "unique": {"stage": "dedup", "from": "web", "prefer": {"score": "score"}},
    }
    [row] = rows_of(run_here(tmp_path, artifacts)["unique"])
    assert (row["id"], row["score"]) == ("web/a.parquet@1", 3.0)


def test_two_columns_of_one_name_cannot_be_carried(tmp_path):
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array([1.0]), pa.array([2.0])], ["text", "score", "score"])
    (tmp_path / "a.arrow").write_bytes(arrow_file(table))
    documents, (end,) = read(tmp_path, carry={"score": "float64"})
    assert (documents, end.reason) == ([], "no_column")
    assert end.evidence.startswith("a.arrow: row 0: more than one column 'score'")


def test_csv_has_no_types_to_carry(tmp_path):
    (tmp_path / "a.csv").write_text("text,score\none,1\n")
    documents, (end,) = read(tmp_path, carry={"score": "float64"})
    assert (documents, end.verdict, end.reason) == ([], "failed", "no_types")


@pytest.mark.parametrize("name", ["date", "payload", "_private", "stars", "title", "license"])
def test_a_carried_column_has_a_name_that_is_not_taken(tmp_path, name):
    options = {"columns": {"text": ("title",)}, "meta": ["stars"]}
    with pytest.raises(ValidationError, match=f"carry: '{name}'"):
        TablesConfig(files=tmp_path, carry={name: "float64"}, **options)
    assert TablesConfig(files=tmp_path, carry={"no": "bool", "rank": "int64"}, meta="none").carry


def test_rows_before_one_that_does_not_fit_are_kept(tmp_path: Path) -> None:
    scores = [0.5 if i == 300 else float(i) for i in range(400)]
    pq.write_table(pa.table({"text": [f"text {i}" for i in range(400)], "score": scores}), tmp_path / "a.parquet")
    stage = Tables(TablesConfig(files=str(tmp_path / "a.parquet"), carry={"score": "int64"}))
    outcomes = [o for split in stage.splits() for o in stage.read(split, "w", Context(1))]
    assert sum(o.kept.num_rows for o in outcomes) == 300
    (removed,) = [r for o in outcomes for r in o.removed]
    assert removed.id == "w/a.parquet@300"
    assert removed.evidence.startswith("a.parquet: row 300")
