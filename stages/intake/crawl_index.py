"""Records selected by a crawl's columnar index before anything is downloaded.

The index of Common Crawl is a table in Parquet files, sorted by reversed host, with a row for each capture:
https://commoncrawl.org/columnar-index. Filters are pushed down to its row groups; of the columns, only those that the
filter and the download need are read.
"""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Annotated

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from pydantic import AfterValidator

from pipeline.errors import StageError
from pipeline.locations.location import InputFile, RemoteError, reason_of
from pipeline.locations.reading import open_file, read_range
from pipeline.stage import Context, Options
from stages.intake.crawl_files import CrawlConfig
from stages.intake.warc import Damage, Record, record_at

MAX_GAP_BYTES = 256 << 10  # unwanted bytes that are read rather than starting another request
MAX_RANGE_BYTES = 4 << 20


def _language_code(language: str) -> str:
    """ISO 639-3, as the index has it."""
    import langcodes
    from langcodes.tag_parser import LanguageTagError

    try:
        return langcodes.Language.get(language).to_alpha3()
    except (LookupError, LanguageTagError) as error:
        raise ValueError(f"'{language}' is no language code (ISO 639, such as en or eng)") from error


def _host(name: str) -> str:
    return name.lower().strip(".")


class Select(Options):
    """Which captures to read: those for which each given option holds."""

    hosts: tuple[Annotated[str, AfterValidator(_host)], ...] = ()
    """Hosts, with all hosts below them: example.org means www.example.org too."""

    tlds: tuple[Annotated[str, AfterValidator(_host)], ...] = ()
    """Top-level domains, such as is or org."""

    languages: tuple[Annotated[str, AfterValidator(_language_code)], ...] = ()
    """Main language as the crawl detected it: the first of its up to three."""

    mime: tuple[str, ...] = ()
    """Media type as the crawl detected it from the content."""

    status: tuple[int, ...] = (200,)
    """HTTP status."""

    def expression(self) -> ds.Expression:
        """The filter over the index's columns."""
        wanted = pc.field("fetch_status").isin(list(self.status))
        if self.hosts:
            wanted &= _any(_below(host) for host in self.hosts)
        if self.tlds:
            wanted &= pc.field("url_host_tld").isin(list(self.tlds))
        if self.languages:
            # "isl" or "isl,eng": the range serves as a prefix test that statistics can decide
            language = pc.field("content_languages")
            wanted &= _any((language >= code) & (language < code + "-") for code in self.languages)
        if self.mime:
            wanted &= pc.field("content_mime_detected").isin(list(self.mime))
        return wanted


def _any(expressions: Iterator[ds.Expression]) -> ds.Expression:
    found = next(expressions)
    for expression in expressions:
        found |= expression
    return found


def _below(host: str) -> ds.Expression:
    """A host and those below it, as a range of the column that the index is sorted by.

    The key of http://a.example.org:80/b is "org,example,a:80)/b"; of a whole host it goes on with ")", "," or ":".
    Keys leave out "www." in front (or "www2." and the like), so it is no part of the range.
    """
    key = ",".join(reversed(re.sub(r"^www\d*\.", "", host).split(".")))
    surt = pc.field("url_surtkey")
    name = pc.field("url_host_name")
    within = (name == host) | pc.ends_with(name, "." + host)
    return (surt >= key + ")") & (surt < key + ";") & within


@dataclass(frozen=True, slots=True)
class Capture:
    """Where a record lies."""

    file: str  # path below the crawl's base
    offset: int
    length: int  # bytes in the file


def captures(index: InputFile, select: Select, config: CrawlConfig, context: Context) -> list[Capture]:
    """What one file of the index selects, sampled, in the order of the files and offsets that hold it.

    Raises:
        OSError: the file cannot be read.
        StageError: it is no index: columns are missing.
    """
    columns = ["warc_filename", "warc_record_offset", "warc_record_length"]
    with open_file(index.location, config.remote, context.shared) as file:
        try:
            names_once = ds.ParquetReadOptions(dictionary_columns=columns[:1])
            fragment = ds.ParquetFileFormat(read_options=names_once).make_fragment(pa.PythonFile(file, mode="r"))
            table = fragment.to_table(columns=columns, filter=select.expression())
        except pa.ArrowInvalid as error:
            if "FieldRef" in str(error):  # a column that the selection needs is not there
                raise StageError(f"{index.name} is not a columnar index of a crawl: {error}") from error
            raise RemoteError("unreadable", f"{index.name} is damaged: {error}") from error
        except RemoteError:
            raise
        except OSError as error:  # of pyarrow's decoders: it has a message alone
            raise RemoteError("unreadable", f"{index.name} is damaged: {error}") from error
    chosen = {
        c for c in _rows(table) if config.sample == 1 or _share_of(f"{c.file}@{c.offset}", config) < config.sample
    }
    return sorted(chosen, key=lambda c: (c.file, c.offset))


def _rows(table: pa.Table) -> Iterator[Capture]:
    for batch in table.to_batches():
        names, offsets, lengths = batch.columns
        distinct = names.dictionary.to_pylist()
        rows = zip(names.indices.to_pylist(), offsets.to_pylist(), lengths.to_pylist(), strict=True)
        yield from (Capture(distinct[name], offset, length) for name, offset, length in rows)


def _share_of(name: str, config: CrawlConfig) -> float:
    """A number from 0 to 1 that depends on the record and the seed alone."""
    digest = hashlib.blake2b(f"{config.sample_seed}:{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def ranges(sorted_captures: list[Capture]) -> list[list[Capture]]:
    """Captures that are read by one request: neighbours in a file, with small gaps."""
    groups: list[list[Capture]] = []
    for capture in sorted_captures:
        if groups and _joins(groups[-1], capture):
            groups[-1].append(capture)
        else:
            groups.append([capture])
    return groups


def _joins(group: list[Capture], capture: Capture) -> bool:
    first, last = group[0], group[-1]
    return (
        capture.file == last.file
        and capture.offset - (last.offset + last.length) <= MAX_GAP_BYTES
        and capture.offset + capture.length - first.offset <= MAX_RANGE_BYTES
    )


def fetched(
    wanted: list[Capture], config: CrawlConfig, max_block_bytes: int, context: Context
) -> Iterator[tuple[str, Record | Damage]]:
    """The records of these captures in their order, each with the file that holds it; several requests at a time."""

    def content(group: list[Capture]) -> bytes:
        start, last = group[0].offset, group[-1]
        location = f"{config.base.rstrip('/')}/{group[0].file}"
        return read_range(location, start, last.offset + last.length - start, config.remote, context.shared)

    def records_of(group: list[Capture], answer: Future[bytes]) -> Iterator[tuple[str, Record | Damage]]:
        try:
            found = memoryview(answer.result())
        except OSError as error:
            yield from ((c.file, Damage(str(c.offset), reason_of(error), str(error.strerror))) for c in group)
            return
        for c in group:
            at = c.offset - group[0].offset
            yield c.file, record_at(bytes(found[at : at + c.length]), c.offset, max_block_bytes)

    with ThreadPoolExecutor(config.remote.connections) as pool:
        groups = iter(ranges(wanted))
        waiting: deque[tuple[list[Capture], Future[bytes]]] = deque()  # bytes as stored: decoded they may be any size
        while True:
            more = islice(groups, config.remote.connections - len(waiting))
            waiting += [(group, pool.submit(content, group)) for group in more]
            if not waiting:
                return
            yield from records_of(*waiting.popleft())
