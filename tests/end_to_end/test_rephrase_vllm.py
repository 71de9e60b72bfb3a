"""Rephrasing by a real vLLM that the run itself starts: one engine, in an actor, for all tasks.

The model's weights are random, so the style of this test has no gates; what is held to is the way from a document to
the engine and back. Needs vLLM, or its build for CPUs.
"""

import importlib.util
import json
from pathlib import Path

import pytest
import yaml

from pipeline.run import Run
from stages.rephrase.styles import STYLES_FILE
from tests.conftest import Sluice
from tests.stages.models.vllm.tiny_model import texts, write_tiny_model

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed"),
]

FILES, PAGES = 3, 40

RECIPE = """name: rephrased
artifacts:
  docs: {stage: json_lines, files: docs-*.jsonl}
  new:
    stage: rephrase
    from: docs
    style: plain
    styles: styles.yaml
    engine: vllm
    model: MODEL
    tokenizer: MODEL/tokenizer.json
    context_tokens: 512
    temperature: 0
    max_synthetic_share: 0.9
    vllm: {max_requests: 8, max_model_len: 512, dtype: bfloat16, memory: 0.3, arguments: {enforce_eager: true}}
"""


def test_one_engine_serves_all_tasks_of_a_run(tmp_path: Path, sluice_alone: Sluice) -> None:
    model = write_tiny_model(tmp_path / "model")
    pages = texts(FILES * PAGES)
    for i in range(FILES):
        lines = [json.dumps({"text": f"{text} {i} {n}"}) for n, text in enumerate(pages[i::FILES])]
        (tmp_path / f"docs-{i}.jsonl").write_text("\n".join(lines))
    gates = yaml.safe_load(STYLES_FILE.read_text())["gates"]
    style = {
        "format": "text",
        "chunk_tokens": 64,
        "output_ratio": 0.5,
        "failed_passage": "keep",
        "reminder": "Write it.",
        "templates": ["Repair this.", "Mend this.", "Clean this."],
    }
    written = {"gates": dict.fromkeys(gates), "styles": {"plain": style}}
    (tmp_path / "styles.yaml").write_text(yaml.safe_dump(written))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.replace("MODEL", str(model)))
    output = sluice_alone("run", recipe, "--out", tmp_path / "run")
    ledger = Run.open(tmp_path / "run").artifacts()["new.written"].ledger.last()
    assert ledger["rephrased"].created == FILES * PAGES
    assert ledger["rephrased"].failed == {}, output
    noted = ledger["docs"].noted
    assert noted["rephrase_requests"] >= FILES * PAGES
    assert noted["rephrase_completion_tokens"] > noted["rephrase_requests"]
    assert "nothing was run" in sluice_alone("run", recipe, "--out", tmp_path / "run")
