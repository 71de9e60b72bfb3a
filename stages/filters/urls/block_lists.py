"""Files of domains and URLs, read into tables of 64-bit hashes.

A file may be compressed, or a tar archive in UT1's layout (CATEGORY/domains, /urls, /expressions). Its lines may be
domains, URLs, lines of a hosts file ("0.0.0.0 example.com") or Adblock rules for whole domains ("||example.com^"), in
any order; "#", "!" and ";" start comments.

4.5 million domains as a set of strings would take 450 MiB in each process; as sorted hashes they take 60. Chance that a
name is taken for one of n listed ones that it is not: n / 2**64, which is 2.4e-13 for UT1's 4.5 million.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from pathlib import Path
from typing import IO, BinaryIO, Literal, NamedTuple, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.errors import StageError
from stages.filters.urls.addresses import address_of, canonical_host
from stages.filters.urls.kernels import Hashes, hashes_of, scan_lines
from stages.filters.urls.suffixes import PublicSuffixes, public_suffixes
from stages.intake.content import content_of

Suffixes = Literal["none", "private", "all"]
Index = tuple[NDArray[np.uint64], NDArray[np.int64], int]
BLOCK_BYTES = 4 << 20
TAR_MAGIC_END = 262  # "ustar" stands at bytes 257 to 261 of a tar archive

_DOMAIN = re.compile(r"(?:[a-z0-9_-]+\.)*[a-z](?:[a-z0-9-]*[a-z0-9])?")
_ADBLOCK_DOMAIN = re.compile(r"\|\|([^/^$|*]+)\^?(?:\$(?P<options>.*))?")
_WHOLE_PAGE_OPTIONS = frozenset(("all", "doc", "document", "important", "popup"))  # the others narrow a rule down
_HOSTS_OF_HOSTS_FILES = re.compile(  # names of the machine itself that every hosts file starts with
    r"localhost|localhost\.localdomain|local|broadcasthost|0\.0\.0\.0|ip6-\w+"
)


class BadLineError(ValueError):
    """A line that is no entry; the message says why, in words that are the same for all such lines."""


class Entry(NamedTuple):
    """What a line lists."""

    kind: Literal["domain", "url"]
    key: str | bytes  # a canonical host, or an ``Address.page``


@dataclass
class Listed:
    """What the files of a list hold: hashes of domains and pages, and expressions."""

    domains: list[Hashes] = field(default_factory=list)
    urls: list[Hashes] = field(default_factory=list)
    expressions: list[str] = field(default_factory=list)
    lines: int = 0
    bad: dict[str, int] = field(default_factory=dict)  # why -> lines
    first_bad: dict[str, str] = field(default_factory=dict)  # why -> place and text of the first such line

    def add(self, entries: Sequence[Entry]) -> None:
        domains = [entry.key for entry in entries if entry.kind == "domain"]
        urls = [entry.key for entry in entries if entry.kind == "url"]
        if domains:
            self.domains.append(hashed(domains))
        if urls:
            self.urls.append(hashed(urls))

    def entries(self) -> int:
        return sum(map(len, (*self.domains, *self.urls))) + len(self.expressions)

    def add_bad(self, why: str, place: str, line: str) -> None:
        self.bad[why] = self.bad.get(why, 0) + 1
        self.first_bad.setdefault(why, f"{place}: {line.strip()[:80]!r}")

    def problems(self) -> str | None:
        """What was passed over, for the user; None if nothing."""
        if not self.bad:
            return None
        kinds = "; ".join(f"{count:,} {why} (first in {self.first_bad[why]})" for why, count in self.bad.items())
        return f"{sum(self.bad.values()):,} of {self.lines:,} lines are not used: {kinds}"


def entries_of(line: str, suffixes: PublicSuffixes, allowed: Suffixes) -> list[Entry]:
    """What a line of any of the known formats lists: nothing if it is blank or a comment, several in a hosts file.

    Raises:
        BadLineError: it is none of them.
    """
    line = line.strip().strip("\ufeff\0").strip()
    if not line or line[0] in "#!;" or line.startswith("[Adblock"):
        return []
    if line.startswith("@@"):
        raise BadLineError("exceptions of Adblock: list them under allow")
    if line.startswith("||"):
        return [_domain(_adblock_domain(line), suffixes, allowed)]
    words = []
    for word in line.split():
        if word[0] in "#;":
            break
        words.append(word)
    if len(words) > 1:
        if not _is_ip(words[0]):
            raise BadLineError("several words")
        names = [name for name in words[1:] if not _HOSTS_OF_HOSTS_FILES.fullmatch(name.lower())]
        return [_domain(name, suffixes, allowed) for name in names]
    (word,) = words
    if "/" in word:
        address = address_of(word)
        host = address.domains[0]
        if not ("." in host and _DOMAIN.fullmatch(host)) and not _is_ip(host.strip("[]")):
            raise BadLineError("neither domain nor URL")
        return [Entry("url", address.page)]
    return [_domain(word.removeprefix("*."), suffixes, allowed)]


def _adblock_domain(line: str) -> str:
    found = _ADBLOCK_DOMAIN.fullmatch(line)
    if found is None or not set((found["options"] or "all").split(",")) <= _WHOLE_PAGE_OPTIONS:
        raise BadLineError("Adblock rules for less than a whole domain")
    return found[1]


def _domain(name: str, suffixes: PublicSuffixes, allowed: Suffixes) -> Entry:
    host, _, port = name.partition(":") if name.count(":") == 1 else (name, "", "")
    if port and not port.isdecimal():
        raise BadLineError("neither domain nor URL")
    if _is_ip(host.strip("[]")):
        return Entry("domain", canonical_host(f"[{host.strip('[]')}]" if ":" in host else host))
    host = canonical_host(host)
    if not _DOMAIN.fullmatch(host):
        raise BadLineError("neither domain nor URL")
    kind = suffixes.kind(host)
    if kind is not None and allowed != "all" and not (kind == "private" and allowed == "private"):
        raise BadLineError("public suffixes, which would block all domains below (see the option public_suffixes)")
    if kind is None and "." not in host:
        raise BadLineError("neither domain nor URL")
    return Entry("domain", host)


def _is_ip(text: str) -> bool:
    try:
        IPv6Address(text) if ":" in text else IPv4Address(text)
    except AddressValueError:
        return False
    return True


class Reader:
    """Reads the files of one list.

    Args:
        label: the list's name, for errors.
        categories: those to read of a tar archive with several.
        with_expressions: read the archive's expressions too.
        allowed_suffixes: which public suffixes may be listed.
        as_datatrove: entries are taken as they are spelled.
    """

    def __init__(
        self,
        label: str,
        categories: Sequence[str] = (),
        with_expressions: bool = False,
        allowed_suffixes: Suffixes = "none",
        as_datatrove: bool = False,
    ) -> None:
        self._label = label
        self._categories = categories
        self._with_expressions = with_expressions
        self._allowed = allowed_suffixes
        self._as_datatrove = as_datatrove
        self._suffixes = public_suffixes()
        self._suffix_index = indexed(hashed(list(self._suffixes.suffixes)))
        self._wildcard_index = indexed(hashed(list(self._suffixes.wildcards)))

    def read(self, paths: Iterable[Path]) -> Listed:
        """All entries of these files.

        Raises:
            StageError: a file cannot be read to its end, lists nothing, or lacks a category.
        """
        listed = Listed()
        for path in paths:
            before = listed.entries()
            try:
                with open(path, "rb") as file, content_of(file) as content:
                    is_tar = content.peek(TAR_MAGIC_END)[257:TAR_MAGIC_END] == b"ustar"
                    if not is_tar:
                        self._read_lines(content, str(path), listed)
                if is_tar:
                    self._read_tar(path, listed)
            except FileNotFoundError as error:
                raise StageError(f"{self._label}: there is no list {path}; correct its name") from error
            except (OSError, tarfile.TarError, EOFError) as error:
                raise StageError(f"{self._label}: the list {path} cannot be read to its end: {error}") from error
            if before == listed.entries():
                raise StageError(
                    f"{self._label}: the list {path} has no entry that can be used"
                    + (f": {listed.problems()}" if listed.bad else ": it has no lines but comments")
                )
        return listed

    def _read_tar(self, path: Path, listed: Listed) -> None:
        wanted = self._folders(path)
        with open(path, "rb") as file, content_of(file) as content, tarfile.open(fileobj=content, mode="r|") as tar:
            for member in tar:
                folder, name = _place(member.name)
                if folder not in wanted or not member.isfile():
                    continue
                lines = cast(IO[bytes], tar.extractfile(member))
                if name in ("domains", "urls"):
                    self._read_lines(lines, f"{path}, {member.name}", listed)
                elif name == "expressions" and self._with_expressions:
                    self._read_expressions(lines, f"{path}, {member.name}", listed)

    def _folders(self, path: Path) -> set[str]:
        """Folders of the archive to read: those of the wanted categories, of which some are links to others."""
        folders: dict[str, str] = {}
        with open(path, "rb") as file, content_of(file) as content, tarfile.open(fileobj=content, mode="r|") as tar:
            for member in tar:
                folder, name = _place(member.name)
                if member.issym():
                    folders[name] = _place(member.linkname)[1]
                elif member.isfile() and name in ("domains", "urls"):
                    folders[folder] = folder
        known = ", ".join(sorted(folders))
        if not self._categories and len(folders) > 1:
            raise StageError(f"{self._label}: choose categories of {path}: {known}")
        missing = [category for category in self._categories if folders.get(category) not in folders]
        if missing:
            raise StageError(f"{self._label}: {path} has no category {', '.join(missing)}; it has {known}")
        return {folders[category] for category in self._categories} or set(folders)

    def _read_lines(self, lines: BinaryIO | IO[bytes], place: str, listed: Listed) -> None:
        """The lines that are plain domains, millions of them, are read by a kernel, others one by one."""
        before = listed.lines
        for block in _blocks(lines):
            if self._as_datatrove:
                listed.add([_as_datatrove(line) for line in block.split(b"\n") if line.strip() and line[:1] != b"#"])
                listed.lines += block.count(b"\n")
                continue
            data = np.frombuffer(block, np.uint8)
            hashes, others, count = scan_lines(data, self._suffix_index, self._wildcard_index)
            listed.domains.append(hashes.copy())  # not the whole room that the kernel made
            entries: list[Entry] = []
            for number, start, end in others.tolist():
                line = block[start:end]
                try:
                    entries += entries_of(line.decode(), self._suffixes, self._allowed)
                except UnicodeDecodeError:
                    why = "not UTF-8"
                except BadLineError as bad:
                    why = str(bad)
                else:
                    continue
                where = f"{place}, line {listed.lines - before + number + 1}"
                listed.add_bad(why, where, line.decode(errors="replace"))
            listed.add(entries)
            listed.lines += count

    @staticmethod
    def _read_expressions(lines: Iterable[bytes], place: str, listed: Listed) -> None:
        number = 0
        for number, line in enumerate(lines, 1):
            text = line.decode(errors="replace").strip()
            if not text or text.startswith("#"):
                continue
            try:
                pc.match_substring_regex(pa.array([""]), text)
            except pa.ArrowInvalid:
                listed.add_bad("expressions that RE2 does not know", f"{place}, line {number}", text)
            else:
                listed.expressions.append(text)
        listed.lines += number


def _place(member: str) -> tuple[str, str]:
    """Name of the folder of an archive's member ("" at the top), and its own."""
    path = Path(member)
    return path.parent.name, path.name


