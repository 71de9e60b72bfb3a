"""The files of a repository and what they hold, alike for a folder and for an archive."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO

from pipeline.locations.location import InputFile, is_url, reason_of
from stages.intake.source_code import licences
from stages.intake.source_code.archives import Archive, DamagedArchiveError, Member, Problem
from stages.intake.source_code.repositories import Repository, commit_and_url


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a repository, before it is read."""

    path: str  # inside the repository
    name: str  # unique among the input
    telling_path: str  # the path by which to tell generated and other people's files
    size_bytes: int | None
    offset: int = 0
    problem: Problem | None = None
    file: InputFile | None = None  # None: a member of the repository's archive


class FolderReader:
    """A repository whose files lie side by side."""

    def __init__(self, repository: Repository, max_bytes: int, open_file: Callable[[str], BinaryIO]) -> None:
        self.name = repository.name
        self.origin: str | None = None  # of all its files; None: each is its own
        self.damage: Problem | None = None
        self.told: dict[str, str] = {}
        self._repository = repository
        self._max_bytes = max_bytes
        self._open = open_file

    def entries(self, found: licences.RepositoryLicences) -> list[Entry]:
        """Its files; what they state of licences goes to ``found``."""
        git_files = {file: self._content(file, licences.MAX_STATEMENT_BYTES) for file in self._repository.git_files}
        self.told = commit_and_url(
            {
                file.name.rpartition(".git/")[2]: content
                for file, content in git_files.items()
                if isinstance(content, bytes)
            }
        )
        entries = []
        for file in self._repository.files:
            path = self._repository.path_of(file)
            problem: Problem | None = None
            if not is_url(file.location) and os.path.islink(file.location):
                problem = "dropped", "not_a_file", f"a link to {os.readlink(file.location)}"
            elif licences.states_licence(path):
                content = self._content(file, licences.MAX_STATEMENT_BYTES)
                if isinstance(content, bytes) and len(content) <= licences.MAX_STATEMENT_BYTES:
                    found.add(path, content)
            entries.append(
                Entry(
                    path,
                    file.name,
                    path if self._repository.is_certain else file.name,
                    file.size_bytes,
                    problem=problem,
                    file=file,
                )
            )
        return entries

    def contents(self, wanted: Mapping[int, Entry]) -> Iterator[tuple[int, bytes | Problem]]:
        for place, entry in wanted.items():
            assert entry.file is not None
            yield place, self._content(entry.file, self._max_bytes)

    def _content(self, file: InputFile, max_bytes: int) -> bytes | Problem:
        """At most one byte more than ``max_bytes``, or why the file cannot be read."""
        try:
            with self._open(file.location) as opened:
                return (
                    opened.read()
                    if (file.size_bytes or max_bytes + 1) <= max_bytes
                    else _read_up_to(opened, max_bytes + 1)
                )
        except OSError as error:
            return "failed", reason_of(error), str(error.strerror)


def _read_up_to(opened: BinaryIO, size: int) -> bytes:
    pieces = []
    while size and (piece := opened.read(size)):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


class ArchiveReader:
    """A repository in an archive."""

    def __init__(self, repository: Repository, file: InputFile, archive: Archive) -> None:
        self.name = repository.name
        self.origin: str | None = file.name
        self.damage: Problem | None = None
        self.told: dict[str, str] = {}
        self._archive = archive

    def entries(self, found: licences.RepositoryLicences) -> list[Entry]:
        """Its members; what they state of licences goes to ``found``."""
        members: list[Member] = []
        statements: list[tuple[int, bytes]] = []
        try:
            for member, content in self._archive.members(licences.states_licence):
                if content is not None:
                    statements.append((len(members), content))
                members.append(member)
        except DamagedArchiveError as damage:
            self.damage = "failed", damage.reason, damage.evidence
        if self._archive.commit:
            self.told["commit"] = self._archive.commit
        top = _common_folder([member.path for member in members if member.problem is None])
        for place, content in statements:
            found.add(members[place].path.removeprefix(top), content)
        last = {member.path: place for place, member in enumerate(members)}
        return [self._entry(member, top, last[member.path] == place) for place, member in enumerate(members)]

    def _entry(self, member: Member, top: str, is_last: bool) -> Entry:
        name, problem = f"{self.origin}/{member.path}", member.problem
        if not is_last:
            name, problem = (
                f"{name}@{member.offset}",
                problem or ("dropped", "superseded", "the archive holds it again"),
            )
        path = member.path.removeprefix(top)
        return Entry(path, name, path, member.size_bytes, member.offset, problem)

    def contents(self, wanted: Mapping[int, Entry]) -> Iterator[tuple[int, bytes | Problem]]:
        try:
            yield from self._archive.contents(wanted.keys())
        except DamagedArchiveError as damage:
            self.damage = "failed", damage.reason, damage.evidence


def _common_folder(paths: Collection[str]) -> str:
    """The one topmost folder that holds everything, such as ``name-sha/`` in GitHub's archives, or ""."""
    tops = {path.partition("/")[0] for path in paths}
    return f"{tops.pop()}/" if len(tops) == 1 and all("/" in path for path in paths) else ""
