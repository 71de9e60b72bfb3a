"""Cutoffs: exact quantiles over all parts, by source and language, whatever the parts."""

import json
from collections.abc import Sequence
from itertools import pairwise
from math import ceil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.artifact import Artifact
from pipeline.errors import StageError
from pipeline.stage import Context, documents
from stages.filters.quality.cutoffs import (
    CUTOFFS_FILE,
    Cutoff,
    Cutoffs,
    CutoffsConfig,
    QualityCutoffs,
    cutoffs_of,
    groups_of,
    kth_largest,
    ordered_keys,
    scores_of,
)
from tests.stages.in_process import artifact_of

Scored = tuple[str, str | None, float | None]  # source, language, score


def table(rows: Sequence[Scored]) -> pa.Table:
    found = documents({"id": str(i), "source": s, "language": language} for i, (s, language, _) in enumerate(rows))
    return found.append_column("quality.score", pa.array([score for _, _, score in rows], pa.float64()))


def artifact(folder: Path, rows: Sequence[Scored], parts: int = 1) -> Artifact:
    return artifact_of(folder, "scores", [table(rows[i::parts]) for i in range(parts) if rows[i::parts]])


def found(folder: Path, rows: Sequence[Scored], parts: int = 1, **options: object) -> dict[tuple[str, str], Cutoff]:
    scored = artifact(folder, rows, parts)
    cutoffs = cutoffs_of(scored.tables, CutoffsConfig.model_validate(options))
    return {(c.source, c.language): c for c in cutoffs}


def test_each_source_and_language_keeps_its_own_best_share(tmp_path: Path) -> None:
    rows: list[Scored] = [("web", "en", i / 100) for i in range(100)] + [("web", "de", i / 1000) for i in range(20)]
    cutoffs = found(tmp_path, rows, top_share=0.1)
    assert (cutoffs["web", "en"].score, cutoffs["web", "en"].kept) == (0.9, 10)
    assert (cutoffs["web", "de"].score, cutoffs["web", "de"].kept) == (0.018, 2)


def test_one_cutoff_for_all_where_nothing_groups_them(tmp_path: Path) -> None:
    rows: list[Scored] = [("web", "en", 0.9), ("books", "de", 0.1), ("books", None, 0.5), ("web", "en", 0.3)]
    cutoffs = found(tmp_path, rows, top_share=0.5, per=[])
    assert {key: c.score for key, c in cutoffs.items()} == {(None, None): 0.5}


def test_sources_may_have_shares_of_their_own(tmp_path: Path) -> None:
    rows: list[Scored] = [(source, "en", i / 10) for source in ("web", "books") for i in range(10)]
    cutoffs = found(tmp_path, rows, top_share={"web": 0.2, "books": 1}, per="source")
    assert {key: (c.score, c.kept) for key, c in cutoffs.items()} == {("web", None): (0.8, 2), ("books", None): (0, 10)}


def test_the_parts_do_not_matter(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    rows: list[Scored] = [("web", "en" if i % 3 else None, float(draw.normal())) for i in range(500)]
    alone = found(tmp_path / "one", rows, top_share=0.137)
    assert alone == found(tmp_path / "many", rows[::-1], parts=7, top_share=0.137)


def test_documents_with_the_same_score_stay_or_go_together(tmp_path: Path) -> None:
    rows: list[Scored] = [("web", "en", score) for score in (0.9, 0.5, 0.5, 0.5, 0.1)]
    cutoff = found(tmp_path, rows, top_share=0.4)["web", "en"]
    assert (cutoff.score, cutoff.kept) == (0.5, 4)


def test_a_share_is_the_decimal_that_was_written(tmp_path: Path) -> None:
    """0.07 x 100 is 7.000000000000001 in floating point, which would round up to 8 documents."""
    rows: list[Scored] = [("web", "en", i / 100) for i in range(100)]
    assert found(tmp_path, rows, top_share=0.07)["web", "en"].kept == 7


def test_a_small_group_keeps_at_least_its_best_document(tmp_path: Path) -> None:
    assert found(tmp_path, [("web", "fi", 0.2), ("web", "fi", 0.1)], top_share=0.01)["web", "fi"].kept == 1


def test_documents_without_a_score_count_for_no_share(tmp_path: Path) -> None:
    rows: list[Scored] = [("web", "en", None)] * 8 + [("web", "en", 0.1), ("web", "en", 0.2), ("none", "en", None)]
    cutoffs = found(tmp_path, rows, top_share=0.5)
    assert cutoffs["web", "en"] == Cutoff("web", "en", documents=10, scored=2, share=0.5, score=0.2, kept=1)
    assert cutoffs["none", "en"] == Cutoff("none", "en", documents=1, scored=0, share=0.5, score=None, kept=0)


def test_a_score_that_is_no_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"quality.score holds values that are no numbers"):
        found(tmp_path, [("web", "en", float("nan"))], top_share=0.5)


