"""Web pages from the WARC files of a crawl: whole files, or only the records that its index selects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from pipeline.locations.location import RecipeLocation, reason_of
from pipeline.stage import PAYLOAD, Context, Outcome, Removal, Source, Split, Verdict, documents
from stages.intake.crawl_files import CrawlConfig
from stages.intake.crawl_index import Select, captures, fetched
from stages.intake.files import matching_files, one_split_per_file
from stages.intake.http import HttpError, Response, TooLargeError, decoded_body, parsed
from stages.intake.warc import Damage, Record, records

SUFFIXES = tuple(f"{name}{packed}" for name in (".warc", ".arc") for packed in ("", ".gz", ".zst", ".lz4"))
BATCH_ROWS = 256
BATCH_BYTES = 32 << 20
HTTP_HEADER_BYTES = 1 << 16  # room for the HTTP header beside a body of the largest size allowed
PAGE_RECORDS = frozenset({"response", "resource"})
RECORD_TYPES = frozenset(  # WARC 1.1, section 5.5
    ("warcinfo", "response", "resource", "request", "metadata", "revisit", "conversion", "continuation")
)


class CommonCrawlConfig(CrawlConfig):
    """Options of common_crawl."""

    select: Select | None = None
    """Read only the records that the crawl's columnar index selects, by range requests: {hosts, tlds, languages, mime,
    status}."""

    index: tuple[RecipeLocation, ...] = ()
    """Parquet files of the index, if not those of ``crawl``."""

    max_body_bytes: int = Field(10 << 20, ge=1)
    """Larger pages are dropped, before and after decompression."""

    min_body_bytes: int = Field(1, ge=1)
    """Smaller pages are dropped."""

    mime: tuple[str, ...] = ("text/html", "application/xhtml+xml")
    """Media types to keep, as the server named them; the crawler's own guess where the server named none."""

    repeated_payloads: bool = True
    """Keep pages whose bytes (by WARC-Payload-Digest) came earlier in the same file; false drops them."""

    not_identity: ClassVar[frozenset[str]] = CrawlConfig.not_identity | {"index"}

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if self.index:
            if self.select is None:
                raise ValueError("index is given, but not what to select from it: add select")
            if self.crawl or self.files:
                raise ValueError("give an index, or a crawl or files, not both")
        elif (self.crawl is None) == (not self.files):
            raise ValueError("give either crawl, an id such as CC-MAIN-2026-43, or files")
        elif self.select is not None and self.crawl is None:
            raise ValueError("select needs a crawl or an index: files are read whole")
        if self.select is not None and (more := set(self.select.mime) - set(self.mime)):
            raise ValueError(f"select.mime has {', '.join(more)}, which the option mime would drop: add it there")
        return self

    def identity(self) -> dict[str, Any]:
        """With ``select``, the sample is of records: it decides what a part holds."""
        sample = {"sample": self.sample, "sample_seed": self.sample_seed} if self.select else {}
        return super().identity() | sample


