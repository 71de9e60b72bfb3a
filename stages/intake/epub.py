"""Electronic books in EPUB, version 2 and 3, as documents.

Read with the standard library's zipfile and lxml: the known EPUB library (EbookLib) is under the AGPL, holds whole
books in memory and puts no bound on what they unfold to. Nothing is unpacked to disk.
"""

from __future__ import annotations

import hashlib
import posixpath
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import Field

from pipeline.locations.location import InputFile, reason_of
from pipeline.stage import Context, Outcome, Removal, Source, Split, removal
from stages.intake.batches import batched
from stages.intake.book_text import book_text, types_of
from stages.intake.columns import Row
from stages.intake.files import FilesConfig, splits_of_size

CONTAINER = "META-INF/container.xml"
ENCRYPTION = "META-INF/encryption.xml"
FONT_ALGORITHMS = frozenset(  # obfuscated fonts are no copy protection: EPUB 3.3, section 4.3, and Adobe's own
    ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")
)
CHAPTER_TYPES = frozenset(("application/xhtml+xml", "text/html", "application/x-dtbook+xml", "text/x-oeb1-document"))
LEFT_OUT = {  # EPUB 2 guide types and EPUB 3 structural semantics: what they are called in the meta data
    "cover": "cover",
    "toc": "navigation",
    "landmarks": "navigation",
    "page-list": "navigation",
    "loi": "navigation",
    "lot": "navigation",
    "copyright-page": "copyright",
}
KEPT_METADATA = ("title", "creator", "publisher", "identifier", "subject")  # names of Dublin Core
MAX_METADATA_CHARACTERS = 2_000


class EpubConfig(FilesConfig):
    """Options of ``epub``."""

    markdown: bool = False
    """Write headings, lists, quotations, tables, emphasis and code as Markdown; else as plain text."""

    per_chapter: bool = False
    """Make a document of each file of the book's reading order, which usually is a chapter; else one of the book."""

    max_unpacked_bytes: int = Field(30_000_000, gt=0)
    """Books whose text files unfold to more fail."""


@dataclass(frozen=True, slots=True)
class Chapter:
    """A file of the reading order."""

    path: str  # in the archive
    text: str


@dataclass(frozen=True, slots=True)
class Book:
    """What is in an EPUB file."""

    chapters: list[Chapter]
    left_out: dict[str, str]  # path: why
    metadata: dict[str, list[str]]  # Dublin Core names without prefix, such as "creator"


class UnreadableBook(Exception):  # noqa: N818 (an outcome, reported as a row)
    """The book cannot be read: the ledger's reason and the evidence."""

    def __init__(self, reason: str, evidence: str) -> None:
        super().__init__(evidence)
        self.reason, self.evidence = reason, evidence


class Epub(Source[EpubConfig]):
    """Read books in EPUB: their chapters in reading order, without cover, navigation and copyright page.

    Title, authors, identifier and licence are kept in meta. A document's id is the file and the digest of its content;
    of a chapter also its path in the book.
    """

    name = "epub"
    config_type = EpubConfig

    def splits(self) -> list[Split]:
        return splits_of_size(self.config.matching_files((".epub",)), max_bytes=32_000_000, max_files=50)

    def read(self, split: Split, source: str, context: Context) -> Iterator[Outcome]:
        return batched(source, (row for file in split.files for row in self._documents(file, source, context)))

    def _documents(self, file: InputFile, source: str, context: Context) -> Iterator[Row | Removal]:
        name, digest = file.name, "unread"
        try:
            with self.config.copied(file.location, context) as path:
                with open(path, "rb") as content:
                    digest, size = hashlib.file_digest(content, "sha256").hexdigest(), content.tell()
                book = read_book(path, self.config.max_unpacked_bytes, self.config.markdown)
        except OSError as error:
            evidence = f"{name}: {error.strerror or error}"
            yield Removal(f"{source}/{name}#{digest[:12]}", source, "failed", reason_of(error), evidence)
            return
        except UnreadableBook as error:
            evidence = f"{name}: {error.evidence}"
            yield Removal(f"{source}/{name}#{digest[:12]}", source, "failed", error.reason, evidence)
            return
        origin = {"path": name, "offset": 0, "length": size, "digest": digest}
        row: Row = {"id": f"{source}/{name}#{digest[:12]}", "source": source, "origin": origin} | _described(book)
        if not any(chapter.text for chapter in book.chapters):
            yield removal(row, "dropped", "no_text", f"{name}: {len(book.chapters)} chapters without text")
        elif not self.config.per_chapter:
            yield row | {"text": "\n\n".join(chapter.text for chapter in book.chapters if chapter.text)}
        else:
            for chapter in book.chapters:
                of_chapter = row | {"id": f"{row['id']}/{chapter.path}", "text": chapter.text}
                of_chapter["meta"] = row["meta"] | {"chapter": chapter.path}
                yield of_chapter if chapter.text else removal(of_chapter, "dropped", "empty", "no visible character")


