"""Source files of the standard library, copied under their own relative paths."""

import shutil
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from stages.demo_corpus.python_pages import stable_order

# Tests and their fixtures (some broken on purpose), and what is not the standard library's own source.
_SKIPPED_FOLDERS = frozenset({"test", "tests", "idle_test", "site-packages", "__pycache__", "lib-dynload"})


@dataclass(frozen=True)
class CodeCounts:
    """Files copied, and their size."""

    code_files: int
    code_bytes: int


def write_code(folder: Path, limit: int | None, seed: int) -> CodeCounts:
    """Copies the standard library's modules, or a choice of `limit` of them that depends on `seed` alone."""
    library = Path(sysconfig.get_path("stdlib"))
    paths = sorted(
        path.relative_to(library)
        for path in library.rglob("*.py")
        if not _SKIPPED_FOLDERS.intersection(path.relative_to(library).parts) and not _is_build_record(path)
    )
    paths.sort(key=lambda path: stable_order(seed, path.as_posix()))
    size_bytes = 0
    chosen = paths[:limit]
    for path in chosen:
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(library / path, target)
        size_bytes += target.stat().st_size
    return CodeCounts(len(chosen), size_bytes)


def _is_build_record(path: Path) -> bool:
    """Is this the table of compiler flags and folders that building this Python left behind?"""
    return path.name.startswith("_sysconfigdata") or any(part.startswith("config-") for part in path.parts)
