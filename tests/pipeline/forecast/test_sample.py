"""Which input files a forecast is made from."""

import json
from pathlib import Path

import pytest

from pipeline.errors import RecipeError
from pipeline.forecast.command import share_of
from pipeline.forecast.sample import LEAST_FILES, sampled_graph
from pipeline.graph import Graph, build_graph
from pipeline.recipe import load_recipe
from pipeline.run import split_name


def graph_of(folder: Path, files: int, more: str = "") -> Graph:
    for i in range(files):
        (folder / f"{i:03}.jsonl").write_text(json.dumps({"text": f"text {i}"}) + "\n")
    recipe = folder / "recipe.yaml"
    recipe.write_text(f"name: sample\nartifacts:\n  rows: {{stage: json_lines, files: '*.jsonl'}}\n{more}")
    return build_graph(load_recipe(recipe, []))


def names(graph: Graph) -> set[str]:
    return {split_name(split) for node in graph.nodes for split in node.splits}


def test_a_larger_sample_holds_the_smaller_one(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, 40)
    small, large = (names(sampled_graph(graph, share)[0]) for share in (0.2, 0.5))
    assert (len(small), len(large)) == (8, 20)
    assert small < large


def test_files_are_drawn_by_the_recipes_seed(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, 40)
    one = names(sampled_graph(graph, 0.2)[0])
    assert names(sampled_graph(graph, 0.2)[0]) == one
    other = build_graph(load_recipe(tmp_path / "recipe.yaml", ["seed=2"]))
    assert names(sampled_graph(other, 0.2)[0]) != one


@pytest.mark.parametrize(("files", "drawn"), [(1, 1), (3, 3), (50, LEAST_FILES)])
def test_of_each_source_some_files_are_read_however_small_the_share(tmp_path: Path, files: int, drawn: int) -> None:
    assert len(names(sampled_graph(graph_of(tmp_path, files), 0.001)[0])) == drawn


def test_training_by_a_budget_and_what_is_made_from_it_is_left_out_with_its_reason(tmp_path: Path) -> None:
    more = (
        "  tokens: {from: rows, stage: tokenize, vocabulary: 300}\n"
        "  best: {from: tokens, stage: mix}\n"
        "  model: {from: [tokens, best], stage: pretrain}\n"
    )
    sampled, left_out = sampled_graph(graph_of(tmp_path, 8, more), 0.5)
    assert left_out["model"] == "its cost follows from the budget in the recipe"
    assert {"best", "model"} <= left_out.keys()
    assert {"rows", "tokens"} <= {node.name for node in sampled.nodes}


@pytest.mark.parametrize("text", ["0", "101%", "-1%", "nan"])
def test_a_share_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(RecipeError, match="above 0 and at most 100%"):
        sampled_graph(graph_of(tmp_path, 2), share_of(text))


def test_shares_are_told_by_percent_or_as_numbers() -> None:
    assert (share_of("0.1%"), share_of("0.25")) == (pytest.approx(0.001), 0.25)
    with pytest.raises(RecipeError, match="--sample ten: expected a share"):
        share_of("ten")
