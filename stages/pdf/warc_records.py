"""PDFs that a crawler has stored: records of WARC files whose payload is a PDF, whatever its server called it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from pipeline.locations.location import InputFile, reason_of, shown
from pipeline.stage import Removal
from stages.intake.common_crawl import HTTP_HEADER_BYTES, PAGE_RECORDS, RECORD_TYPES
from stages.intake.http import HttpError, Response, TooLargeError, decoded_body, parsed
from stages.intake.warc import Damage, Record, records
from stages.pdf.files import PDF_HEADER_BYTES, PDF_MAGIC, Intake, LocalPdf, Provenance, pdf_of_bytes

PDF_MIME = "application/pdf"


@dataclass(frozen=True, slots=True)
class WarcFile(InputFile):
    """A WARC or ARC file, of which one task reads the PDFs."""


def pdfs_in_warc(file: InputFile, intake: Intake) -> Iterator[LocalPdf | Removal]:
    """The PDFs of a WARC file, or why they cannot be read. What is damaged is told, for it may have been PDFs; sound
    records that are no PDFs are noted."""
    try:
        with intake.config.opened(file.location, intake.context) as opened:
            for record in records(opened, PAGE_RECORDS, intake.config.max_file_bytes + HTTP_HEADER_BYTES):
                provenance = Provenance(file.name, f"{intake.source}/{file.name}@{record.position}")
                if isinstance(record, Damage):
                    evidence = f"at byte {record.position}: {record.evidence}"
                    yield provenance.ended(intake.source, record.reason, evidence)
                else:
                    yield from _pdf(record, _of_record(provenance, record), intake)
    except OSError as error:
        rest = Provenance(file.name, f"{intake.source}/{file.name}@rest")
        yield rest.ended(intake.source, reason_of(error), str(error.strerror or error))


def _of_record(provenance: Provenance, record: Record) -> Provenance:
    return replace(
        provenance,
        url=record.headers.get("warc-target-uri", "").strip("<>") or None,
        date=record.headers.get("warc-date"),
        offset=record.offset,
        length=record.length,
    )


def _pdf(record: Record, provenance: Provenance, intake: Intake) -> Iterator[LocalPdf | Removal]:
    kind = record.headers["warc-type"].lower()
    most = intake.config.max_file_bytes
    cut = record.headers.get("warc-truncated")
    place = f"at byte {record.position}"
    if kind not in PAGE_RECORDS:
        intake.noted[f"record_{kind if kind in RECORD_TYPES else 'other'}"] += 1
        return
    if record.block is None:
        if _is_declared_pdf(record.headers):
            evidence = f"{place}: {record.block_bytes} bytes > {most}"
            yield provenance.ended(intake.source, "too_large", evidence)
        else:
            intake.noted["record_too_large"] += 1
        return
    response = None
    try:
        is_http = record.headers.get("content-type", "application/http").lower().startswith("application/http")
        response = parsed(record.block) if kind == "response" and is_http else Response(200, {}, record.block)
        body = decoded_body(response, most, cut is not None)
    except (HttpError, TooLargeError) as error:
        if not (_is_declared_pdf(record.headers) or (response is not None and response.mime == PDF_MIME)):
            intake.noted["record_no_pdf"] += 1
            return
        reason = error.args[0] if isinstance(error, HttpError) else "too_large"
        yield provenance.ended(intake.source, reason, f"{place}: {error.args[-1]}")
        return
    if PDF_MAGIC not in body[:PDF_HEADER_BYTES]:
        intake.noted["record_no_pdf"] += 1
    elif cut is not None:
        evidence = f"{place}: the crawler cut it after {len(body)} bytes ({cut})"
        yield provenance.ended(intake.source, "truncated", evidence)
    elif response.status != 200:
        evidence = f"{place}: {response.status}"
        yield provenance.ended(intake.source, "http_status", evidence, verdict="dropped")
    else:
        yield from pdf_of_bytes(body, replace(provenance, meta=response.declarations), intake)


def _is_declared_pdf(headers: dict[str, str]) -> bool:
    url = shown(headers.get("warc-target-uri", "").strip("<>"))
    return headers.get("warc-identified-payload-type", "").lower() == PDF_MIME or url.lower().endswith(".pdf")
