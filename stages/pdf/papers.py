"""PDFs of the papers that a list names (stages/intake/paper_lists.py)."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.stage import Removal
from stages.intake.paper_lists import Paper, PaperRange, UnreadableRecord, papers_in, refusal
from stages.pdf.files import Intake, LocalPdf, Provenance, pdf_at


def pdfs_of_papers(part: PaperRange, intake: Intake) -> Iterator[LocalPdf | Removal]:
    """The PDF of each record of a part of a list, or why it is not read."""
    config, source = intake.config, intake.source
    for offset, found in papers_in(part, config, config.template, intake.context):
        identity = f"{source}/{part.list_name}@{offset}"
        if isinstance(found, UnreadableRecord):
            evidence = f"{part.list_name}: byte {offset} of its content: {found.evidence}"
            yield Removal(identity, source, "failed", found.reason, evidence)
        elif refused := refusal(found, config.licences, config.categories, config.from_date):
            yield Removal(identity, source, "dropped", *refused, url=found.url or "")
        else:
            assert found.location is not None  # else it was refused
            yield from pdf_at(found.location, _of_paper(found, found.location, identity), intake)


def _of_paper(paper: Paper, location: str, identity: str) -> Provenance:
    """What the list says of a paper."""
    licence = {"licence": paper.licence} if paper.licence else {}
    return Provenance(location, identity, paper.url, paper.date, {**paper.meta, **licence}, is_checked=True)
