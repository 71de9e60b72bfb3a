"""The types: a location, a file there, how to read from servers, and what can go wrong."""

from __future__ import annotations

import errno
import posixpath
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo

from pipeline.errors import MachineError

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def is_url(location: str) -> bool:
    """Whether a location is a URL (of any scheme) rather than a path of this machine."""
    return _URL.match(location) is not None


USER = re.compile(
    r"(https?://)[^/\s?#]*@|(://)[^/\s:?#]*:[^/\s]*@", re.IGNORECASE
)  # in abfs://container@host it is none
QUERY = re.compile(r"(https?://[^\s?#\"']*)[?#][^\s\"']*|\?[^\s/\"'=?*]+=[^\s\"']*", re.IGNORECASE)


def shown(text: str) -> str:
    """A URL, or any text with URLs in it, without what may be secret: passwords, and queries such as signatures.

    In other schemes than http a lone "?" stays: it is part of a name or of a pattern.
    """
    return QUERY.sub(r"\1", USER.sub(r"\1\2", text))


def folder_of(location: str) -> str:
    """The folder in which a file lies, a path or a URL: where the relative paths in it start."""
    if not is_url(location):
        return str(Path(location).resolve().parent)
    if urlsplit(location).scheme.lower() in ("http", "https"):
        location = QUERY.sub(r"\1", location)
    return location.rpartition("/")[0]


def absolute(location: str, base: str) -> str:
    """A path or URL as it is meant in a folder: URLs and absolute paths stand for themselves.

    Raises:
        ValueError: it leads out of the bucket or server of a base that is a URL.
    """
    location = location.removeprefix("file://")
    if is_url(location):
        return location
    path = Path(location).expanduser()
    if path.is_absolute() or not is_url(base):
        return str(Path(base) / path)
    scheme, _, folder = base.partition("://")
    bucket, _, below = folder.partition("/")
    joined = posixpath.normpath(posixpath.join(below, location))
    if joined.split("/")[0] == "..":
        raise ValueError(f"{location} leads out of {scheme}://{bucket}")
    return f"{scheme}://{bucket}/{joined}"


def base_of(context: Any) -> str:
    """Where relative paths start, by the context of a validation: the recipe's folder, or the working directory."""
    return str((context or {}).get("base", Path.cwd()))


def _absolute(location: str, info: ValidationInfo) -> str:
    return absolute(location, base_of(info.context))


def _text(location: object) -> object:
    return str(location) if isinstance(location, Path) else location


RecipeLocation = Annotated[str, BeforeValidator(_text), AfterValidator(_absolute)]
"""A URL or a path in a recipe: relative ones are relative to the recipe file, be it a URL. May hold glob characters."""


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file to read."""

    name: str  # stable: it goes into document ids. Path below the pattern's folder; for a URL, the URL
    location: str  # an absolute path, or a URL
    size_bytes: int | None = None  # None where the server was not asked
    version: str | None = None  # what a server says of its content (ETag), or None


class RemoteOptions(BaseModel):
    """How to read from servers."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    connections: int = Field(16, ge=1)
    """Most requests at a time to one host, over all tasks of a run. A host that asks for less gets less."""

    tries: int = Field(12, ge=1)
    """Attempts in a row that may bring nothing before the rest of a file is given up."""

    backoff_s: float = Field(0.5, gt=0)
    """Longest wait before the second of these attempts; it doubles with each further one, up to a minute."""

    timeout_s: float = Field(30.0, gt=0)
    """Seconds without a byte after which an attempt is over."""

    anonymous: bool = False
    """Read s3:// without credentials."""

    endpoint: str | None = None
    """URL of an S3-compatible server; AWS's own if absent (or what AWS_ENDPOINT_URL says)."""


MACHINE_ERRORS = frozenset(
    (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOLCK, errno.EOPNOTSUPP)
)
"""Not the fault of the file that is read."""

Reason = Literal["unreadable", "not_found", "forbidden", "unreachable", "changed"]

SERVER_REASONS = frozenset(("not_found", "forbidden", "unreachable", "changed"))
"""Those that another day may undo."""


class RemoteError(OSError):
    """A file on a server cannot be read (any further). ``reason`` is short and stable, for the ledger."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(errno.EIO, message)
        self.reason = reason

    def __str__(self) -> str:
        return str(self.strerror)  # not "[Errno 5] ..."


def reason_of(error: OSError) -> Reason:
    """The ledger's reason for a file that could not be opened or read to its end.

    Raises:
        MachineError: the fault is not the file's: a full disk, too many open files. Nothing of the part may be kept.
    """
    if error.errno in MACHINE_ERRORS:
        where = error.filename or "reading from a server"
        raise MachineError(f"{where}: {error.strerror}. Mend that and give the same command again") from error
    return error.reason if isinstance(error, RemoteError) else "unreadable"
