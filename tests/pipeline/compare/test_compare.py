"""sluice compare: numbers are those of the ledgers, the sentence says what matters, text and page say the same."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from lxml import etree

from pipeline.artifact import Artifact, Part, digest_of
from pipeline.compare import compared
from pipeline.compare.comparison import Comparison, compare
from pipeline.compare.counts import Change
from pipeline.compare.documents import Ending, to_read
from pipeline.compare.page import page
from pipeline.compare.tables import sections
from pipeline.compare.text import lines
from pipeline.compare.words import amount, more_share, sentence
from pipeline.errors import RecipeError
from pipeline.ledger import Counts, Ledger
from pipeline.report.facts import Facts
from pipeline.run import Run
from tests.pipeline.compare.conftest import STRICT_WORDS
from tests.pipeline.report.mixes import mix_summary, model_summary, run_with


@pytest.fixture(scope="module")
def stricter(base: Run, strict: Run) -> Comparison:
    return compare(base.folder, strict.folder)


def counts(run: Run, artifact: str, source: str, step: str = "") -> Counts:
    return run.artifacts()[artifact].ledger.steps[step or artifact][source]


def parsed(comparison: Comparison) -> etree._Element:
    return etree.fromstring(page(comparison).removeprefix("<!DOCTYPE html>\n"))


def spoken(node: etree._Element) -> str:
    return "".join(node.itertext()).replace("\u00a0", " ")


def test_a_run_is_the_same_as_itself(base: Run) -> None:
    itself = compare(base.folder, base.folder)
    assert itself.is_same
    assert sentence(itself) == f"No differences: both runs hold the same {len(base.artifacts())} artifacts."
    assert list(lines(itself))[-1] == sentence(itself)
    assert not list(parsed(itself).iter("section"))


def test_a_run_of_the_same_recipe_on_the_same_input_is_the_same(base: Run, again: Run) -> None:
    assert compare(base.folder, again.folder).is_same


def test_the_sentence_counts_documents_and_tokens_and_names_what_moved_most(
    stricter: Comparison, base: Run, strict: Run
) -> None:
    kept, tokens = ([total(Facts(run)) for run in (base, strict)] for total in (_documents, _tokens))
    a, b = (counts(run, "clean", "first").dropped for run in (base, strict))
    most = max(a | b, key=lambda reason: abs(b[reason] - a[reason]))
    more = f"{abs(b[most] - a[most])} documents {'more' if b[most] > a[most] else 'fewer'}"
    assert sentence(stricter) == (
        f"B keeps {amount(Change(*kept), 'document')} and {amount(Change(*tokens), 'token', '')}; "
        f"clean, {most} moved most: it drops {more} ({b[most]} instead of {a[most]})."
    )


def _documents(facts: Facts) -> int:
    return facts.documents.total()


def _tokens(facts: Facts) -> int:
    return facts.tokens.total()


def test_every_step_and_source_is_set_side_by_side(stricter: Comparison, base: Run, strict: Run) -> None:
    (step,) = [s for s in stricter.steps if (s.step, s.source) == ("clean", "first")]
    ledgers = [counts(run, "clean", "first") for run in (base, strict)]
    assert step.received == Change(*(c.received for c in ledgers))
    assert step.kept == Change(*(c.kept for c in ledgers))
    assert step.dropped == Change(*(c.dropped.total() for c in ledgers))
    assert step.failed == Change(0, 0)
    (read,) = [s for s in stricter.steps if (s.step, s.source) == ("first", "first")]
    records = counts(base, "clean", "first", "first").created
    assert (read.received, read.failed, read.is_different) == (Change(records, records), Change(1, 1), False)


def test_rules_that_moved_are_told_with_both_thresholds_most_moved_first(stricter: Comparison) -> None:
    moved = {rule.reason: rule for rule in stricter.moved_rules if rule.step == "clean"}
    assert moved["too_few_words"].threshold_a == "words < 30 (min_words)"
    assert moved["too_few_words"].threshold_b == f"words < {STRICT_WORDS} (min_words)"
    assert moved["too_many_hashes"].removed == Change(1, 0)
    assert moved["too_many_hashes"].threshold_b == "max_symbol_ratio is off"
    assert moved["too_many_ellipses"].removed == Change(0, 0)  # another threshold all the same
    assert "too_few_stop_words" not in moved
    ways = [abs((rule.removed.b or 0) - (rule.removed.a or 0)) for rule in stricter.moved_rules]
    assert ways == sorted(ways, reverse=True)


def test_a_stage_that_this_sluice_does_not_have_is_named_instead_of_its_thresholds(base: Run, tmp_path: Path) -> None:
    manifest = next((base.folder / "artifacts/clean/manifests").iterdir())
    older = Run.open(_copied(base, tmp_path / "older"))
    path = older.folder / "artifacts/clean/manifests" / manifest.name
    path.write_text(path.read_text().replace("stages.filters.gopher:GopherQuality", "stages.filters.gone:Gone"))
    assert compare(base.folder, older.folder).untold_thresholds == ("clean",)


def _copied(run: Run, folder: Path) -> Path:
    return shutil.copytree(run.folder, folder)


def test_tokens_are_those_of_the_shards(stricter: Comparison, base: Run, strict: Run) -> None:
    (first,) = [tokens for tokens in stricter.token_shards if tokens.source == "first"]
    splits = [run.artifacts()["tokens"].summary["sources"]["first"] for run in (base, strict)]
    assert first.tokens == Change(*(s["train"]["tokens"] + s["held_out"]["tokens"] for s in splits))
    assert first.held_out == Change(*(s["held_out"]["tokens"] for s in splits))
    assert first.shards == Change(*(len(s["train"]["files"]) + len(s["held_out"]["files"]) for s in splits))


def test_costs_are_those_of_the_manifests(stricter: Comparison, base: Run, strict: Run) -> None:
    (clean,) = [cost for cost in stricter.costs if cost.artifact == "clean"]
    assert clean.seconds == Change(*(run.state.seconds["clean"] for run in (base, strict)))
    (a, b) = (Run.open(run.folder).artifacts()["clean"].parts[0].cpu_seconds for run in (base, strict))
    assert clean.cpu_seconds == Change(a, b)


def test_an_unfinished_run_is_compared_as_far_as_it_goes_and_that_is_said(base: Run, unfinished: Run) -> None:
    comparison = compare(base.folder, unfinished.folder)
    assert not comparison.is_same
    assert comparison.b.unfinished == ("tokens",)
    text = "\n".join(lines(comparison))
    assert "B is not complete (failed), so the runs are compared as far as both go." in text
    assert "B stopped: tokens: the disk is full" in text
    assert sentence(comparison).startswith("At unique, the last artifact of documents that both have, B keeps as many")
    assert comparison.token_shards == ()
    assert {step.step for step in comparison.steps} == {"first", "second", "clean", "unique"}


def test_two_unfinished_runs_that_agree_are_the_same_so_far(unfinished: Run) -> None:
    assert sentence(compare(unfinished.folder, unfinished.folder)).startswith("No differences so far: ")


def test_artifacts_that_one_run_alone_has_are_named(base: Run, tmp_path: Path) -> None:
    folder = _copied(base, tmp_path / "more")
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    recipe["artifacts"]["extra"] = {"stage": "c4", "from": "unique"}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    comparison = compare(base.folder, folder)
    assert (comparison.only_a, comparison.only_b) == ((), ("extra",))
    assert "Only in B: extra." in lines(comparison)


def test_progress_ends_when_all_rows_are_read_that_were_announced(base: Run, strict: Run) -> None:
    told: list[tuple[int, int]] = []
    compare(base.folder, strict.folder, lambda done, total: told.append((done, total)))
    documents = [
        sum(file.rows or 0 for part in a.parts for file in part.files)
        for a in (base.artifacts()["clean"], strict.artifacts()["clean"])
    ]
    assert told[-1][0] == told[-1][1] >= sum(documents)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_what_is_no_run_is_refused(base: Run, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"is not the folder of a run"):
        compare(base.folder, tmp_path)


def test_an_output_that_is_a_folder_is_refused_before_anything_is_read(base: Run, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="is a folder: name a file"):
        compared(base.folder, base.folder, tmp_path, False)


def test_the_text_and_the_page_tell_every_row(stricter: Comparison) -> None:
    text = "\n".join(lines(stricter))
    shown = spoken(parsed(stricter))
    for told in sections(stricter):
        assert told.title.upper() in text
        assert told.title in shown
        for grid in told.grids:
            for cell in (cell.replace("\u00a0", " ") for row in grid.rows for cell in row):
                assert cell[:50] in text
                assert cell in shown


def test_what_an_artifact_lost_is_not_shown_again_where_a_later_one_lacks_it(stricter: Comparison) -> None:
    shown = [
        (one.artifact, said, ended.ending)
        for one, said, *_, endings in to_read(stricter.memberships)
        for ended in endings
    ]
    assert ("clean", "lost", Ending("dropped", "clean", "too_few_words")) in shown
    assert len({(said, ending) for _, said, ending in shown}) == len(shown)
    text = "\n".join(lines(stricter))
    assert text.count("lost; dropped by clean: too_few_words") == 1


def test_json_tells_numbers_with_their_differences(base: Run, strict: Run) -> None:
    values = json.loads(compared(base.folder, strict.folder, None, True))
    kept = [_documents(Facts(run)) for run in (base, strict)]
    assert values["same"] is False
    assert values["documents"] == {"a": kept[0], "b": kept[1], "difference": kept[1] - kept[0]}
    assert values["recipe"][0] == {"place": "clean.gopher_quality.min_words", "a": "30", "b": "60"}


def test_the_page_is_written_where_it_was_asked_for(base: Run, strict: Run, tmp_path: Path) -> None:
    out = tmp_path / "new folder" / "compare.html"
    said = compared(base.folder, strict.folder, out, False)
    assert said.endswith(f"Page: {out}")
    assert out.read_text(encoding="utf-8") == page(compare(base.folder, strict.folder))


def test_the_page_loads_nothing_and_runs_nothing(stricter: Comparison) -> None:
    found = parsed(stricter)
    live = {"script", "link", "img", "iframe", "object", "base", "form", "input", "button"}
    assert not [e.tag for e in found.iter(etree.Element) if e.tag in live]
    for element in found.iter(etree.Element):
        assert element.get("src") is None
        assert (element.get("href") or "#").startswith("#")
        assert not [name for name in element.attrib if name.startswith("on")]
    policy = found.find("head")[1]
    assert policy.get("http-equiv") == "Content-Security-Policy"
    assert policy.get("content").startswith("default-src 'none'; style-src 'unsafe-inline';")


def test_hostile_documents_are_text_on_the_page_and_on_the_terminal(stricter: Comparison) -> None:
    html, text = page(stricter), "\n".join(lines(stricter))
    assert "&lt;script&gt;alert(" in html  # the base dropped it, the other run keeps it
    assert "<script>alert(" in text
    assert "<script" not in html
    for told in (html, text):
        assert not re.search("[\u202a-\u202e\u2066-\u2069\x00\x1b]", told)


def test_each_link_leads_to_a_section_with_a_heading(stricter: Comparison) -> None:
    found = parsed(stricter)
    ids = [element.get("id") for element in found.iter(etree.Element) if element.get("id")]
    assert len(ids) == len(set(ids))
    assert [a.get("href")[1:] for a in found.iter("a")] == [section.get("id") for section in found.iter("section")]
    assert all(section.get("aria-labelledby") in ids for section in found.iter("section"))


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        (1000, 900, "100 documents (10 %) fewer than A (900 instead of 1,000)"),
        (1000, 1001, "1 document (0.1 %) more than A (1,001 instead of 1,000)"),
        (0, 5, "5 documents more than A (5 instead of 0)"),
        (7, 7, "as many documents as A (7)"),
    ],
)
def test_amounts_are_told_in_words(a: int, b: int, said: str) -> None:
    assert amount(Change(a, b), "document").replace("\u00a0", " ") == said


@pytest.mark.parametrize(
    ("a", "b", "said"), [(200, 100, "−50 %"), (200, 210, "+5.0 %"), (5, 5, "0 %"), (0, 3, "–"), (1, 40, "× 40")]
)
def test_differences_are_shares_of_a(a: int, b: int, said: str) -> None:
    assert more_share(Change(a, b)).replace("\u00a0", " ") == said


@pytest.fixture
def mixed(tmp_path: Path) -> Comparison:
    """Two runs whose mixes and models were found in different worlds."""
    folders = []
    for seed in (1, 2):
        mix = mix_summary(seed=seed)
        run = run_with(tmp_path / str(seed), mix, model_summary(mix, gain=0.01 * seed))
        for artifact in run.artifacts().values():
            part = replace(artifact.parts[0], digest_as_made=digest_of(artifact.summary))
            run.artifact_folder(artifact.name).replace_manifest(replace(artifact, parts=(part,)))
        folders.append(run.folder)
    return compare(*folders)


def summaries(comparison: Comparison, artifact: str) -> list[Any]:
    return [Run.open(Path(side.folder)).artifacts()[artifact].summary for side in (comparison.a, comparison.b)]


def test_ratios_of_the_best_mix_and_predicted_losses_are_set_side_by_side(mixed: Comparison) -> None:
    (mix,) = mixed.mixes
    a, b = (summary["optimum"]["best"] for summary in summaries(mixed, "mix"))
    sources = summaries(mixed, "mix")[0]["sources"]
    assert [mix.best[source] for source in sources] == [
        Change(*both) for both in zip(a["ratios"], b["ratios"], strict=True)
    ]
    assert list(mix.predicted.values()) == [Change(*both) for both in zip(a["metrics"], b["metrics"], strict=True)]


def test_the_sentence_names_the_source_whose_ratio_moved_most(mixed: Comparison) -> None:
    (mix,) = mixed.mixes
    most = max(mix.best, key=lambda source: abs((mix.best[source].b or 0) - (mix.best[source].a or 0)))
    assert f"the best mix moved most at {most}: " in sentence(mixed)


def test_losses_of_other_held_out_documents_are_not_set_side_by_side_without_a_word(tmp_path: Path) -> None:
    words = "The two runs hold out different documents"
    told = {}
    for held_out in (10, 11):
        folders = []
        for side, documents in (("a", 10), ("b", held_out)):
            mix = mix_summary(seed=len(folders))
            run = run_with(tmp_path / f"{held_out}{side}", mix, model_summary(mix, gain=0.01 * (1 + len(folders))))
            split = {"documents": documents, "bytes": 100, "tokens": 50, "files": []}
            place = run.artifact_folder("tokens")
            part = Part(
                "k", "tokens", "tokens", (), Ledger(), {"sources": {"web": {"train": split, "held_out": split}}}
            )
            place.seal(Artifact("tokens", "tokens", "f", place.folder, (), {}, (part,)))
            run.state.artifacts["tokens"] = "f"
            run.save_state()
            folders.append(run.folder)
        told[held_out] = "\n".join(word for one in sections(compare(*folders)) for word in one.words)
    assert words not in told[10]
    assert words in told[11]


def test_models_are_compared_by_their_last_evaluation(mixed: Comparison) -> None:
    natural = next(model for model in mixed.models if model.model == "natural")
    ends = [summary["models"]["natural"]["evaluations"][-1] for summary in summaries(mixed, "model")]
    for metric, change in natural.losses.items():
        assert change == Change(*(end[metric] for end in ends))
    assert "step" not in natural.losses


def test_the_interval_of_a_ratio_is_that_of_its_source(mixed: Comparison) -> None:
    (mix,) = mixed.mixes
    for source, (low, high) in mix.intervals_a.items():
        assert low <= mix.best[source].a <= high  # type: ignore[operator]
