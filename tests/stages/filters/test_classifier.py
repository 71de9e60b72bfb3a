"""The quality classifier: what it learns from, what it reports, and that equal inputs give equal bytes."""

import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from pipeline.artifact import DOCUMENTS_FILE, Artifact, Part, file_record
from pipeline.errors import StageError
from pipeline.ledger import Ledger
from pipeline.stage import Context, documents
from stages.filters.classifier import (
    MODEL_FILE,
    Quality,
    QualityConfig,
    ScoreQuality,
    ScoreQualityConfig,
    TrainQuality,
    TrainQualityConfig,
)
from stages.filters.classifier_training import WORDS, prepared


def artifact(folder: Path, name: str, texts: list[str], parts: int = 1) -> Artifact:
    """A sealed artifact of these texts, in ``parts`` parts."""
    made = []
    for part in range(parts):
        at = folder / name / f"part{part}"
        at.mkdir(parents=True)
        rows = [
            {"id": f"{name}#{i}", "source": name, "text": text} for i, text in enumerate(texts) if i % parts == part
        ]
        pq.write_table(documents(rows), at / DOCUMENTS_FILE)
        made.append(Part(f"k{part}", name, at.name, (file_record(at, at / DOCUMENTS_FILE, len(rows)),), Ledger()))
    return Artifact(name, "documents", "f" * 64, folder / name, (), {}, tuple(made))


def train(tmp_path: Path, name: str, inputs: list[Artifact], **options: object) -> tuple[Path, dict[str, object]]:
    out, work = tmp_path / name / "out", tmp_path / name / "work"
    out.mkdir(parents=True)
    work.mkdir()
    options = {"positive": ["good"], "negative": ["bad"], "dimension": 8, "buckets": 2000, "epochs": 20} | options
    config = TrainQualityConfig.model_validate(options)
    result = TrainQuality(config).run({"documents": inputs}, out, Context(seed=1, work=work))
    json.dumps(result.summary, allow_nan=False)
    return out, result.summary


@pytest.fixture(scope="module")
def sides() -> tuple[list[str], list[str]]:
    """Two kinds of text with half of their words in common."""
    draw = random.Random(0)

    def texts(own: str) -> list[str]:
        return [" ".join(draw.choice(own + "uvwxyz") * 3 for _ in range(60)) for _ in range(200)]

    return texts("abcdef"), texts("ghijkl")


def test_two_trainings_on_the_same_documents_give_the_same_bytes(tmp_path, sides):
    good, bad = artifact(tmp_path, "good", sides[0]), artifact(tmp_path, "bad", sides[1])
    first, _ = train(tmp_path, "first", [good, bad])
    second, _ = train(tmp_path, "second", [good, bad])
    assert (first / MODEL_FILE).read_bytes() == (second / MODEL_FILE).read_bytes()


def test_the_model_does_not_depend_on_how_documents_are_split_into_parts(tmp_path, sides):
    one, _ = train(tmp_path, "one", [artifact(tmp_path, n, t) for n, t in zip(("good", "bad"), sides, strict=True)])
    split = [artifact(tmp_path / "split", n, t, parts=3) for n, t in zip(("good", "bad"), sides, strict=True)]
    many, _ = train(tmp_path, "many", split)
    assert (one / MODEL_FILE).read_bytes() == (many / MODEL_FILE).read_bytes()


def test_it_tells_held_out_documents_apart_and_counts_them_all(tmp_path, sides):
    good, bad = artifact(tmp_path, "good", sides[0]), artifact(tmp_path, "bad", sides[1])
    _, summary = train(tmp_path, "run", [good, bad], held_out=0.25)
    assert summary["documents"] == {side: {"training": 150, "held_out": 50} for side in ("positive", "negative")}
    assert summary["auc"] == 1.0
    assert {side: sum(bins) for side, bins in summary["histogram"].items()} == {"positive": 50, "negative": 50}


