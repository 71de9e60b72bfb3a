"""Questions with their answers from the dumps of Stack Exchange sites."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO
from xml.etree import ElementTree

from pydantic import Field

from pipeline.errors import InputError, MachineError, SluiceError
from pipeline.locations.location import InputFile, reason_of
from pipeline.stage import Context, Outcome, Removal, Source, Split, Verdict, removal
from stages.intake.batches import batched
from stages.intake.decompression import chunks
from stages.intake.files import FilesConfig, one_split_per_file
from stages.intake.post_html import post_text
from stages.intake.records import Record, Records
from stages.intake.threads import Row, Threads

POSTS = "Posts.xml"
SUFFIXES = (".7z", *(POSTS + packed for packed in ("", ".bz2", ".gz", ".zst", ".xz")))
ROW = (re.compile(rb"<row\s"), re.compile(rb"(?=<)"))
"""A row is an empty element, and in XML no attribute holds a bare "<": it ends where the next element starts."""
MAX_ROW_BYTES = 4 << 20  # a post has at most 30,000 characters (the site's own limit)
SEVEN_ZIP_MAGIC = b"7z\xbc\xaf\x27\x1c"
QUESTION, ANSWER = "1", "2"


class StackExchangeConfig(FilesConfig):
    """Options of ``stack_exchange``."""

    site: str | None = Field(None, pattern=r"^[\w-]+(\.[\w-]+)+$")
    """Host name of the site, for addresses; told from the name of the file or of its folder if absent
    (``cooking.stackexchange.com.7z``, ``stackoverflow.com-Posts.7z``, ``cooking.stackexchange.com/Posts.xml``)."""

    markdown: bool = False
    """Write headings, code, emphasis and links as Markdown."""

    min_question_score: int | None = None
    """Questions with fewer points are dropped, and with them their answers."""

    min_answer_score: int | None = None
    """Answers with fewer points are dropped."""

    max_answers: int | None = Field(None, ge=0)
    """Answers of a question to keep, those with most points first."""

    accepted_first: bool = False
    """Put the accepted answer before those with more points."""

    max_unpacked_bytes: int = Field(300_000_000_000, ge=1)
    """A 7z archive whose Posts.xml is larger fails: it is unpacked to the folder for temporary files. The largest,
    Stack Overflow's, has about 100 GB."""


