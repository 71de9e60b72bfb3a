"""Repositories of source code as documents: one a file, or one a repository."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field, ValidationInfo, field_validator

from pipeline.locations.location import InputFile, reason_of
from pipeline.stage import Context, Outcome, Removal, Source, Split, documents, removal
from stages.intake.files import FilesConfig
from stages.intake.source_code import archives, licences
from stages.intake.source_code import made_by_others as foreign
from stages.intake.source_code.decoding import count_lines, decoded, lines_of
from stages.intake.source_code.languages import (
    AMBIGUOUS_SUFFIXES,
    KIND_BY_LANGUAGE,
    Kind,
    language_of_content,
    language_of_path,
    language_of_shebang,
    suffix_of,
)
from stages.intake.source_code.notebooks import parsed_notebook
from stages.intake.source_code.readers import ArchiveReader, Entry, FolderReader
from stages.intake.source_code.repositories import (
    Repository,
    is_of_version_control,
    repositories,
    splits_of_repositories,
)

COLUMNS = (pa.field("source_code.lines", pa.int64()),)

_SPLIT_BYTES = 16_000_000  # about a second of work
_SPLIT_FILES = 2000
_BATCH_CHARACTERS = 16_000_000
_BATCH_ROWS = 256
_HELD_CHARACTERS = 128_000_000  # text of one repository that is held at a time to bring it into order
_MIN_CHARACTERS = 200  # shorter files may have few letters: "x = 1"
NOTEBOOK = "jupyter_notebook"
Problem = archives.Problem


class SourceCodeConfig(FilesConfig):
    """Options of ``source_code``. ``files`` may be folders (of repositories, or one), tar and zip archives."""

    kinds: tuple[Kind, ...] = Field(("code",), min_length=1)
    """What to keep: code, documentation (Markdown, reStructuredText, TeX, HTML, text), configuration (JSON, YAML)."""

    suffixes: dict[str, str] = Field(default_factory=dict)
    """Languages of further suffixes, such as {.moo: moo}. They go first; languages that are new count as code."""

    languages: tuple[str, ...] = ()
    """Languages to keep, such as python or cpp; all of the kinds above if empty."""

    notebooks: bool = True
    """Turn Jupyter notebooks into Markdown, without outputs. Off: they are dropped."""

    licences: tuple[str, ...] = ()
    """SPDX ids to keep, or the word ``permissive`` for all that ask for attribution at most; all files if empty."""

    keep_generated: bool = False
    """Keep what programs wrote: lock files, parsers, protocol buffers, files that say so in their first lines."""

    keep_vendored: bool = False
    """Keep other projects' code: node_modules, vendor, third_party and the like."""

    documents: Literal["files", "repositories"] = "files"
    """What a document is. Repositories: all files of one, README first, then by path."""

    file_header: str = "==> {path} <=="
    """Line before each file of a repository's document, the form in which ``head`` and ``tail`` name files."""

    max_file_bytes: int = Field(1_000_000, gt=0)
    """Larger files are dropped: they hold data or generated code."""

    max_notebook_bytes: int = Field(10_000_000, gt=0)
    """The same for notebooks, whose outputs are most of their size."""

    max_document_bytes: int = Field(4_000_000, gt=0)
    """A larger repository becomes several documents, cut between files."""

    max_unpacked_bytes: int = Field(20_000_000_000, gt=0)
    """An archive that unpacks to more is read up to there."""

    max_ratio: float = Field(200, gt=1)
    """An archive that unpacks to more times its own size is read up to there (source code: 4 to 20 times)."""

    @field_validator("languages")
    @classmethod
    def _known_languages(cls, languages: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        known = {*KIND_BY_LANGUAGE, *info.data.get("suffixes", {}).values()}
        for language in languages:
            if language not in known:
                nearest = difflib.get_close_matches(language, known, 1)
                raise ValueError(f"unknown language {language!r}" + f": do you mean {nearest[0]}?" * bool(nearest))
        return languages

    @field_validator("licences")
    @classmethod
    def _known_licences(cls, stated: tuple[str, ...]) -> tuple[str, ...]:
        for licence in stated:
            if licence != "permissive" and (spdx := licences.spdx(licence)) != licence:
                nearest = f": do you mean {spdx}?" if spdx else ": see https://spdx.org/licenses"
                raise ValueError(f"{licence!r} is not the SPDX id of a licence, nor 'permissive'{nearest}")
        return stated

    @field_validator("file_header")
    @classmethod
    def _names_the_file(cls, header: str) -> str:
        if "{path}" not in header:
            raise ValueError("must hold {path}, or a repository's files could not be told apart")
        try:
            header.format(path="")
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            raise ValueError("may hold no braces but those of {path}; write {{ for {") from error
        return header


@dataclass(frozen=True, slots=True)
class File:
    """A file that is kept."""

    entry: Entry
    language: str
    digest: str
    length: int
    text: str
    lines: int
    licence: tuple[str, str] | None


class SourceCode(Source[SourceCodeConfig]):
    """Read repositories of source code (folders, tar, zip) with language and licence of each file."""

    name = "source_code"
    version = 2
    config_type = SourceCodeConfig
    provides = ("text", "source_code.lines")

    def setup(self, context: Context) -> None:
        named = frozenset(self.config.licences)
        self._allowed = named - {"permissive"} | (licences.PERMISSIVE if "permissive" in named else frozenset())

    def splits(self) -> list[Split]:
        found = repositories(self.config.matching_files(()))
        return splits_of_repositories(found, _SPLIT_BYTES, _SPLIT_FILES)

    def read(self, split: Split, source: str, context: Context) -> Iterator[Outcome]:
        self.setup(context)
        batch = _Batch(source)
        for repository in repositories(split.files):
            if repository.archive is None:
                max_bytes = max(self.config.max_file_bytes, self.config.max_notebook_bytes)
                folder = FolderReader(repository, max_bytes, lambda location: self.config.opened(location, context))
                yield from _Reading(self.config, self._allowed, folder, batch).outcomes()
            else:
                yield from self._read_archive(repository, repository.archive, batch, context)
        yield batch.outcome()

    def _read_archive(
        self, repository: Repository, file: InputFile, batch: _Batch, context: Context
    ) -> Iterator[Outcome]:
        limits = archives.Limits(self.config.max_unpacked_bytes, self.config.max_ratio)
        try:
            with self.config.copied(file.location, context) as path:
                archive = ArchiveReader(repository, file, archives.opened_archive(path, file.name, limits))
                yield from _Reading(self.config, self._allowed, archive, batch).outcomes()
        except OSError as error:
            identity, evidence = f"{batch.source}/{file.name}#unread", f"{file.name}: {error.strerror}"
            batch.removed.append(Removal(identity, batch.source, "failed", reason_of(error), evidence))


class _Batch:
    """Documents and removals that wait to be yielded, of one repository or of several small ones."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.rows: list[dict[str, Any]] = []
        self.removed: list[Removal] = []
        self._text_size = 0

    def add(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        self._text_size += len(row["text"])

    def is_full(self) -> bool:
        return len(self.rows) + len(self.removed) >= _BATCH_ROWS or self._text_size >= _BATCH_CHARACTERS

    def outcome(self) -> Outcome:
        """All that waits."""
        rows, removed = self.rows, self.removed
        self.rows, self.removed, self._text_size = [], [], 0
        return Outcome(documents(rows, COLUMNS), removed, {self.source: len(rows) + len(removed)})


class _Reading:
    """One repository on its way into documents."""

    def __init__(
        self,
        config: SourceCodeConfig,
        allowed: frozenset[str],
        repository: FolderReader | ArchiveReader,
        batch: _Batch,
    ) -> None:
        self._config = config
        self._allowed = allowed
        self._repository = repository
        self._batch = batch
        self._source = batch.source
        self._licences = licences.RepositoryLicences()
        self._held: list[File] = []  # for the document of the repository
        self._held_characters = 0
        self._documents = 0

    def outcomes(self) -> Iterator[Outcome]:
        """Batches as they fill; what is left at the end stays in the batch."""
        wanted: dict[int, Entry] = {}
        for place, entry in enumerate(self._repository.entries(self._licences)):
            if is_of_version_control(entry.path):
                continue
            problem = entry.problem or self._judged_by_path(entry)
            if problem:
                self._remove(entry, problem)
            else:
                wanted[place] = entry
        delivered: set[int] = set()
        for place, content in self._repository.contents(wanted):
            delivered.add(place)
            self._take(wanted[place], content)
            if self._held_characters >= _HELD_CHARACTERS:
                self._finish_repository()
            if self._batch.is_full():
                yield self._batch.outcome()
        self._finish_repository()
        self._account_for_damage([wanted[place] for place in wanted.keys() - delivered])

    def _account_for_damage(self, missing: list[Entry]) -> None:
        damage = self._repository.damage
        if damage is None:
            return
        for entry in missing:  # the archive ended earlier than when its members were listed
            self._remove(entry, damage)
        identity = f"{self._source}/{self._repository.origin}#damage"
        evidence = f"{self._repository.origin}: {damage[2]}"
        self._batch.removed.append(Removal(identity, self._source, damage[0], damage[1], evidence))

    # ------------------------------------------------------------------------------------------- what to keep

    def _judged_by_path(self, entry: Entry) -> Problem | None:
        config, path = self._config, entry.path
        language, suffix = self._language_by_path(path), suffix_of(path)
        if licences.is_licence_file(path):
            return "dropped", "not_code", "the text of a licence"
        if language is None and (suffix or path.rpartition("/")[2].startswith(".")):
            return "dropped", "not_code", f"the suffix {suffix!r} is not among the suffixes of code"
        if language is not None:
            if problem := self._judged_by_language(language, suffix):
                return problem
            if not config.keep_vendored and (evidence := foreign.vendored_by_path(entry.telling_path)):
                return "dropped", "vendored", evidence
            if not config.keep_generated and (evidence := foreign.generated_by_path(entry.telling_path, language)):
                return "dropped", "generated", evidence
            if evidence := foreign.minified_by_path(entry.telling_path):
                return "dropped", "minified", evidence
        max_bytes = self._max_bytes(language)
        if entry.size_bytes is not None and entry.size_bytes > max_bytes:
            return "dropped", "too_large", f"{entry.size_bytes} bytes > {max_bytes}"
        return None

    def _language_by_path(self, path: str) -> str | None:
        return self._config.suffixes.get(suffix_of(path)) or language_of_path(path)

    def _max_bytes(self, language: str | None) -> int:
        return self._config.max_notebook_bytes if language == NOTEBOOK else self._config.max_file_bytes

    def _judged_by_language(self, language: str, suffix: str = "") -> Problem | None:
        kind = KIND_BY_LANGUAGE.get(language, "code")
        if language == NOTEBOOK and not self._config.notebooks:
            return "dropped", "not_code", "a notebook"
        if kind not in self._config.kinds:
            return "dropped", "other_kind", f"{language} is {kind}, not {' or '.join(self._config.kinds)}"
        may_change = language == NOTEBOOK or suffix.lower() in AMBIGUOUS_SUFFIXES
        if self._config.languages and language not in self._config.languages and not may_change:
            return "dropped", "other_language", f"{language} is not {' or '.join(self._config.languages)}"
        return None

    def _take(self, entry: Entry, content: bytes | Problem) -> None:
        if not isinstance(content, bytes):
            self._remove(entry, content)
            return
        digest = hashlib.sha256(content).hexdigest()
        file = self._read(entry, content, digest)
        if not isinstance(file, File):
            text, problem = file
            self._remove(entry, problem, digest, text)
            return
        if self._config.documents == "files":
            self._batch.add(self._row_of_file(file))
        else:
            self._held.append(file)
            self._held_characters += len(file.text)

    def _read(self, entry: Entry, content: bytes, digest: str) -> File | tuple[str, Problem]:
        """The file if it is worth keeping, else its text and why not."""
        language = self._language_by_path(entry.path)
        if len(content) > self._max_bytes(language):
            return "", ("dropped", "too_large", f"{len(content)} bytes > {self._max_bytes(language)}")
        if language is None and not content.startswith(b"#!"):
            return "", ("dropped", "not_code", "neither a suffix nor a line #!")
        try:
            text = code = decoded(content, language or "")
            if language == NOTEBOOK:
                notebook = parsed_notebook(text)
                language, text, code = notebook.language, notebook.text, notebook.code
        except ValueError as error:
            reason = "bad_notebook" if language == NOTEBOOK else "not_text"
            return "", ("failed", reason, str(error))
        if language is None:
            language = language_of_shebang(text)
            if language is None:
                evidence = f"an interpreter of no known language: {text[:80].splitlines()[0]}"
                return text, ("dropped", "not_code", evidence)
        language = language_of_content(suffix_of(entry.path), language, text)
        problem = self._judged_by_language(language) or self._judged_by_text(text, lines_of(code), language)
        if problem:
            return text, problem
        licence = self._licences.of(entry.path, text)
        if self._allowed and not (licence and licences.is_allowed(licence[0], self._allowed)):
            stated = f"{licence[0]} ({licence[1]}) is not to be kept" if licence else "no licence is stated"
            return text, ("dropped", "licence", stated)
        return File(entry, language, digest, len(content), text, count_lines(text), licence)

    def _judged_by_text(self, text: str, lines: list[str], language: str) -> Problem | None:
        """What to do with a file of this text, whose lines of code are ``lines``."""
        if not text.strip():
            return "dropped", "empty", "no visible character"
        if len(text) > self._config.max_file_bytes:  # a notebook
            return "dropped", "too_large", f"{len(text)} characters > {self._config.max_file_bytes}"
        if KIND_BY_LANGUAGE.get(language, "code") == "code" and lines:  # a paragraph of prose may be one long line
            if judged := foreign.line_lengths_judged(lines):
                return "dropped", *judged
            if not self._config.keep_generated and (evidence := foreign.generated_by_content(lines)):
                return "dropped", "generated", evidence
        if (share := foreign.letter_share(text)) < foreign.MIN_LETTER_SHARE and len(text) >= _MIN_CHARACTERS:
            return (
                "dropped",
                "few_letters",
                f"{share:.1%} of the characters are letters < {foreign.MIN_LETTER_SHARE:.0%}",
            )
        return None

    def _remove(self, entry: Entry, problem: Problem, digest: str = "", text: str = "") -> None:
        verdict, reason, evidence = problem
        row = {"id": f"{self._source}/{entry.name}#{digest[:12] or 'unread'}", "source": self._source, "text": text}
        self._batch.removed.append(removal(row, verdict, reason, f"{entry.name}: {evidence}"))

    # ------------------------------------------------------------------------------------------- documents

    def _row_of_file(self, file: File) -> dict[str, Any]:
        meta = {"code_language": file.language, "repository": self._repository.name, "path": file.entry.path}
        if file.licence:
            meta["licence"], meta["licence_from"] = file.licence
        return {
            "id": f"{self._source}/{file.entry.name}#{file.digest[:12]}",
            "text": file.text,
            "source": self._source,
            "mime": "text/plain",
            "origin": {
                "path": self._repository.origin or file.entry.name,
                "offset": file.entry.offset,
                "length": file.length,
                "digest": file.digest,
            },
            "meta": meta | self._repository.told,
            "source_code.lines": file.lines,
        }

    def _finish_repository(self) -> None:
        group: list[File] = []
        size = 0
        for file in sorted(self._held, key=_place_in_document):
            if group and size + len(file.text) > self._config.max_document_bytes:
                self._batch.add(self._row_of_repository(group))
                group, size = [], 0
            group.append(file)
            size += len(file.text)
        if group:
            self._batch.add(self._row_of_repository(group))
        self._held, self._held_characters = [], 0

    def _row_of_repository(self, files: list[File]) -> dict[str, Any]:
        headers = (self._config.file_header.format(path=file.entry.path) for file in files)
        text = "\n".join(f"{header}\n{file.text.rstrip()}\n" for header, file in zip(headers, files, strict=True))
        digest = hashlib.sha256(text.encode()).hexdigest()
        languages: Counter[str] = Counter()
        for file in files:
            languages[file.language] += len(file.text)
        meta = {
            "code_language": languages.most_common(1)[0][0],
            "repository": self._repository.name,
            "files": str(len(files)),
        }
        if stated := list(dict.fromkeys(file.licence for file in files if file.licence)):
            meta["licence"] = licences.joined(licence for licence, _ in stated)
            meta["licence_from"] = ", ".join(dict.fromkeys(origin for _, origin in stated))
        self._documents += 1
        name = self._repository.origin or self._repository.name  # two archives may hold the same repository
        return {
            "id": f"{self._source}/{name}@{self._documents - 1}#{digest[:12]}",
            "text": text,
            "source": self._source,
            "mime": "text/plain",
            "origin": {
                "path": self._repository.origin or self._repository.name,
                "offset": files[0].entry.offset,
                "length": sum(file.length for file in files),
                "digest": digest,
            },
            "meta": meta | self._repository.told,
            "source_code.lines": sum(file.lines for file in files),
        }


def _place_in_document(file: File) -> tuple[bool, str]:
    is_readme = re.match(r"readme\b", file.entry.path, re.IGNORECASE) is not None
    return not is_readme, file.entry.path