def test_documents_without_a_difference_are_not_told_apart(tmp_path, sides):
    """Held-out documents are not trained on: on two halves of one kind, the area under the curve stays near 1/2."""
    good, bad = artifact(tmp_path, "good", sides[0][::2]), artifact(tmp_path, "bad", sides[0][1::2])
    _, summary = train(tmp_path, "run", [good, bad], held_out=0.5)
    assert 0.25 < summary["auc"] < 0.75


def test_no_more_documents_than_wanted_are_used(tmp_path, sides):
    good, bad = artifact(tmp_path, "good", sides[0]), artifact(tmp_path, "bad", sides[1])
    _, summary = train(tmp_path, "run", [good, bad], max_documents=40)
    assert summary["documents"]["positive"] == {"training": 36, "held_out": 4}


def test_too_few_documents_are_refused_with_the_side_named(tmp_path, sides):
    good, bad = artifact(tmp_path, "good", sides[0]), artifact(tmp_path, "bad", sides[1][:19] + [""] * 30)
    with pytest.raises(StageError, match=r"negative side \(bad\) has 19 documents"):
        train(tmp_path, "run", [good, bad])


def test_scores_follow_the_side_and_low_ones_are_dropped_with_evidence(tmp_path, sides):
    out, _ = train(tmp_path, "run", [artifact(tmp_path, n, t) for n, t in zip(("good", "bad"), sides, strict=True)])
    stage = ScoreQuality(ScoreQualityConfig(min_score=0.5))
    stage.setup(Context(seed=1, side={"classifier": out}))
    batch = documents(
        {"id": str(i), "source": "s", "text": t} for i, t in enumerate(["aaa bbb ccc ddd", "ggg hhh iii jjj", None])
    )
    outcome = stage.process(batch)
    assert outcome.kept["id"].to_pylist()[0] == "0"
    assert outcome.kept["quality.score"][0].as_py() > 0.5
    assert outcome.removed[0].id == "1"
    assert outcome.removed[0].reason == "low_score"
    assert outcome.removed[0].evidence.endswith(" < 0.5")
    assert outcome.kept.num_rows + len(outcome.removed) == 3


def test_without_a_threshold_all_documents_stay(tmp_path, sides):
    out, _ = train(tmp_path, "run", [artifact(tmp_path, n, t) for n, t in zip(("good", "bad"), sides, strict=True)])
    stage = ScoreQuality(ScoreQualityConfig())
    stage.setup(Context(seed=1, side={"classifier": out}))
    outcome = stage.process(documents([{"id": "1", "source": "s", "text": sides[1][0]}]))
    assert outcome.kept["quality.score"].type == pa.float64()
    assert not outcome.removed


def test_the_classifier_sees_the_first_words_in_lower_case():
    assert prepared("  One\n\tTWO  three ") == "one two three"
    assert prepared("A " * (WORDS + 5)) == " ".join(["a"] * WORDS)


def test_a_label_within_a_text_is_no_label():
    assert "__label__" not in prepared("x __LABEL__good __label__bad")


def test_quality_stands_for_training_and_scoring():
    config = QualityConfig(positive=("wiki",), negative=("web", "forum"), min_score=0.3, epochs=7)
    expansions = {expansion.name: expansion for expansion in Quality(config).expand(("pages",))}
    assert expansions[".classifier"].inputs == ("wiki", "web", "forum")
    trained = TrainQualityConfig.model_validate(expansions[".classifier"].options)
    assert (trained.positive, trained.negative, trained.epochs) == (("wiki",), ("web", "forum"), 7)
    assert expansions[""].inputs == ("pages",)
    assert expansions[""].side == {"classifier": ".classifier"}
    assert ScoreQualityConfig.model_validate(expansions[""].options).min_score == 0.3


def test_an_artifact_cannot_be_on_both_sides():
    with pytest.raises(ValidationError, match="web cannot be positive and negative"):
        QualityConfig(positive=("wiki", "web"), negative=("web",))
