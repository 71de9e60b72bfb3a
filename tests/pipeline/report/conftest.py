"""One run of each kind for all tests of the report."""

from pathlib import Path

import pytest

from pipeline.run import Run
from tests.pipeline.report.runs import FILTERED, TRAINED, made, write_corpus


@pytest.fixture(scope="session")
def filtered(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two sources, a filter, dedup, tokens: no mix and no model."""
    folder: Path = tmp_path_factory.mktemp("filtered")
    write_corpus(folder)
    return made(folder, FILTERED)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The same with the smallest swarm, a mix and two models."""
    folder: Path = tmp_path_factory.mktemp("trained")
    write_corpus(folder)
    return made(folder, TRAINED)
