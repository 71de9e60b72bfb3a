"""Articles of a wiki from MediaWiki's XML dumps (``pages-articles``), such as Wikipedia's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

from pydantic import Field

from pipeline.locations.location import InputFile, reason_of
from pipeline.stage import Context, Outcome, Removal, Source, Split, removal
from stages.intake.batches import Batch
from stages.intake.decompression import chunks, is_compressed
from stages.intake.files import FilesConfig, one_split_per_file
from stages.intake.records import Record, Records
from stages.intake.wikitext import CANONICAL_HIDDEN, WikitextOptions
from stages.intake.wikitext_process import UnreadableWikitextError, WikitextProcess

SUFFIXES = (".xml", ".bz2", ".gz", ".zst", ".xz")  # split dumps are called NAME.xml-p1p41242.bz2
PAGE = (re.compile(rb"<page[\s>]"), re.compile(rb"</page>"))
"""In XML no text holds a bare "<", so this is where pages start and end."""
HIDDEN_NAMESPACE_KEYS = ("-2", "6", "14")
"""Media, file and category: https://www.mediawiki.org/wiki/Help:Namespaces."""
_URL_SAFE = ";@$!*(),/~:'"
"""What MediaWiki leaves as it is in the address of a page (wfUrlencode)."""


class MediawikiConfig(FilesConfig):
    """Options of ``mediawiki``."""

    namespaces: tuple[int, ...] = (0,)
    """Numbers of the namespaces to read; 0 holds the articles."""

    markdown: bool = False
    """Write headings, code and tables as Markdown."""

    tables: bool = False
    """Keep tables, a row a line, cells separated by " | ". Infoboxes and navigation boxes never stay."""

    licence: str | None = None
    """Kept as meta["licence"]: a dump does not state its own. Wikimedia's texts are under CC BY-SA 4.0."""

    max_page_bytes: int = Field(4 << 20, ge=1)
    """Larger pages are dropped (bytes of XML). MediaWiki itself takes no text above 2 MiB ($wgMaxArticleSize)."""

    page_deadline_s: float = Field(20.0, gt=0)
    """CPU seconds after which a page is given up: unclosed markup can take the parser hours."""


class Mediawiki(Source[MediawikiConfig]):
    """Read the articles of a wiki from its XML dump.

    Every page is counted: it is kept, dropped (``namespace``, ``redirect``, ``not_wikitext``, ``empty``,
    ``too_large``), or failed (``bad_xml``, ``bad_wikitext``, ``deadline``, ``crashed``). Of several revisions the last
    one is read. The text begins with the title. Templates are left out but for those in ``stages/intake/wikitext.py``.
    """

    name = "mediawiki"
    config_type = MediawikiConfig

    def splits(self) -> list[Split]:
        return one_split_per_file(self.config.matching_files(SUFFIXES))

    def read(self, split: Split, source: str, context: Context) -> Iterator[Outcome]:
        batch = Batch(source)
        with WikitextProcess(self.config.page_deadline_s) as process:
            for file in split.files:
                for page in self._pages(file, source, context, process):
                    yield from batch.add(page)
        yield batch.rest()

    def _pages(
        self, file: InputFile, source: str, context: Context, process: WikitextProcess
    ) -> Iterator[dict[str, Any] | Removal]:
        """Every page of a file, and what is wrong with the file."""
        records = Records((), *PAGE, self.config.max_page_bytes)
        site: Site | None = None

        def failed(reason: str, evidence: str) -> Removal:
            identity = f"{source}/{file.name}@{records.position}"
            where = f"{file.name}: byte {records.position} of its content"
            return Removal(identity, source, "failed", reason, f"{where}: {evidence}")

        try:
            with self.config.opened(file.location, context) as opened:
                compressed = is_compressed(opened)
                records = Records(chunks(opened), *PAGE, self.config.max_page_bytes)
                for record in records:
                    if site is None:
                        try:
                            site = site_of(records.head)
                        except ValueError as error:
                            site = Site()
                            evidence = (
                                f"{file.name}: pages have no address, local names of namespaces are unknown: {error}"
                            )
                            yield Removal(f"{source}/{file.name}@head", source, "failed", "bad_siteinfo", evidence)
                    row = record.row(source, file.name)
                    row["meta"] = {"stream_offset": str(record.stream_offset)} if compressed else {}
                    yield self._page(row, record, records.is_cut, site, process)
        except OSError as error:
            yield failed(reason_of(error), error.strerror or str(error))
            return
        if not records.is_cut and not records.tail.rstrip().endswith(b"</mediawiki>"):
            reason = "truncated" if b"<mediawiki" in records.head else "not_mediawiki"
            yield failed(reason, "the file does not end with </mediawiki>")

    def _page(
        self, row: dict[str, Any], record: Record, is_cut: bool, site: Site, process: WikitextProcess
    ) -> dict[str, Any] | Removal:
        """One page as a document, or why it is none."""
        where = f"{row['origin']['path']}: byte {record.offset} of its content"
        if record.content is None:
            return removal(row, "dropped", "too_large", f"{record.length} bytes > {self.config.max_page_bytes}")
        try:
            page = page_of(record.content)
        except ValueError as error:
            reason = "truncated" if is_cut else "bad_xml"
            return removal(row, "failed", reason, f"{where}: {error}")
        row["url"] = site.url(page.title)
        row["language"] = site.language
        row["date"] = page.date
        row["mime"] = "text/x-wiki"
        row["meta"] |= {"title": page.title, "page_id": page.page_id, "revision_id": page.revision_id}
        if self.config.licence is not None:
            row["meta"]["licence"] = self.config.licence
        if page.namespace not in self.config.namespaces:
            return removal(row, "dropped", "namespace", f"{page.title}: namespace {page.namespace}")
        if page.redirect is not None:
            return removal(row, "dropped", "redirect", f"{page.title} to {page.redirect}")
        if page.model != "wikitext":
            return removal(row, "dropped", "not_wikitext", f"{page.title}: model {page.model}")
        options = WikitextOptions(self.config.markdown, self.config.tables, site.hidden_namespaces)
        try:
            text = process.text(page.wikitext, options)
        except UnreadableWikitextError as error:
            return removal(row | {"text": page.wikitext}, "failed", error.reason, f"{where}: {page.title}: {error}")
        if not text:
            return removal(row, "dropped", "empty", f"{page.title}: no text in {len(page.wikitext)} characters")
        return row | {"text": f"{'# ' * self.config.markdown}{page.title}\n\n{text}"}


