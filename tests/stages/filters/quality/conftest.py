"""Documents of two kinds and a classifier trained on them."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifact import Artifact
from pipeline.stage import Context, documents
from stages.filters.quality.training import TrainQuality, TrainQualityConfig
from tests.stages.in_process import artifact_of

Sides = tuple[list[str], list[str]]
Train = Callable[..., tuple[Path, dict[str, Any]]]


@pytest.fixture(scope="session")
def sides() -> Sides:
    """Two kinds of text with half of their words in common, 200 of each."""
    draw = random.Random(0)

    def texts(own: str) -> list[str]:
        return [" ".join(draw.choice(own + "uvwxyz") * 3 for _ in range(60)) for _ in range(200)]

    return texts("abcdef"), texts("ghijkl")


def side(folder: Path, name: str, texts: list[str], parts: int = 1) -> Artifact:
    """An artifact of these texts; ids and order do not depend on the number of parts."""
    rows = [{"id": f"{name}#{i}", "source": name, "text": text} for i, text in enumerate(texts)]
    return artifact_of(folder, name, [documents(rows[part::parts]) for part in range(parts)])


def trained(folder: Path, good: Artifact, bad: Artifact, **options: object) -> tuple[Path, dict[str, Any]]:
    """A small classifier's folder and summary."""
    out, work = folder / "out", folder / "work"
    out.mkdir(parents=True)
    work.mkdir()
    given = {"positive": [good.name], "negative": [bad.name], "dimension": 8, "buckets": 2000, "epochs": 20} | options
    stage = TrainQuality(TrainQualityConfig.model_validate(given))
    result = stage.run({"documents": [good, bad]}, out, Context(seed=1, work=work))
    json.dumps(result.summary, allow_nan=False)
    return out, result.summary


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory, sides: Sides) -> Path:
    """Folder of a classifier of the two kinds."""
    folder = tmp_path_factory.mktemp("classifier")
    return trained(folder / "made", side(folder, "good", sides[0]), side(folder, "bad", sides[1]))[0]
