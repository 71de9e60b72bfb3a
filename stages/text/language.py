"""Most likely label of texts by a fastText model, at many times fastText's speed and with its results."""

from __future__ import annotations

import threading
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stages.text.fasttext_model import ModelFileError, read_model
from stages.text.language_kernels import all_labels, best_labels, scratch
from stages.text.language_words import word_cache
from stages.text.utf8 import bytes_and_offsets

UNDETERMINED = "und"  # ISO 639-3 and BCP 47


class LanguageIdentifier:
    """A model and what it has learnt of words so far. Threads may share it; they take turns."""

    def __init__(self, path: Path) -> None:
        """Read the model.

        Raises:
            ModelFileError: the file is damaged, or no model that identifies anything.
        """
        model = read_model(path)
        self.labels = model.labels
        self._vocabulary, self._weights = model.vocabulary, model.weights
        self._cache = word_cache()
        self._scratch = scratch(model.vocabulary, model.weights)
        self._turn = threading.Lock()

    def identify(self, texts: pa.Array | pa.ChunkedArray) -> tuple[pa.Array, pa.Array]:
        """The most likely label of each text (string) and its probability (float32).

        Labels and probabilities are those of ``fasttext.predict(text.replace("\\n", " "), k=1)``. So probabilities may
        be larger than 1 by 1e-5 a level of the model's tree, and a text without a word gets the label of an empty line
        (lid.176: en, 0.12). A null text counts as empty. The label of a text that no weight of the model stands for is
        ``und``, with probability 0; fastText gives none there.
        """
        data, offsets = bytes_and_offsets(texts)
        numbers = np.empty(len(texts), np.int32)
        scores = np.empty(len(texts), np.float32)
        with self._turn:
            best_labels(data, offsets, self._vocabulary, self._weights, self._cache, self._scratch, numbers, scores)
        names = pa.array([*self.labels, UNDETERMINED], pa.string())
        return names.take(pa.array(np.where(numbers < 0, len(self.labels), numbers))), pa.array(scores)

    def probabilities(self, texts: pa.Array | pa.ChunkedArray) -> NDArray[np.float32]:
        """Probability of every label for each text, (texts, labels), as by ``fasttext.predict(..., k=-1)``."""
        data, offsets = bytes_and_offsets(texts)
        scores = np.empty((len(texts), len(self.labels)), np.float32)
        with self._turn:
            all_labels(data, offsets, self._vocabulary, self._weights, self._cache, self._scratch, scores)
        return scores


def language_identifier(path: Path) -> LanguageIdentifier:
    """The identifier by this model that all of a process share; a file that has changed is read anew.

    Raises:
        ModelFileError: as by ``LanguageIdentifier``.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise ModelFileError(f"{path}: cannot read this model: {error.strerror}") from error
    return shared_identifier(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=2)
def shared_identifier(path: Path, changed_ns: int, size_bytes: int) -> LanguageIdentifier:
    return LanguageIdentifier(path)
