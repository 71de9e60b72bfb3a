"""Threads from dumps of Reddit: submissions with their comments."""

from __future__ import annotations

import html
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

from pydantic import Field

from pipeline.locations.location import InputFile, reason_of
from pipeline.stage import Context, Outcome, Removal, Source, Split, removal
from stages.intake.batches import Batch
from stages.intake.decompression import chunks
from stages.intake.files import FilesConfig
from stages.intake.records import LINE, Record, Records
from stages.intake.threads import Row, Threads

SUFFIXES = (".ndjson", ".jsonl", ".json", ".zst", ".gz", ".bz2", ".xz")
MAX_LINE_BYTES = 16 << 20
ID = re.compile(r"(?:t[13]_)?([0-9a-z]{1,12})", re.ASCII)
"""Reddit numbers posts in base 36; "t1_" says comment, "t3_" submission."""

_MONTH = re.compile(r"\d{4}-\d{2}(?:-\d{2})?")
_KIND = re.compile(r"[_-]?(?:submissions?|comments?|RS|RC)(?![a-z])")
_GONE = re.compile(r"\[\s*(deleted|removed)\b[^\]]*\]", re.IGNORECASE)


class RedditConfig(FilesConfig):
    """Options of ``reddit``."""

    over_18: bool = False
    """Keep submissions that are marked as for adults only."""

    min_score: int | None = None
    """Submissions with fewer points are dropped, and with them their comments."""

    min_comment_score: int | None = None
    """Comments with fewer points are dropped, and with them the replies to them. Dolma (Soldaini et al. 2024) asked
    for 3 points of submissions and comments alike."""

    max_comments: int | None = Field(None, ge=0)
    """Comments of a submission to keep, in the order of the text."""

    max_depth: int | None = Field(None, ge=1)
    """Replies to replies are kept down to this level; comments on the submission itself are level 1."""

    without_authors: tuple[str, ...] = ("AutoModerator",)
    """Submissions and comments by these accounts are dropped: they write the same under every thread."""


