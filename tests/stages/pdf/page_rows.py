"""What the pages of inputs come to, checked to add up."""

from collections import Counter
from pathlib import Path
from typing import Any

from pipeline.locations.location import RemoteOptions
from pipeline.stage import Context, Removal, Split
from stages.pdf.pages import PdfPages, PdfPagesConfig
from tests.stages.pdf_files import text_pdf

PROSE = "A line of prose, long enough to be read from its text layer: page {}."
FAST = RemoteOptions(tries=2, backoff_s=0.01, timeout_s=2.0)


class Read:
    """All rows of some inputs, in order."""

    def __init__(self, splits: list[Split] | None = None, **options: Any) -> None:
        self.rows: list[dict[str, Any]] = []
        self.removed: list[Removal] = []
        self.noted: Counter[str] = Counter()
        options = {"ocr": "off", "remote": FAST, **options}
        stage = PdfPages(PdfPagesConfig(**options))
        context = Context(seed=1)
        stage.setup(context)
        self.splits = stage.splits() if splits is None else splits
        for split in self.splits:
            for outcome in stage.read(split, "papers", context):
                assert outcome.created == {"papers": len(outcome.kept) + len(outcome.removed)}
                assert {name for name in outcome.kept.column_names if "." in name} == set(stage.provides) - {"text"}
                self.rows += outcome.kept.to_pylist()
                self.removed += outcome.removed
                self.noted.update(outcome.noted.get("papers", {}))
        ids = [row["id"] for row in self.rows] + [removal.id for removal in self.removed]
        assert len(ids) == len(set(ids))

    @property
    def texts(self) -> list[str]:
        return [row["text"] for row in self.rows]

    @property
    def ends(self) -> list[tuple[str, str]]:
        """Verdict and reason of each removal."""
        return [(removal.verdict, removal.reason) for removal in self.removed]

    @property
    def only_removal(self) -> Removal:
        (removal,) = self.removed
        assert not self.rows
        return removal


def prose_pdf(path: Path, pages: int = 1, start: int = 0) -> Path:
    """A PDF with pages of PROSE, numbered from ``start`` on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return text_pdf(path, [PROSE.format(number) for number in range(start, start + pages)])


def prose_bytes(folder: Path, pages: int = 1, start: int = 0) -> bytes:
    """The content of such a PDF."""
    path = prose_pdf(folder / "made" / f"{start}-{pages}", pages, start)
    return path.read_bytes()
