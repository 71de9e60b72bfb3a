"""The files in which sites state rules at a fixed address (robots.txt, tdmrep.json), gathered beforehand."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.errors import InputError
from stages.filters.urls.addresses import canonical_host
from stages.intake.content import SUFFIXES as PACKED
from stages.intake.content import content_of
from stages.intake.http import HttpError, TooLargeError, decoded_body, parsed
from stages.intake.json_lines import lines_of
from stages.intake.json_lines import parsed as parsed_line
from stages.intake.warc import Damage, records

TABLES = tuple(f".{name}{packed}" for name in ("jsonl", "ndjson") for packed in PACKED)
ARCHIVES = tuple(f".warc{packed}" for packed in ("", ".gz", ".zst", ".lz4"))
_OF_ONE_SITE = re.compile(r"(.+)\.(?:txt|json)(?:\.(?:gz|zst|xz|bz2))?", re.IGNORECASE)
MAX_BYTES = 10 << 20  # of one site's file; no site needs more
_MAX_LINE_BYTES = 8 * MAX_BYTES
_RESPONSE = frozenset({"response"})
_DEFAULT_PORTS = {"http": 80, "https": 443}


def site_files(path: Path, address: str) -> Iterator[tuple[str, bytes]]:
    """Host and content of every site's file under a path.

    Args:
        path: a file or a folder. JSON Lines hold {"host": ..., "text": ...}; WARC files hold responses, of which those
            with status 200 from this address count (Common Crawl's "robotstxt" subset); a file HOST.txt or HOST.json is
            that host's. All may be compressed. A host may come several times.
        address: where sites have the file: "/robots.txt".

    Raises:
        InputError: a file is of no such kind or cannot be read to its end, or a folder has none: what is missing would
            pass for consent.
    """
    for file in _files(path):
        try:
            if file.name.endswith(ARCHIVES):
                yield from _in_archive(file, address)
            elif file.name.endswith(TABLES):
                yield from _in_table(file)
            elif match := _OF_ONE_SITE.fullmatch(file.name):
                with content_of(open(file, "rb")) as content:
                    yield _stated_host(match[1], str(file)), content.read(MAX_BYTES)
            else:
                raise InputError(
                    f"{file}: call it HOST.txt or HOST.json, .jsonl (host, text) or .warc.gz, or remove it"
                )
        except OSError as error:
            raise InputError(f"{file}: {error.strerror or error}") from error


def digest_of(path: Path) -> str:
    """Digest of the names and contents of these files.

    Raises:
        InputError: there is none.
    """
    digest = hashlib.sha256()
    top = path if path.is_dir() else path.parent
    for file in _files(path):
        with open(file, "rb") as opened:
            content = hashlib.file_digest(opened, "sha256").hexdigest()
        digest.update(f"{file.relative_to(top).as_posix()} {content}\n".encode())
    return digest.hexdigest()


def host_of(url: str) -> str:
    """Host of a URL as ``canonical_host`` spells it, with the port if it is an unusual one; "" for what is no URL."""
    try:
        parts = urlsplit(url)
        host, port = canonical_host(parts.hostname or ""), parts.port
    except ValueError:
        return ""
    return host if port in (None, _DEFAULT_PORTS.get(parts.scheme)) else f"{host}:{port}"


def _stated_host(stated: str, place: str) -> str:
    """A host as ``host_of`` gives that of its URLs: one in another spelling would never be found, and forbid nothing.

    Raises:
        InputError: it is none.
    """
    url = f"//{stated.strip()}"
    host = host_of(url).removesuffix(":80").removesuffix(":443")
    if not host or urlsplit(url).path:
        raise InputError(f"{place}: {stated!r} is no host such as example.com; write it without https:// and path")
    return host


def _files(path: Path) -> list[Path]:
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    if not files:
        raise InputError(f"{path} is no file, and no folder with files in it")
    return files


def _in_table(file: Path) -> Iterator[tuple[str, bytes]]:
    with content_of(open(file, "rb")) as content:
        for number, (line, size) in enumerate(lines_of(content, _MAX_LINE_BYTES), 1):
            place = f"{file}: line {number}"
            if line is None:
                raise InputError(f"{place}: {size} bytes, more than {_MAX_LINE_BYTES}")
            if not line.strip():
                continue
            try:
                fields = parsed_line(line)
            except ValueError as error:
                raise InputError(f"{place}: {error}") from error
            host, text = fields.get("host"), fields.get("text")
            if not isinstance(host, str) or not isinstance(text, str):
                raise InputError(f"{place}: the fields host and text must be there, as text")
            yield _stated_host(host, place), text.encode()


def _in_archive(file: Path, address: str) -> Iterator[tuple[str, bytes]]:
    with open(file, "rb") as opened:
        for record in records(opened, _RESPONSE, 2 * MAX_BYTES):
            if isinstance(record, Damage):
                raise InputError(f"{file} at byte {record.position}: {record.reason}: {record.evidence}")
            url = record.headers.get("warc-target-uri", "").strip("<>")
            if record.block is None or not _is_at(url, address):
                continue
            try:
                response = parsed(record.block)
                if response.status == 200:
                    yield host_of(url), decoded_body(response, MAX_BYTES, cut=True)
            except (HttpError, TooLargeError):
                continue  # the site answers with something that no crawler can read


def _is_at(url: str, address: str) -> bool:
    try:
        return urlsplit(url).path == address
    except ValueError:
        return False