class Reddit(Source[RedditConfig]):
    """Read Reddit's submissions with their comments (RS_*.zst and RC_*.zst, or one subreddit's two files).

    Give the files of both kinds together: those with the same month in their names (or, without one, the same name but
    for "submissions" and "comments") are read together, and a comment whose submission is not among them is dropped, as
    happens to those that came in a later month. A row with a title is a submission, one with a link_id a comment.

    The text is the title, the submission's own text, and the comments as a list in which replies are indented by two
    spaces below what they reply to, higher scores first; Reddit's Markdown stays as it was written, names of authors
    are left out.

    Every line is accounted for in one of three ways: a submission is created as a document; a comment in a document is
    part of it, counted in meta["comments"] and nowhere else; any other line is created and at once removed, with a
    reason (``deleted`` and ``removed``: by the author, by moderators; ``over_18``, ``low_score``, ``author``,
    ``empty``, ``duplicate``, ``no_submission``, ``no_parent``: what it replies to is not there or was dropped;
    ``too_deep``, ``over_max_comments``; failed: ``bad_json``, ``bad_row``, ``too_large``). So lines = created +
    comments in documents, where a file that breaks off adds one to created.

    Posts wait in a temporary file, so memory grows with the largest thread, not with the dump (beside the window that
    zstd asks for, up to 2 GiB).
    """

    name = "reddit"
    config_type = RedditConfig

    def splits(self) -> list[Split]:
        together: dict[str, list[InputFile]] = defaultdict(list)
        for file in self.config.matching_files(SUFFIXES):
            together[group_of(file.name)].append(file)
        return [Split(tuple(files)) for _, files in sorted(together.items())]

    def read(self, split: Split, source: str, context: Context) -> Iterator[Outcome]:
        batch = Batch(source)
        with Threads() as threads:
            for file in split.files:
                for ended in self._gather(file, source, context, threads):
                    yield from batch.add(ended)
            for _, rows in threads.sorted():
                for document in self._thread(rows, source):
                    yield from batch.add(document)
        yield batch.rest()

    def _gather(self, file: InputFile, source: str, context: Context, threads: Threads) -> Iterator[Removal]:
        """Put the lines of a file aside for their threads; those that are not wanted come out."""
        records = Records((), *LINE, MAX_LINE_BYTES)
        try:
            with self.config.opened(file.location, context) as opened:
                records = Records(chunks(opened), *LINE, MAX_LINE_BYTES)
                for record in records:
                    ended = self._gathered(record, file.name, source, threads)
                    if ended is not None:
                        yield ended
        except OSError as error:
            evidence = f"{file.name}: byte {records.position} of its content: {error.strerror or error}"
            yield Removal(f"{source}/{file.name}@{records.position}", source, "failed", reason_of(error), evidence)

    def _gathered(self, record: Record, name: str, source: str, threads: Threads) -> Removal | None:
        row = record.row(source, name)
        where = f"{name}: byte {record.offset} of its content"
        if record.content is None:
            return removal(row, "failed", "too_large", f"{where}: a line of {record.length} bytes > {MAX_LINE_BYTES}")
        try:
            fields = parsed(record.content)
        except ValueError as error:
            return removal(row, "failed", "bad_json", f"{where}: {error}")
        try:
            post = comment_of(fields) if "title" not in fields else submission_of(fields)
            if (verdict := self._unwanted(post)) is not None:
                return removal(row | {"text": "\n\n".join(post.texts)}, "dropped", *verdict)
            if post.is_comment:  # nothing more of it is needed: the largest thread has to fit into memory
                record = replace(record, content=json.dumps([post.parent, post.texts[0]]).encode())
            threads.add(Row(post.thread, int(post.is_comment), post.score, post.id, name, record))
        except (KeyError, ValueError, TypeError, AttributeError, OverflowError, OSError) as error:
            evidence = f"{where}: neither a submission nor a comment: {type(error).__name__}: {error}"
            return removal(row, "failed", "bad_row", evidence)
        return None

    def _unwanted(self, post: Post) -> tuple[str, str] | None:
        """Reason and evidence if this post is not to be read."""
        name = f"{'comment' if post.is_comment else 'submission'} {base36(post.id)}"
        for text in post.texts:
            if gone := _GONE.fullmatch(text):
                return gone[1].lower(), f"{name}: {text[:100]}"
        if not post.texts[0]:
            return "empty", f"{name}: no visible character"
        if post.author in self.config.without_authors:
            return "author", f"{name} is by {post.author}"
        if post.over_18 and not self.config.over_18:
            return "over_18", f"{name} is marked as over 18"
        least = self.config.min_comment_score if post.is_comment else self.config.min_score
        if least is not None and post.score < least:
            return "low_score", f"{name}: score {post.score} < {least}"
        return None

    def _thread(self, rows: Iterator[Row], source: str) -> Iterator[dict[str, Any] | Removal]:
        """The document of a submission, and a removal for each row that is not part of it."""

        def ended(row: Row, reason: str, evidence: str) -> Removal:
            return removal(row.record.row(source, row.file), "dropped", reason, evidence)

        submission: Row | None = None
        replies: dict[int, list[Row]] = defaultdict(list)  # by what they reply to; 0 is the submission
        texts: dict[int, str] = {}
        for row in rows:
            if row.reply == 0 and submission is None:
                submission = row
            elif row.reply == 0 or row.id in texts:
                yield ended(row, "duplicate", f"post {base36(row.id)} again")
            elif submission is None:
                yield ended(
                    row, "no_submission", f"submission {base36(row.thread)} is not in these files or was dropped"
                )
            else:
                assert row.record.content is not None
                parent, texts[row.id] = json.loads(row.record.content)
                replies[parent].append(row)
        if submission is None:
            return
        lines: list[str] = []
        most, deepest = self.config.max_comments, self.config.max_depth
        waiting = [(row, 1) for row in reversed(replies.pop(0, []))]
        while waiting:
            row, depth = waiting.pop()
            waiting += [(reply, depth + 1) for reply in reversed(replies.pop(row.id, []))]
            if deepest is not None and depth > deepest:
                yield ended(row, "too_deep", f"level {depth} > {deepest}")
            elif most is not None and len(lines) >= most:
                yield ended(row, "over_max_comments", f"submission {base36(row.thread)} has {most} comments already")
            else:
                lines.append(_comment_lines(texts[row.id], depth))
        for parent, orphans in replies.items():
            for row in orphans:
                yield ended(row, "no_parent", f"comment {base36(parent)} is not in these files, or was dropped")
        yield _document(submission, lines, source)


