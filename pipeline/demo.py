"""`sluice demo`: build the corpus, put the recipe beside it, run it like any other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from importlib import resources
from pathlib import Path

from rich.console import Console

from pipeline.commands import run_recipe
from pipeline.errors import RecipeError

SMALLER: dict[str, tuple[str, ...]] = {
    "full": (),
    "small": ("mix.runs=32", "mix.steps=100", "mix.second.steps=100", "mix.target.tokens=200000"),
    "tiny": (
        "tokens.vocabulary=512",
        "mix.runs=32",
        "mix.steps=16",
        "mix.second.steps=16",
        "mix.target.tokens=40000",
        "mix.method=stacked",  # not by a trial: tests compare bytes of two runs
    ),
}
"""Sizes of the demo corpus, and what the recipe needs changed to fit the smaller ones."""


def run_demo(
    folder: Path,
    size: str,
    build_only: bool,
    overrides: Sequence[str],
    address: str | None,
    console: Console,
    is_verbose: bool = False,
) -> None:
    """Build the demo corpus in ``folder`` and run the demo recipe there.

    Raises:
        RecipeError: there is no such size.
    """
    from stages.demo_corpus import build

    if size not in SMALLER:
        raise RecipeError(f"--size {size}: expected one of {', '.join(SMALLER)}")
    recipe = folder / "recipe.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    summary = build(folder / "corpus", size=size)  # type: ignore[arg-type]  # checked above
    recipe.write_bytes(resources.files("stages.demo_corpus").joinpath("recipe.yaml").read_bytes())
    counts = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in asdict(summary).items())
    console.print(f"corpus in {folder / 'corpus'}: {counts}", highlight=False, soft_wrap=True)
    command = " ".join(
        ["sluice run", str(recipe), "--out", str(folder / "run"), *(f"--set {o}" for o in SMALLER[size])]
    )
    console.print(f"running its recipe, as would: {command}", highlight=False, soft_wrap=True)
    if not build_only:
        run_recipe(recipe, [*SMALLER[size], *overrides], folder / "run", address, console, is_verbose=is_verbose)
