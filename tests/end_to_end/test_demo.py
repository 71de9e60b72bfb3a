"""The demo recipe at its smallest: the whole line, killed half-way, ends in the same bytes as when left alone."""

import hashlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.run import Run
from stages.demo_corpus import build
from tests.conftest import Sluice

COMPARED = ("tokens", "mix.swarm", "mix", "model")  # all that a user takes away


def contents(run: Path, artifact: str) -> dict[str, str]:
    """Digest of each committed file of a global artifact."""
    folder = Run.open(run).artifacts()[artifact].files_folder
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, ray_address: str) -> tuple[Path, Path]:
    """The recipe of a tiny demo, and its undisturbed run."""
    folder = tmp_path_factory.mktemp("demo")
    sluice = Sluice(ray_address)
    output = sluice("demo", folder, "--size", "tiny", "--address", ray_address)
    assert "note: answers: rephrasing is off: no endpoint is given" in output
    return folder / "recipe.yaml", folder / "run"


def overrides() -> list[str]:
    from pipeline.demo import SMALLER

    return [argument for override in SMALLER["tiny"] for argument in ("--set", override)]


def kill_when(ready: Callable[[], bool], command: list[str]) -> None:
    """Start a run and kill it with SIGKILL at the moment that `ready` tells."""
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not ready():
        assert driver.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()


def test_the_whole_line_ends_in_a_model_that_transformers_loads(demo: tuple[Path, Path]) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = Run.open(demo[1]).artifacts()["model"].files_folder
    for name in ("optimal", "natural"):
        model = AutoModelForCausalLM.from_pretrained(folder / name)
        tokenizer = AutoTokenizer.from_pretrained(folder / name)
        ids = tokenizer("def open(path):", return_tensors="pt").input_ids
        assert torch.isfinite(model(ids).logits).all()


def test_four_sources_reach_the_mix(demo: tuple[Path, Path]) -> None:
    from mixes.mix_file import MixFile

    (path,) = (demo[1] / "artifacts/mix/data").glob("*/mix.yaml")
    mix = MixFile.read(path)
    assert sorted(mix.sources) == ["code", "papers", "readmes", "web"]
    assert mix.evidence.runs >= 24  # of the first round; further ones only while the regret is above the noise


def test_a_finished_demo_does_nothing(demo: tuple[Path, Path], sluice: Sluice) -> None:
    recipe, run = demo
    assert "nothing was run" in sluice("run", recipe, "--out", run, *overrides())


@pytest.mark.slow
def test_a_run_killed_twice_ends_in_the_same_bytes(demo: tuple[Path, Path], sluice: Sluice, tmp_path: Path) -> None:
    recipe, undisturbed = demo
    run = tmp_path / "run"
    command = sluice.command("run", recipe, "--out", run, "--address", sluice.address, *overrides())
    kill_when(lambda: any((run / "artifacts/web_text/commits").glob("*.json")), command)
    often = [*command, "--set", "mix.checkpoint_every_s=0.2"]
    kill_when(lambda: any((run / "artifacts/mix.swarm/answers").rglob("*.checkpoint")), often)
    output = sluice("run", recipe, "--out", run, "--address", sluice.address, *overrides())
    assert "artifacts are there already; going on" in output
    for artifact in COMPARED:
        assert contents(run, artifact) == contents(undisturbed, artifact), artifact


def test_the_same_corpus_gives_the_same_bytes(tmp_path: Path, demo: tuple[Path, Path]) -> None:
    build(tmp_path / "corpus", size="tiny")
    ours = {p.relative_to(tmp_path / "corpus"): p.read_bytes() for p in (tmp_path / "corpus").rglob("*") if p.is_file()}
    corpus = demo[0].parent / "corpus"
    assert ours == {p.relative_to(corpus): p.read_bytes() for p in corpus.rglob("*") if p.is_file()}
