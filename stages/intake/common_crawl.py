"""Web pages from WARC files."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
from pydantic import Field

from pipeline.stage import PAYLOAD, Context, Outcome, Removal, Source, Split, Verdict, documents
from stages.intake.files import FilesConfig, matching_files, one_split_per_file
from stages.intake.http import HttpError, TooLargeError, decoded_body, parsed
from stages.intake.warc import Damage, Record, records

SUFFIXES = (".warc", ".warc.gz", ".warc.zst", ".warc.lz4")
BATCH_ROWS = 256
BATCH_BYTES = 32 << 20
HTTP_HEADER_BYTES = 1 << 16  # room for the HTTP header beside a body of the largest size allowed
RECORD_TYPES = frozenset(  # WARC 1.1, section 5.5
    ("warcinfo", "response", "resource", "request", "metadata", "revisit", "conversion", "continuation")
)


class CommonCrawlConfig(FilesConfig):
    """Options of common_crawl."""

    max_body_bytes: int = Field(10 << 20, ge=1)
    """Larger pages are dropped, before and after decompression."""

    mime: tuple[str, ...] = ("text/html", "application/xhtml+xml")
    """Media types to keep, as the server named them; the crawler's own guess where the server named none."""


class CommonCrawl(Source[CommonCrawlConfig]):
    """Read web pages from WARC files, of Common Crawl or any other crawler.

    Every record of a file is counted: pages are kept with their bytes in ``payload``, other records are dropped
    under their type, damaged ones fail and reading goes on behind them.
    """

    name = "common_crawl"
    config_type = CommonCrawlConfig
    provides = ("payload",)

    def splits(self) -> list[Split]:
        return one_split_per_file(matching_files(self.config.files, SUFFIXES))

    def read(self, split: Split, source: str, context: Context) -> Iterator[Outcome]:
        rows: list[dict[str, object]] = []
        removed: list[Removal] = []
        size = 0
        for name, path in zip(split.names, split.paths, strict=True):
            limit = self.config.max_body_bytes + HTTP_HEADER_BYTES
            for record in records(path, frozenset({"response"}), limit):
                found = self._page(record, name, source)
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

    def _page(self, record: Record | Damage, name: str, source: str) -> tuple[dict[str, object], int] | Removal:
        """The row of a page and its size in bytes, or why there is none."""
        identity = f"{source}/{name}@{record.position}"
        if isinstance(record, Damage):
            place = f"{name} at byte {record.position}: {record.evidence}"
            return Removal(identity, source, "failed", record.reason, place)
        url = record.headers.get("warc-target-uri", "").strip("<>")

        def ended(verdict: Verdict, reason: str, evidence: str = "") -> Removal:
            return Removal(identity, source, verdict, reason, evidence, url=url)

        kind = record.headers["warc-type"].lower()
        if kind != "response":
            return ended("dropped", f"record_{kind if kind in RECORD_TYPES else 'other'}", kind)
        protocol = record.headers.get("content-type", "application/http").partition(";")[0].strip().lower()
        if protocol != "application/http":
            return ended("dropped", "not_http", f"a response of type {protocol}")
        if record.block is None:
            return ended("dropped", "too_large", f"{record.block_bytes} bytes > {self.config.max_body_bytes}")
        cut = record.headers.get("warc-truncated")
        try:
            response = parsed(record.block)
            mime = response.mime or record.headers.get("warc-identified-payload-type", "").lower()
            if response.status != 200:
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
        meta = {"charset": response.charset, "truncated": cut}
        page: dict[str, object] = {
            "id": identity,
            "source": source,
            "url": url or None,
            "date": record.headers.get("warc-date"),
            "mime": mime,
            "origin": {
                "path": name,
                "offset": record.offset,
                "length": record.length,
                "digest": record.headers.get("warc-payload-digest"),
            },
            "meta": [(key, value) for key, value in meta.items() if value],
            "payload": body,
        }
        return page, len(body)


def _outcome(rows: list[dict[str, object]], removed: list[Removal], source: str) -> Outcome:
    kept: pa.Table = documents(rows, [PAYLOAD])
    return Outcome(kept, removed, {source: len(rows) + len(removed)})
