"""report.html: one file that says what a run read, kept, removed, mixed and trained. No network;
its own script is the only one that may run."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from pipeline import storage
from pipeline.progress import Tick, silent
from pipeline.report.costs import cost_section, recipe_section
from pipeline.report.documents import documents_section
from pipeline.report.duplicates import duplicates_section
from pipeline.report.facts import Facts
from pipeline.report.funnel import funnel_section
from pipeline.report.head import head
from pipeline.report.markup import Markup, element
from pipeline.report.mix import mix_section
from pipeline.report.pdf import pdf_section
from pipeline.report.quality import quality_section
from pipeline.report.removed import removed_section
from pipeline.report.rephrasing import rephrasing_section
from pipeline.report.script import script, script_source
from pipeline.report.thresholds import thresholds_section
from pipeline.report.tokens import tokens_section
from pipeline.report.training import model_section
from pipeline.run import Run

REPORT_FILE = "report.html"
# Whatever a sample may hold, nothing is loaded, run or sent.
POLICY = (
    f"default-src 'none'; script-src {script_source()}; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
)

SECTIONS = (
    ("funnel", "Funnel", funnel_section),
    ("removed", "Removed", removed_section),
    ("documents", "Documents", documents_section),
    ("pdf", "PDF pages", pdf_section),
    ("thresholds", "Thresholds", thresholds_section),
    ("duplicates", "Duplicates", duplicates_section),
    ("quality", "Quality", quality_section),
    ("rephrasing", "Rephrasing", rephrasing_section),
    ("tokens", "Tokens", tokens_section),
    ("mix", "Mix", mix_section),
    ("model", "Pretraining", model_section),
    ("cost", "Cost", cost_section),
    ("recipe", "Recipe", recipe_section),
)


def write_report(run: Run, tick: Tick = silent) -> Path:
    """Write RUN/report.html from the run's manifests, ledger and Parquet files; the same run gives the same bytes.

    Sections whose artifacts the run does not have are left out.
    """
    path = run.folder / REPORT_FILE
    storage.replace(path, page(Facts(run), tick).encode())
    return path


def page(facts: Facts, tick: Tick = silent) -> str:
    """The whole document: HTML that is well-formed XML as well."""
    style = files("pipeline.report").joinpath("report.css").read_text(encoding="utf-8")
    sections = []
    for done, (anchor, name, make) in enumerate(SECTIONS):
        tick(done, len(SECTIONS))
        if (made := make(facts)) is not None:
            sections.append((anchor, name, made))
    links = [element("a", name, href=f"#{anchor}") for anchor, name, _ in sections]
    return "<!DOCTYPE html>\n" + element(
        "html",
        element(
            "head",
            element("meta", charset="utf-8"),
            element("meta", http_equiv="Content-Security-Policy", content=POLICY),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("meta", name="color-scheme", content="light dark"),
            element("title", f"{facts.state.name}: report"),
            element("style", Markup(style)),
        ),
        element(
            "body",
            head(facts),
            element("nav", links, aria_label="Sections"),
            element("main", (made for _, _, made in sections)),
            script(),
        ),
        lang="en",
    )
