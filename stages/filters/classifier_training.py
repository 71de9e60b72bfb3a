"""Training a fastText classifier, in a process of its own.

fastText reads memory that it never wrote when it runs fewer than ten threads, so equal inputs can give unequal models,
or none ("Encountered NaN"). glibc's MALLOC_PERTURB_=255, set by ``trained`` for that process, makes fresh memory zero;
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
WORDS = 2000
"""Words of a document that the classifier sees, from its start."""


def prepared(text: str) -> str:
    """A document as the classifier sees it: its first 2,000 words in lower case, one space between them."""
    words = text.split(None, WORDS)[:WORDS]
    return " ".join(words).lower().replace("__label__", "label")  # a label in the text would be taken for the answer


def write_examples(path: Path, examples: Iterable[tuple[str, str]]) -> None:
    """Write (label, prepared text) pairs in fastText's format."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{label} {text}\n" for label, text in examples)


def trained(examples: Path, model: Path, settings: Mapping[str, float]) -> None:
    """Train on a file of examples and write the model.

    Args:
        settings: of fasttext.train_supervised.

    Raises:
        StageError: training ended without a model; the message holds the end of its output.
    """
    process = subprocess.run(
        [sys.executable, "-m", "stages.filters.classifier_training", str(examples), str(model), json.dumps(settings)],
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
