"""How well scores between 0 and 1 tell good documents from others, and whether they are probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

HISTOGRAM_BINS = 20
CALIBRATION_BINS = 10


def quality_of(good: NDArray[np.bool_], scores: NDArray[np.float64]) -> dict[str, Any]:
    """Measures of a classifier on documents that it was not trained on, ready for JSON.

    ``precision`` and ``recall`` are at a score of 0.5. ``auc`` is the area under the ROC curve: the probability that a
    good document scores higher than another. ``average_precision`` is the precision averaged over all recalls.
    ``brier`` is the mean squared difference between score and truth (Brier 1950): 0 is perfect, ``brier_constant`` is
    what the share of good documents, given to all, would get. ``calibration`` compares, in ten equal bins of the score,
    the mean score with the share of good documents. ``histogram`` counts each side in 20 equal bins.

    Args:
        good: the truth, one a document; both sides must be there.
        scores: probability of being good.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    called_good = scores >= 0.5
    right = int((good & called_good).sum())
    share = float(good.mean())
    return {
        "precision": right / max(1, int(called_good.sum())),
        "recall": right / int(good.sum()),
        "auc": float(roc_auc_score(good, scores)),
        "average_precision": float(average_precision_score(good, scores)),
        "brier": brier(good, scores),
        "brier_constant": share * (1 - share),
        "calibration": _calibration(good, scores),
        "histogram": {
            side: np.bincount(_bins(scores[truth], HISTOGRAM_BINS), minlength=HISTOGRAM_BINS).tolist()
            for side, truth in (("positive", good), ("negative", ~good))
        },
    }


def brier(good: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    """Mean squared difference between score and truth."""
    return float(((scores - good) ** 2).mean())


def _calibration(good: NDArray[np.bool_], scores: NDArray[np.float64]) -> list[dict[str, float]]:
    bins = _bins(scores, CALIBRATION_BINS)
    return [
        {
            "documents": int((bins == bin_).sum()),
            "score": float(scores[bins == bin_].mean()),
            "good": float(good[bins == bin_].mean()),
        }
        for bin_ in np.unique(bins)
    ]


def _bins(scores: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    return np.minimum((scores * count).astype(np.int64), count - 1)  # a score of 1 belongs to the last bin
