"""Common Crawl's own extracted text (WET files)."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from pipeline.locations.location import reason_of
from pipeline.stage import Context, Outcome, Removal, Source, Split
from stages.intake.batches import batched
from stages.intake.crawl_files import CrawlConfig
from stages.intake.files import one_split_per_file
from stages.intake.warc import Damage, Record, records

SUFFIXES = (".wet", ".wet.gz", ".wet.zst")


class CrawlTextConfig(CrawlConfig):
    """Options of common_crawl_text."""

    max_text_bytes: int = Field(10 << 20, ge=1)
    """Longer texts are dropped."""


class CrawlText(Source[CrawlTextConfig]):
    """Read the plain text that Common Crawl publishes beside its pages (WET files).

    It is the text of the whole page, menus included: for a corpus, pages and extract_html give better text.
    """

    name = "common_crawl_text"
    config_type = CrawlTextConfig

    def splits(self) -> list[Split]:
        config = self.config
        files = config.listed("wet.paths.gz") if config.crawl else config.matching_files(SUFFIXES)
        return one_split_per_file(config.sampled(files))

    def read(self, split: Split, source: str, context: Context) -> Iterator[Outcome]:
        return batched(source, (self._document(record, name, source) for name, record in self._records(split, context)))

    def _records(self, split: Split, context: Context) -> Iterator[tuple[str, Record | Damage]]:
        for file in split.files:
            try:
                with self.config.opened(file.location, context) as opened:
                    for record in records(opened, frozenset({"conversion"}), self.config.max_text_bytes):
                        yield file.name, record
            except OSError as error:
                yield file.name, Damage("rest", reason_of(error), str(error.strerror))

    def _document(self, record: Record | Damage, name: str, source: str) -> dict[str, object] | Removal:
        identity = f"{source}/{name}@{record.position}"
        if isinstance(record, Damage):
            evidence = f"{name} at byte {record.position}: {record.evidence}"
            return Removal(identity, source, "failed", record.reason, evidence)
        headers = record.headers
        url = headers.get("warc-target-uri", "").strip("<>")
        kind = headers["warc-type"].lower()
        if kind != "conversion":
            return Removal(identity, source, "dropped", f"record_{kind}", kind, url=url)
        if record.block is None:
            evidence = f"{record.block_bytes} bytes > {self.config.max_text_bytes}"
            return Removal(identity, source, "dropped", "too_large", evidence, url=url)
        try:
            text = record.block.decode()
        except UnicodeDecodeError as error:
            evidence = f"{name} at byte {record.position}: not UTF-8 at byte {error.start} of the block"
            return Removal(identity, source, "failed", "not_text", evidence, url=url)
        if not text.strip():
            return Removal(identity, source, "dropped", "empty", "no visible character", url=url)
        languages = headers.get("warc-identified-content-language")
        return {
            "id": identity,
            "text": text,
            "source": source,
            "url": url or None,
            "date": headers.get("warc-date"),
            "mime": "text/plain",
            "origin": {
                "path": name,
                "offset": record.offset,
                "length": record.length,
                "digest": headers.get("warc-block-digest"),
            },
            "meta": [("languages", languages)] if languages else [],
        }
