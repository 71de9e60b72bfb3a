"""An exported model is the same model in vLLM.

vLLM is an extra; on a machine without a GPU, install its CPU build and say
``VLLM_CPU_KVCACHE_SPACE=1 python -m pytest -m slow tests/proxy_models/test_export_vllm.py``.
"""

import dataclasses
import json
import math
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from proxy_models.export import export_huggingface
from proxy_models.model import ModelConfig
from proxy_models.shards import Tokens
from tests.proxy_models.test_export import CARD, started

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed: pip install 'sluice[vllm]'"),
]

DENSE = ModelConfig(257, 64, 2, 4, 2, 32, 128, 64, rope_base=500.0)  # vLLM's attention wants heads of 32 or more
CONFIGS = {
    "tied": DENSE,
    "untied, of another width than its base": dataclasses.replace(DENSE, base_width=16, tied=False),
    "sliding": dataclasses.replace(DENSE, sliding_window=8, full_attention_every=0),  # vLLM refuses some but not all
    "experts": dataclasses.replace(DENSE, experts=4, experts_per_token=2, expert_width=64),
}


# In a process of its own: vLLM looks through all loaded modules and stumbles over those of numba.
ENGINE = """
import json, sys
from vllm import LLM, SamplingParams
folder, ids, out = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
engine = LLM(folder, dtype="float32", enforce_eager=True, max_model_len=64, gpu_memory_utilization=0.3)
sampling = SamplingParams(temperature=0, max_tokens=8, prompt_logprobs=0, ignore_eos=True)
(answer,) = engine.generate({"prompt_token_ids": ids}, sampling)
found = [of[token].logprob for token, of in zip(ids[1:], answer.prompt_logprobs[1:], strict=True)]
json.dump({"logprobs": found, "written": list(answer.outputs[0].token_ids)}, open(out, "w"))
"""
ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}


@pytest.mark.parametrize("name", CONFIGS)
def test_log_probabilities_and_answers_are_equal_in_vllm(name: str, tokens: Tokens, tmp_path: Path) -> None:
    model = started(CONFIGS[name])
    export_huggingface(model, model.config, tokens, tmp_path / "model", CARD)
    ids = torch.randint(0, 256, (40,), generator=torch.Generator().manual_seed(0))
    out = tmp_path / "found.json"
    command = [sys.executable, "-c", ENGINE, str(tmp_path / "model"), json.dumps(ids.tolist()), str(out)]
    environment = {"VLLM_CPU_KVCACHE_SPACE": "1", **os.environ, **ENVIRONMENT}  # GiB
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(out.read_text())
    with torch.no_grad():
        ours = model(ids[None])[0].log_softmax(-1)
        expected = ours[range(39), ids[1:]].tolist()
        written = ids[None]
        for _ in range(8):
            written = torch.cat([written, model(written)[:, -1:].argmax(-1)], dim=1)
    assert max(map(abs, expected)) > math.log(257) + 0.5  # each weight shows
    assert found["logprobs"] == pytest.approx(expected, abs=1e-3)
    assert found["written"] == written[0, 40:].tolist()