class StackExchange(Source[StackExchangeConfig]):
    """Read questions with their answers from Stack Exchange dumps (Posts.xml, plain or in a site's .7z).

    A document is a question with its answers. Every row of Posts.xml is accounted for in one of three ways: a question
    is created as a document; an answer in a document is part of it, counted in meta["answers"] and nowhere else; any
    other row is created and at once removed, with a reason (``not_a_question_or_answer``, ``low_score``, ``empty``,
    ``duplicate``, ``over_max_answers``, ``no_question``: its question is not in the dump or was dropped; failed:
    ``bad_xml``, ``bad_row``, ``bad_html``, ``too_large``). So rows = created + answers in documents, where a file that
    breaks off adds one to created.

    Posts wait in a temporary file of about the size of Posts.xml, so memory does not grow with it.
    """

    name = "stack_exchange"
    config_type = StackExchangeConfig

    def splits(self) -> list[Split]:
        files = self.config.matching_files(SUFFIXES)
        for file in files:
            self._site(file)
        return one_split_per_file(files)

    def read(self, split: Split, source: str, context: Context) -> Iterator[Outcome]:
        return batched(source, (row for file in split.files for row in self._documents(file, source, context)))

    def _site(self, file: InputFile) -> str:
        if self.config.site is not None:
            return self.config.site
        # a Posts.xml that is named itself has no folder in its name
        path = PurePosixPath(file.name if "/" in file.name else file.location)
        folder_or_file = path.name if path.suffix == ".7z" else path.parent.name
        site = folder_or_file.removesuffix(".7z").removesuffix("-Posts")
        if "." not in site:
            raise InputError(
                f"{file.name}: neither file nor folder is named for a site; say which with "
                "`site: cooking.stackexchange.com`, or give the folder above it"
            )
        return site

    def _documents(self, file: InputFile, source: str, context: Context) -> Iterator[dict[str, Any] | Removal]:
        with Threads() as threads:
            records = Records((), *ROW, MAX_ROW_BYTES)

            def failed(reason: str, evidence: str) -> Removal:
                identity = f"{source}/{file.name}@{records.position}"
                where = f"{file.name}: byte {records.position} of {POSTS}"
                return Removal(identity, source, "failed", reason, f"{where}: {evidence}")

            try:
                with self._posts(file, context) as (posts, damage):
                    records = Records(chunks(posts), *ROW, MAX_ROW_BYTES)
                    cut_off = False
                    for record in records:
                        if damage is not None and records.is_cut:
                            break  # the row in which the archive breaks off: the failure below tells
                        ended = self._gathered(record, file.name, source, threads)
                        if ended is not None:
                            cut_off = records.is_cut and ended.verdict == "failed"
                            yield ended
                if damage is not None:
                    yield failed(*damage)
                elif not cut_off and not records.tail.rstrip().endswith(b"</posts>"):
                    reason = "truncated" if b"<posts" in records.head else "not_posts"
                    yield failed(reason, "the file does not end with </posts>")
            except NoPostsError as error:
                yield Removal(f"{source}/{file.name}#unread", source, "dropped", "no_posts", f"{file.name}: {error}")
            except OSError as error:
                yield failed(reason_of(error), error.strerror or str(error))
            for _, rows in threads.sorted():
                yield from self._thread(rows, source, self._site(file))

    @contextmanager
    def _posts(self, file: InputFile, context: Context) -> Iterator[tuple[BinaryIO, tuple[str, str] | None]]:
        """Posts.xml as a file, and if it is an archive that could not be read whole: reason and evidence."""
        with self.config.opened(file.location, context) as opened:
            start = opened.read(len(SEVEN_ZIP_MAGIC))
            opened.seek(0)
            if start != SEVEN_ZIP_MAGIC and not file.name.endswith(".7z"):
                yield opened, None
                return
        with self.config.copied(file.location, context) as path, tempfile.TemporaryFile(prefix="sluice-") as posts:
            damage = unpacked_posts(path, posts, self.config.max_unpacked_bytes)
            posts.seek(0)
            yield posts, damage

    def _gathered(self, record: Record, name: str, source: str, threads: Threads) -> Removal | None:
        """Put a row of the dump aside for its thread, or say why it is not wanted."""
        row = record.row(source, name)
        where = f"{name}: byte {record.offset} of {POSTS}"
        if record.content is None:
            return removal(row, "failed", "too_large", f"{where}: a row of {record.length} bytes > {MAX_ROW_BYTES}")
        try:
            post = ElementTree.fromstring(record.content).attrib
        except ElementTree.ParseError as error:
            return removal(row, "failed", "bad_xml", f"{where}: {error}")
        row["text"] = post.get("Body", "")
        kind = post.get("PostTypeId")
        if kind not in (QUESTION, ANSWER):
            return removal(row, "dropped", "not_a_question_or_answer", f"PostTypeId {kind}")
        is_answer = kind == ANSWER
        try:
            identity, score = int(post["Id"]), int(post.get("Score", "0"))
            thread = int(post["ParentId"]) if is_answer else identity
            least = self.config.min_answer_score if is_answer else self.config.min_question_score
            if least is not None and score < least:
                return removal(row, "dropped", "low_score", f"post {identity}: score {score} < {least}")
            threads.add(Row(thread, int(is_answer), score, identity, name, record))
        except (KeyError, ValueError) as error:
            return removal(row, "failed", "bad_row", f"{where}: {type(error).__name__}: {error}")
        return None

    def _thread(self, rows: Iterator[Row], source: str, site: str) -> Iterator[dict[str, Any] | Removal]:
        """The document of a question, and a removal for each row that is not part of it."""

        def ended(row: Row, reason: str, evidence: str, verdict: Verdict = "dropped") -> Removal:
            return removal(row.record.row(source, row.file), verdict, reason, evidence)

        posts: dict[int, Post] = {}  # the question first
        for row in rows:
            try:
                post = self._post(row)
            except ValueError as error:
                evidence = f"{row.file}: byte {row.record.offset} of {POSTS}: {error}"
                yield ended(row, "bad_html", evidence, "failed")
                continue
            if row.id in posts:
                yield ended(row, "duplicate", f"post {row.id} again")
            elif not post.text:
                yield ended(row, "empty", f"post {row.id}: no text")
            elif row.reply and row.thread not in posts:
                yield ended(row, "no_question", f"question {row.thread} is not in the dump, or was dropped")
            else:
                posts[row.id] = post
        if not posts:
            return
        question, *answers = posts.values()
        if self.config.accepted_first:
            answers.sort(key=lambda answer: answer.fields["Id"] != question.accepted)
        most = len(answers) if self.config.max_answers is None else self.config.max_answers
        for answer in answers[most:]:
            evidence = f"question {question.row.id} has {len(answers)} answers > {most}"
            yield ended(answer.row, "over_max_answers", evidence)
        yield self._document(question, answers[:most], source, site)

    def _post(self, row: Row) -> Post:
        assert row.record.content is not None
        fields = dict(ElementTree.fromstring(row.record.content).attrib)
        return Post(row, fields, post_text(fields.get("Body", ""), self.config.markdown))

    def _document(self, question: Post, answers: Sequence[Post], source: str, site: str) -> dict[str, Any]:
        title_mark, answer_mark, after = ("# ", "## ", "\n\n") if self.config.markdown else ("", "", ":\n")
        title = question.fields.get("Title", "").strip()
        parts = [f"{title_mark}{title}", question.text] if title else [question.text]
        has_accepted = False
        for answer in answers:
            is_accepted = answer.fields["Id"] == question.accepted
            has_accepted |= is_accepted
            parts.append(f"{answer_mark}{'Accepted answer' if is_accepted else 'Answer'}{after}{answer.text}")
        licences = {post.fields.get("ContentLicense", "") for post in (question, *answers)} - {""}
        meta = {
            "title": title,
            "tags": ", ".join(re.findall(r"[^<>|]+", question.fields.get("Tags", ""))),
            "score": str(question.row.score),
            "answers": str(len(answers)),
            "accepted": question.accepted if has_accepted else None,
            "licence": ", ".join(sorted(licences)),
        }
        return question.row.record.row(source, question.row.file) | {
            "text": "\n\n".join(parts),
            "url": f"https://{site}/questions/{question.row.id}",
            "date": question.fields.get("CreationDate"),
            "mime": "text/html",
            "meta": {key: value for key, value in meta.items() if value},
        }


