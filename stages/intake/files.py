"""What the stages that read files have in common: patterns in, a stable list of named files out."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, ClassVar

from pydantic import Field

from pipeline.errors import InputError
from pipeline.locations.location import InputFile, RecipeLocation, RemoteOptions, is_url
from pipeline.locations.reading import local_copy, open_file
from pipeline.stage import Context, Split, StageConfig

SOURCE_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"  # it becomes a folder of token shards


class ReadingConfig(StageConfig):
    """Options of every stage that reads, from this machine or from servers."""

    source: str | None = Field(None, pattern=SOURCE_NAME)
    """Name of these documents in the ledger and the mixture; the artifact's name if absent."""

    remote: RemoteOptions = RemoteOptions()
    """How to read from servers: {connections, tries, timeout_s, anonymous, endpoint}."""

    not_identity: ClassVar[frozenset[str]] = frozenset({"remote"})

    def opened(self, location: str, context: Context) -> BinaryIO:
        """A seekable binary file, unbuffered if local.

        Raises:
            OSError: it cannot be opened.
        """
        return open_file(location, self.remote, context.shared)

    def copied(self, location: str, context: Context) -> AbstractContextManager[Path]:
        """A path of this machine, for libraries that want one; a remote file's copy goes at the end.

        Raises:
            OSError: it cannot be read.
        """
        return local_copy(location, self.remote, context.shared)


class FilesConfig(ReadingConfig):
    """Options of every stage that reads files."""

    files: tuple[RecipeLocation, ...] = Field(min_length=1)
    """Files, folders or glob patterns ("**" for any depth), relative to the recipe; or URLs: https://, s3:// and any
    other that fsspec knows."""

    not_identity: ClassVar[frozenset[str]] = frozenset({"files", "remote"})

    def matching_files(self, suffixes: tuple[str, ...]) -> list[InputFile]:
        """Each matching file, sorted by name; see the function of this name."""
        return matching_files(self.files, suffixes, self.remote)


def matching_files(patterns: Sequence[str], suffixes: tuple[str, ...], options: RemoteOptions) -> list[InputFile]:
    """Each file that matches a pattern, sorted by name.

    A name is the path below the folder that the pattern starts from, so that it does not depend on where that folder
    lies; a URL is its own name. A folder stands for all files below it that end in one of ``suffixes`` (any file if
    empty).

    Raises:
        InputError: a path does not exist, a pattern matches nothing, or two files would get one name.
    """
    found: dict[str, InputFile] = {}
    for pattern in patterns:
        for file in _expand(pattern, suffixes, options):
            if (other := found.setdefault(file.name, file)).location != file.location:
                if is_url(file.location):
                    raise InputError(f"two URLs that differ in their queries alone would both be called {file.name}")
                raise InputError(
                    f"{file.location} and {other.location} would both be called {file.name}: give their common folder"
                )
    return [found[name] for name in sorted(found)]


def _expand(pattern: str, suffixes: tuple[str, ...], options: RemoteOptions) -> list[InputFile]:
    if is_url(pattern):
        from pipeline.locations.listing import matching_urls

        return matching_urls(pattern, suffixes, options)
    path = Path(pattern)
    if glob.has_magic(pattern):
        base = _folder_before_magic(path)
        paths = [Path(p) for p in sorted(glob.glob(pattern, recursive=True)) if Path(p).is_file()]
        if not paths:
            raise InputError(f"no file matches {pattern}")
        return _named(base, paths)
    if path.is_dir():
        ends = tuple(suffix.lower() for suffix in suffixes) or ("",)
        paths = [p for p in sorted(path.rglob("*")) if p.is_file() and p.name.lower().endswith(ends)]
        if not paths:
            raise InputError(
                f"the folder {path} holds no file" + (f" ending in {' or '.join(suffixes)}" * bool(suffixes))
            )
        return _named(path, paths)
    if not path.exists():
        raise InputError(f"there is no file or folder {path}")
    return _named(path.parent, [path])


def _named(base: Path, paths: Sequence[Path]) -> list[InputFile]:
    return [InputFile(path.relative_to(base).as_posix(), str(path), path.stat().st_size) for path in paths]


def _folder_before_magic(pattern: Path) -> Path:
    base = Path(pattern.anchor)
    for part in pattern.parts[len(base.parts) :]:
        if glob.has_magic(part):
            break
        base /= part
    return base


def one_split_per_file(files: Sequence[InputFile]) -> list[Split]:
    """Each file is read by a task of its own."""
    return [Split((file,)) for file in files]


def splits_of_size(files: Sequence[InputFile], max_bytes: int, max_files: int) -> list[Split]:
    """Consecutive files grouped into tasks of at most ``max_bytes`` (a larger file stands alone, and so does one of
    unknown size) and ``max_files``."""
    splits: list[Split] = []
    group: list[InputFile] = []
    size = 0
    for file in files:
        bytes_here = max_bytes if file.size_bytes is None else file.size_bytes
        if group and (size + bytes_here > max_bytes or len(group) == max_files):
            splits.append(Split(tuple(group)))
            group, size = [], 0
        group.append(file)
        size += bytes_here
    if group:
        splits.append(Split(tuple(group)))
    return splits
