"""What the stages that read files have in common: patterns in, a stable list of named files out."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from pipeline.errors import InputError
from pipeline.stage import RecipePath, Split, StageConfig

SOURCE_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"  # it becomes a folder of token shards


class FilesConfig(StageConfig):
    """Options of every stage that reads files."""

    files: tuple[RecipePath, ...] = Field(min_length=1)
    """Files, folders or glob patterns ("**" for any depth), relative to the recipe."""

    source: str | None = Field(None, pattern=SOURCE_NAME)
    """Name of these documents in the ledger and the mixture; the artifact's name if absent."""

    not_identity: ClassVar[frozenset[str]] = frozenset({"files"})


def matching_files(patterns: tuple[Path, ...], suffixes: tuple[str, ...]) -> list[tuple[str, Path]]:
    """Name and path of each matching file, sorted by name.

    The name is the path below the folder that the pattern starts from, so that it does not depend on where that
    folder lies. A folder stands for all files below it that end in one of ``suffixes`` (any file if empty).

    Raises:
        InputError: a path does not exist, a pattern matches nothing, or two files would get one name.
    """
    found: dict[str, Path] = {}
    for pattern in patterns:
        for name, path in _expand(pattern, suffixes):
            if found.setdefault(name, path) != path:
                raise InputError(f"{path} and {found[name]} would both be called {name}: give their common folder")
    return sorted(found.items())


def _expand(pattern: Path, suffixes: tuple[str, ...]) -> list[tuple[str, Path]]:
    if glob.has_magic(str(pattern)):
        base = _folder_before_magic(pattern)
        paths = [Path(p) for p in sorted(glob.glob(str(pattern), recursive=True)) if Path(p).is_file()]
        if not paths:
            raise InputError(f"no file matches {pattern}")
        return [(path.relative_to(base).as_posix(), path) for path in paths]
    if pattern.is_dir():
        paths = [p for p in sorted(pattern.rglob("*")) if p.is_file() and p.name.endswith(suffixes or ("",))]
        if not paths:
            raise InputError(
                f"the folder {pattern} holds no file" + (f" ending in {' or '.join(suffixes)}" * bool(suffixes))
            )
        return [(path.relative_to(pattern).as_posix(), path) for path in paths]
    if not pattern.exists():
        raise InputError(f"there is no file or folder {pattern}")
    return [(pattern.name, pattern)]


def _folder_before_magic(pattern: Path) -> Path:
    base = Path(pattern.anchor)
    for part in pattern.parts[len(base.parts) :]:
        if glob.has_magic(part):
            break
        base /= part
    return base


def one_split_per_file(files: list[tuple[str, Path]]) -> list[Split]:
    """Each file is read by a task of its own."""
    return [Split((name,), (path,)) for name, path in files]


def splits_of_size(files: list[tuple[str, Path]], max_bytes: int, max_files: int) -> list[Split]:
    """Consecutive files grouped into tasks of at most ``max_bytes`` (a larger file stands alone) and ``max_files``."""
    splits: list[Split] = []
    group: list[tuple[str, Path]] = []
    size = 0
    for name, path in files:
        bytes_here = path.stat().st_size
        if group and (size + bytes_here > max_bytes or len(group) == max_files):
            splits.append(Split(*map(tuple, zip(*group, strict=True))))
            group, size = [], 0
        group.append((name, path))
        size += bytes_here
    if group:
        splits.append(Split(*map(tuple, zip(*group, strict=True))))
    return splits
