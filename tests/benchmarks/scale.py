"""What a run costs beyond its work: python -m tests.benchmarks.scale [--parts 200000] [--folder FOLDER].

A recipe whose only stage reads files that hold one short line each is run on Ray with two workers, every part a task, a
commit and a line of the ledger; then again as if it had been killed before its last part, and again with all done. The
driver is a process of its own; its memory is its peak, with its imports.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from pipeline.locations.location import InputFile
from pipeline.stage import Context, Outcome, Source, Split, StageConfig, documents

RECIPE = """
name: scale
seed: 1
artifacts:
  lines: {stage: "tests.benchmarks.scale:Lines", folder: FOLDER}
"""
DRIVER = """
import json, resource, sys, time
sys.argv = ["sluice", "run", sys.argv[1], "--out", sys.argv[2]]
from pipeline.cli import main
try:
    main()
finally:
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"cpu": used.ru_utime + used.ru_stime, "rss": used.ru_maxrss / 1024}), file=sys.stderr)
"""


class LinesConfig(StageConfig):
    folder: Path
    """Folder of the files."""


class Lines(Source[LinesConfig]):
    """A document a file."""

    name = "lines"
    config_type = LinesConfig

    def splits(self) -> list[Split]:
        folder = str(self.config.folder)
        return [Split((InputFile(name, f"{folder}/{name}"),)) for name in sorted(os.listdir(folder))]

    def read(self, split: Split, source: str, context: Context) -> Iterator[Outcome]:
        (file,) = split.files
        text = Path(file.location).read_text()
        yield Outcome(documents([{"id": file.name, "source": source, "text": text}]), created={source: 1})


def run(recipe: Path, folder: Path) -> dict[str, Any]:
    """One ``sluice run``: wall seconds, and what the driver's process took."""
    began = time.time()
    done = subprocess.run([sys.executable, "-c", DRIVER, recipe, folder], stderr=subprocess.PIPE, text=True)
    *said, figures = done.stderr.strip().splitlines()
    if done.returncode:
        raise SystemExit("\n".join(said))
    return {**json.loads(figures), "began": began, "seconds": time.time() - began}


def first_handed_out(folder: Path, since: float) -> float:
    """Seconds from ``since`` to the first part that a run has handed out after it."""
    for line in (folder / "log.jsonl").open():
        event = json.loads(line)
        at = datetime.fromisoformat(event["time"]).timestamp()
        if event["event"] == "part_handed_out" and at > since:
            return at - since
    raise SystemExit("no part was handed out")


def forget_last(folder: Path) -> None:
    """Leave a run as a driver leaves it that is killed before its last part is committed."""
    for manifest in (folder / "artifacts/lines/manifests").iterdir():
        manifest.unlink()
    min((folder / "artifacts/lines/commits").glob("*.json")).unlink()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--parts", type=int, default=200_000)
    parser.add_argument("--folder", type=Path, help="a new folder to work in; absent, a temporary one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = arguments.folder or Path(temporary)
        recipe, folder = root / "recipe.yaml", root / "run"
        if not recipe.exists():
            (root / "lines").mkdir(parents=True)
            for i in range(arguments.parts):
                (root / f"lines/{i:07}.txt").write_text(f"the line of file {i}")
            recipe.write_text(RECIPE.replace("FOLDER", str(root / "lines")))
        n = arguments.parts
        if not folder.exists():
            figures = run(recipe, folder)
            print(
                f"{n:,} parts: {figures['seconds']:.0f} s, {figures['seconds'] / n * 1e3:.2f} ms a part; driver "
                f"{figures['cpu'] / n * 1e3:.2f} ms of CPU a part and at most {figures['rss']:.0f} MB"
            )
        forget_last(folder)
        figures = run(recipe, folder)
        print(
            f"all but one there: first part handed out after {first_handed_out(folder, figures['began']):.1f} s, "
            f"ended after {figures['seconds']:.1f} s; driver {figures['cpu']:.1f} s of CPU, {figures['rss']:.0f} MB"
        )
        figures = run(recipe, folder)
        print(
            f"all there: ended after {figures['seconds']:.1f} s; driver {figures['cpu']:.1f} s of CPU, "
            f"{figures['rss']:.0f} MB"
        )


if __name__ == "__main__":
    main()
