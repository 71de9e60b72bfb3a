"""PDFs inside archives (zip, tar plain or compressed): only one of them is unpacked at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from pipeline.locations.location import InputFile, is_url, reason_of
from pipeline.stage import Removal
from stages.intake.source_code.archives import Archive, DamagedArchiveError, Limits, Member, opened_archive
from stages.pdf.files import Intake, LocalPdf, Provenance, Share, pdf_of_bytes, shares_of

ARCHIVE_SUFFIXES = (".zip", *(f".tar{packed}" for packed in ("", ".gz", ".zst", ".bz2", ".xz")), ".tgz", ".tzst")

RANGE_BYTES = 32 << 20
"""How much of an archive of this machine a task takes on; of one on a server, all: it has to be fetched whole."""

LIMITS = Limits(max_unpacked_bytes=1 << 40, max_ratio=200)
"""PDFs are compressed themselves: archives of them unpack to 1 to 2 times their size, those of uncompressed ones to
10."""


class MemberRange(Share):
    """A range of the PDFs of an archive."""

    __slots__ = ()


def is_archive(name: str) -> bool:
    """Whether a file's name is that of an archive."""
    return name.lower().endswith(ARCHIVE_SUFFIXES)


def member_ranges(file: InputFile) -> list[MemberRange]:
    """What the tasks that share an archive read of it."""
    parts = 1 if is_url(file.location) else max(1, -(-(file.size_bytes or 0) // RANGE_BYTES))
    return shares_of(MemberRange, file, parts, "members")


def pdfs_in_archive(chosen: MemberRange, intake: Intake) -> Iterator[LocalPdf | Removal]:
    """The members that end in .pdf, or why they cannot be read; other members are noted, archives among them too."""
    try:
        with intake.config.copied(chosen.location, intake.context) as path:
            yield from _Reading(opened_archive(path, chosen.file_name, LIMITS), chosen, intake).pdfs()
    except OSError as error:
        evidence = str(error.strerror or error)
        yield Provenance(chosen.name).ended(intake.source, reason_of(error), evidence)


class _Reading:
    def __init__(self, archive: Archive, chosen: MemberRange, intake: Intake) -> None:
        self._archive, self._chosen, self._intake = archive, chosen, intake
        self._damage: DamagedArchiveError | None = None

    def pdfs(self) -> Iterator[LocalPdf | Removal]:
        names = self._names()
        wanted: dict[int, str] = {}
        for place, (member, name) in names.items():
            if refusal := self._refusal(member, name):
                yield refusal
            else:
                wanted[place] = name
        try:
            for place, content in self._archive.contents(wanted):
                name = wanted.pop(place)
                if isinstance(content, bytes):
                    yield from pdf_of_bytes(content, Provenance(name), self._intake)
                else:
                    verdict, reason, evidence = content
                    yield Provenance(name).ended(self._intake.source, reason, evidence, verdict=verdict)
        except DamagedArchiveError as damage:
            self._damage = damage
        if self._damage:
            yield from self._lost(self._damage, wanted)

    def _names(self) -> dict[int, tuple[Member, str]]:
        """This task's share of the PDFs, by their places in the archive, each with a name of its own."""
        found: dict[int, tuple[Member, str]] = {}
        times_seen: Counter[str] = Counter()
        others = 0
        try:
            for place, (member, _) in enumerate(self._archive.members(lambda path: False)):
                if not member.path.lower().endswith(".pdf"):
                    others += 1
                    continue
                name = f"{self._chosen.file_name}!{member.path}"
                times_seen[name] += 1
                if times_seen[name] > 1:  # tar adds a new version at the end
                    name += f"@{member.offset}"
                found[place] = member, name
        except DamagedArchiveError as damage:
            self._damage = damage
        if self._chosen.part == 0 and others:
            self._intake.noted["member_no_pdf"] += others
        places = list(found)
        first, last = (len(places) * part // self._chosen.parts for part in (self._chosen.part, self._chosen.part + 1))
        return {place: found[place] for place in places[first:last]}

    def _refusal(self, member: Member, name: str) -> Removal | None:
        source, most = self._intake.source, self._intake.config.max_file_bytes
        if member.problem:
            verdict, reason, evidence = member.problem
            return Provenance(name).ended(source, reason, evidence, verdict=verdict)
        if member.size_bytes > most:
            return Provenance(name).ended(source, "too_large", f"{member.size_bytes} bytes > {most}")
        return None

    def _lost(self, damage: DamagedArchiveError, missing: dict[int, str]) -> Iterator[Removal]:
        """The PDFs that were listed and cannot be unpacked; and the damage itself, for what was not even listed."""
        for name in missing.values():
            yield Provenance(name).ended(self._intake.source, damage.reason, damage.evidence)
        if self._chosen.part == 0:
            yield Provenance(self._chosen.file_name).ended(
                self._intake.source, damage.reason, damage.evidence, digest="damage"
            )
