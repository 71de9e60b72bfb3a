"""From a WARC file to English text in Parquet: `python -m tests.benchmarks.crawl_to_text`.

Wraps the real pages of ../shared/data/html_extraction as one WARC file in Common Crawl's layout, then runs over it, one
after the other and each in a process of its own: datatrove's reader, its Trafilatura extractor and its language filter
(deduplicate off: it makes a page's text depend on the pages before it), and Sluice's stages in their modes. Prints CPU
seconds of each with all child processes: for one page (the start), and for the others; the ratio to datatrove in the
same round, without the start; and how many pages the kept sets differ by. Needs no network: both sides use the language
model installed with Sluice.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import REPOSITORY
from tests.crawl_mirror import CrawledPage, build_mirror
from tests.real_pages import real_pages

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
CONTENDERS: dict[str, dict[str, object]] = {
    "precision": {"precision": True, "metadata": False},
    "precision, gate before extraction": {
        "precision": True,
        "metadata": False,
        "language_gate": {"keep": ["en"]},
    },
    "fast engine": {"engine": "fast", "metadata": False},
}


def main() -> None:
    """Build the file, run the rounds, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pages", type=int, default=10_000)
    parser.add_argument("--run", nargs=3, metavar=("NAME", "FILE", "OUT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        name, file, out = arguments.run
        datatrove_kept(Path(file), Path(out)) if name == "datatrove" else sluice_kept(name, Path(file), Path(out))
        return
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with tempfile.TemporaryDirectory() as folder:
        pages = [
            CrawledPage(f"{page.url or 'http://pages.example/'}#{page.set}/{page.name}", page.html)
            for page in real_pages(REPOSITORY.parent / "shared" / "data")
        ][: arguments.pages]
        one, all_ = (written(Path(folder) / f"{len(some)}", some) for some in (pages[:1], pages))
        megabytes = sum(len(page.body) for page in pages) / 1e6
        print(f"{len(pages)} pages, {megabytes:.0f} MB, one file of {all_.stat().st_size / 1e6:.0f} MB")
        rounds: list[dict[str, Result]] = []
        for i in range(arguments.rounds):
            rounds.append({})
            for n, name in enumerate(("datatrove", *CONTENDERS)):
                start_s, _ = measured(name, one, Path(folder) / f"start-{i}-{n}")
                rounds[-1][name] = Result(start_s, *measured(name, all_, Path(folder) / f"run-{i}-{n}"))
        reference = rounds[0]["datatrove"]
        print(f"{'':<36}{'start s':>8}{'CPU s':>8}{'pages/s':>9}{'ratio':>7}{'kept':>6}{'missing':>9}{'more':>6}")
        for name, first in rounds[0].items():
            seconds = statistics.median(result[name].pages_s for result in rounds)
            ratio = statistics.median(result["datatrove"].pages_s / result[name].pages_s for result in rounds)
            print(
                f"{name:<36}{first.start_s:>8.1f}{seconds:>8.1f}{len(pages) / seconds:>9.1f}{ratio:>7.2f}"
                f"{len(first.kept):>6}{len(reference.kept - first.kept):>9}{len(first.kept - reference.kept):>6}"
            )


@dataclass(frozen=True)
class Result:
    """CPU seconds of a contender on one page and on all, and the URLs of the pages that it kept."""

    start_s: float
    whole_s: float
    kept: set[str]

    @property
    def pages_s(self) -> float:
        """What the pages cost, without the start of the process: imports, models, compiled kernels from their cache."""
        return self.whole_s - self.start_s


def written(folder: Path, pages: Sequence[CrawledPage]) -> Path:
    """A WARC file of these pages."""
    build_mirror(folder, [pages])
    (file,) = folder.glob("crawl-data/*/segments/*/warc/*.warc.gz")
    return file


def measured(name: str, file: Path, out: Path) -> tuple[float, set[str]]:
    """CPU seconds of a contender with its children, and the URLs that it kept."""
    command = [sys.executable, "-m", "tests.benchmarks.crawl_to_text", "--run", name, str(file), str(out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=REPOSITORY)
    seconds = 0.0
    while True:  # extracting processes outlive their parent for a moment and come to this one, their "subreaper"
        try:
            pid, status, usage = os.wait4(-1, 0)
        except ChildProcessError:
            break
        seconds += usage.ru_utime + usage.ru_stime
        if pid == process.pid and status:
            sys.exit(f"{name} ended with status {status}: run {' '.join(command)} to see why")
    return seconds, set(json.loads((out / "kept.json").read_bytes()))


def datatrove_kept(file: Path, out: Path) -> None:
    """Run datatrove's pipeline over one file."""
    import fasttext
    import pyarrow.parquet as pq
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.extractors import Trafilatura
    from datatrove.pipeline.filters import LanguageFilter
    from datatrove.pipeline.readers import WarcReader
    from datatrove.pipeline.writers import ParquetWriter
    from datatrove.utils.lid import FT176LID

    from stages.filters.language import LanguageConfig

    class LocalModel(FT176LID):
        """datatrove's identification with the model of this machine instead of a download."""

        @property
        def model(self) -> Any:
            self._model = self._model or fasttext.FastText._FastText(str(LanguageConfig().model_path()))
            return self._model

    LanguageFilter._requires_dependencies = []  # it asks for another build of the same fastText
    language = LanguageFilter(languages=["en"], language_threshold=0.65)
    language.model = LocalModel(["en"])
    LocalPipelineExecutor(
        [
            WarcReader(str(file.parent), glob_pattern=file.name),
            Trafilatura(favour_precision=True, deduplicate=False, timeout=60),
            language,
            ParquetWriter(str(out / "documents")),
        ],
        tasks=1,
        logging_dir=str(out / "logs"),
    ).run()
    kept = [row["url"] for path in (out / "documents").iterdir() for row in pq.read_table(path)["metadata"].to_pylist()]
    (out / "kept.json").write_text(json.dumps(kept))


def sluice_kept(name: str, file: Path, out: Path) -> None:
    """Run Sluice's stages over one file, in one process beside the extracting one."""
    from tests.stages.in_process import run_here

    out.mkdir()
    artifacts = {
        "pages": {"stage": "common_crawl", "files": str(file)},
        "text": {"stage": "extract_html", "from": "pages", **CONTENDERS[name]},
        "english": {"stage": "language", "from": "text", "keep": ["en"]},
    }
    sealed = run_here(out, artifacts)
    kept = [url for table in sealed["english"].tables() for url in table["url"].to_pylist()]
    (out / "kept.json").write_text(json.dumps(kept))


if __name__ == "__main__":
    main()
