"""Stages and their options, told from the code's own types."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from pipeline.catalog import options_of, recipe_schema, stage_lines
from pipeline.registry import stage_class, stage_names, whole_of
from tests.conftest import REPOSITORY, Sluice

PUBLISHED = REPOSITORY / "docs/recipe.schema.json"


@pytest.fixture(scope="module")
def schema() -> Any:
    return json.loads(recipe_schema())


def errors(schema: Any, recipe: str) -> list[str]:
    return [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(yaml.safe_load(recipe))]


def test_the_published_schema_is_that_of_the_code() -> None:
    assert PUBLISHED.read_text() == recipe_schema(), f"run: sluice stages --schema > {PUBLISHED}"


def test_the_schema_is_one(schema: Any) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("path", ["stages/demo_corpus/recipe.yaml", "deploy/recipe/recipe.yaml"])
def test_recipes_that_run_are_accepted(schema: Any, path: str) -> None:
    assert errors(schema, (REPOSITORY / path).read_text()) == []


@pytest.mark.parametrize(
    "artifact",
    [
        "{stage: json_lines, files: a.jsonl}",
        "{stage: json_lines, files: [a.jsonl, 's3://bucket/b.jsonl']}",
        "{from: docs, chain: [gopher_quality, language: {keep: en}]}",
        "{from: [a, b], stage: dedup, prefer: {sources: [a]}}",
        "{from: docs, stage: 'my.module:Stage', anything: 1}",
        "{from: docs, stage: url_filter, lists: {a: a.txt, b: [b.txt, c.txt], d: {files: d.txt}}, hard_words: [e]}",
        "{from: docs, stage: url_filter, soft_words: words.txt, substrings: {words: [a], files: [b.txt]}}",
        "{from: docs, chain: ['my.module:Stage', 'my.module:Other': {anything: 1}]}",
    ],
)
def test_all_forms_of_an_artifact_are_accepted(schema: Any, artifact: str) -> None:
    assert errors(schema, f"artifacts: {{x: {artifact}}}") == []


@pytest.mark.parametrize(
    "artifact",
    [
        "{stage: json_lines, file: a.jsonl}",
        "{stage: gopher_qualty, from: docs}",
        "{from: docs, chain: [gopher_quality: {min_word: 3}]}",
        "{from: docs, chain: [gopher_quality: {min_words: many}]}",
        "{from: docs, chain: []}",
        "{from: docs, stage: dedup, prefer: {source: [a]}}",
        "{stage: json_lines}",
    ],
)
def test_what_a_run_would_refuse_is_refused(schema: Any, artifact: str) -> None:
    assert errors(schema, f"artifacts: {{x: {artifact}}}")


def test_every_option_of_every_stage_says_what_it_means() -> None:
    silent = [
        f"{name}.{option.name}"
        for name, _ in stage_lines()
        for option in options_of(stage_class(name).config_type)
        if not option.meaning
    ]
    assert silent == []


def test_options_of_groups_and_of_entries_are_told(sluice_alone: Sluice) -> None:
    assert "  remote.tries (integer; default 12)\n      Attempts in a row" in sluice_alone("stages", "json_lines")
    assert "  phases[].share (number; default 1.0)" in sluice_alone("stages", "pretrain")
    assert "  lists.NAME.files (list of text; required)" in sluice_alone("stages", "url_filter")


def test_a_default_that_is_made_anew_is_told(sluice_alone: Sluice) -> None:
    assert "  bounds (mapping; default {})" in sluice_alone("stages", "mix")


def test_stages_are_listed_with_a_sentence_each(sluice_alone: Sluice) -> None:
    lines = sluice_alone("stages").splitlines()
    assert "Read JSON Lines, plain or compressed" in next(line for line in lines if line.startswith("json_lines "))
    assert len(lines) == sum(whole_of(name) is None for name in stage_names())


def test_a_stage_is_told_with_its_options_their_types_and_defaults(sluice_alone: Sluice) -> None:
    output = sluice_alone("stages", "gopher_quality")
    assert "  min_words (integer or null; default 50)\n      Words that are not only punctuation, at least." in output


def test_an_unknown_stage_is_met_with_the_nearest_name(sluice_alone: Sluice) -> None:
    assert "did you mean 'gopher_quality'?" in sluice_alone("stages", "gopher_qualty", status=2)


def test_programs_are_told_the_same(sluice_alone: Sluice) -> None:
    stages = json.loads(sluice_alone("stages", "--json"))
    option = stages["gopher_quality"]["options"]["properties"]["min_words"]
    assert (option["default"], option["description"]) == (50, "Words that are not only punctuation, at least.")


@pytest.mark.parametrize("kind", ["crawl", "pdf", "code", "all"])
def test_a_new_recipe_is_accepted_by_the_schema_and_by_validate(
    kind: str, schema: Any, tmp_path: Path, sluice_alone: Sluice
) -> None:
    for folder in ("papers", "repositories/one"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "papers/a.pdf").write_bytes(b"%PDF-1.4")
    (tmp_path / "repositories/one/a.py").write_text("a = 1\n")
    (tmp_path / "a.warc.gz").write_bytes(b"")
    recipe = tmp_path / "my corpus.yaml"
    sluice_alone("new", kind, recipe)
    text = recipe.read_text()
    assert errors(schema, text) == []
    assert yaml.safe_load(text)["name"] == "my-corpus"
    assert "sluice run my corpus.yaml" in text
    assert json.loads((tmp_path / "recipe.schema.json").read_text()) == schema
    recipe.write_text(text.replace("crawl: CC-MAIN-2024-51, limit: 1", "files: a.warc.gz"))  # no network in tests
    assert "is valid" in sluice_alone("validate", recipe)
    assert "exists: choose another name" in sluice_alone("new", kind, recipe, status=2)


def test_an_unknown_kind_of_recipe_is_met_with_those_there_are(tmp_path: Path, sluice_alone: Sluice) -> None:
    assert "all, code, crawl, pdf" in sluice_alone("new", "wiki", tmp_path / "a.yaml", status=2)


def test_the_schema_is_the_same_wherever_sluice_lies() -> None:
    assert str(REPOSITORY) not in recipe_schema()
