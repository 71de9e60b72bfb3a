"""What vLLM is started with; what the worker does with it is seen in test_real_vllm.py."""

from stages.models.vllm.options import VllmOptions
from stages.models.vllm.worker import engine_arguments


def test_what_is_not_said_is_left_to_vllm() -> None:
    arguments = engine_arguments(VllmOptions("a-model"))
    assert arguments["model"] == "a-model"
    assert arguments["enable_prefix_caching"] is True
    assert not {"revision", "max_model_len", "speculative_config"} & set(arguments)


def test_any_argument_of_vllm_can_be_given() -> None:
    guesses = {"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_max": 4}
    options = VllmOptions("m", speculative=guesses, engine_arguments={"stream_interval": 4, "enforce_eager": True})
    arguments = engine_arguments(options)
    assert (arguments["speculative_config"], arguments["stream_interval"]) == (guesses, 4)
    assert arguments["enforce_eager"] is True