def test_a_source_without_a_share_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="says nothing of the source 'books'"):
        found(tmp_path, [("web", "en", 0.1), ("books", "en", 0.1)], top_share={"web": 0.2})


@pytest.mark.parametrize("share", [0, -0.1, 1.01, {"web": 2}])
def test_a_share_lies_between_none_and_all(share: object) -> None:
    with pytest.raises(ValidationError, match="a share must be above 0 and at most 1"):
        CutoffsConfig.model_validate({"top_share": share})


def test_shares_by_source_need_cutoffs_by_source() -> None:
    with pytest.raises(ValidationError, match="shares by source need 'source'"):
        CutoffsConfig.model_validate({"top_share": {"web": 0.1}, "per": ["language"]})


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(allow_nan=False)), min_size=1), st.integers(1, 100))
def test_the_cutoff_is_the_score_that_sorting_would_give(rows: list[tuple[str, float]], percent: int) -> None:
    names = sorted({name for name, _ in rows})
    scores = {name: sorted((score for n, score in rows if n == name), reverse=True) for name in names}
    ranks = np.array([ceil(len(scores[name]) * percent / 100) for name in names])
    numbers = np.array([names.index(name) for name, _ in rows])
    keys = ordered_keys(np.array([score for _, score in rows]))
    halves = (slice(None, None, 2), slice(1, None, 2))
    kth, kept = kth_largest(lambda: ((numbers[half], keys[half]) for half in halves), ranks)
    expected = [scores[name][rank - 1] for name, rank in zip(names, ranks, strict=True)]
    assert scores_of(kth).tolist() == expected
    assert kept.tolist() == [sum(s >= e for s in scores[n]) for n, e in zip(names, expected, strict=True)]


@given(st.lists(st.floats(allow_nan=False)))
@example([-0.0, 0.0, -0.0])
def test_keys_are_in_the_order_of_the_scores(scores: list[float]) -> None:
    keys = ordered_keys(np.array(scores))
    assert scores_of(keys).tolist() == scores
    assert [bool(a < b) for a, b in pairwise(keys)] == [a < b for a, b in pairwise(scores)]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["en", "de", None])), max_size=9))
def test_each_row_is_in_its_group(rows: list[tuple[str, str | None]]) -> None:
    groups, numbers = groups_of(table([(source, language, 0.0) for source, language in rows]), ("source", "language"))
    assert [groups[n] for n in numbers] == rows
    assert len(set(groups)) == len(groups)


def test_cutoffs_are_written_for_the_rows_of_any_batch(tmp_path: Path) -> None:
    rows: list[Scored] = [("web", "en", 0.1), ("web", None, 1 / 3), ("books", "en", None), ("web", "en", 0.7)]
    stage = QualityCutoffs(CutoffsConfig.model_validate({"top_share": 0.5}))
    result = stage.run({"documents": [artifact(tmp_path, rows)]}, tmp_path, Context(seed=1))
    json.dumps(result.summary, allow_nan=False)
    cutoffs = Cutoffs.read(tmp_path / CUTOFFS_FILE, stage.config)
    assert cutoffs is not None
    assert cutoffs.of(table(rows)).to_pylist() == [0.7, 1 / 3, None, 0.7]
    assert cutoffs.of(table([])).to_pylist() == []


def test_a_source_of_the_recipe_without_documents_is_told(tmp_path: Path) -> None:
    stage = QualityCutoffs(CutoffsConfig.model_validate({"top_share": {"web": 0.5, "wbe": 0.1}}))
    result = stage.run({"documents": [artifact(tmp_path, [("web", "en", 0.1)])]}, tmp_path, Context(seed=1))
    assert result.summary["absent_sources"] == ["wbe"]
