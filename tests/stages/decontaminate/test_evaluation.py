"""Evaluation sets from files."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from pipeline.errors import InputError
from stages.decontaminate.evaluation import EvaluationText, evaluation_files, evaluation_texts

ROW = {"id": "q1", "query": "Which planet is nearest to the sun of ours?", "choices": ["Mercury", "Venus"], "gold": 0}


def read(*paths, fields=(), min_words=3):
    return list(evaluation_texts(evaluation_files(paths), fields, min_words))


def written(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def test_every_text_of_a_row_is_looked_for_also_in_lists_and_nested_fields(tmp_path) -> None:
    path = written(tmp_path / "planets.jsonl", ROW | {"meta": {"why": [{"a": "It is so."}]}})
    texts = ["q1", ROW["query"], "Mercury", "Venus", "It is so."]
    assert read(path) == [EvaluationText("planets", 0, text) for text in texts]


@pytest.mark.parametrize(
    ("fields", "texts"),
    [
        (("query",), [ROW["query"]]),
        (("choices", "meta.why.a"), ["Mercury", "Venus", "It is so."]),
        (("a.b",), ["dotted"]),
    ],
)
def test_fields_can_be_named(fields, texts, tmp_path) -> None:
    path = written(tmp_path / "planets.jsonl", ROW | {"meta": {"why": [{"a": "It is so."}]}, "a.b": "dotted"})
    assert [text.text for text in read(path, fields=fields)] == texts


def test_a_short_question_is_looked_for_with_each_answer(tmp_path) -> None:
    """In files as published, answers may stand before their question."""
    path = written(tmp_path / "copa.jsonl", {"choices": ["it rained", "it froze"], "query": "The street is wet"})
    texts = [text.text for text in read(path, min_words=8)]
    assert "The street is wet it rained" in texts
    assert "The street is wet it froze" in texts
    assert [text.text for text in read(path, min_words=4)] == ["it rained", "it froze", "The street is wet"]


def test_files_may_be_compressed_or_parquet_and_a_row_is_its_line(tmp_path) -> None:
    lines = b'\n{"text": "of the second line"}\n\n{"text": "of the fourth line"}'
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines))
    (tmp_path / "b.jsonl.zst").write_bytes(zstandard.compress(lines))
    pq.write_table(pa.table({"question": ["of the first row"], "choices": [["one", "two"]]}), tmp_path / "c.parquet")
    assert [(text.task, text.row, text.text) for text in read(tmp_path)] == [
        *(("a", 1, "of the second line"), ("a", 3, "of the fourth line")),
        *(("b", 1, "of the second line"), ("b", 3, "of the fourth line")),
        *(("c", 0, "of the first row"), ("c", 0, "one"), ("c", 0, "two")),
    ]


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (b'{"text": "fine"}\n{"text": \n', "line 2"),
        (b'{"text": "fine"}\n["text"]\n', "line 2: a list, not an object"),
        (b'{"text": "\xff"}\n', "line 1"),
        (b'{"text": 3}\n', "row 0: no field with text"),
        (b'{"text": "fine"}\n{"question": "other"}\n', "row 1: none of the fields text"),
        (b"", "no row in this evaluation set"),
        (b"\n\n", "no row in this evaluation set"),
        (gzip.compress(b'{"text": "fine"}\n' * 1000)[:-20], "evaluation sets must be read whole"),
    ],
)
def test_what_cannot_be_read_is_an_error_that_names_its_place(content, where, tmp_path) -> None:
    path = tmp_path / "broken.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"broken.jsonl: .*{where}"):
        read(path, fields=("text",) if "none of" in where else ())


def test_a_broken_parquet_file_is_an_error(tmp_path) -> None:
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(InputError, match=r"broken\.parquet: row 0"):
        read(tmp_path / "broken.parquet")


def test_a_field_that_is_there_but_empty_is_no_error(tmp_path) -> None:
    assert read(written(tmp_path / "a.jsonl", {"text": ""}))[0].text == ""


def test_files_that_are_not_there_are_named(tmp_path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        evaluation_files([tmp_path / "nowhere.jsonl"])
