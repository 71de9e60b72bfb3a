"""Members of tar and zip archives, read one after the other in bounded memory; nothing is unpacked to disk."""

from __future__ import annotations

import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from pipeline.stage import Verdict
from stages.intake.content import content_of

_TAR_SUFFIXES = (*(".tar", ".tar.gz", ".tgz", ".crate", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst"),)
_ZIP_SUFFIXES = (".zip", ".whl")
ARCHIVE_SUFFIXES = (*_TAR_SUFFIXES, *_ZIP_SUFFIXES)

_CHUNK_BYTES = 1 << 15  # tarfile copies what is left of a chunk at each read: larger ones are slower
_MAX_HEADER_BYTES = 1 << 20  # of a pax or GNU long-name header, which tarfile reads whole
MAX_READ_BYTES = 1_000_000  # larger members are not read while they are listed
_RATIO_COUNTS_FROM_BYTES = 64_000_000  # small archives may be mostly zeros
_UNPACKING_ERRORS = (EOFError, OSError, zlib.error)  # EOFError and zlib.error: of zipfile
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")

Problem = tuple[Verdict, str, str]
"""Verdict, reason and evidence of what cannot or must not be read."""


class DamagedArchiveError(Exception):
    """An archive cannot be read (any further)."""

    def __init__(self, reason: str, evidence: str) -> None:
        super().__init__(evidence)
        self.reason = reason
        self.evidence = evidence


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds against archives made to exhaust memory and time."""

    max_unpacked_bytes: int
    max_ratio: float  # unpacked bytes / bytes of the archive


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an archive that is not a folder."""

    path: str  # as in the archive, cleaned: "/" between folders, no "./"
    size_bytes: int
    offset: int  # tar: of its content in the unpacked tar; zip: of its header in the file
    problem: Problem | None = None


class Archive(Protocol):
    """An archive that can be gone through more than once, always in the same order."""

    commit: str | None  # of the Git repository that the archive was made from; known after ``members``

    def members(self, is_read: Callable[[str], bool]) -> Iterator[tuple[Member, bytes | None]]:
        """The members that are there whole, with the content of those for whose paths ``is_read`` holds.

        Raises:
            DamagedArchiveError: at the point from which nothing can be read.
        """

    def contents(self, wanted: Collection[int]) -> Iterator[tuple[int, bytes | Problem]]:
        """Content, or why there is none, of the members at these places of ``members``.

        Raises:
            DamagedArchiveError: as ``members``.
        """


def is_archive(name: str) -> bool:
    """Whether a file's name is that of an archive."""
    return name.lower().endswith(ARCHIVE_SUFFIXES)


def without_archive_suffix(name: str) -> str:
    """An archive's name without its suffix."""
    return name[: -len(max((s for s in ARCHIVE_SUFFIXES if name.lower().endswith(s)), key=len, default=""))]


def opened_archive(path: Path, name: str, limits: Limits) -> Archive:
    """The archive at ``path``; its kind follows from ``name``."""
    if name.lower().endswith(_ZIP_SUFFIXES):
        return ZipArchive(path, limits)
    return TarArchive(path, name.lower(), limits)


class TarArchive:
    """A tar, compressed or not, read as a stream."""

    def __init__(self, path: Path, name: str, limits: Limits) -> None:
        self._path = path
        self._name = name
        self._limits = limits
        self.commit: str | None = None

    def members(self, is_read: Callable[[str], bool]) -> Iterator[tuple[Member, bytes | None]]:
        waiting: tuple[Member, bytes | None] | None = None  # it is whole once the stream has passed its end
        end = 0
        with self._stream() as stream:
            try:
                for tar, info in _headers(stream):
                    if waiting:
                        yield waiting
                    waiting, end = None, info.offset_data + info.size * info.isreg()
                    if _COMMIT.fullmatch(comment := tar.pax_headers.get("comment", "")):  # as git archive writes it
                        self.commit = comment
                    if info.isdir():
                        continue
                    member = _tar_member(info)
                    is_statement = (
                        member.problem is None and member.size_bytes <= MAX_READ_BYTES and is_read(member.path)
                    )
                    waiting = member, _tar_content(tar, info, stream) if is_statement else None
                if waiting:
                    yield waiting
            except DamagedArchiveError as damage:
                if waiting and end <= stream.unpacked_bytes:
                    yield waiting
                elif waiting:
                    raise DamagedArchiveError(damage.reason, f"{damage.evidence}, within {waiting[0].path}") from damage
                raise

    def contents(self, wanted: Collection[int]) -> Iterator[tuple[int, bytes | Problem]]:
        left = len(wanted)
        place = -1
        with self._stream() as stream:
            for tar, info in _headers(stream) if wanted else ():
                if info.isdir():
                    continue
                place += 1
                if place not in wanted:
                    continue
                yield place, _tar_content(tar, info, stream)
                left -= 1
                if not left:
                    return

    @contextmanager
    def _stream(self) -> Iterator[_CountedStream]:
        with self._path.open("rb") as packed:
            size = self._path.stat().st_size
            yield _CountedStream(content_of(packed), self._limits, size)


class _Header(tarfile.TarInfo):
    """A header that is checked before tarfile trusts it."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> _Header:
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise  # the zeros at the end
        except tarfile.HeaderError as error:  # tarfile takes it for the end of the archive, except in the first header
            raise DamagedArchiveError("damaged", f"{error} at byte {archive.offset} of the tar") from error

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        header = super().frombuf(buf, encoding, errors)
        if header.size < 0 or (header.type in _EXTENSIONS and header.size > _MAX_HEADER_BYTES):
            raise DamagedArchiveError("damaged", f"a header of {header.size} bytes")
        return header


_EXTENSIONS = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)


def _headers(stream: _CountedStream) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    with _damage_told(stream):
        options: Any = {"fileobj": stream, "mode": "r|", "bufsize": _CHUNK_BYTES, "tarinfo": _Header}
        tar: tarfile.TarFile = tarfile.open(**options)  # noqa: SIM115
    position = -1
    while True:
        with _damage_told(stream):
            info = tar.next()
        if info is None:
            return
        if info.size < 0 or info.offset <= position:
            raise DamagedArchiveError("damaged", f"a header that leads backwards at byte {info.offset} of the tar")
        position = info.offset
        tar.members.clear()  # type: ignore[attr-defined]  # or memory would grow with the number of members
        yield tar, info


@contextmanager
def _damage_told(stream: _CountedStream) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, ValueError, *_UNPACKING_ERRORS) as error:
        evidence = f"{error or type(error).__name__} after {stream.unpacked_bytes} unpacked bytes"
        raise DamagedArchiveError("damaged", evidence) from error


def _tar_content(tar: tarfile.TarFile, info: tarfile.TarInfo, stream: _CountedStream) -> bytes:
    with _damage_told(stream):
        file = tar.extractfile(info)
        assert file is not None  # only regular members are asked for
        return file.read()


def _tar_member(info: tarfile.TarInfo) -> Member:
    path, problem = _cleaned(info.name)
    if not info.isreg():
        kind = "a link to " + _printable(info.linkname) if info.issym() or info.islnk() else "a device or the like"
        problem = ("dropped", "not_a_file", f"{path} is {kind}")
    return Member(path, info.size, info.offset_data, problem)


class _CountedStream:
    """Unpacked bytes in order; ends an archive that unpacks to more than the limits allow.

    A read that meets damage first gives what was decoded before it.
    """

    def __init__(self, unpacked: BinaryIO, limits: Limits, archive_bytes: int) -> None:
        self._unpacked = unpacked
        self._limits = limits
        self._archive_bytes = archive_bytes
        self._damage: Exception | None = None
        self.unpacked_bytes = 0

    def read(self, size: int) -> bytes:
        if self._damage:
            raise self._damage
        pieces: list[bytes] = []
        missing = size
        while missing:
            try:
                piece = self._unpacked.read1(missing)  # type: ignore[attr-defined]
            except _UNPACKING_ERRORS as error:
                if not pieces:
                    raise
                self._damage = error
                break
            if not piece:
                break
            pieces.append(piece)
            missing -= len(piece)
        _check_unpacked(self.unpacked_bytes + size - missing, self._archive_bytes, self._limits)
        self.unpacked_bytes += size - missing
        return b"".join(pieces)


def _check_unpacked(unpacked_bytes: int, archive_bytes: int, limits: Limits) -> None:
    """Raise if an archive has unpacked to more than it may.

    Raises:
        DamagedArchiveError: with the reason ``decompression_bomb``.
    """
    if unpacked_bytes > limits.max_unpacked_bytes:
        evidence = f"{unpacked_bytes} unpacked bytes > {limits.max_unpacked_bytes}"
        raise DamagedArchiveError("decompression_bomb", evidence)
    if unpacked_bytes > max(_RATIO_COUNTS_FROM_BYTES, limits.max_ratio * archive_bytes):
        ratio = unpacked_bytes / max(archive_bytes, 1)
        raise DamagedArchiveError("decompression_bomb", f"unpacks to {ratio:.0f} times its size > {limits.max_ratio:g}")


class ZipArchive:
    """A zip, read member by member."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self._path = path
        self._limits = limits
        self.commit: str | None = None

    def members(self, is_read: Callable[[str], bool]) -> Iterator[tuple[Member, bytes | None]]:
        with self._opened() as archive:
            comment = archive.comment.decode("ascii", "replace").strip()
            self.commit = comment if _COMMIT.fullmatch(comment) else None  # as git archive writes it
            for info in archive.infolist():
                if _is_zip_folder(info):
                    continue
                member = _zip_member(info)
                is_statement = member.problem is None and member.size_bytes <= MAX_READ_BYTES and is_read(member.path)
                content = _zip_content(archive, info) if is_statement else None
                yield member, content if isinstance(content, bytes) else None

    def contents(self, wanted: Collection[int]) -> Iterator[tuple[int, bytes | Problem]]:
        unpacked_bytes = 0
        archive_bytes = self._path.stat().st_size
        with self._opened() as archive:
            files = [info for info in archive.infolist() if not _is_zip_folder(info)]
            for place in sorted(wanted):
                content = _zip_content(archive, files[place])
                if isinstance(content, bytes):
                    unpacked_bytes += len(content)
                    _check_unpacked(unpacked_bytes, archive_bytes, self._limits)
                yield place, content

    @contextmanager
    def _opened(self) -> Iterator[zipfile.ZipFile]:
        try:
            archive = zipfile.ZipFile(self._path)
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, EOFError) as error:
            raise DamagedArchiveError("damaged", f"{error}") from error
        with archive:
            yield archive


def _is_zip_folder(info: zipfile.ZipInfo) -> bool:
    return info.filename.endswith(("/", "\\"))


def _zip_member(info: zipfile.ZipInfo) -> Member:
    path, problem = _cleaned(info.filename.replace("\\", "/"))  # some tools on Windows write it so
    mode = info.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        kind = "a link" if stat.S_ISLNK(mode) else "a device or the like"
        problem = ("dropped", "not_a_file", f"{path} is {kind}")
    elif info.flag_bits & 1:
        problem = problem or ("failed", "encrypted", f"{path} is encrypted")
    return Member(path, info.file_size, info.header_offset, problem)


def _zip_content(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes | Problem:
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # zipfile unpacks other methods without a bound
        evidence = f"{info.filename}: packed by method {info.compress_type}, neither stored nor deflated"
        return "failed", "unreadable", evidence
    try:
        with archive.open(info) as file:
            return file.read()
    except (zipfile.BadZipFile, ValueError, *_UNPACKING_ERRORS) as error:
        return "failed", "damaged", f"{info.filename}: {error or type(error).__name__}"
    except NotImplementedError as error:  # a way of packing that zipfile does not know
        return "failed", "unreadable", f"{info.filename}: {error}"


def _cleaned(name: str) -> tuple[str, Problem | None]:
    """A member's path without "." and empty parts; a problem if it would lead out of the archive's own folder."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    path = _printable("/".join(parts))
    if ".." in parts or name.startswith("/") or re.match(r"[A-Za-z]:", name) or not parts:
        return path, ("dropped", "unsafe_path", f"{_printable(name)!r} is absolute or leads out of the archive")
    return path, None


def _printable(name: str) -> str:
    """A name as text: bytes that are no UTF-8, which tarfile passes as surrogates, become question marks."""
    return name.encode("utf-8", "replace").decode("utf-8")