@dataclass(frozen=True, slots=True)
class Post:
    """A question or an answer."""

    row: Row
    fields: dict[str, str]  # the attributes of its row
    text: str

    @property
    def accepted(self) -> str | None:
        """Id of the answer that the author of this question accepted."""
        return self.fields.get("AcceptedAnswerId")


class NoPostsError(Exception):
    """An archive without Posts.xml, such as one of a site's votes."""


def unpacked_posts(path: Path, posts: IO[bytes], max_bytes: int) -> tuple[str, str] | None:
    """Write the Posts.xml of a 7z archive into ``posts``, as far as it can be read: to the megabyte before damage.

    Nothing else is unpacked, and no name from the archive is used as a path.

    Returns:
        None, or if it could not be read whole: reason ("unreadable", "too_large") and evidence.

    Raises:
        NoPostsError: the archive holds no such file.
        MachineError: the disk for temporary files is full.
    """
    import py7zr
    from py7zr.io import Py7zIO, WriterFactory

    class Writer(Py7zIO):
        def write(self, s: bytes | bytearray) -> int:
            room = max_bytes - posts.tell()
            try:
                written = posts.write(s[:room])
                posts.flush()  # so that a full disk shows here
            except OSError as error:
                raise MachineError(f"cannot unpack {path.name} to {tempfile.gettempdir()}: {error.strerror}") from error
            if written < len(s):
                raise _TooLargeError(f"{POSTS} has more than {max_bytes} bytes")
            return written

        def read(self, size: int | None = None) -> bytes:
            return b""

        def seek(self, offset: int, whence: int = 0) -> int:
            return 0

        def flush(self) -> None:
            posts.flush()

        def size(self) -> int:
            return posts.tell()

    class Writers(WriterFactory):
        def create(self, filename: str) -> Py7zIO:
            return Writer()

    try:
        with py7zr.SevenZipFile(path) as archive:
            names = [name for name in archive.getnames() if PurePosixPath(name).name == POSTS]
            if not names:
                raise NoPostsError(f"no {POSTS} among {', '.join(archive.getnames()[:10])}")
            archive.extract(targets=names[:1], factory=Writers())
    except (SluiceError, NoPostsError):
        raise
    except _TooLargeError as error:
        return "too_large", str(error)
    except Exception as error:  # a damaged archive makes the library and its decoders raise almost anything
        return "unreadable", f"{type(error).__name__}: {error}"
    return None


class _TooLargeError(Exception):
    pass
