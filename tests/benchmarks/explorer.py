"""The mix explorer's solver in Chromium: python -m tests.benchmarks.explorer.

For fits of several sizes (runs x sources x metrics, worlds made up): milliseconds to get ready (a covariance of runs
a metric), and to solve again when one weight is moved, from the last optimum, median of ten; beside it, how much worse
than Python's optimum the page's is, in standard deviations of the objective over the runs.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from shutil import which

import numpy as np

from mixes.explorer import explorer
from mixes.objective import Objective, checked_weights, minimum
from mixes.regression import fit
from mixes.target import Target
from pipeline.report.script import script

SIZES = ((32, 4, 4), (64, 8, 8), (150, 12, 13), (300, 17, 13), (512, 17, 13))
SOLVE = """([model, moves]) => {
    const began = performance.now(), ready = solver.prepared(model);
    const limits = solver.limitsOf(model, model.target_tokens, model.max_epochs);
    let best = solver.optimum(ready, model.weights, limits, model.pessimism, model.natural);
    const prepared = performance.now() - began, times = [];
    for (const weights of moves) {
        const from = performance.now();
        best = solver.optimum(ready, weights, limits, model.pessimism, best);
        times.push(performance.now() - from);
    }
    return { prepared, times, best: Array.from(best.ratios) };
}"""


def main() -> None:
    chromium = which("chromium")
    if chromium is None:
        raise SystemExit("no Chromium on this machine: install the package chromium")
    from playwright.sync_api import sync_playwright

    page_file = Path(tempfile.mkdtemp()) / "page.html"
    page_file.write_text(f"<!DOCTYPE html><meta charset=utf-8>{script()}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, chromium_sandbox=False)
        page = browser.new_page()
        page.goto(page_file.as_uri())
        print("runs x sources x metrics | ready, ms | solve, ms (median, worst) | worse than Python by (sds)")
        for runs, sources, metrics in SIZES:
            rng = np.random.default_rng(1)
            suits, natural = rng.dirichlet(np.full(sources, 0.4), metrics), rng.dirichlet(np.full(sources, 1.5))
            mixtures = rng.dirichlet(natural * sources, runs)
            losses = 0.5 + 0.4 * (mixtures @ suits.T + 0.05) ** -0.35 + 0.004 * rng.standard_normal((runs, metrics))
            fitted = fit(mixtures, losses, [f"m{i}" for i in range(metrics)], 1)
            names = [f"s{j}" for j in range(sources)]
            tokens = {name: {"tokens": int(share * 1e9) + 1} for name, share in zip(names, natural, strict=True)}
            target = Target.model_validate({"target_tokens": 10**9, "sources": tokens})
            limits, weights = target.limits(names), np.full(metrics, 1 / metrics)
            told = explorer(fitted, target, limits, weights, None, 1.0, limits.bring(natural[None, :])[0])
            moves = np.tile(weights, (10, 1))
            moves[np.arange(10), np.arange(10) % metrics] *= 2
            moves /= moves.sum(axis=1)[:, None]
            found = page.evaluate(SOLVE, [told, moves.tolist()])
            objective = Objective.of(fitted, checked_weights(fitted, moves[-1]), 1.0)
            starts = np.concatenate([mixtures[np.argsort(losses @ moves[-1])[:3]], rng.dirichlet(np.ones(sources), 16)])
            worse = objective(np.array(found["best"]))[0] - objective(minimum(objective, limits, starts))[0]
            print(
                f"{runs} x {sources} x {metrics} | {found['prepared']:.0f} | {np.median(found['times']):.0f}, "
                f"{max(found['times']):.0f} | {worse / objective.spread:.1e}"
            )
        browser.close()


if __name__ == "__main__":
    main()
