"""The story of one document, from the file it came from to the tokens it became."""

import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.artifact import Artifact
from pipeline.commands import take_down
from pipeline.errors import RecipeError
from pipeline.explain import explain, explain_offset
from stages.tokenize.take_down import rewritten
from stages.tokenize.tokenizer import load_tokenizer
from tests.stages.in_process import rows_of, run_here, write_lines
from tests.steps import Told

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
    story = explain(folder / "run", document).as_text().split("\n")
    assert story[0] == document
    assert f"  clean: kept, from web.jsonl at byte {document.split('@')[1]}, http://example.org/2, 21 words" in story
    assert any("gopher_quality.words=21" in line for line in story)
    assert any(line.startswith("  unique: kept") for line in story)


def test_the_told_range_of_tokens_is_the_document(folder: Path, sealed: dict[str, Artifact]) -> None:
    tokens = sealed["tokens"].files_folder
    tokenizer = load_tokenizer(tokens / "tokenizer.json").tokenizer
    assert len(rows_of(sealed["unique"])) == 9
    for row in rows_of(sealed["unique"]):
        found = re.findall(r"  tokens: tokens (\d+) to (\d+) of (\S+)", explain(folder / "run", row["id"]).as_text())
        ((start, end, shard),) = found
        ids = np.fromfile(tokens / shard, "uint16")[int(start) : int(end)]
        assert tokenizer.decode(ids[:-1].tolist()) == row["text"]


def test_a_dropped_document_is_told_with_the_stage_the_reason_and_the_measures(
    folder: Path, sealed: dict[str, Artifact]
) -> None:
    assert explain(folder / "run", offset(folder, 9)).as_text().split("\n")[1:3] == [
        "  clean: dropped: too_few_words (2 words < 5)",
        "    text: 'too short'",
    ]
    assert "gopher_quality.words=2" in explain(folder / "run", offset(folder, 9)).as_text()


def test_a_duplicate_is_told_with_the_document_that_stands_for_it(folder: Path, sealed: dict[str, Artifact]) -> None:
    winner, duplicate = sorted([offset(folder, 3), offset(folder, 10)])  # the smaller id, as text, stays
    story = explain(folder / "run", duplicate).as_text()
    assert "  clean: kept" in story
    assert f"  unique: dropped: exact_duplicate (similarity 1.000 to {winner})" in story
    assert "tokens: tokens" not in story
    assert "tokens: tokens" in explain(folder / "run", winner).as_text()


@pytest.fixture(scope="module")
def clusters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over two files: 26 copies of one text, three changed ones, two of another, and one without copies."""
    folder = tmp_path_factory.mktemp("clusters")
    words = [f"word{i}" for i in range(100)]
    changed = [" ".join([*words[:-n], *["other"] * n]) for n in range(1, 4)]
    copy = " ".join(words)
    write_lines(folder / "web.1.jsonl", [*[copy] * 2, "a b c d e f g", "a b c d e f g"])
    write_lines(folder / "web.2.jsonl", [*changed, *[copy] * 24, "something else"])
    run_here(
        folder,
        {
            "web": {"stage": "json_lines", "files": "web.*.jsonl"},
            "unique": {"stage": "dedup", "from": "web"},
        },
    )
    return folder / "run"


@pytest.fixture(scope="module")
def crawled_again(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run against an index of an earlier one, with one of its documents under its id, and another copy of it."""
    folder = tmp_path_factory.mktemp("crawls")
    write_lines(folder / "web.jsonl", [GOOD.format(1)])
    dedup = {"stage": "dedup", "from": "web", "against": "index"}
    web = {"stage": "json_lines", "files": "web.jsonl"}
    run_here(folder, {"web": web, "unique": {**dedup, "add_as": "first"}})
    write_lines(folder / "web.jsonl", [GOOD.format(1), GOOD.format(1)])
    (folder / "run").rename(folder / "before")
    run_here(folder, {"web": web, "unique": {**dedup, "add_as": "second"}})
    return folder / "run"


def test_a_winner_that_an_index_holds_is_not_told_among_those_that_lost_to_it(crawled_again: Path) -> None:
    lost = explain(crawled_again, offset_in(crawled_again, 1, "web.jsonl")).as_text()
    assert "unique: dropped: exact_duplicate (similarity 1.000 to web/web.jsonl@0" in lost
    assert "lost to the same one" not in lost
    again = explain(crawled_again, "web/web.jsonl@0").as_text()
    assert "unique: dropped: already_indexed" in again
    assert "most similar first: 1" in again


def offset_in(run: Path, line: int, file: str = "web.1.jsonl") -> str:
    lines = (run.parent / file).read_bytes().splitlines(keepends=True)
    return f"web/{file}@{sum(map(len, lines[:line]))}"


def test_the_document_that_stands_for_others_is_told_with_these(clusters: Path) -> None:
    story = explain(clusters, "web/web.1.jsonl@0").as_text().split("\n")
    told = story[story.index("    documents that lost to it, most similar first: 28") + 1 :]
    assert all(line.endswith(" (exact_duplicate, similarity 1.000)") for line in told[:20])
    assert told[20:] == ["      and 8 more"]
    assert told[:20] == sorted(told[:20])


