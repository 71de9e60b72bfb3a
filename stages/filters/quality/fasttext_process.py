"""Training a fastText classifier, in a process of its own.

fastText reads memory that it never wrote when it runs fewer than ten threads, so equal inputs can give unequal models,
or none ("Encountered NaN"). glibc's MALLOC_PERTURB_=255, set by ``train`` for that process, makes fresh memory zero;
with one thread, equal inputs then give equal bytes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from pipeline.errors import StageError

GOOD, BAD = "__label__good", "__label__bad"


def write_examples(path: Path, examples: Iterable[tuple[bool, str]]) -> None:
    """Write (is good, words) pairs in fastText's format."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{GOOD if good else BAD} {words}\n" for good, words in examples)


def train(examples: Path, model: Path, settings: Mapping[str, float]) -> None:
    """Train on a file of examples and write the model.

    Args:
        settings: of fasttext.train_supervised.

    Raises:
        StageError: training ended without a model; the message holds the end of its output.
    """
    process = subprocess.run(
        [sys.executable, "-m", __name__, str(examples), str(model), json.dumps(settings)],
        env={
            **os.environ,
            "MALLOC_PERTURB_": "255",
            "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if process.returncode != 0 or not model.is_file():
        output = process.stdout.decode(errors="replace").strip()[-2000:]
        raise StageError(f"quality: fastText ended with status {process.returncode} and no model: {output}")


def main() -> None:
    """Train as told by the command line: EXAMPLES MODEL SETTINGS."""
    import fasttext

    examples, model, settings = sys.argv[1:]
    fasttext.train_supervised(input=examples, thread=1, verbose=0, **json.loads(settings)).save_model(model)


if __name__ == "__main__":
    main()
