"""Text files as documents, one a file or several."""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Iterator

from pydantic import Field

from pipeline.locations.location import InputFile, reason_of
from pipeline.stage import Context, Outcome, Removal, Source, Split, removal
from stages.intake.batches import batched
from stages.intake.columns import Row
from stages.intake.content import SUFFIXES as PACKED
from stages.intake.content import Encoding, content_of
from stages.intake.files import FilesConfig, splits_of_size

SUFFIXES = tuple(f"{name}{packed}" for name in (".txt", ".text", ".md", ".rst") for packed in PACKED)
BYTE_ORDER_MARKS = (  # UTF-32 first: its mark starts with that of UTF-16
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
REPLACEMENT = "\ufffd"
MAX_UNDECODABLE = 0.001
"""Share of undecodable characters up to which a file is believed to be in an encoding."""
MAX_CONTROL = 0.01
"""Share of control characters above which a file is not text. Terminal recordings have some, binary data 11 %."""


class PlainTextConfig(FilesConfig):
    """Options of ``plain_text``."""

    separator: str | None = Field(None, min_length=1)
    """Ends a document wherever it stands: "\\f", or a line of its own as in "\\n%%\\n" (written with line feeds, also
    for files with Windows' line ends). Without it a file is one document."""

    encoding: Encoding | None = None
    """Encoding of all files. If absent: the byte order mark, else UTF-8 if valid, else detected by content."""

    max_bytes: int = Field(100_000_000, gt=0)
    """Files with more content fail."""


class PlainText(Source[PlainTextConfig]):
    """Read text files, plain or compressed (gzip, zstd, xz, bzip2), in any encoding.

    A document's id is the file and the digest of its content; of several in a file also the first character's place.
    Line ends become line feeds.
    """

    name = "plain_text"
    config_type = PlainTextConfig

    def splits(self) -> list[Split]:
        return splits_of_size(self.config.matching_files(SUFFIXES), max_bytes=16_000_000, max_files=200)

    def read(self, split: Split, source: str, context: Context) -> Iterator[Outcome]:
        return batched(source, (row for file in split.files for row in self._documents(file, source, context)))

    def _documents(self, file: InputFile, source: str, context: Context) -> Iterator[Row | Removal]:
        name = file.name
        try:
            with content_of(self.config.opened(file.location, context)) as stream:
                content = stream.read(self.config.max_bytes + 1)
        except OSError as error:
            evidence = f"{name}: {error.strerror or error}"
            yield Removal(f"{source}/{name}#unread", source, "failed", reason_of(error), evidence)
            return
        digest = hashlib.sha256(content).hexdigest()
        row: Row = {"id": f"{source}/{name}#{digest[:12]}", "source": source, "mime": "text/plain"}
        if len(content) > self.config.max_bytes:
            evidence = f"{name}: more than {self.config.max_bytes} bytes"
            yield Removal(f"{source}/{name}#unread", source, "failed", "too_large", evidence)
            return
        try:
            text, encoding = decoded(content, self.config.encoding)
        except ValueError as error:
            yield removal(row, "failed", "not_text", f"{name}: {error}")
            return
        row |= {"origin": {"path": name, "offset": 0, "length": len(content), "digest": digest}}
        row |= {"meta": {"encoding": encoding}}
        if self.config.separator is None:
            yield _document(row | {"text": text}, name)
        else:
            yield from self._parts(row, text, self.config.separator, name)

    def _parts(self, row: Row, text: str, separator: str, name: str) -> Iterator[Row | Removal]:
        """Each with the place of its first character and its characters as offset and length of its origin."""
        at = 0
        for part in text.split(separator):
            if part.strip():  # nothing between two separators is no document
                origin = row["origin"] | {"offset": at, "length": len(part)}
                yield _document(row | {"id": f"{row['id']}@{at}", "text": part, "origin": origin}, name)
            at += len(part) + len(separator)
        if not text.strip():
            yield _document(row | {"text": text}, name)


def _document(row: Row, name: str) -> Row | Removal:
    if not row["text"].strip():
        return removal(row, "dropped", "empty", f"{name}: no visible character")
    return row


def decoded(content: bytes, encoding: str | None) -> tuple[str, str]:
    """The text, with line feeds as line ends and without a byte order mark, and the name of its encoding.

    One in 1,000 characters may be undecodable, and becomes U+FFFD.

    Raises:
        ValueError: it is not text in this encoding, or not text at all; the message says why.
    """
    for mark, marked in BYTE_ORDER_MARKS:
        if content.startswith(mark) and (encoding is None or codecs.lookup(encoding).name == marked):
            content, encoding = content[len(mark) :], marked
            break
    encoding = encoding or _detected(content)
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        text = content.decode(encoding, "replace")
        undecodable = text.count(REPLACEMENT)
        if undecodable > 1 + MAX_UNDECODABLE * len(text):
            raise ValueError(f"{undecodable} of {len(text)} characters are not {encoding}") from error
    controls = sum(text.count(chr(code)) for code in range(32) if chr(code) not in "\t\n\f\r\x1b")
    if "\0" in text or controls > MAX_CONTROL * len(text):
        raise ValueError(f"{text.count(chr(0))} NULs and {controls} control characters of {len(text)}")
    return text.replace("\r\n", "\n").replace("\r", "\n"), encoding


def _detected(content: bytes) -> str:
    from resiliparse.parse.encoding import detect_encoding

    text = content.decode("utf-8", "replace")
    undecodable = text.count(REPLACEMENT)
    beyond_ascii = len(text) - len(text.encode("ascii", "ignore")) - undecodable
    if undecodable * 10 <= beyond_ascii:  # valid sequences of several bytes hardly ever stand there by chance
        return "utf-8"
    return str(detect_encoding(content) or "utf-8")
