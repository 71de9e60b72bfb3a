"""What a page needs to solve a fit again by itself: the fit without its bootstrap refits, and the limits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixes.gaussian_process import JITTER, SHIFT
from mixes.limits import Limits
from mixes.power_law import PowerLaws
from mixes.regression import ERROR_CORRELATION, LAWS, STACKED, Fit
from mixes.target import Target

Floats = NDArray[np.float64]


def explorer(
    fit: Fit, target: Target, limits: Limits, weights: Floats, slopes: Floats | None, pessimism: float, natural: Floats
) -> dict[str, Any]:
    """JSON for `pipeline/report/mix/solver.js`, which evaluates the same models to rounding.

    Args:
        weights: of the metrics [M], in sum 1.
        slopes: of the metrics [M], see `objective.checked_weights`; 1 if absent.
        natural: the natural mix [S], within the limits.
    """
    return {
        "sources": list(limits.sources),
        "metrics": fit.metrics,
        "mixtures": fit.mixtures.tolist(),
        "losses": fit.losses.tolist(),
        "trust": fit.trust.tolist(),
        "kernels": [
            {"lengths": k.lengths.tolist(), "matern": k.matern, "linear": k.linear, "noise": k.noise}
            for k in fit.kernels
        ],
        "laws": [_plain(PowerLaws(fit.laws[family])) for family in LAWS],
        "shares": [fit.shares[family].tolist() for family in STACKED],
        "shift": SHIFT,
        "jitter": JITTER,
        "error_correlation": ERROR_CORRELATION,
        "weights": weights.tolist(),
        "slopes": np.broadcast_to(1.0 if slopes is None else slopes, weights.shape).tolist(),
        "pessimism": pessimism,
        "natural": natural.tolist(),
        "lower": limits.lower.tolist(),
        "highest": limits.highest.tolist(),
        "groups": [{"name": g.name, "members": g.members, "lower": g.lower, "upper": g.upper} for g in limits.groups],
        "unique_tokens": target.unique_tokens(limits.sources).tolist(),
        "target_tokens": target.target_tokens,
        "max_epochs": target.max_epochs,
    }


def _plain(laws: PowerLaws) -> dict[str, Any]:
    names = ("effects", "bases", "powers", "floors", "exponents", "centres", "scales")
    return {name: getattr(laws, name).tolist() for name in names}