@dataclass(frozen=True, slots=True)
class Site:
    """What a dump says of its wiki."""

    address: str | None = None  # of its pages, up to the title
    language: str | None = None
    hidden_namespaces: frozenset[str] = CANONICAL_HIDDEN

    def url(self, title: str) -> str | None:
        """Address of a page."""
        return self.address and self.address + quote(title.replace(" ", "_"), safe=_URL_SAFE)


def site_of(head: bytes) -> Site:
    """The wiki, from what comes before the first page; nothing is known of it if there is no siteinfo.

    Raises:
        ValueError: the siteinfo is not well-formed.
    """
    language = re.search(rb"<mediawiki\b[^<>]*\bxml:lang=[\"']([\w-]+)[\"']", head)
    code = language[1].decode() if language else None
    info = re.search(rb"<siteinfo>.*?</siteinfo>", head, re.DOTALL)
    try:
        root = ElementTree.fromstring(info[0] if info else b"<siteinfo/>")
    except ElementTree.ParseError as error:
        raise ValueError(f"<siteinfo>: {error}") from error
    base = root.findtext("base")
    names = {n.text.lower() for n in root.iter("namespace") if n.get("key") in HIDDEN_NAMESPACE_KEYS and n.text}
    return Site(f"{base.rpartition('/')[0]}/" if base else None, code, CANONICAL_HIDDEN | names)


@dataclass(frozen=True, slots=True)
class Page:
    """The last revision of a page."""

    title: str
    page_id: str
    namespace: int
    redirect: str | None  # title of the page that it leads to
    revision_id: str
    date: str | None
    model: str
    wikitext: str


def page_of(content: bytes) -> Page:
    """Parse a ``<page>`` element.

    Raises:
        ValueError: not well-formed, not UTF-8, an entity that XML does not know itself, or an element is missing.
    """
    try:
        page = ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        raise ValueError(str(error)) from error
    revisions = page.findall("revision")
    title, namespace = page.findtext("title"), page.findtext("ns")
    if not title or namespace is None or not revisions:
        raise ValueError("no <title>, <ns> or <revision> in the page")
    redirect, revision = page.find("redirect"), revisions[-1]
    return Page(
        title=title,
        page_id=page.findtext("id", ""),
        namespace=int(namespace),
        redirect=None if redirect is None else redirect.get("title", ""),
        revision_id=revision.findtext("id", ""),
        date=revision.findtext("timestamp"),
        model=revision.findtext("model", "wikitext"),
        wikitext=revision.findtext("text", ""),
    )
