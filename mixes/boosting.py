"""LightGBM, the regression that RegMix rests on: shown beside the others where there are runs enough for it.

It takes no part in predictions: on RegMix's 512 runs the stack that gives it the best share gains less than 1 % of
error, and an optimum cannot be found by the slopes of a staircase.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FEWEST_RUNS = 201
"""With fewer, trees know too little: on 64 RegMix runs they rank the others at 0.88 where the stack has 0.98."""


class MissingLibraryError(RuntimeError):
    """LightGBM is installed, but not what it needs of the system; the message says what to install."""


def boosted(seen: Floats, losses: Floats, asked: Floats) -> Floats:
    """Losses [K] at mixtures [K, S] by trees fitted to losses [N] at mixtures [N, S]; the same in every run of it."""
    try:
        from lightgbm import LGBMRegressor
    except OSError as error:
        raise MissingLibraryError(
            f"LightGBM cannot be loaded ({error}). It needs the system's OpenMP: install the package libgomp1 "
            "(Debian, Ubuntu) or libgomp (Fedora, Alpine)"
        ) from error
    # The best settings of four on RegMix's runs (Pile-CC error 0.0586; with LightGBM's own 31 leaves 0.0610).
    trees = LGBMRegressor(
        n_estimators=600, learning_rate=0.03, num_leaves=8, min_child_samples=5,
        n_jobs=1, random_state=0, deterministic=True, force_row_wise=True, verbosity=-1,
    )  # fmt: skip
    return np.asarray(trees.fit(seen, losses).predict(asked), dtype=np.float64)
