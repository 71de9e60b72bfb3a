"""A model of random weights with a tokenizer and a chat template, made in seconds, that vLLM runs like any other."""

import json
import random
from pathlib import Path

CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
THINK = "<think>"  # a control token that tokenizers do not call special, as in Qwen3
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MAX_MODEL_LEN = 512


def write_tiny_model(folder: Path) -> Path:
    """A Qwen3 of two layers. Heads of 64: vLLM's CPU engine dies at the first request of smaller ones."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    write_tokenizer(folder)
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=2048,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=64,
        max_position_embeddings=MAX_MODEL_LEN,
        eos_token_id=2,
        bos_token_id=None,
        pad_token_id=0,
        tie_word_embeddings=True,
    )
    model = Qwen3ForCausalLM(config)
    for weights in model.parameters():
        torch.nn.init.normal_(weights, std=0.2)  # else the answer is one token again and again
    model.to(torch.bfloat16).save_pretrained(folder)
    return folder


def write_tokenizer(folder: Path) -> Path:
    """A byte-level BPE of 2,048 tokens, of the tokens that mark turns too."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=2047, special_tokens=CONTROL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts(), trainer)
    tokenizer.add_tokens([THINK])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(folder)
    return folder


def texts(count: int = 400) -> list[str]:
    """Sentences of made-up words, always the same."""
    chance = random.Random(0)
    syllables = [a + b for a in "bdfgklmnprstvw" for b in ("a", "e", "i", "o", "u", "an", "er", "ing")]
    words = ["".join(chance.choices(syllables, k=chance.randint(1, 4))) for _ in range(3000)]
    return [" ".join(chance.choices(words, k=60)).capitalize() + "." for _ in range(count)]


def token_ids(folder: Path) -> dict[str, int]:
    """Numbers of all tokens."""
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    added = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    return {**tokenizer["model"]["vocab"], **added}
