"""Builds the demo corpus: a crawl, papers, source code and readmes, from what is installed on the machine."""

import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from stages.demo_corpus.code import write_code
from stages.demo_corpus.frame import Site
from stages.demo_corpus.papers import PaperCounts, PaperRequest
from stages.demo_corpus.python_pages import Page, Request, Skipped, standard_library_roots
from stages.demo_corpus.readmes import installed_distributions, write_readmes
from stages.demo_corpus.web import WebPlan, write_web

Size = Literal["tiny", "small", "full"]

_MARKER = ".sluice-demo-corpus"  # a folder that carries it is ours to replace
_FINISHED = "corpus.json"
_CHILD_DEADLINE_S = 180  # the longest child takes about 15 s on one core
_MAX_CHILDREN = 4  # each holds up to 300 MB of imported packages


@dataclass(frozen=True)
class CorpusSummary:
    """Counts of what the corpus holds; `code_bytes` in bytes, `pages` without the damaged ones."""

    pages: int
    mirrors: int
    near_duplicates: int
    navigation: int
    errors: int
    non_english: int
    other_responses: int
    damaged: int
    pdf_files: int
    pdf_pages: int
    scanned_pages: int
    code_files: int
    code_bytes: int
    readmes: int
    skipped_modules: int


@dataclass(frozen=True)
class _Plan:
    """What one size holds; `pages` gives the number of ordinary pages per site, None means all there are."""

    web: WebPlan
    pages: dict[str, int]
    papers: int
    scanned: int
    whole_scanned: int
    paper_roots: tuple[str, ...]
    paper_shares: int
    code_files: int | None
    readmes: int | None


# Import names documented on each site, its title, and the distribution its version is read from.
_SITES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "networkx": ("NetworkX", "networkx", ("networkx",)),
    "nltk": ("NLTK", "nltk", ("nltk",)),
    "numpy": ("NumPy", "numpy", ("numpy",)),
    "pandas": ("pandas", "pandas", ("pandas",)),
    "pyarrow": ("Apache Arrow", "pyarrow", ("pyarrow",)),
    "python": ("Python", "", ()),
    "scipy": ("SciPy", "scipy", ("scipy",)),
    "sklearn": ("scikit-learn", "scikit-learn", ("sklearn",)),
    "torch": ("PyTorch", "torch", ("torch.nn", "torch.optim", "torch.distributions", "torch.utils.data")),
}

_PAPER_ROOTS = (
    *(
        "argparse",
        "asyncio",
        "collections",
        "decimal",
        "difflib",
        "doctest",
        "email",
        "fractions",
        "heapq",
        "logging",
    ),
    *("multiprocessing", "optparse", "pathlib", "pickletools", "random", "statistics", "string", "unittest"),
    *("numpy", "scipy"),
)

_PLANS: dict[Size, _Plan] = {
    "tiny": _Plan(
        web=WebPlan(files=2, mirrors=6, near_duplicates=6, navigation=3, errors=5, non_english=12),
        pages={"python": 63, "networkx": 20},
        papers=3,
        scanned=1,
        whole_scanned=0,
        paper_roots=(),
        paper_shares=1,
        code_files=30,
        readmes=30,
    ),
    "small": _Plan(
        web=WebPlan(files=4, mirrors=35, near_duplicates=35, navigation=12, errors=12, non_english=66),
        pages={"python": 243, "networkx": 60, "numpy": 100, "scipy": 100},
        papers=12,
        scanned=3,
        whole_scanned=0,
        paper_roots=(),
        paper_shares=1,
        code_files=150,
        readmes=40,
    ),
    "full": _Plan(
        web=WebPlan(files=8, mirrors=200, near_duplicates=200, navigation=60, errors=60, non_english=198),
        pages={
            "python": 660,
            "numpy": 400,
            "scipy": 700,
            "sklearn": 450,
            "pandas": 350,
            "networkx": 250,
            "torch": 150,
            "pyarrow": 80,
            "nltk": 60,
        },
        papers=60,
        scanned=5,
        whole_scanned=1,
        paper_roots=_PAPER_ROOTS,
        paper_shares=2,
        code_files=None,
        readmes=None,
    ),
}


def build(folder: Path, *, size: Size, seed: int = 1) -> CorpusSummary:
    """Builds the corpus in `folder`, unless it is there already, and returns its counts.

    Layout: web/*.warc.gz, papers/*.pdf, code/**/*.py, readmes/readmes.jsonl.zst, and corpus.json, written
    last. The same machine, size and seed give the same bytes. A folder left by an interrupted build, or built
    from other parameters or packages, is replaced.

    Raises FileExistsError if `folder` holds something else, and RuntimeError if a package cannot be
    documented within its deadline.
    """
    folder = folder.absolute()
    parameters = _parameters(size, seed)
    finished = folder / _FINISHED
    if finished.is_file():
        record = json.loads(finished.read_text(encoding="utf-8"))
        if record["parameters"] == parameters:
            return CorpusSummary(**record["summary"])
    if folder.exists() and not (folder / _MARKER).exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} holds files that are no demo corpus: name another folder or empty it")
    building = folder.with_name(f".{folder.name}.building")
    if building.exists():
        shutil.rmtree(building)
    building.mkdir(parents=True)
    (building / _MARKER).touch()
    summary, skipped = _build_parts(building, _PLANS[size], seed)
    record = {
        "parameters": parameters,
        "summary": asdict(summary),
        "skipped": [asdict(entry) for entry in skipped],
    }
    (building / _FINISHED).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    if folder.exists():
        shutil.rmtree(folder)
    building.rename(folder)
    return summary


