"""Quality as a recipe names it: from documents to those that are kept, over several parts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from pipeline.artifact import Artifact
from pipeline.rethreshold import rethreshold
from pipeline.stage import Context
from stages.filters.quality.cutoffs import CutoffsConfig, QualityCutoffs
from stages.filters.quality.keep import QualityKeep, QualityKeepConfig
from stages.filters.quality.stage import Quality, QualityConfig, QualityModel, QualityModelConfig
from tests.small_classifier import WORDS, save_classifier
from tests.stages.filters.quality.conftest import Sides
from tests.stages.in_process import artifact_of, removed_from, rows_of, run_here, texts, write_lines

TRAINING = {"positive": ["good"], "negative": ["bad"], "dimension": 8, "buckets": 2000, "epochs": 20}


def recipe(folder: Path, sides: Sides, web: Sequence[str | None], files: int = 1, **options: Any) -> dict[str, Any]:
    """Sources good and bad, and documents of the source web in several files, each a part."""
    write_lines(folder / "good.jsonl", sides[0])
    write_lines(folder / "bad.jsonl", sides[1])
    for i in range(files):
        write_lines(folder / f"web{i}.jsonl", [{"id": text or "none", "text": text} for text in web[i::files]])
    return {
        "good": {"stage": "json_lines", "files": "good.jsonl"},
        "bad": {"stage": "json_lines", "files": "bad.jsonl"},
        "web": {"stage": "json_lines", "files": "web*.jsonl"},
        "kept": {"stage": "quality", "from": "web", **TRAINING, **options},
    }


def mixed(count: int) -> list[str]:
    """Documents from all bad words to all good ones, in no order."""
    return [" ".join(["aaa"] * (i * 7 % count) + ["ggg"] * (count - i * 7 % count)) for i in range(count)]


def scores(artifact: Artifact, column: str = "quality.score") -> list[float]:
    return sorted((row[column] for row in rows_of(artifact)), reverse=True)


def test_a_threshold_needs_no_second_pass(tmp_path: Path, sides: Sides) -> None:
    sealed = run_here(tmp_path, recipe(tmp_path, sides, mixed(20), min_score=0.5))
    assert set(sealed) == {"good", "bad", "kept", "kept.classifier"}
    assert min(scores(sealed["kept"])) >= 0.5
    assert {row["reason"] for row in removed_from(sealed["kept"])} == {"low_score"}


def test_the_best_share_is_taken_over_all_parts(tmp_path: Path, sides: Sides) -> None:
    """One file holds the good half: a share of each part would keep bad documents and drop good ones."""
    kinds = sorted(mixed(20), key=lambda text: text.count("aaa"))
    web = [text for pair in zip(kinds[:10], kinds[10:], strict=True) for text in pair]
    sealed = run_here(tmp_path, recipe(tmp_path, sides, web, files=2, top_share=0.3))
    everything = scores(sealed["kept.scores"])
    assert len(sealed["kept.scores"].parts) == 2
    assert scores(sealed["kept"]) == everything[:6]
    (cutoff,) = sealed["kept.cutoffs"].summary["cutoffs"]
    assert (cutoff["score"], cutoff["kept"]) == (everything[5], 6)
    removed = removed_from(sealed["kept"])
    assert {row["reason"] for row in removed} == {"below_top_share"}
    assert all(row["evidence"].endswith(f" score < {everything[5]:.8g}") for row in removed)


def test_the_same_documents_are_kept_from_any_parts(tmp_path: Path, sides: Sides) -> None:
    kept = [
        {row["text"] for row in rows_of(run_here(folder, recipe(folder, sides, mixed(30), n, top_share=0.25))["kept"])}
        for folder, n in ((tmp_path / "one", 1), (tmp_path / "five", 5))
        if folder.mkdir() is None
    ]
    assert kept[0] == kept[1]


def test_a_document_without_a_score_has_no_share_and_is_dropped_unless_told_otherwise(tmp_path: Path) -> None:
    batch = texts({"good": "", "bad": "", "none": None})
    batch = batch.append_column("quality.score", pa.array([0.9, 0.1, None]))
    batch = batch.append_column("quality.words", pa.array([5, 5, 0], pa.int32()))
    cutoffs = QualityCutoffs(CutoffsConfig(top_share=0.5))
    cutoffs.run({"documents": [artifact_of(tmp_path, "scores", [batch])]}, tmp_path, Context(seed=1))
    ended = {}
    for min_words in (1, None):
        keep = QualityKeep(QualityKeepConfig(top_share=0.5, min_words=min_words))
        keep.setup(Context(seed=1, side={"cutoffs": tmp_path}))
        ended[min_words] = {r.id: (r.reason, r.evidence) for r in keep.process(batch).removed}
    assert ended[None] == {"bad": ("below_top_share", "0.1 score < 0.9")}
    assert ended[1] == {**ended[None], "none": ("no_text", "0 words < 1")}


def test_a_least_score_holds_beside_the_share(tmp_path: Path, sides: Sides) -> None:
    sealed = run_here(tmp_path, recipe(tmp_path, sides, mixed(20), top_share=0.9, min_score=0.5))
    assert min(scores(sealed["kept"])) >= 0.5
    assert {row["reason"] for row in removed_from(sealed["kept"])} == {"low_score"}


def test_another_share_scores_nothing_again(tmp_path: Path, sides: Sides) -> None:
    first = run_here(tmp_path, recipe(tmp_path, sides, mixed(20), top_share=0.3))
    second = run_here(tmp_path, recipe(tmp_path, sides, mixed(20), top_share=0.5))
    assert second["kept.scores"].fingerprint == first["kept.scores"].fingerprint
    assert len(rows_of(second["kept"])) == 10


def test_stored_scores_answer_for_another_threshold_and_another_share(tmp_path: Path, sides: Sides) -> None:
    sealed = run_here(tmp_path, recipe(tmp_path, sides, mixed(20), top_share=0.5))
    fourth = scores(sealed["kept"])[3]
    selection = rethreshold(tmp_path / "run", "kept", [f"quality_keep.min_score={fourth!r}"])
    assert selection.after["web", "kept", "", ""] == 4
    selection = rethreshold(tmp_path / "run", "kept", ["quality_keep.top_share=0.3"])
    chosen = {row["id"] for row in pq.read_table(selection.path).to_pylist() if row["verdict"] == "kept"}
    again = run_here(tmp_path, recipe(tmp_path, sides, mixed(20), top_share=0.3))["kept"]
    assert chosen == {row["id"] for row in rows_of(again)}


def test_a_model_of_hugging_face_keeps_the_best_share_by_the_same_rules(tmp_path: Path) -> None:
    save_classifier(tmp_path / "model", num_labels=1)
    words = WORDS.split()
    no_token = "\x07"
    write_lines(tmp_path / "web.jsonl", [no_token, *(" ".join(words[i:]) for i in range(10))])
    sealed = run_here(
        tmp_path,
        {
            "web": {"stage": "json_lines", "files": "web.jsonl"},
            "kept": {"stage": "quality_model", "from": "web", "model": "model", "max_tokens": 64, "top_share": 0.2},
        },
    )
    column = "quality_model.score"
    everything = sorted(
        (row[column] for row in rows_of(sealed["kept.scores"]) if row[column] is not None), reverse=True
    )
    assert scores(sealed["kept"], column) == everything[:2]
    assert sorted(row["reason"] for row in removed_from(sealed["kept"])) == ["below_top_share"] * 8 + ["no_text"]


def test_without_a_share_a_model_of_hugging_face_is_one_stage(tmp_path: Path) -> None:
    options = QualityModelConfig(model=str(save_classifier(tmp_path / "model", num_labels=1)), min_score=2.5)
    (only,) = QualityModel(options).expand(("web",))
    assert (only.name, only.stage, only.options["min_score"]) == ("", "quality_model_score", 2.5)


def test_a_trained_model_needs_no_training(tmp_path: Path, classifier: Path) -> None:
    options = QualityConfig(model=classifier / "classifier.bin", top_share=0.1)
    expansions = Quality(options).expand(("web",))
    assert [(e.name, e.side) for e in expansions] == [
        (".scores", {}),
        (".cutoffs", {}),
        ("", {"cutoffs": ".cutoffs"}),
    ]
    assert expansions[1].options == {"score": "quality.score", "top_share": 0.1, "per": ["source", "language"]}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "name the artifacts to train on in positive and negative, or a trained model"),
        ({"positive": ["a"]}, "name the artifacts to train on"),
        ({"positive": ["a"], "negative": ["b"], "model": "m.bin"}, "with a trained model leave them out"),
    ],
)
def test_a_model_is_either_trained_or_given(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        QualityConfig.model_validate(options)


def test_stored_scores_answer_for_no_share_at_all(tmp_path: Path, sides: Sides) -> None:
    run_here(tmp_path, recipe(tmp_path, sides, mixed(20), top_share=0.5))
    selection = rethreshold(tmp_path / "run", "kept", ["quality_keep.top_share=null"])
    assert selection.after["web", "kept", "", ""] == 20