@dataclass(frozen=True, slots=True)
class Post:
    """A submission or a comment."""

    id: int
    thread: int  # id of the submission
    parent: int  # id of the comment that this one replies to, 0 if none
    is_comment: bool
    score: int  # 0 where it is not told
    author: str | None
    over_18: bool
    texts: tuple[str, ...]  # of a submission its title and its text, which may be empty


def submission_of(fields: dict[str, Any]) -> Post:
    """A row that is a submission.

    Raises:
        KeyError, ValueError, TypeError, AttributeError, OverflowError, OSError: it lacks a field, or one is malformed.
    """
    date_of(fields), clean(fields.get("permalink") or "")  # so that they are known to be sound
    number = number_of(fields["id"])
    texts = (clean(fields["title"]), clean(fields.get("selftext") or ""))
    score = int(fields.get("score") or 0)
    return Post(number, number, 0, False, score, fields.get("author"), bool(fields.get("over_18")), texts)


def comment_of(fields: dict[str, Any]) -> Post:
    """A row that is a comment; raises as ``submission_of``."""
    number, thread = number_of(fields["id"]), number_of(fields["link_id"])
    parent = parent_of(fields.get("parent_id"))
    score = int(fields.get("score") or 0)
    return Post(number, thread, parent, True, score, fields.get("author"), False, (clean(fields["body"]),))


def date_of(fields: dict[str, Any]) -> str | None:
    """When a row was written."""
    created = fields.get("created_utc")
    return None if created is None else datetime.fromtimestamp(int(created), UTC).isoformat()


def _document(row: Row, comments: list[str], source: str) -> dict[str, Any]:
    assert row.record.content is not None
    fields = parsed(row.record.content)
    title, text = submission_of(fields).texts
    meta = {
        "title": title,
        "subreddit": fields.get("subreddit"),
        "score": str(row.score),
        "comments": str(len(comments)),
        "link": None if fields.get("is_self") else fields.get("url"),
    }
    return row.record.row(source, row.file) | {
        "text": "\n\n".join(filter(None, [title, text, "\n".join(comments)])),
        "url": "https://www.reddit.com" + clean(fields.get("permalink") or f"/comments/{base36(row.id)}/"),
        "date": date_of(fields),
        "mime": "text/markdown",
        "meta": {key: clean(value) for key, value in meta.items() if isinstance(value, str) and value},
    }


def _comment_lines(text: str, depth: int) -> str:
    indent = "  " * (depth - 1)
    lines = text.split("\n")
    return "\n".join([f"{indent}- {lines[0]}", *((f"{indent}  {line}").rstrip() for line in lines[1:])])


def group_of(name: str) -> str:
    """What files that are read together have in common: the month in their names, else the name without the kind."""
    file = PurePosixPath(name).name
    while file.endswith(SUFFIXES):
        file = file.rpartition(".")[0]
    month = _MONTH.search(file)
    return month[0] if month else _KIND.sub("", file)


def parsed(line: bytes) -> dict[str, Any]:
    """The object on a line.

    Raises:
        ValueError: not UTF-8, not JSON, or not an object.
    """
    try:
        fields = json.loads(line.decode())
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(fields, dict):
        raise ValueError(f"a {type(fields).__name__}, not an object")
    return fields


def number_of(identity: object) -> int:
    """The number of a post ("t3_abc", "abc").

    Raises:
        ValueError: it is no such id.
    """
    found = ID.fullmatch(identity) if isinstance(identity, str) else None
    if found is None:
        raise ValueError(f"no id of Reddit's: {identity!r}")
    return int(found[1], 36)


def base36(number: int) -> str:
    """A number as Reddit writes it."""
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return digits or "0"


def parent_of(identity: object) -> int:
    """Number of the comment that a comment replies to, 0 if it replies to the submission.

    Some years of the dumps have null or "t3_..." for the submission, and plain numbers for comments.

    Raises:
        ValueError: it is no id of Reddit's.
    """
    if identity is None or (isinstance(identity, str) and identity.startswith("t3_")):
        return 0
    return identity if isinstance(identity, int) else number_of(identity)


def clean(text: str) -> str:
    """A post's Markdown with entities decoded, without zero-width spaces and halves of surrogate pairs."""
    text = html.unescape(text).replace("\u200b", "").replace("\r\n", "\n")
    return text.encode("utf-8", "ignore").decode().strip()