def _build_parts(folder: Path, plan: _Plan, seed: int) -> tuple[CorpusSummary, list[Skipped]]:
    work = folder / "work"
    work.mkdir()
    papers = folder / "papers"
    papers.mkdir()
    paper_requests = [
        PaperRequest(
            str(papers),
            plan.paper_roots,
            plan.papers,
            plan.scanned,
            plan.whole_scanned,
            seed,
            share,
            plan.paper_shares,
        )
        for share in range(plan.paper_shares)
    ]
    page_requests = [
        Request(site, _SITES[site][2] or standard_library_roots(), limit, seed)
        for site, limit in sorted(plan.pages.items())
    ]
    with ThreadPoolExecutor(min(os.cpu_count() or 1, _MAX_CHILDREN)) as children:
        paper_outputs = [children.submit(_child, "papers", asdict(request), work) for request in paper_requests]
        page_outputs = [children.submit(_child, "python_pages", asdict(request), work) for request in page_requests]
        code = write_code(folder / "code", plan.code_files, seed)
        readmes = write_readmes(folder / "readmes" / "readmes.jsonl.zst", plan.readmes, seed)
        pages: list[Page] = []
        skipped: list[Skipped] = []
        for output in page_outputs:
            *page_lines, skipped_line = output.result().splitlines()
            pages += [Page(**json.loads(line)) for line in page_lines]
            skipped += [Skipped(**entry) for entry in json.loads(skipped_line)]
        web = write_web(folder / "web", pages, _sites(plan), plan.web, seed)
        paper_counts = [PaperCounts(**json.loads(output.result())) for output in paper_outputs]
    shutil.rmtree(work)
    return (
        CorpusSummary(
            **asdict(web),
            pdf_files=sum(counts.pdf_files for counts in paper_counts),
            pdf_pages=sum(counts.pdf_pages for counts in paper_counts),
            scanned_pages=sum(counts.scanned_pages for counts in paper_counts),
            **asdict(code),
            readmes=readmes,
            skipped_modules=len(skipped),
        ),
        skipped,
    )


def _child(module: str, request: dict[str, Any], work: Path) -> str:
    """Runs a module of this package as a process of its own, and returns what it wrote.

    Raises RuntimeError with the end of the child's messages if it fails or is late.
    """
    given = json.dumps(request)
    output = work / hashlib.blake2b(given.encode(), digest_size=8).hexdigest()
    environment = {
        **os.environ,
        "PYTHONHASHSEED": "0",  # sets of strings in one order
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "LC_ALL": "C.UTF-8",
    }
    command = [sys.executable, "-P", "-W", "ignore", "-m", f"stages.demo_corpus.{module}", str(output)]
    what = f"{module} of {', '.join(request['roots'][:5]) or 'the language reference'}"
    try:
        finished = subprocess.run(
            command,
            input=given,
            capture_output=True,
            text=True,
            env=environment,
            cwd=work,
            timeout=_CHILD_DEADLINE_S,
        )
    except subprocess.TimeoutExpired as late:
        raise RuntimeError(
            f"demo corpus: {what} took longer than {_CHILD_DEADLINE_S} s; run again on an idle machine"
        ) from late
    if finished.returncode != 0:
        raise RuntimeError(f"demo corpus: {what} failed with code {finished.returncode}:\n{finished.stderr[-2000:]}")
    return output.read_text(encoding="utf-8")


def _sites(plan: _Plan) -> dict[str, Site]:
    sites: dict[str, Site] = {}
    for name in sorted(plan.pages):
        title, distribution, _ = _SITES[name]
        version = importlib.metadata.version(distribution) if distribution else platform.python_version()
        sites[name] = Site(name, title, version)
    return sites


def _parameters(size: Size, seed: int) -> dict[str, Any]:
    """All that decides the corpus's bytes: the request, this package's source, and what is installed."""
    generator = hashlib.blake2b(digest_size=16)
    for path in sorted(Path(__file__).parent.glob("*.py")):
        generator.update(path.read_bytes())
    return {
        "size": size,
        "seed": seed,
        "generator": generator.hexdigest(),
        "python": sys.version,
        "packages": {name: found.version for name, found in installed_distributions().items()},
    }
