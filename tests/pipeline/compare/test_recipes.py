"""What was asked of two runs: options as a user would set them, defaults, versions, input files."""

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.compare.recipes import (
    InputChange,
    OptionChange,
    entry_names,
    input_changes,
    recipe_changes,
    version_changes,
)
from pipeline.report.facts import Facts
from pipeline.run import RECIPE_FILE, Run, RunState
from tests.pipeline.report.runs import FILTERED, made


def asked(folder: Path, artifacts: dict[str, Any], seed: int = 1) -> Facts:
    """A run of this recipe of which nothing is made yet."""
    folder.mkdir()
    run = Run(folder)
    run.state = RunState("asked", artifacts=dict.fromkeys(artifacts))
    run.save_state()
    (folder / RECIPE_FILE).write_text(yaml.safe_dump({"seed": seed, "artifacts": artifacts}, sort_keys=False))
    return Facts(run)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ({"stage": "dedup", "threshold": 0.8}, {"stage": "dedup", "threshold": 0.7}, ("x.threshold", "0.8", "0.7")),
        ({"stage": "dedup", "threshold": 0.8}, {"stage": "dedup"}, ("x.threshold", "0.8", None)),
        (
            {"chain": [{"language": {"keep": ["en"]}}, "c4"]},
            {"chain": [{"language": {"keep": ["en", "de"]}}, "c4"]},
            ("x.language.keep", '["en"]', '["en", "de"]'),
        ),
        (
            {"chain": ["c4", {"c4": {"min_words": 1}}]},
            {"chain": ["c4", {"c4": {"min_words": 2}}]},
            ("x.c4-2.min_words", "1", "2"),
        ),
        ({"chain": ["c4"]}, {"chain": ["c4", "fineweb"]}, ("x.chain", "c4", "c4, fineweb")),
        ({"stage": "dedup", "from": "a"}, {"stage": "dedup", "from": ["a", "b"]}, ("x.from", "a", "a, b")),
        (
            {"stage": "mix", "target": {"tokens": 1}},
            {"stage": "mix", "target": {"tokens": 2}},
            ("x.target.tokens", "1", "2"),
        ),
        ({"stage": "dedup"}, {"stage": "dedup_lines"}, ("x.stage", "dedup", "dedup_lines")),
    ],
)
def test_what_recipes_ask_for_is_told_as_set_would_name_it(
    tmp_path: Path, a: dict[str, Any], b: dict[str, Any], expected: tuple[str, str, str]
) -> None:
    assert recipe_changes(asked(tmp_path / "a", {"x": a}), asked(tmp_path / "b", {"x": b})) == (
        OptionChange(*expected),
    )


def test_the_same_recipe_in_another_order_of_keys_is_the_same(tmp_path: Path) -> None:
    one = {"stage": "dedup", "threshold": 0.8, "from": "y"}
    other = dict(reversed(one.items()))
    assert recipe_changes(asked(tmp_path / "a", {"x": one}), asked(tmp_path / "b", {"x": other})) == ()


def test_another_seed_is_told(tmp_path: Path) -> None:
    a, b = asked(tmp_path / "a", {"x": {"stage": "c4"}}, 1), asked(tmp_path / "b", {"x": {"stage": "c4"}}, 2)
    assert recipe_changes(a, b) == (OptionChange("seed", "1", "2"),)


def test_artifacts_that_one_recipe_alone_names_are_no_changes_of_options(tmp_path: Path) -> None:
    a = asked(tmp_path / "a", {"x": {"stage": "c4"}})
    b = asked(tmp_path / "b", {"x": {"stage": "c4"}, "y": {"stage": "fineweb"}})
    assert recipe_changes(a, b) == ()
    assert (entry_names(a), entry_names(b)) == (["x"], ["x", "y"])


def test_an_option_that_is_left_out_is_told_with_the_default_that_was_used(base: Run, strict: Run) -> None:
    assert recipe_changes(Facts(base), Facts(strict)) == (
        OptionChange("clean.gopher_quality.min_words", "30", "60"),
        OptionChange("clean.gopher_quality.max_symbol_ratio", "0.1 (default)", "null"),
        OptionChange("clean.gopher_quality.min_alphabetic_words", "0.8 (default)", "0.64"),
    )


def altered(run: Run, artifact: str, **changes: Any) -> Facts:
    """The run, as if the last step of this artifact had been another."""
    facts = Facts(Run.open(run.folder))
    found = facts.artifacts[artifact]
    step = copy.deepcopy(dict(found.steps[-1]))
    step |= changes
    facts.artifacts[artifact] = replace(found, steps=(*found.steps[:-1], step))
    return facts


def test_another_version_of_a_stage_is_told_although_no_recipe_says_so(base: Run) -> None:
    assert recipe_changes(Facts(base), altered(base, "clean", version=99)) == (
        OptionChange("clean: version of gopher_quality", "2", "99"),
    )


def test_a_default_that_changed_with_sluice_is_told_although_no_recipe_says_so(base: Run) -> None:
    config = {**Facts(base).artifacts["clean"].steps[-1]["config"], "min_stop_words": 3}
    assert recipe_changes(Facts(base), altered(base, "clean", config=config)) == (
        OptionChange("clean.min_stop_words", "2", "3"),
    )


def test_versions_of_sluice_come_first(base: Run) -> None:
    other = Facts(Run.open(base.folder))
    other.state.versions = {"sluice": "2", "numpy": "3"}
    assert version_changes(Facts(base), other) == (
        OptionChange("sluice", "0.0.test", "2"),
        OptionChange("numpy", None, "3"),
    )


def test_input_files_are_told_that_are_new_gone_or_edited(tmp_path: Path) -> None:
    artifacts = {"x": {**FILTERED["first"], "files": "x*.jsonl"}}
    runs = []
    for name, files in (("a", {"x1": "one", "x2": "two", "x3": "three"}), ("b", {"x1": "one", "x2": "2", "x4": "4"})):
        (tmp_path / name).mkdir()
        for file, text in files.items():
            (tmp_path / name / f"{file}.jsonl").write_text(json.dumps({"text": text}) + "\n")
        runs.append(Facts(made(tmp_path / name, artifacts)))
    assert input_changes(*runs) == (InputChange("x", ("x3.jsonl",), ("x4.jsonl",), ("x2.jsonl",)),)


def test_the_same_input_in_another_folder_is_the_same(base: Run, again: Run) -> None:
    assert input_changes(Facts(base), Facts(again)) == ()
