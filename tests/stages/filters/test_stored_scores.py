"""What stored scores can answer for, what they cannot, and what a user is told then."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import RecipeError
from pipeline.explain import explain
from pipeline.recipe import load_recipe
from pipeline.report import write_report
from pipeline.rethreshold import rethreshold
from pipeline.run import Run
from tests.pipeline.test_rethreshold import CAPITALS, LINES, UPPER, WORDS, run
from tests.stages.filters.quality.conftest import sides  # noqa: F401
from tests.stages.filters.quality.test_stage import mixed, recipe
from tests.stages.in_process import removed_from, rows_of, run_here, write_lines
from tests.stages.rephrase.conftest import PAGES, serve, short_waits, sound_model  # noqa: F401


def chained(folder: Path, *chain: dict[str, Any], lines: Any = LINES) -> Any:
    write_lines(folder / "docs.jsonl", lines)
    docs = {"stage": "json_lines", "files": "docs.jsonl"}
    return run_here(folder, {"docs": docs, "kept": {"from": "docs", "chain": list(chain)}})["kept"]


def test_a_measure_that_a_later_stage_writes_over_decides_nothing_again(tmp_path: Path) -> None:
    artifact = chained(tmp_path, {CAPITALS: {"max_capitals": 3}}, {UPPER: {}}, {CAPITALS: {"max_capitals": 30}})
    selection = rethreshold(tmp_path / "run", "kept", [])
    assert selection.after == selection.before
    assert "drops  too_many_capitals" not in explain(tmp_path / "run", rows_of(artifact)[0]["id"]).as_text()
    with pytest.raises(RecipeError, match=r"kept\.capitals-2 has written over capitals\.capitals"):
        rethreshold(tmp_path / "run", "kept", ["kept.capitals.max_capitals=9"])
    with pytest.raises(RecipeError, match=r"say which 'capitals' is meant: kept\.capitals or kept\.capitals-2"):
        rethreshold(tmp_path / "run", "kept", ["capitals.max_capitals=9"])


def test_cutoffs_by_a_language_that_was_identified_later_break_no_report(tmp_path: Path, sides: Any) -> None:  # noqa: F811
    clean = {"from": "kept", "chain": [{"language": {"min_score": 0}}]}
    run_here(tmp_path, recipe(tmp_path, sides, mixed(20), top_share=0.5) | {"clean": clean})
    write_report(Run.open(tmp_path / "run"))
    selection = rethreshold(tmp_path / "run", "clean", [])
    assert selection.after == selection.before


def test_a_share_can_be_switched_off(tmp_path: Path, sides: Any) -> None:  # noqa: F811
    run_here(tmp_path, recipe(tmp_path, sides, mixed(20), top_share=0.5))
    selection = rethreshold(tmp_path / "run", "kept", ["quality_keep.top_share=null"])
    assert {key[1] for key in selection.after} == {"kept"}
    assert "score &lt; 0.5 (top_share)" not in write_report(Run.open(tmp_path / "run")).read_text()


def test_a_stage_that_writes_new_documents_breaks_no_report(tmp_path: Path, serve: Any) -> None:  # noqa: F811
    server = serve(sound_model)
    write_lines(tmp_path / "docs.jsonl", [PAGES["mill"], "short"])
    recipe = {
        "docs": {"stage": "json_lines", "files": "docs.jsonl"},
        "kept": {"from": "docs", "chain": [{WORDS: {}}]},
        "new": {"stage": "rephrase", "from": "kept", "endpoints": server.url, "model": "test"},
    }
    run_here(tmp_path, recipe)
    write_report(Run.open(tmp_path / "run"))
    selection = rethreshold(tmp_path / "run", "kept", ["words.min_words=1"])
    assert sum(selection.after.values()) == 2


def test_a_piece_length_is_no_threshold(tmp_path: Path) -> None:
    question = "which of the many rivers of the county flows past the old hall of the committee every single spring"
    write_lines(tmp_path / "sets/q.jsonl", [{"question": question}])
    text = f"{'word ' * 200}. {question}. {'other ' * 200}"
    chained(tmp_path, {"decontaminate_cut": {"files": str(tmp_path / "sets/*.jsonl")}}, lines=[text])
    with pytest.raises(RecipeError, match="changes what is measured"):
        rethreshold(tmp_path / "run", "kept", ["decontaminate_cut.min_piece_characters=5000"])


def test_what_an_older_release_made_is_still_explained_and_reported(tmp_path: Path) -> None:
    run(tmp_path)
    for manifest in (tmp_path / "run").rglob("manifests/*.jsonl"):
        head, *records = manifest.read_text().splitlines()
        values = json.loads(head)
        for step in values["steps"]:
            del step["class"], step["options"], step["side"]
        manifest.write_text("\n".join([json.dumps(values), *records, ""]))
    assert "kept.words: dropped: too_few" in explain(tmp_path / "run", "docs/docs.jsonl@0").as_text()
    write_report(Run.open(tmp_path / "run"))


def test_a_rule_whose_empty_option_drops_most_is_not_called_off(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("bad.org\n")
    lists = {"lists": {"bad": {"files": str(tmp_path / "list.txt")}}}
    chained(tmp_path, {"url_filter": lists}, lines=[{"text": "a b", "url": "http://bad.org/"}])
    assert (
        "drops  blocked_domain: bad domain lists (drops in bad, record_only)"
        in explain(tmp_path / "run", "docs/docs.jsonl@0").as_text()
    )
    assert "record_only is off" not in write_report(Run.open(tmp_path / "run")).read_text()


def test_a_number_is_hidden_by_the_page_it_stands_on(tmp_path: Path) -> None:
    rows = [{"text": "Anruf 030 23125 123", "url": "http://a.de/"}]
    artifact = chained(tmp_path, {WORDS: {"min_words": 6}}, {UPPER: {}}, {"privacy": {}}, lines=rows)
    assert [row["excerpt"] for row in removed_from(artifact)] == ["Anruf <PHONE>"]


@pytest.mark.parametrize("change", ["words.min_words=[1", "words.min_words={"])
def test_a_value_that_is_no_yaml_is_told(tmp_path: Path, change: str) -> None:
    run(tmp_path)
    with pytest.raises(RecipeError, match="not valid YAML"):
        rethreshold(tmp_path / "run", "kept", [change])


def test_a_folder_is_no_selection(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(RecipeError, match="is a folder"):
        rethreshold(tmp_path / "run", "kept", [], tmp_path)
    assert not list(tmp_path.parent.glob("*.unfinished"))


@pytest.mark.parametrize("override", ["kept.language.keep=[de]", "name.x=1", "kept.chain.x=1"])
def test_an_override_of_what_has_no_options_is_told(tmp_path: Path, override: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("name: x\nartifacts:\n  kept: {from: docs, chain: [language: en]}\n")
    with pytest.raises(RecipeError, match="has no options"):
        load_recipe(path, [override])
