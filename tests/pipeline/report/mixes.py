"""A made-up world whose mix summary is complete, and a run that holds it: nothing is trained."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.artifact import Artifact, Part
from pipeline.ledger import Ledger
from pipeline.run import Run, RunState

Floats = NDArray[np.float64]
NAMES = ("web", "code", "papers", "books", "forum", "wiki", "law", "news")
NOISE = 0.004


def mix_summary(sources: int = 4, metrics: int = 5, runs: int = 32, seed: int = 1) -> dict[str, Any]:
    """Summary of a mix that leaves nothing to doubt. A metric follows a power law of how much of the mix suits it."""
    rng = np.random.default_rng(seed)
    names = [NAMES[j] if j < len(NAMES) else f"source_{j}" for j in range(sources)]
    suits = rng.dirichlet(np.full(sources, 0.4), metrics)  # [M, S]

    def law(mixtures: Floats) -> Floats:
        return np.asarray(0.5 + 0.4 * (np.atleast_2d(mixtures) @ suits.T + 0.05) ** -0.35)

    weights = rng.dirichlet(np.full(metrics, 3.0))
    natural = np.sort(rng.dirichlet(np.full(sources, 1.5)))[::-1]
    slopes = rng.uniform(0.4, 1.0, metrics)
    upper = np.minimum(1.0, 4 * natural)
    best = natural
    for strength in (1.0, 3.0, 10.0, 30.0):
        draws = np.concatenate([[best], rng.dirichlet(strength * sources * best + 0.3, 2000)])
        draws = draws[(draws <= upper).all(axis=1)]
        best = draws[np.argmin(law(draws) @ (weights * slopes**2))]
    draws = rng.dirichlet(np.full(sources, 0.7), 500)
    mixtures = np.concatenate([rng.dirichlet(natural * sources, runs - 3), [natural] * 3])
    mixtures[: runs // 3] = rng.dirichlet(best * 60, runs // 3)
    measured = law(mixtures) + NOISE * rng.standard_normal((runs, metrics))
    # What a straight line misses is what the law adds to it.
    linear = mixtures @ np.linalg.lstsq(mixtures, measured, rcond=None)[0]
    left_out = measured + NOISE * rng.standard_normal((runs, metrics))
    rounds = np.arange(runs) // max(8, runs // 3)
    unique, target = natural * 1e9, 1e9
    objective = weights * slopes**2
    pairs = mixtures[:16]

    def predicted(mixture: Floats) -> dict[str, Any]:
        values = law(mixture)[0]
        return {
            "ratios": mixture.tolist(),
            "objective": float(values @ objective),
            "objective_sd": NOISE,
            "metrics": values.tolist(),
            "metrics_sd": [NOISE] * metrics,
        }

    gain = float((law(natural) - law(best))[0] @ objective)
    plain_gain = float((law(natural) - law(best))[0] @ weights)
    confirmation = [
        {
            "size": size,
            "seeds": 3,
            "best": (law(best)[0] @ weights + [0.001, 0.0, -0.001]).tolist(),
            "natural": (law(natural)[0] @ weights + [0.001, -0.002, 0.0]).tolist(),
            "metrics_best": (law(best)[0] + NOISE / 2).tolist(),
            "metrics_natural": (law(natural)[0] - NOISE / 2).tolist(),
            "predicted_gain": plain_gain,
            "gain": plain_gain,
            "gain_interval": [plain_gain - 0.004, plain_gain + 0.004],
            "beats_natural": True,
            "diverged": {"best": 0, "natural": 0},
            "verdict": "the mix beats the natural mix with each of 3 seeds",
        }
        for size in ("S", "M")
    ]
    capped = best > 0.9 * upper
    return {
        "sources": names,
        "metrics": [f"bpb.{name}" for name in names][:metrics] + [f"answers.set{m}" for m in range(metrics - sources)],
        "weights": weights.tolist(),
        "used_weights": weights.tolist(),
        "diverged": 1,
        "size": "S",
        "signal": {
            "noise": [NOISE] * metrics,
            "signal": [0.05] * metrics,
            "ratio": [12.5] * metrics,
            "factor": [1.0] * metrics,
            "notes": [],
        },
        "runs": [
            {
                "run": f"run-{i}",
                "round": int(rounds[i]),
                "purpose": "objective" if rounds[i] else "drawn",
                "mixture": mixtures[i].tolist(),
                "measured": measured[i].tolist(),
                "left_out": left_out[i].tolist(),
                "linear": linear[i].tolist(),
            }
            for i in range(runs)
        ],
        "evidence": {
            "families": {
                family: {"spearman": [rho] * metrics, "rmse": [rmse] * metrics, "region_rmse": [2 * rmse] * metrics}
                for family, rho, rmse in (
                    ("stack", 0.991, 0.005),
                    ("gp", 0.989, 0.006),
                    ("power_law", 0.972, 0.011),
                    ("linear", 0.902, 0.031),
                )
            },
            "family_weights": {
                "gp": [0.6] * metrics,
                "power_law": [0.4] * metrics,
                "linear": [0.0] * metrics,
            },
            "noise": [NOISE] * metrics,
        },
        "learning_curve": [
            {"runs": n, "stack": 1 - 1.2 / n, "linear": 0.9 - 2 / n} for n in range(8, runs + 1, max(4, runs // 8))
        ],
        "notes": [],
        "rounds": [
            {
                "round": r,
                "runs": int((rounds <= r).sum()),
                "regret": 0.012 / (r + 1) ** 2,
                "noise": 0.002,
                "fresh_spearman": 0.9 if r else None,
                "fresh_within": 0.8 if r else None,
                "reason": f"after {(rounds <= r).sum()} runs the expected regret is {0.012 / (r + 1) ** 2:.2g}",
            }
            for r in range(int(rounds.max()) + 1)
        ],
        "transfer": {
            "base": {"trunk": 3_000_000, "embedding": 500_000, "head": 500_000, "tokens": 60_000_000},
            "second": {"trunk": 16_000_000, "embedding": 900_000, "head": 900_000, "tokens": 300_000_000},
            "target_parameters": 1_000_000_000,
            "exponent": 2.0,
            "slopes": slopes.tolist(),
            "slope_sds": [0.05] * metrics,
            "pooled_slope": float(slopes.mean()),
            "extrapolated": (slopes**2).tolist(),
            "spearman": [0.96] * metrics,
            "intervals": [[0.9, 0.99]] * metrics,
            "objective_spearman": 0.96,
            "objective_interval": [0.92, 0.98],
            "verdict": "confirmed: 16 mixtures rank at 3M as at 16M trunk parameters with an agreement of 0.96",
            "confirmed": True,
            "pairs": [
                {
                    "mixture": mixture.tolist(),
                    "base": law(mixture)[0].tolist(),
                    "second": (0.2 + slopes * law(mixture)[0] + 0.01 * rng.standard_normal(metrics)).tolist(),
                }
                for mixture in pairs
            ],
        },
        "optimum": {
            "best": predicted(best),
            "natural": predicted(natural),
            "best_observed": predicted(mixtures[np.argmin(measured @ objective)]),
            "intervals": [(0.8 * best).tolist(), np.minimum(1.2 * best, upper).tolist()],
            "posterior_intervals": [(0.9 * best).tolist(), np.minimum(1.1 * best, upper).tolist()],
            "gain": gain,
            "gain_interval": [0.8 * gain, 1.2 * gain],
            "nearest_run_l1": 0.05,
            "shadow_prices": (0.1 * capped).tolist(),
            "worth_of_epoch": (0.003 * capped * natural).tolist(),
            "worth_of_billion_tokens": (0.02 * capped).tolist(),
            "flat_directions": [{"direction": _direction(sources), "rise": 0.0004}],
            "warnings": [],
            "target_tokens": target,
            "unique_tokens": unique.tolist(),
            "tokens": (best * target).tolist(),
            "epochs": (best * target / unique).tolist(),
            "lower": [0.0] * sources,
            "upper": upper.tolist(),
        },
        "weight_path": [
            {
                "metric": f"bpb.{names[m]}",
                "points": [
                    {
                        "share": share,
                        "ratios": draws[
                            np.argmin(law(draws) @ (share * np.eye(metrics)[m] + (1 - share) * weights))
                        ].tolist(),
                    }
                    for share in np.linspace(0, 1, 11).tolist()
                ],
            }
            for m in range(min(metrics, sources))
        ],
        "curves": [_curve(best, j, upper[j], lambda p: law(p) @ objective) for j in range(sources)],
        "confirmation": confirmation,
    }


def _direction(sources: int) -> list[float]:
    return [1.0, -0.6, -0.4, *[0.0] * (sources - 3)]


def _curve(best: Floats, source: int, cap: float, objective: Any) -> dict[str, list[float]]:
    ratios = np.linspace(0, cap, 21)
    others = np.where(np.arange(len(best)) == source, 0.0, best)
    rows = others / others.sum() * (1 - ratios[:, None]) + np.eye(len(best))[source] * ratios[:, None]
    return {"ratio": ratios.tolist(), "objective": objective(rows).tolist(), "sd": [0.004] * len(ratios)}


def model_summary(mix: dict[str, Any], gain: float = 0.02) -> dict[str, Any]:
    """Of a pretraining by this mix and by the natural one, whose ends differ by ``gain`` in each metric."""
    metrics = mix["metrics"]
    steps = (100, 200, 300)

    ratios = dict(zip(metrics, mix["weights"], strict=True))
    phase = {"first_step": 0, "steps": steps[-1], "tokens": 50_000, "ratios": ratios, "batch": 2, "context": 64}
    phase |= {"rope_base": 10_000.0, "replay": 0.0, "rates": None}

    def model(offset: float) -> dict[str, Any]:
        return {
            "parameters": {"trunk": 1000, "embedding": 200},
            "tokens": 50_000,
            "steps": steps[-1],
            "losses": [[step, 6 - step / 100] for step in steps],
            "messages": [],
            "phases": [phase],
            "spikes": [],
            "epochs": dict.fromkeys(ratios, 1.25),
            "packing": [],
            "evaluations": [{"step": step, **dict.fromkeys(metrics, 2 - step / 300 + offset)} for step in steps],
        }

    weights = dict(zip(metrics, mix["weights"], strict=True))
    return {
        "size": "S",
        "weights": weights,
        "mix_file": None,
        "models": {"optimal": model(0.0), "natural": model(gain)},
    }


def run_with(folder: Path, mix: dict[str, Any], model: dict[str, Any] | None = None) -> Run:
    """A finished run in ``folder`` that consists of a mix, and of a model by it."""
    run = Run(folder)
    run.state = RunState("made-up", status="done")
    inputs: dict[str, str] = {}
    for name, summary in (("mix", mix), ("model", model)):
        if summary is not None:
            part = Part(key=name, name=name, folder=name, files=(), ledger=Ledger(), summary=summary)
            place = run.artifact_folder(name)
            place.seal(Artifact(name, name, f"{name}-fingerprint", place.folder, (), dict(inputs), (part,)))
            run.state.artifacts[name] = f"{name}-fingerprint"
            inputs[name] = part.digest
    run.save_state()
    return run