def test_a_document_that_lost_is_told_with_the_others_that_lost_to_the_same_one(clusters: Path) -> None:
    lost = offset_in(clusters, 0, "web.2.jsonl")
    story = explain(clusters, lost).as_text().split("\n")
    (dropped,) = [line for line in story if line.startswith("  unique: dropped: near_duplicate (similarity 0.")]
    assert dropped.endswith(" to web/web.1.jsonl@0)")
    assert "    documents that lost to the same one, most similar first: 27" in story
    assert not [line for line in story if line.startswith(f"      {lost} ")]


def test_a_cluster_of_two_has_no_others(clusters: Path) -> None:
    kept, lost = (explain(clusters, offset_in(clusters, line)).as_text() for line in (2, 3))
    assert kept.endswith(f"most similar first: 1\n      {offset_in(clusters, 3)} (exact_duplicate, similarity 1.000)")
    assert "lost to the same one" not in lost


def test_a_document_without_duplicates_is_told_with_none(clusters: Path) -> None:
    assert "lost to" not in explain(clusters, offset_in(clusters, 27, "web.2.jsonl")).as_text()


def test_a_failed_record_is_told_with_its_place(folder: Path, sealed: dict[str, Artifact]) -> None:
    story = explain(folder / "run", offset(folder, 11)).as_text()
    assert re.search(rf"  web: failed: \w+ \(.*byte {offset(folder, 11).split('@')[1]} ", story)


def test_an_id_that_nobody_has_seen_is_an_error_that_says_where_to_look(
    folder: Path, sealed: dict[str, Artifact]
) -> None:
    with pytest.raises(RecipeError, match=r"no document 'web/other@0' in .*ids look like"):
        explain(folder / "run", "web/other@0").as_text()


def test_a_folder_without_a_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"is not the folder of a run: it has no run\.json"):
        explain(tmp_path, "web/a@0").as_text()


def test_every_token_leads_back_to_its_document(folder: Path, sealed: dict[str, Artifact]) -> None:
    for row in rows_of(sealed["unique"]):
        told = re.findall(r"  tokens: tokens (\d+) to (\d+) of (\S+)", explain(folder / "run", row["id"]).as_text())
        ((start, end, shard),) = told
        for offset_ in (int(start), int(end) - 1):
            story = explain_offset(folder / "run", f"tokens/{shard}", offset_).as_text()
            assert explain(folder / "run", row["id"]).as_text() in story
            number = offset_ - int(start)
            assert f": token {offset_} is number {number} of the {int(end) - int(start)} of {row['id']}" in story


def test_a_token_is_told_with_the_text_around_it(folder: Path, sealed: dict[str, Artifact]) -> None:
    row = rows_of(sealed["unique"])[0]
    ((start, end, shard),) = re.findall(
        r"tokens: tokens (\d+) to (\d+) of (\S+)", explain(folder / "run", row["id"]).as_text()
    )
    story = explain_offset(folder / "run", f"tokens/{shard}", int(start)).as_text()
    (around,) = [line for line in story.split("\n") if line.startswith("  around it: ")]
    before, token, after = re.findall(r"'([^']*)'", around)
    assert before == ""
    assert row["text"].startswith(token + after)
    story = explain_offset(folder / "run", f"tokens/{shard}", int(end) - 1).as_text()
    assert "long time.' >> '<|endoftext|>' << ''" in story


def test_a_place_that_no_shard_has_is_refused(folder: Path, sealed: dict[str, Artifact]) -> None:
    tokens = sealed["tokens"].summary["sources"]["web"]["train"]["files"][0]["tokens"]
    with pytest.raises(RecipeError, match=rf"holds {tokens:,} tokens: its offsets are 0 to {tokens - 1}, not {tokens}"):
        explain_offset(folder / "run", "tokens/web/train-00000.bin", tokens).as_text()
    with pytest.raises(RecipeError, match=r"has no shard 'web/train-00009.bin'. It has web/held_out-00000.bin"):
        explain_offset(folder / "run", "tokens/web/train-00009.bin", 0).as_text()
    with pytest.raises(RecipeError, match=r"'web' is no token artifact .* there are tokens"):
        explain_offset(folder / "run", "web/train-00000.bin", 0).as_text()


def test_after_a_take_down_the_place_is_told_as_it_is_now(
    folder: Path, sealed: dict[str, Artifact], tmp_path: Path
) -> None:
    shutil.copytree(folder / "run", tmp_path / "run")
    tokens = sealed["tokens"].files_folder
    index = pq.read_table(tokens / "web/train-00000.documents.parquet").to_pylist()
    held_out = pq.read_table(tokens / "web/held_out-00000.documents.parquet")["id"].to_pylist()
    take_down(tmp_path / "run", [index[0]["id"], *held_out], None, None, rewritten)
    story = explain_offset(tmp_path / "run", "tokens/web/train-00000.bin", 0).as_text()
    assert f"of {index[1]['id']}\n  offsets of this shard moved when documents were taken down" in story
    with pytest.raises(RecipeError, match=r"tokens since documents were taken down from it on 20"):
        explain_offset(
            tmp_path / "run", "tokens/web/train-00000.bin", index[-1]["start"] + index[-1]["tokens"] - 1
        ).as_text()
    with pytest.raises(RecipeError, match="all its documents were taken down on 20"):
        explain_offset(tmp_path / "run", "tokens/web/held_out-00000.bin", 0).as_text()


def test_how_far_the_search_is_is_told(folder: Path, sealed: dict[str, Artifact]) -> None:
    told = Told()
    explain(folder / "run", offset(folder, 2), told)
    assert told.is_whole()