def _described(book: Book) -> Row:
    """The columns that come from the book's metadata."""
    found = {name: "; ".join(values)[:MAX_METADATA_CHARACTERS] for name, values in book.metadata.items()}
    addresses = [value for name in ("source", "identifier") for value in book.metadata.get(name, ())]
    meta: dict[str, str] = {name: found[name] for name in KEPT_METADATA if name in found}
    if "rights" in found:
        meta["licence"] = found["rights"]
    if book.left_out:
        meta["left_out"] = ", ".join(f"{path} ({why})" for path, why in book.left_out.items())
    return {
        "url": next((value for value in addresses if value.startswith(("http://", "https://"))), None),
        "date": next(iter(book.metadata.get("date", ())), None),
        "language": next((tag.partition("-")[0].lower() for tag in book.metadata.get("language", ())), None),
        "mime": "application/epub+zip",
        "meta": meta,
    }


def read_book(path: Path, max_unpacked_bytes: int, markdown: bool) -> Book:
    """The chapters and the metadata of an EPUB file.

    Raises:
        UnreadableBook: "unreadable" (no archive, no book, or damaged), "encrypted" or "too_large".
        OSError: the file cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _book(_Files(archive, max_unpacked_bytes), markdown)
    except (UnreadableBook, OSError):
        raise
    except Exception as error:  # of a damaged archive, zipfile and the decompressors raise nearly anything
        raise UnreadableBook("unreadable", f"{type(error).__name__}: {error}"[:300]) from error


class _Files:
    """The files of an archive, of which a book may use so many bytes in all."""

    def __init__(self, archive: zipfile.ZipFile, max_bytes: int) -> None:
        self._archive, self._max_bytes = archive, max_bytes
        self._left_bytes = max_bytes

    def __contains__(self, path: str) -> bool:
        return path in self._archive.NameToInfo

    def read(self, path: str) -> bytes:
        """Raises UnreadableBook."""
        if path not in self:
            raise UnreadableBook("unreadable", f"{path} is not in the book")
        if self._archive.getinfo(path).flag_bits & 1:
            raise UnreadableBook("encrypted", f"{path} has a password")
        if self._archive.getinfo(path).compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            # zipfile unpacks other methods without a bound
            raise UnreadableBook("unreadable", f"{path} is neither stored nor deflated")
        with self._archive.open(path) as file:
            content = file.read(self._left_bytes + 1)
        self._left_bytes -= len(content)
        if self._left_bytes < 0:
            raise UnreadableBook("too_large", f"unfolds to more than {self._max_bytes} bytes")
        return content

    def xml(self, path: str) -> Any:
        """The root element of an XML file; raises UnreadableBook."""
        from lxml import etree

        # neither entities nor anything outside this file; the namespaces' prefixes do not matter
        parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, recover=True)
        try:
            root = etree.fromstring(self.read(path), parser)
        except etree.XMLSyntaxError as error:
            raise UnreadableBook("unreadable", f"{path}: {error}") from error
        if root is None:
            raise UnreadableBook("unreadable", f"{path} is not XML")
        return root


def _book(files: _Files, markdown: bool) -> Book:
    _refuse_encrypted(files)
    package_path = next((node.get("full-path") for node in _named(files.xml(CONTAINER), "rootfile")), None)
    if not package_path:
        raise UnreadableBook("unreadable", f"{CONTAINER} names no book")
    package = files.xml(package_path)
    in_order = _reading_order(package, posixpath.dirname(package_path))
    if not in_order:
        raise UnreadableBook("unreadable", f"{package_path} has no reading order")
    left_out = _left_out(files, package, posixpath.dirname(package_path))
    chapters = []
    for path in in_order:
        if path in left_out:
            continue
        content = files.read(path)
        try:
            kinds = types_of(content)
            if why := next((LEFT_OUT[kind] for kind in sorted(kinds) if kind in LEFT_OUT), None):
                left_out[path] = why
            else:
                chapters.append(Chapter(path, book_text(content, markdown)))
        except ValueError as error:
            raise UnreadableBook("unreadable", f"{path}: {error}") from error
    return Book(chapters, {path: why for path, why in left_out.items() if path in in_order}, _metadata(package))


def _refuse_encrypted(files: _Files) -> None:
    if ENCRYPTION not in files:
        return
    algorithms = {node.get("Algorithm", "") for node in _named(files.xml(ENCRYPTION), "EncryptionMethod")}
    if others := sorted(algorithms - FONT_ALGORITHMS):
        raise UnreadableBook("encrypted", f"{ENCRYPTION} names {', '.join(others)}")


def _reading_order(package: Any, folder: str) -> list[str]:
    """Paths of the spine's text files, each once."""
    manifest = {node.get("id"): node for node in _named(package, "item")}
    paths = []
    for reference in _named(package, "itemref"):
        entry = manifest.get(reference.get("idref"))
        if entry is not None and entry.get("media-type") in CHAPTER_TYPES:
            paths.append(_path(folder, entry.get("href", "")))
    return list(dict.fromkeys(paths))


