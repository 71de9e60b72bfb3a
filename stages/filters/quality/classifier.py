"""A trained fastText classifier: its file, its scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import StageError
from stages.filters.quality.fasttext_process import GOOD
from stages.text.fasttext_model import read_model

FASTTEXT_EPSILON = 1e-5  # fastText adds it before it takes the logarithm of a probability


class Classifier:
    """A fastText model and the label whose probability is the score."""

    def __init__(self, path: Path, label: str = GOOD) -> None:
        """Load a model.

        Raises:
            StageError: the file is no fastText classifier, or has no such label.
        """
        import fasttext

        try:
            self._model = fasttext.load_model(str(path))
        except ValueError as error:
            raise StageError(f"quality: {path} is no fastText model: {error}") from error
        read_model(path)  # fastText takes a file that was cut off for a whole one, and scores nonsense with it
        self._labels = self._model.get_labels()
        self._label = label
        if label not in self._labels:
            known = ", ".join(sorted(self._labels)[:10])
            raise StageError(f"quality: the model {path} has no label {label}; set the option label to one of {known}")

    def scores(self, lines: Sequence[str]) -> NDArray[np.float64]:
        """Probability of the label for each line of words; lines must hold a word and no line break."""
        if not lines:
            return np.zeros(0)
        labels, probabilities = self._model.predict(list(lines), k=len(self._labels))
        found = [
            float(values[names.index(self._label)]) if self._label in names else 0.0
            for names, values in zip(labels, probabilities, strict=True)
        ]
        return np.clip(np.array(found) - FASTTEXT_EPSILON, 0.0, 1.0)