def _as_datatrove(line: bytes) -> Entry:
    return Entry("url" if b"/" in line else "domain", line.strip())


def _blocks(file: BinaryIO | IO[bytes]) -> Iterator[bytes]:
    """The content of a file in blocks that end where a line ends."""
    pieces: list[bytes] = []
    while block := file.read(BLOCK_BYTES):
        whole, newline, rest = block.rpartition(b"\n")
        if newline:
            yield b"".join((*pieces, whole, newline))
            pieces = [rest]
        else:
            pieces.append(rest)
    if last := b"".join(pieces):
        yield last


def hashed(names: Sequence[str | bytes]) -> Hashes:
    """The hash of each name."""
    encoded = [name.encode() if isinstance(name, str) else name for name in names]
    offsets = np.zeros(len(names) + 1, np.int64)
    np.cumsum([len(name) for name in encoded], out=offsets[1:])
    return hashes_of(np.frombuffer(b"".join(encoded), np.uint8), offsets)


def indexed(hashes: Hashes) -> Index:
    """Hashes as the kernels search them: sorted, with an index by their first bits, about four hashes to each."""
    keys = np.sort(hashes)
    shift = 64 - max(1, len(keys).bit_length() - 2)
    firsts = np.arange(1 << (64 - shift), dtype=np.uint64) << np.uint64(shift)
    return keys, np.append(np.searchsorted(keys, firsts), len(keys)).astype(np.int64), shift


class HashTable:
    """Sorted hashes of several lists, each with the number of the list that it comes from."""

    def __init__(self, lists: Sequence[Sequence[Hashes]]) -> None:
        merged = [np.concatenate([np.empty(0, np.uint64), *hashes]) for hashes in lists]
        keys = np.concatenate([np.empty(0, np.uint64), *merged])
        numbers = np.repeat(np.arange(len(lists), dtype=np.uint16), [len(hashes) for hashes in merged])
        self._numbers: NDArray[np.uint16] = numbers[np.argsort(keys)]
        self.index = indexed(keys)

    def found(self, wanted: Hashes) -> Iterator[tuple[int, int]]:
        """(place in ``wanted``, number of a list that holds it), in the order of ``wanted``."""
        keys = self.index[0]
        if not len(keys):
            return
        first, behind = np.searchsorted(keys, wanted), np.searchsorted(keys, wanted, "right")
        for place in np.flatnonzero(first < behind).tolist():
            for number in sorted(set(self._numbers[first[place] : behind[place]].tolist())):
                yield place, number
