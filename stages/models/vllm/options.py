"""What an engine is started with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class VllmOptions:
    """A model, and how vLLM runs it; names as in vLLM's engine arguments."""

    model: str  # folder, or name on the Hugging Face hub
    revision: str | None = None  # of a model of the hub
    max_num_seqs: int = 256  # requests that the engine computes at once
    tensor_parallel_size: int = 1  # GPUs that one copy of the model is spread over
    max_model_len: int | None = None  # tokens of a prompt and its answer; None: as many as the model stands
    dtype: str = "auto"
    gpu_memory_utilization: float = 0.9  # of the GPU's memory; on a CPU, of the machine's
    speculative: Mapping[str, Any] | None = None  # such as {"method": "suffix"}: guesses that the model only checks
    repetition_detection: Mapping[str, int] = field(  # an answer that loops like this ends as "repetition"
        default_factory=lambda: {"max_pattern_size": 64, "min_pattern_size": 1, "min_count": 32}
    )
    chat_template_options: Mapping[str, Any] = field(default_factory=dict)  # such as {"enable_thinking": False}
    engine_arguments: Mapping[str, Any] = field(default_factory=dict)  # any others of vLLM's
