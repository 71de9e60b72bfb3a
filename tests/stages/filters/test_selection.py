"""A selection, applied to the documents it was made from."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import InputError
from pipeline.rethreshold import rethreshold
from pipeline.stage import Context
from stages.filters.selection import Select, SelectConfig
from tests.stages.in_process import removed_from, rows_of, run_here, texts, write_lines

WORDS = "tests.pipeline.test_filter:Words"


def test_what_other_thresholds_keep_is_taken_from_an_earlier_artifact(tmp_path: Path) -> None:
    write_lines(tmp_path / "docs.jsonl", ["one", "one two", "one two three"])
    recipe = {
        "docs": {"stage": "json_lines", "files": "docs.jsonl"},
        "long": {"from": "docs", "chain": [{WORDS: {"min_words": 3}}]},
        "all": {"from": "docs", "chain": [{WORDS: {"min_words": 1}}]},
    }
    run_here(tmp_path, recipe)
    selection = rethreshold(tmp_path / "run", "long", ["words.min_words=2"])
    recipe["chosen"] = {"stage": "select", "from": "docs", "selection": str(selection.path)}
    chosen = run_here(tmp_path, recipe)["chosen"]
    assert [row["text"] for row in rows_of(chosen)] == ["one two", "one two three"]
    (gone,) = removed_from(chosen)
    assert (gone["reason"], gone["evidence"]) == ("not_selected", f"not kept by {selection.path.name}")


def selecting(path: Path, documents: pa.Table) -> list[str]:
    stage = Select(SelectConfig(selection=path))
    stage.setup(Context(1))
    return stage.process(documents).kept["id"].to_pylist()  # type: ignore[no-any-return]


def test_a_plain_list_of_ids_is_a_selection(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["b", "d"]}), tmp_path / "ids.parquet")
    assert selecting(tmp_path / "ids.parquet", texts({"a": "", "b": "", "c": None, "d": ""})) == ["b", "d"]


def test_an_empty_selection_keeps_nothing(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": pa.array([], pa.string())}), tmp_path / "ids.parquet")
    assert selecting(tmp_path / "ids.parquet", texts({"a": ""})) == []


@pytest.mark.parametrize("content", [b"id\na\n", None])
def test_a_file_that_is_no_selection_is_told(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "ids.parquet"
    if content is None:
        pq.write_table(pa.table({"url": ["a"]}), path)
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"ids\.parquet is no Parquet file with a column id"):
        selecting(path, texts({"a": ""}))
