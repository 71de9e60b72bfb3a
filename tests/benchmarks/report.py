"""The report of a large run: python -m tests.benchmarks.report [--documents 10000000] [--folder FOLDER].

Made-up documents of twenty sources run through a filter of five rules, so that the run's ledger, its scores and its
removals are those of so many documents; the texts are short. Then the report is written, and opened in Chromium where
there is one: interactive is when its script has run and answers.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from shutil import which
from typing import ClassVar

import numpy as np
import pyarrow as pa

from pipeline.filter import Filter, Rule
from pipeline.locations.location import InputFile
from pipeline.stage import DOCUMENT_SCHEMA, Context, Outcome, Source, Split, StageConfig, with_columns

PER_PART, SOURCES = 20_000, 20
RECIPE = """
name: large
seed: 1
artifacts:
  docs: {{stage: "tests.benchmarks.report:MadeUp", folder: {folder}, parts: {parts}}}
  kept: {{from: docs, chain: ["tests.benchmarks.report:Scored": {{}}]}}
"""


class MadeUpConfig(StageConfig):
    folder: Path
    """Holds one file, so that the splits have something to read."""
    parts: int
    """How many."""


class MadeUp(Source[MadeUpConfig]):
    """Documents that say nothing."""

    name = "made_up"
    config_type = MadeUpConfig

    def splits(self) -> list[Split]:
        return [
            Split((InputFile(f"{number:06}", str(self.config.folder / f"{number:06}")),))
            for number in range(self.config.parts)
        ]

    def read(self, split: Split, source: str, context: Context) -> Iterator[Outcome]:
        part = int(split.files[0].name)
        source = f"source-{part % SOURCES:02}"
        numbers = range(part * PER_PART, (part + 1) * PER_PART)
        columns = {
            "id": pa.array([f"{number:032x}" for number in numbers]),
            "text": pa.array([f"document {number} has little to say" for number in numbers], pa.large_string()),
            "source": pa.array([source] * PER_PART),
            "url": pa.array([f"https://{number % 1000}.example/{number}" for number in numbers]),
        }
        rows = [columns.get(field.name, pa.nulls(PER_PART, field.type)) for field in DOCUMENT_SCHEMA]
        yield Outcome(pa.table(rows, schema=DOCUMENT_SCHEMA), created={source: PER_PART})


class ScoredConfig(StageConfig):
    min_0: float = 0.2
    """Of the first score."""
    min_1: float = 0.2
    """Of the second score."""
    min_2: float = 0.2
    """Of the third score."""
    min_3: float = 0.2
    """Of the fourth score."""
    min_4: float = 0.2
    """Of the fifth score."""


class Scored(Filter[ScoredConfig]):
    """Five scores drawn at random."""

    name = "scored"
    config_type = ScoredConfig
    measures: ClassVar[Mapping[str, pa.DataType]] = {f"scored.score_{i}": pa.float32() for i in range(5)}
    rules = tuple(Rule(f"low_{i}", f"scored.score_{i}", "<", f"min_{i}") for i in range(5))

    def measure(self, batch: pa.Table) -> pa.Table:
        rng = np.random.default_rng(int(batch["id"][0].as_py(), 16))
        scores = {name: pa.array(rng.random(batch.num_rows, np.float32)) for name in self.measures}
        return with_columns(batch, scores)


def in_chromium(path: Path) -> float | None:
    """Seconds from the start of loading until the page's script has run and the page answers; None without Chromium."""
    chromium = which("chromium")
    if chromium is None:
        return None
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, chromium_sandbox=False)
        page = browser.new_page()
        began = time.perf_counter()
        page.goto(path.as_uri())
        page.locator(".slide input").first.focus()
        seconds = time.perf_counter() - began
        browser.close()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--documents", type=int, default=10_000_000)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    parts = max(1, arguments.documents // PER_PART)
    files = folder / "files"
    files.mkdir(exist_ok=True)
    for number in range(parts):
        (files / f"{number:06}").touch()
    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE.format(folder=files, parts=parts))
    subprocess.run([sys.executable, "-m", "pipeline.cli", "run", recipe, "--out", folder / "run"], check=True)
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "pipeline.cli", "report", folder / "run"], check=True)
    written = time.perf_counter() - began
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    path = folder / "run/report.html"
    opened = in_chromium(path)
    print(f"{parts * PER_PART:,} documents: written in {written:.1f} s, {path.stat().st_size / 1e6:.2f} MB")
    print(
        f"children at most {memory:,.0f} MB; interactive after {'no Chromium' if opened is None else f'{opened:.2f} s'}"
    )


if __name__ == "__main__":
    main()
