"""One tiny corpus, built once for all tests of this folder."""

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from stages.demo_corpus import CorpusSummary, build


@dataclass(frozen=True)
class Built:
    """A finished corpus: where it lies and what `build` said of it."""

    folder: Path
    summary: CorpusSummary


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A tiny corpus; tests must leave it as it is."""
    folder = tmp_path_factory.mktemp("demo") / "corpus"
    return Built(folder, build(folder, size="tiny"))


@pytest.fixture
def tiny_copy(tiny: Built, tmp_path: Path) -> Path:
    """A copy of the tiny corpus that a test may spoil."""
    return Path(shutil.copytree(tiny.folder, tmp_path / "corpus"))


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below `folder`, by relative path."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
