"""Everything wrong with a recipe is told at once, with its place and the nearest valid name."""

from pathlib import Path

import pytest

from pipeline.errors import RecipeError
from pipeline.graph import Graph, build_graph
from pipeline.recipe import load_recipe


def graph_of(folder: Path, text: str, *overrides: str) -> Graph:
    (folder / "docs.jsonl").write_text('{"text": "one"}\n')
    recipe = folder / "recipe.yaml"
    recipe.write_text(text)
    return build_graph(load_recipe(recipe, overrides))


def problems_of(folder: Path, text: str, *overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        graph_of(folder, text, *overrides)
    assert caught.value.exit_code == 2
    return [line.removeprefix(str(folder / "recipe.yaml") + ":") for line in str(caught.value).splitlines()]


def test_all_problems_are_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = """name: demo
sead: 2
artifacts:
  docs: {stage: json_lines, files: docs.jsonl, colums: {text: body}}
  good: {from: dcos, chain: [gopher_quality: {min_words: many}]}
  else: {stage: nonsense, from: docs}
"""
    assert problems_of(tmp_path, text) == [
        "2:1: unknown key 'sead'; did you mean 'seed'?",
        "4:48: json_lines: unknown option 'colums'; did you mean 'columns'?",
        "5:10: unknown artifact 'dcos'; did you mean 'docs'?",
        "5:47: gopher_quality: min_words: Input should be a valid integer, unable to parse string as an integer, "
        "got 'many'",
        next(line for line in problems_of(tmp_path, text) if line.startswith("6:10: unknown stage 'nonsense'")),
    ]


def test_a_missing_input_names_the_path(tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path, "artifacts:\n  docs: {stage: json_lines, files: absent/*.jsonl}\n")
    assert problem == f"2:29: docs: no file matches {tmp_path}/absent/*.jsonl"


def test_a_cycle_names_its_members(tmp_path: Path) -> None:
    text = """artifacts:
  a: {from: b, chain: [gopher_quality]}
  b: {from: a, chain: [gopher_quality]}
"""
    (problem,) = problems_of(tmp_path, text)
    assert "feed each other in a circle" in problem
    assert "a" in problem.split(": ")[-1]


def test_a_stage_whose_column_nobody_provides_is_refused(tmp_path: Path) -> None:
    text = """artifacts:
  docs: {stage: json_lines, files: docs.jsonl}
  html: {stage: extract_html, from: docs}
"""
    (problem,) = problems_of(tmp_path, text)
    assert problem == "3:3: html: stage 'extract_html' needs the column payload, which docs does not provide"


def test_a_stage_given_the_wrong_kind_of_artifact_is_refused(tmp_path: Path) -> None:
    text = """artifacts:
  docs: {stage: json_lines, files: docs.jsonl}
  model: {stage: pretrain, from: docs}
"""
    problems = problems_of(tmp_path, text)
    assert problems[0] == "3:28: model: stage 'pretrain' takes tokens and mix, but 'docs' is documents"


def test_a_doubled_key_is_refused(tmp_path: Path) -> None:
    text = (
        "artifacts:\n  docs: {stage: json_lines, files: docs.jsonl}\n  docs: {stage: json_lines, files: docs.jsonl}\n"
    )
    assert problems_of(tmp_path, text) == ["3:3: 'docs' stands here twice"]


def test_broken_yaml_is_told_with_its_place(tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path, "artifacts: {docs: [\n")
    assert problem.startswith("2:1: not valid YAML")


def test_an_override_reaches_the_option(tmp_path: Path) -> None:
    text = "artifacts:\n  docs: {stage: json_lines, files: docs.jsonl}\n"
    graph = graph_of(tmp_path, text, "docs.columns={text: body}", "seed=7")
    assert graph.nodes[0].steps[0].stage.config.columns.text == ("body",)
    assert graph.recipe.seed == 7


def test_an_override_reaches_a_stage_of_a_chain_by_its_name(tmp_path: Path) -> None:
    text = """artifacts:
  docs: {stage: json_lines, files: docs.jsonl}
  kept: {from: docs, chain: [gopher_quality, {language: {keep: en}}, {gopher_quality: }]}
"""
    overrides = ["kept.gopher_quality.min_words=7", "kept.language.min_score=0.5", "kept.gopher_quality-2.min_words=9"]
    graph = graph_of(tmp_path, text, *overrides)
    configs = [step.stage.config for step in graph.nodes[-1].steps]
    assert (configs[-3].min_words, configs[-2].keep, configs[-2].min_score) == (7, ("en",), 0.5)
    assert configs[-1].min_words == 9
    (problem,) = problems_of(tmp_path, text, "kept.gopher_qualty.min_words=7")
    assert problem.endswith("the recipe has no 'gopher_qualty'; did you mean 'gopher_quality'?")


def test_a_wrong_override_says_so(tmp_path: Path) -> None:
    text = "artifacts:\n  docs: {stage: json_lines, files: docs.jsonl}\n"
    (problem,) = problems_of(tmp_path, text, "docks.source=body")
    assert problem == "--set docks.source=body: the recipe has no 'docks'; did you mean 'docs'?"
    (problem,) = problems_of(tmp_path, text, "docs.colums=body")
    assert problem.startswith("(--set docs.colums=body): json_lines: unknown option 'colums'")


def test_an_unknown_option_inside_an_option_is_told_with_the_nearest_one_there(tmp_path: Path) -> None:
    text = "artifacts:\n  docs: {stage: json_lines, files: docs.jsonl, columns: {txt: body}, remote: {trys: 3}}\n"
    columns, remote = problems_of(tmp_path, text)
    assert columns.endswith("json_lines: unknown option 'columns.txt'; did you mean 'text'?")
    assert remote.endswith("json_lines: unknown option 'remote.trys'; did you mean 'tries'?")


def test_cheap_neighbours_are_fused_and_shared_ones_are_not(tmp_path: Path) -> None:
    text = """artifacts:
  docs: {stage: json_lines, files: docs.jsonl}
  long: {from: docs, chain: [gopher_quality]}
  clean: {from: long, chain: [gopher_quality]}
"""
    (node,) = graph_of(tmp_path, text).nodes
    assert [step.label for step in node.steps] == ["docs", "long", "clean"]
    shared = text + "  other: {from: docs, chain: [gopher_quality]}\n"
    assert [node.name for node in graph_of(tmp_path, shared).nodes] == ["docs", "other", "clean"]


def test_relative_paths_start_at_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    graph = graph_of(tmp_path, "artifacts:\n  docs: {stage: json_lines, files: docs.jsonl}\n")
    assert graph.nodes[0].splits[0].files[0].location == str(tmp_path / "docs.jsonl")


def test_off_and_no_are_words_as_in_yaml_1_2(tmp_path: Path) -> None:
    text = """artifacts:
  docs: {stage: json_lines, files: docs.jsonl}
  norwegian: {from: docs, chain: [language: {keep: [no]}]}
"""
    (node,) = graph_of(tmp_path, text).nodes
    assert node.steps[1].stage.config.keep == ("no",)
    (node,) = graph_of(tmp_path, text, "docs.source=off").nodes
    assert node.steps[0].stage.config.source == "off"


def test_options_that_do_not_fit_together_are_told_in_a_sentence(tmp_path: Path) -> None:
    text = """artifacts:
  docs: {stage: json_lines, files: docs.jsonl}
  answers: {stage: rephrase, from: docs, endpoints: "http://localhost:1/v1"}
"""
    (problem,) = problems_of(tmp_path, text)
    assert problem == "3:3: rephrase: a model to ask needs the option 'model': its name"