class CommonCrawl(Source[CommonCrawlConfig]):
    """Read web pages from WARC files, of Common Crawl or any other crawler.

    Every record of a file is counted: pages are kept with their bytes in ``payload``, other records are dropped
    under their type, damaged ones fail and reading goes on behind them. With ``select``, the records counted are
    those that the index selects, and each task serves one file of the index.
    """

    name = "common_crawl"
    version = 3
    config_type = CommonCrawlConfig
    provides = ("payload",)

    def splits(self) -> list[Split]:
        config = self.config
        if config.select is not None:
            files = (
                config.listed("cc-index-table.paths.gz", "/subset=warc/")
                if config.crawl
                else matching_files(config.index, (".parquet",), config.remote)
            )
            return one_split_per_file(files[: config.limit])
        files = config.listed("warc.paths.gz") if config.crawl else config.matching_files(SUFFIXES)
        return one_split_per_file(config.sampled(files))

    def read(self, split: Split, source: str, context: Context) -> Iterator[Outcome]:
        seen: dict[str, str] = {}  # payload digest -> id of the page that had it first
        rows: list[dict[str, object]] = []
        removed: list[Removal] = []
        size = 0
        for name, record in self._records(split, context):
            found = self._page(record, name, source, seen)
            if isinstance(found, Removal):
                removed.append(found)
            else:
                page, page_bytes = found
                if rows and size + page_bytes > BATCH_BYTES:
                    yield _outcome(rows, removed, source)
                    rows, removed, size = [], [], 0
                rows.append(page)
                size += page_bytes
            if len(rows) == BATCH_ROWS or len(removed) == 8 * BATCH_ROWS:
                yield _outcome(rows, removed, source)
                rows, removed, size = [], [], 0
        if rows or removed:
            yield _outcome(rows, removed, source)

    def _records(self, split: Split, context: Context) -> Iterator[tuple[str, Record | Damage]]:
        """Each record with the name of the file that holds it; a file that breaks off ends in a Damage."""
        limit = self.config.max_body_bytes + HTTP_HEADER_BYTES
        for file in split.files:
            try:
                if self.config.select is not None:
                    wanted = captures(file, self.config.select, self.config, context)
                    yield from fetched(wanted, self.config, limit, context)
                    continue
                with self.config.opened(file.location, context) as opened:
                    for record in records(opened, PAGE_RECORDS, limit):
                        yield file.name, record
            except OSError as error:
                yield file.name, Damage("rest", reason_of(error), str(error.strerror))

    def _page(
        self, record: Record | Damage, name: str, source: str, seen: dict[str, str]
    ) -> tuple[dict[str, object], int] | Removal:
        """The row of a page and its size in bytes, or why there is none."""
        identity = f"{source}/{name}@{record.position}"
        if isinstance(record, Damage):
            place = f"{name} at byte {record.position}: {record.evidence}"
            return Removal(identity, source, "failed", record.reason, place)
        url = record.headers.get("warc-target-uri", "").strip("<>")

        def ended(verdict: Verdict, reason: str, evidence: str = "") -> Removal:
            return Removal(identity, source, verdict, reason, evidence, url=url)

        kind = record.headers["warc-type"].lower()
        if kind not in PAGE_RECORDS:
            return ended("dropped", f"record_{kind if kind in RECORD_TYPES else 'other'}", kind)
        protocol = record.headers.get("content-type", "application/http").partition(";")[0].strip().lower()
        if kind == "response" and protocol != "application/http":
            return ended("dropped", "not_http", f"a response of type {protocol}")
        if record.block is None:
            return ended("dropped", "too_large", f"{record.block_bytes} bytes > {self.config.max_body_bytes}")
        digest = record.headers.get("warc-payload-digest")
        if not self.config.repeated_payloads and digest in seen:
            return ended("dropped", "repeated_payload", f"{digest} as in {seen[digest]}")
        cut = record.headers.get("warc-truncated")
        try:
            response = parsed(record.block) if kind == "response" else Response(200, record.headers, record.block)
            mime = response.mime or record.headers.get("warc-identified-payload-type", "").lower()
            if response.status not in self._statuses:
                return ended("dropped", "http_status", str(response.status))
            if mime not in self.config.mime:
                return ended("dropped", "mime", mime or "no Content-Type")
            body = decoded_body(response, self.config.max_body_bytes, cut is not None)
        except HttpError as error:
            reason, what = error.args
            return ended("failed", reason, f"{name} at byte {record.position}: {what}")
        except TooLargeError as error:
            return ended("dropped", "too_large", str(error))
        if not body:
            return ended("dropped", "empty", "no bytes behind the HTTP header")
        if len(body) < self.config.min_body_bytes:
            return ended("dropped", "too_small", f"{len(body)} bytes < {self.config.min_body_bytes}")
        if digest:
            seen.setdefault(digest, identity)
        meta = {"charset": response.charset, "truncated": cut, **response.declarations}
        page: dict[str, object] = {
            "id": identity,
            "source": source,
            "url": url or None,
            "date": record.headers.get("warc-date"),
            "mime": mime,
            "origin": {"path": name, "offset": record.offset, "length": record.length, "digest": digest},
            "meta": [(key, value) for key, value in meta.items() if value],
            "payload": body,
        }
        return page, len(body)

    @property
    def _statuses(self) -> tuple[int, ...]:
        return self.config.select.status if self.config.select else (200,)


def _outcome(rows: list[dict[str, object]], removed: list[Removal], source: str) -> Outcome:
    # each payload stays where it is, a chunk of its own: copying a batch of them into new memory would take twice as
    # long as inflating them
    payloads = pa.chunked_array([_chunk(row["payload"]) for row in rows], PAYLOAD.type)
    kept = documents(rows).append_column(PAYLOAD, payloads)
    return Outcome(kept, removed, {source: len(rows) + len(removed)})


def _chunk(payload: Any) -> pa.Array:
    """An array of one payload, around the bytes themselves."""
    offsets = np.array([0, len(payload)], np.int64)
    return pa.Array.from_buffers(PAYLOAD.type, 1, [None, pa.py_buffer(offsets), pa.py_buffer(payload)])
