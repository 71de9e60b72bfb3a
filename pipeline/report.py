from pathlib import Path

from pipeline import storage
from pipeline.run import Run


def write_report(run: Run) -> Path:
    p = run.folder / "report.html"
    storage.replace(p, b"<p>")
    return p
