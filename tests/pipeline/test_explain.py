"""The story of one document, from the file it came from to the tokens it became."""

import re
from pathlib import Path

import numpy as np
import pytest

from pipeline.artifact import Artifact
from pipeline.errors import RecipeError
from pipeline.explain import explain
from stages.tokenize.tokenizer import load_tokenizer
from tests.stages.in_process import rows_of, run_here, write_lines

GOOD = "The committee met in the old hall number {} and spoke of the rivers of the county for a long time."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explained")
    lines = [{"text": GOOD.format(i), "url": f"http://example.org/{i}"} for i in range(9)]
    path = write_lines(folder / "web.jsonl", [*lines, "too short", GOOD.format(3).replace(".", " !!")])
    with path.open("a") as file:
        file.write("no JSON at all\n")
    return folder


@pytest.fixture(scope="module")
def sealed(folder: Path) -> dict[str, Artifact]:
    return run_here(
        folder,
        {
            "web": {"stage": "json_lines", "files": "web.jsonl"},
            "clean": {"from": "web", "chain": [{"gopher_quality": {"min_words": 5}}]},
            "unique": {"stage": "dedup", "from": "clean", "threshold": 0.95},
            "tokens": {"stage": "tokenize", "from": "unique", "vocabulary": 270, "held_out": 0.2},
        },
    )


def offset(folder: Path, line: int) -> str:
    lines = (folder / "web.jsonl").read_bytes().splitlines(keepends=True)
    return f"web/web.jsonl@{sum(map(len, lines[:line]))}"


def test_a_kept_document_is_followed_from_its_file_to_its_tokens(folder: Path, sealed: dict[str, Artifact]) -> None:
    document = offset(folder, 2)
    story = explain(folder / "run", document).split("\n")
    assert story[0] == document
    assert f"  clean: kept, from web.jsonl at byte {document.split('@')[1]}, http://example.org/2, 21 words" in story
    assert any("gopher_quality.words=21" in line for line in story)
    assert any(line.startswith("  unique: kept") for line in story)


def test_the_told_range_of_tokens_is_the_document(folder: Path, sealed: dict[str, Artifact]) -> None:
    tokens = sealed["tokens"].files_folder
    tokenizer = load_tokenizer(tokens / "tokenizer.json")
    assert len(rows_of(sealed["unique"])) == 9
    for row in rows_of(sealed["unique"]):
        found = re.findall(r"  tokens: tokens (\d+) to (\d+) of (\S+)", explain(folder / "run", row["id"]))
        ((start, end, shard),) = found
        ids = np.fromfile(tokens / shard, "uint16")[int(start) : int(end)]
        assert tokenizer.decode(ids[:-1].tolist()) == row["text"]


def test_a_dropped_document_is_told_with_the_stage_the_reason_and_the_measures(
    folder: Path, sealed: dict[str, Artifact]
) -> None:
    assert explain(folder / "run", offset(folder, 9)).split("\n")[1:3] == [
        "  clean: dropped: too_few_words (2 words < 5)",
        "    text: 'too short'",
    ]
    assert "gopher_quality.words=2" in explain(folder / "run", offset(folder, 9))


def test_a_duplicate_is_told_with_the_document_that_stands_for_it(folder: Path, sealed: dict[str, Artifact]) -> None:
    winner, duplicate = sorted([offset(folder, 3), offset(folder, 10)])  # the smaller id, as text, stays
    story = explain(folder / "run", duplicate)
    assert "  clean: kept" in story
    assert f"  unique: dropped: exact_duplicate (similarity 1.000 to {winner})" in story
    assert "tokens: tokens" not in story
    assert "tokens: tokens" in explain(folder / "run", winner)


def test_a_failed_record_is_told_with_its_place(folder: Path, sealed: dict[str, Artifact]) -> None:
    story = explain(folder / "run", offset(folder, 11))
    assert re.search(rf"  web: failed: \w+ \(.*byte {offset(folder, 11).split('@')[1]} ", story)


def test_an_id_that_nobody_has_seen_is_an_error_that_says_where_to_look(
    folder: Path, sealed: dict[str, Artifact]
) -> None:
    with pytest.raises(RecipeError, match=r"no document 'web/other@0' in .*ids look like"):
        explain(folder / "run", "web/other@0")


def test_a_folder_without_a_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"is not the folder of a run: it has no run\.json"):
        explain(tmp_path, "web/a@0")
