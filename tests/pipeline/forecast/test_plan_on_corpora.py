"""`sluice plan` on a sample of real corpora, held against the whole run: the truth lies in what was told."""

import json
import random
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifact import Artifact
from pipeline.run import Run
from tests.conftest import Sluice
from tests.crawl_mirror import record
from tests.real_pages import real_pages
from tests.real_texts import real_texts

FILES = 24
Told = dict[str, Any]


def write_texts(data: Path, folder: Path) -> Path:
    """Two sources of texts in 24 files each; every fifth document also lies in another file of its source."""
    chance = random.Random(1)
    for name in ("science_arxiv_abstracts", "web_commoncrawl"):
        found = (text for text in real_texts(data, max_characters=5000) if text.set == name)
        files: list[list[str]] = [[] for _ in range(FILES)]
        for text in islice(found, 1200):
            for file in chance.sample(files, 2 if chance.random() < 0.2 else 1):
                file.append(json.dumps({"text": text.text}))
        for number, lines in enumerate(files):
            (folder / f"{name}-{number:02}.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "recipe.yaml").write_text(
        "name: texts\nartifacts:\n"
        "  science: {stage: json_lines, files: science*.jsonl}\n  web: {stage: json_lines, files: web*.jsonl}\n"
        "  good: {from: [science, web], chain: [{language: {keep: [en]}}, gopher_quality, gopher_repetition]}\n"
        "  unique: {stage: dedup, from: good}\n"
        "  tokens: {stage: tokenize, from: unique, vocabulary: 2000}\n"
    )
    return folder / "recipe.yaml"


def write_crawl(data: Path, folder: Path) -> Path:
    """Real pages in 24 files; every tenth also lies in another."""
    chance = random.Random(2)
    files: list[list[bytes]] = [[] for _ in range(FILES)]
    for number, page in enumerate(real_pages(data)):
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"
        for file in chance.sample(files, 2 if chance.random() < 0.1 else 1):
            url = f"http://site-{number % 40}.org/{number}/{len(file)}"
            file.append(record("response", url, head + page.html, "application/http; msgtype=response"))
    for number, records in enumerate(files):
        (folder / f"{number:02}.warc.gz").write_bytes(b"".join(records))
    (folder / "recipe.yaml").write_text(
        "name: crawl\nartifacts:\n  pages: {stage: common_crawl, files: '*.warc.gz'}\n"
        "  texts: {from: pages, chain: [extract_html, {language: {keep: [en]}}]}\n"
        "  unique: {stage: dedup, from: texts}\n"
    )
    return folder / "recipe.yaml"


def kept(artifact: Artifact) -> int:
    return sum(counts.kept for counts in artifact.ledger.last().values())


def core_hours(artifact: Artifact) -> float:
    if artifact.phases:
        return float(sum(phase["cpu_seconds"] for phase in artifact.phases)) / 3600
    return sum(part.cpu_seconds for part in artifact.parts) / 3600


def stored(artifact: Artifact) -> int:
    if artifact.phases:
        return int(sum(phase["size_bytes"] for phase in artifact.phases))
    return sum(part.size_bytes for part in artifact.parts)


@pytest.mark.slow
@pytest.mark.parametrize("write", [write_texts, write_crawl])
def test_the_whole_run_lies_in_what_the_sample_told(
    write: Any, tmp_path: Path, shared_data: Path, sluice: Sluice
) -> None:
    recipe = write(shared_data, tmp_path)
    output = sluice(
        *("plan", recipe, "--sample", "35%", "--json", "--address", sluice.address, "--out", tmp_path / "plan"),
        *("--prices", "deploy/prices.yaml"),
    )
    forecast, _ = json.JSONDecoder().raw_decode(output)
    sluice.run(recipe)
    artifacts = Run.open(tmp_path / "run").artifacts()
    assert forecast["artifacts"].keys() == artifacts.keys()
    missed = []
    for name, artifact in artifacts.items():
        told = forecast["artifacts"][name]
        truths: dict[str, float] = {"core_hours": core_hours(artifact), "stored_bytes": stored(artifact)}
        if artifact.kind == "documents":
            truths["documents_out"] = kept(artifact)
        for amount, truth in truths.items():
            within = told[amount]["low"] <= truth <= told[amount]["high"]
            print(f"{name:20} {amount:14} {truth:12.5g} {told[amount]} {'' if within else 'MISSED'}")
            missed += [] if within else [f"{name}: {amount} {truth:g} is not in {told[amount]}"]
    assert not missed
    assert forecast["total"]["price"]["low"] < forecast["total"]["price"]["value"] < forecast["total"]["price"]["high"]
