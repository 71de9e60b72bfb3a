"""Small real runs that differ in one thing each, made once for all tests of the comparison."""

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.run import RUN_FILE, Run
from tests.pipeline.report.runs import FILTERED, made, write_corpus

DOCUMENTS = {name: FILTERED[name] for name in ("first", "second", "clean", "unique")}
STRICT_WORDS = 60


def changed(artifacts: dict[str, Any], **options: Any) -> dict[str, Any]:
    """The recipe with other options of its filter."""
    found = copy.deepcopy(artifacts)
    found["clean"]["chain"][0]["gopher_quality"].update(options)
    return found


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The input of all runs; it is written once, because it holds docstrings of what this process has imported."""
    folder: Path = tmp_path_factory.mktemp("corpus")
    write_corpus(folder)
    return folder


@pytest.fixture(scope="session")
def base(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two sources, a filter that wants 30 words, dedup, tokens."""
    return made(shutil.copytree(corpus, tmp_path_factory.mktemp("base") / "base"), FILTERED)


@pytest.fixture(scope="session")
def strict(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The same corpus, but 60 words; more words without a letter, and all the symbols, of which the base allows few."""
    folder = shutil.copytree(corpus, tmp_path_factory.mktemp("strict") / "strict")
    return made(folder, changed(FILTERED, min_words=STRICT_WORDS, max_symbol_ratio=None, min_alphabetic_words=0.64))


@pytest.fixture(scope="session")
def again(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The base once more, from a copy of its input in another folder."""
    return made(shutil.copytree(corpus, tmp_path_factory.mktemp("again") / "again"), FILTERED)


@pytest.fixture
def unfinished(base: Run, tmp_path: Path) -> Run:
    """The base as it was when all was ready for token shards."""
    folder = shutil.copytree(base.folder, tmp_path / "unfinished")
    state = json.loads((folder / RUN_FILE).read_text())
    state["artifacts"]["tokens"] = None
    (folder / RUN_FILE).write_text(json.dumps(state | {"status": "failed", "message": "tokens: the disk is full"}))
    return Run.open(folder)
