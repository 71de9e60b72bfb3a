"""How much of each source is rephrased: within the budget, the share asked for and the synthetic share."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.artifact import Artifact
from pipeline.errors import StageError
from pipeline.stage import Context, Result
from stages.rephrase import plan as plan_module
from stages.rephrase.choice import Chooser, draw_of
from stages.rephrase.plan import (
    PLAN_FILE,
    BudgetOptions,
    PlanConfig,
    RephrasePlan,
    SourcePlan,
    chosen_styles,
    read_shares,
    settle,
)
from stages.rephrase.tokens import TokenCounter
from tests.stages.in_process import artifact_of
from tests.stages.rephrase.small_styles import batch, write_styles

WORDS = ("the", "river", "rose", "quickly", "over", "night", "and", "nobody", "knew", "why")


def corpus(sizes: dict[str, int], seed: int = 0) -> list[dict[str, Any]]:
    """So many documents of each source, of 20 to 200 words; those of books are twice as long."""
    draw = random.Random(seed)
    return [
        {
            "id": f"{source}/{i}",
            "source": source,
            "text": " ".join(draw.choices(WORDS, k=draw.randint(20, 200) << (source == "books"))),
        }
        for source, n in sizes.items()
        for i in range(n)
    ]


def artifact(folder: Path, rows: Sequence[dict[str, Any]], parts: int = 1) -> Artifact:
    return artifact_of(folder, "documents", [batch(*rows[i::parts]) for i in range(parts)])


def planned(folder: Path, documents: Artifact, **options: Any) -> Result:
    styles = write_styles(folder / "styles.yaml", plain={}, long={"tokens": [100, 1000]})
    config = PlanConfig.model_validate({"style": "plain", "styles": styles, **options})
    out = folder / "plan"
    out.mkdir(exist_ok=True)
    return RephrasePlan(config).run({"documents": [documents]}, out, Context(seed=1))


def told(result: Result) -> dict[str, tuple[float, str]]:
    return {name: (source["share"], source["limit"]) for name, source in result.summary["sources"].items()}


def test_the_synthetic_share_of_a_source_bounds_its_answers(tmp_path: Path) -> None:
    rows = corpus({"web": 200, "books": 100})
    result = planned(tmp_path, artifact(tmp_path, rows), max_synthetic_share={"web": 0.2, "books": 0.9})
    assert told(result) == {"web": (pytest.approx(0.5, rel=0.01), "max_synthetic_share"), "books": (1.0, "")}
    web = result.summary["sources"]["web"]
    assert web["tokens"] == sum(TokenCounter().count([row["text"] for row in rows if row["source"] == "web"]))
    assert web["size_bytes"] == sum(len(row["text"]) for row in rows if row["source"] == "web")
    assert web["share"] * web["expected_tokens"] == pytest.approx(0.25 * web["tokens"])


def test_what_is_expected_is_about_what_is_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "SAMPLE", 200)
    rows = corpus({"web": 1500, "books": 700})
    tokens = sum(TokenCounter().count([row["text"] for row in rows]))
    documents = artifact(tmp_path, rows, parts=3)
    result = planned(tmp_path, documents, style=["plain", "long"], budget_tokens=tokens // 10)
    config = PlanConfig.model_validate({"style": ["plain", "long"], "styles": tmp_path / "styles.yaml"})
    styles = chosen_styles(config.style, config.styles)
    shares = read_shares(tmp_path / "plan")
    choices = Chooser(config, styles, shares, seed=1).choices(batch(*rows), TokenCounter().count)
    answers = sum(choice.tokens * 0.5 for choice in choices if choice.styles)
    assert answers == pytest.approx(tokens / 10, rel=0.1)
    assert result.summary["planned_tokens"] == pytest.approx(tokens // 10, abs=1)
    assert {limit for _, limit in told(result).values()} == {"budget_tokens"}


def test_bytes_and_tokens_of_many_documents_are_estimated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = corpus({"web": 1500, "books": 700})
    documents = artifact(tmp_path, rows, parts=2)
    exact = planned(tmp_path, documents).summary["sources"]
    monkeypatch.setattr(plan_module, "SAMPLE", 300)
    estimated = planned(tmp_path, documents).summary["sources"]
    for name, source in estimated.items():
        assert source["size_bytes"] == pytest.approx(exact[name]["size_bytes"], rel=0.1)
        assert source["tokens"] == pytest.approx(exact[name]["tokens"], rel=0.1)
        assert source["expected_tokens"] == pytest.approx(exact[name]["expected_tokens"], rel=0.1)


def test_the_parts_do_not_matter(tmp_path: Path) -> None:
    rows = corpus({"web": 60, "books": 40})
    one = planned(tmp_path, artifact(tmp_path / "one", rows), budget_tokens=1000).summary
    assert one == planned(tmp_path, artifact(tmp_path / "many", rows[::-1], parts=7), budget_tokens=1000).summary


def test_the_sample_is_the_same_in_whatever_parts_documents_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_module, "SAMPLE", 20)
    rows = corpus({"web": 60})
    one = planned(tmp_path, artifact(tmp_path / "one", rows), style=["plain", "long"]).summary
    many = planned(tmp_path, artifact(tmp_path / "many", rows[::-1], parts=7), style=["plain", "long"]).summary
    assert one["styles"] == many["styles"]
    assert one["sources"]["web"]["expected_tokens"] == pytest.approx(many["sources"]["web"]["expected_tokens"])
    first = sorted(rows, key=lambda row: draw_of(row["id"], 1))[:20]
    tokens = sum(TokenCounter().count([row["text"] for row in first]))
    assert one["sources"]["web"]["expected_tokens"] == pytest.approx(tokens / 20 * 60 * 0.5)


def test_only_documents_that_may_be_chosen_and_suit_a_style_count(tmp_path: Path) -> None:
    rows = [
        {"id": "1", "text": "word " * 100},
        {"id": "2", "text": "word " * 4},
        {"id": "3", "text": "word " * 100, "language": "de"},
        {"id": "4", "text": "word " * 100, "language": "en", "parent": "1"},
        {"id": "5", "text": "word " * 100, "language": "en"},
        {"id": "6", "text": None, "language": "en"},
    ]
    found = planned(tmp_path, artifact(tmp_path, rows), languages="en", style="long").summary["sources"]["web"]
    (tokens,) = TokenCounter().count(["word " * 100])
    assert (found["documents"], found["allowed"], found["suitable"]) == (5, 2, 1)
    assert (found["size_bytes"], found["expected_tokens"]) == (1520, tokens / 2)


def test_a_source_of_synthetic_documents_alone_is_not_rephrased(tmp_path: Path) -> None:
    rows = [{"id": "1", "source": "rephrased", "parent": "0"}, {"id": "2"}]
    found = planned(tmp_path, artifact(tmp_path, rows)).summary["sources"]["rephrased"]
    assert (found["documents"], found["size_bytes"], found["expected_tokens"]) == (0, 0, 0)


def test_shares_may_be_asked_for_by_source(tmp_path: Path) -> None:
    documents = artifact(tmp_path, corpus({"web": 20, "books": 20}))
    assert told(planned(tmp_path, documents, share={"web": 0.3, "books": 1})) == {
        "web": (0.3, "share"),
        "books": (1.0, ""),
    }


def test_an_option_that_says_nothing_of_a_source_is_an_error(tmp_path: Path) -> None:
    documents = artifact(tmp_path, corpus({"web": 2, "books": 2}))
    for option in ("share", "max_synthetic_share"):
        with pytest.raises(StageError, match=f"{option} says nothing of the source 'books'"):
            planned(tmp_path, documents, **{option: {"web": 0.1}})
    assert told(planned(tmp_path, documents, share={"web": 0.1}, sources="web"))["books"] == (0.0, "nothing_suitable")


def test_a_column_that_nobody_has_measured_is_an_error(tmp_path: Path) -> None:
    documents = artifact(tmp_path, corpus({"web": 2}))
    with pytest.raises(StageError, match=r"measured quality\.scroe"):
        planned(tmp_path, documents, scores={"quality.scroe": {"min": 0.5}})


def test_parts_without_the_column_have_no_scores(tmp_path: Path) -> None:
    parts = [batch({"id": "1"}, {"id": "2"}, quality__score=[0.9, 0.1]), batch({"id": "3"})]
    found = planned(tmp_path, artifact_of(tmp_path, "documents", parts), scores={"quality.score": {"min": 0.5}})
    assert found.summary["sources"]["web"]["allowed"] == 1


def test_a_style_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="no style 'plian'; it has long, plain"):
        planned(tmp_path, artifact(tmp_path, corpus({"web": 2})), style="plian")


def test_what_cannot_be_meant_is_told(tmp_path: Path) -> None:
    documents = artifact(tmp_path, [{"id": "1", "text": "short"}])
    found = planned(tmp_path, documents, style=["plain", "long"], sources=["web", "forum"]).summary["warnings"]
    assert found == [
        "sources names forum, but no document is of that source",
        "no document of the sample is written in the style long: none suits it",
    ]
    (warning,) = planned(tmp_path, documents, style="long").summary["warnings"]
    assert warning.startswith("no document is rephrased")


def test_a_run_without_documents_has_an_empty_plan(tmp_path: Path) -> None:
    documents = artifact_of(tmp_path, "documents", [])
    result = planned(tmp_path, documents, scores={"quality.score": {"min": 0.5}})
    assert (result.summary["sources"], result.summary["planned_tokens"]) == ({}, 0)


def test_the_same_documents_give_the_same_bytes(tmp_path: Path) -> None:
    documents = artifact(tmp_path, corpus({"web": 30}))
    planned(tmp_path, documents)
    before = (tmp_path / "plan" / PLAN_FILE).read_bytes()
    planned(tmp_path, documents)
    assert (tmp_path / "plan" / PLAN_FILE).read_bytes() == before
    assert json.loads(before)["sources"]["web"]["share"] == 1.0


SOURCES = st.dictionaries(
    st.sampled_from("abcdef"), st.tuples(st.integers(0, 10**6), st.sampled_from([0.0, 0.1, 0.5, 2.0])), min_size=1
)


@given(SOURCES, st.integers(0, 10**6), st.floats(0, 1), st.floats(0, 0.95))
def test_no_limit_is_passed_and_none_is_left_unused(
    sizes: dict[str, tuple[int, float]], budget: int, share: float, synthetic: float
) -> None:
    sources = {name: SourcePlan(tokens=n, expected_tokens=n * ratio) for name, (n, ratio) in sizes.items()}
    options = BudgetOptions(share=share, budget_tokens=budget, max_synthetic_share=synthetic)
    settle(sources, options)
    spent = sum(source.planned_tokens for source in sources.values())
    assert spent <= budget * (1 + 1e-9)
    level = max(source.share for source in sources.values())
    for source in sources.values():
        assert 0 <= source.share <= share
        assert source.planned_tokens <= source.tokens * options.synthetic_factor("") * (1 + 1e-9)
        if source.limit == "budget_tokens":
            assert source.share == pytest.approx(level)
            assert spent == pytest.approx(budget)


@pytest.mark.parametrize("option", ["share", "max_synthetic_share"])
@pytest.mark.parametrize("value", [-0.1, 1.1, {"web": 2}])
def test_shares_are_shares(option: str, value: Any) -> None:
    with pytest.raises(ValidationError):
        BudgetOptions.model_validate({option: value})


def test_not_everything_can_be_synthetic() -> None:
    with pytest.raises(ValidationError, match="below 1"):
        BudgetOptions(max_synthetic_share=1)


def test_tables_of_pyarrow_hold_what_the_plan_reads(tmp_path: Path) -> None:
    """Row groups say how many bytes of text they hold; a plan rests on that."""
    rows = corpus({"web": 3000})
    documents = artifact(tmp_path, rows)
    (path,) = documents.file_paths("documents.parquet")
    group = pa.parquet.ParquetFile(path).metadata.row_group(0)
    assert plan_module._text_bytes(group) == pytest.approx(sum(len(row["text"]) for row in rows), rel=0.02)


def test_a_source_that_stands_in_the_new_documents_counts_as_synthetic() -> None:
    sources = {"web": SourcePlan(tokens=100, expected_tokens=50, repeated_tokens=100)}
    settle(sources, BudgetOptions(max_synthetic_share=0.5))
    assert (sources["web"].share, sources["web"].limit) == (pytest.approx(100 / 150), "max_synthetic_share")
