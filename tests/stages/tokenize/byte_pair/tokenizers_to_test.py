"""Tokenizers of all kinds that the kernels do, trained on the spot."""

from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from stages.tokenize.byte_pair.encoder import CACHE_BYTES, Encoder, encoder_of
from stages.tokenize.byte_pair.splitting import GPT2_PATTERN, LLAMA3_PATTERN, O200K_PATTERN, QWEN2_PATTERN

END = "<|endoftext|>"
TEXTS = [
    "The quick brown fox can't jump over 12345 lazy dogs, and they're all asleep.\n\nWe've 3.14 reasons!  ",
    "def area(radius):\n    return 3.14159 * radius ** 2  # m²\n\n\nclass X:\n\tpass\r\n",
    "Der Bundesgerichtshof hat die Rechtsschutzversicherungsgesellschaften verurteilt; Größe: 1.234,56 €.",
    "机器学习是人工智能的一个分支。深度学习模型需要大量的数据，学习的数据。机器和人工都需要数据。",
    "Съешь же ещё этих мягких французских булок. मशीन लर्निंग कृत्रिम बुद्धिमत्ता है। ഒരു ഭാഷ ไทยภาษา",
    "WE'RE SHOUTING, DON'T YOU'LL I'D? don't you'll i'd ok's 'S ... --- !!! (a) [b] {c} </p>\n",
]


def split(pattern: str) -> pre_tokenizers.PreTokenizer:
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), byte_level])


def digits_alone() -> pre_tokenizers.PreTokenizer:
    digits = pre_tokenizers.Digits(individual_digits=True)
    return pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])


PRE_TOKENIZERS: dict[str, Callable[[], pre_tokenizers.PreTokenizer]] = {
    "gpt2": lambda: pre_tokenizers.ByteLevel(add_prefix_space=False),
    "gpt2 with blank": lambda: pre_tokenizers.ByteLevel(add_prefix_space=True),
    "gpt2 split": lambda: split(GPT2_PATTERN),
    "sluice": digits_alone,
    "llama3": lambda: split(LLAMA3_PATTERN),
    "qwen2": lambda: split(QWEN2_PATTERN),
    "o200k": lambda: split(O200K_PATTERN),
}
KINDS = tuple(PRE_TOKENIZERS)


def trained(kind: str, vocabulary: int = 700, texts: Sequence[str] = TEXTS) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = PRE_TOKENIZERS[kind]()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if kind == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
        tokenizer.add_tokens([AddedToken("<think>", normalized=False), AddedToken("<think>!", normalized=False)])
    tokenizer.encode_special_tokens = True
    return tokenizer


def encoder_for(tokenizer: Tokenizer, folder: Path, cache_bytes: int = CACHE_BYTES) -> Encoder:
    path = folder / "tokenizer.json"
    tokenizer.save(str(path))
    encoder = encoder_of(path, cache_bytes)
    assert isinstance(encoder, Encoder), encoder
    return encoder


@cache
def pair(kind: str, folder: Path, cache_bytes: int = CACHE_BYTES) -> tuple[Tokenizer, Encoder]:
    """The library's tokenizer and our encoder for it; the same ones for the same arguments."""
    tokenizer = trained(kind)
    return tokenizer, encoder_for(tokenizer, folder, cache_bytes)


def expected(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    return [encoding.ids for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]


def encoded(encoder: Encoder, texts: Sequence[str | None]) -> list[list[int]]:
    found = encoder.encode(pa.array(texts, pa.large_string()))
    starts = [0, *found.ends.tolist()]
    assert len(starts) == len(texts) + 1
    assert starts[-1] == len(found.ids)
    return [found.ids[start:end].tolist() for start, end in pairwise(starts)]