def _left_out(files: _Files, package: Any, folder: str) -> dict[str, str]:
    """Files that the book itself calls cover, navigation or copyright page, and which of these they are.

    A reference to a place inside a file does not say what the file is: whole books lie in one.
    """
    found = {}
    for entry in _named(package, "item"):
        if "nav" in entry.get("properties", "").split():
            found[_path(folder, entry.get("href", ""))] = "navigation"
    for navigation in list(found):
        if navigation in files:
            found |= _landmarks(files.xml(navigation), posixpath.dirname(navigation))
    for reference in _named(package, "reference"):
        kind, href = reference.get("type", "").lower(), reference.get("href", "")
        if kind in LEFT_OUT and "#" not in href:
            found[_path(folder, href)] = LEFT_OUT[kind]
    return found


def _landmarks(navigation: Any, folder: str) -> dict[str, str]:
    found = {}
    for nav in _named(navigation, "nav"):
        if "landmarks" in _types(nav):
            for link in _named(nav, "a"):
                kinds = [kind for kind in _types(link) if kind in LEFT_OUT]
                if kinds and "#" not in link.get("href", "#"):
                    found[_path(folder, link.get("href"))] = LEFT_OUT[kinds[0]]
    return found


def _types(element: Any) -> list[str]:
    return str(element.get("{http://www.idpf.org/2007/ops}type", "")).split()


def _metadata(package: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for metadata in _named(package, "metadata"):
        for element in metadata.iter("{http://purl.org/dc/elements/1.1/}*"):
            text = " ".join("".join(element.itertext()).split())
            if text:
                found.setdefault(element.tag.rpartition("}")[2], []).append(text)
    return found


def _named(root: Any, name: str) -> list[Any]:
    """The elements of a name, whatever their namespace."""
    return list(root.iter("{*}" + name))


def _path(folder: str, href: str) -> str:
    """Path in the archive of a reference. It is only ever looked up there, so it cannot lead out of the book."""
    return posixpath.normpath(posixpath.join(folder, unquote(urlsplit(href).path)))
