"""Text to token ids beside other libraries: `python -m tests.benchmarks.encoding`.

A byte-level BPE tokenizer is trained on a tenth of the real documents of ../shared/data/text, which take no further
part. The others, of all domains and languages in an order of chance, are cut into as many shares as there are rounds.
In each round all contenders encode the same share, in turns and on one thread, and none has seen it before; what they
keep between calls stays, as it would in a run. CPU seconds count, from texts in the form that each takes (Arrow batches
or lists of strings) to ids in the form that it gives.

    ours       stages/tokenize/byte_pair
    library    encode_batch_fast of Hugging Face's tokenizers: its ids are what the others must equal
    tiktoken   encode_ordinary_batch with the same ranks (`pip install tiktoken`)
    tokie      encode_batch_flat of the same file (`pip install tokie`)

The last two are left out where they are not installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stages.tokenize.byte_pair.description import byte_alphabet
from stages.tokenize.byte_pair.encoder import Encoder, encoder_of
from stages.tokenize.byte_pair.splitting import GPT2_PATTERN, LLAMA3_PATTERN
from tests.real_texts import real_texts

if TYPE_CHECKING:
    from tokenizers import Tokenizer

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
BATCH = 500
END_OF_DOCUMENT = "<|endoftext|>"
# What Digits and ByteLevel do one after the other, as one expression. White space ends where a digit starts.
DIGITS_ALONE_PATTERN = GPT2_PATTERN.replace(r" ?\p{N}+", r"\p{N}").replace(r"|\s+(?!", r"|\s+(?=\p{N})|\s+(?!")
TARGETS = {"library": (20, 30), "tiktoken": (4, 6), "tokie": (1.2, 1.8)}  # demanded and wished times its speed
KINDS = {
    "sluice": (32_768, DIGITS_ALONE_PATTERN),
    "gpt2": (50_257, GPT2_PATTERN),
    "llama3": (100_000, LLAMA3_PATTERN),
}

Ids = list[list[int]]
Contender = Callable[[list[str]], tuple[float, Ids]]  # CPU seconds and ids of each text


def main() -> None:
    """Time all contenders, and print who took how long and whether their ids are equal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--documents", type=int, help="all if absent")
    parser.add_argument("--kind", choices=KINDS, default="sluice", help="pre-tokenizer, and size of the vocabulary")
    arguments = parser.parse_args()
    os.environ |= {"RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}  # read when the libraries are loaded
    texts = [text.text for text in real_texts(DATA)]
    if not texts:
        parser.error(f"there are no documents in {DATA / 'text'}")
    random.Random(1).shuffle(texts)
    tenth = len(texts) // 10
    texts, sample = texts[tenth:][: arguments.documents], texts[:tenth]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.json"
        trained(arguments.kind, sample).save(str(path))
        contenders = {"ours": ours(path), "library": library(path)}
        for name, make in (("tiktoken", tiktoken), ("tokie", tokie)):
            if importlib.util.find_spec(name):
                contenders[name] = make(path, arguments.kind)
            else:
                print(f"{name} is not installed: left out")
        compare(contenders, texts, arguments.rounds)


def trained(kind: str, sample: Sequence[str]) -> Tokenizer:
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    vocabulary, pattern = KINDS[kind]
    tokenizer = Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    parts: list[Any] = [pre_tokenizers.Split(Regex(pattern), "isolated")]
    parts.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
    if kind == "sluice":
        parts = [pre_tokenizers.Digits(individual_digits=True), byte_level]
    tokenizer.pre_tokenizer = byte_level if kind == "gpt2" else pre_tokenizers.Sequence(parts)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END_OF_DOCUMENT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sample, trainer)
    return tokenizer


def compare(contenders: dict[str, Contender], texts: list[str], rounds: int) -> None:
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    equal = dict.fromkeys(contenders, 0)
    tokens = []
    for contend in contenders.values():
        contend(["first call"])  # compiles, starts threads
    for shown in range(rounds):
        share = texts[shown::rounds]
        names = list(contenders)[shown % len(contenders) :] + list(contenders)[: shown % len(contenders)]
        found: dict[str, Ids] = {}
        for name in names:
            spent, found[name] = contenders[name](share)
            seconds[name].append(spent)
        tokens.append(sum(map(len, found["library"])))
        for name, ids in found.items():
            equal[name] += sum(a == b for a, b in zip(ids, found["library"], strict=True))
    size = sum(len(text.encode()) for text in texts)
    print(f"{len(texts)} documents in {rounds} rounds, {size / sum(tokens):.2f} bytes a token")
    print(f"{'':<28}{'million tokens per CPU s':>25}{'times slower than ours':>24}{'equal documents':>17}")
    for name, values in seconds.items():
        speed = statistics.median(count / spent / 1e6 for count, spent in zip(tokens, values, strict=True))
        ratio = statistics.median(their / our for their, our in zip(values, seconds["ours"], strict=True))
        title = name if name == "ours" else f"{name} {version('tokenizers' if name == 'library' else name)}"
        row = f"{title:<28}{speed:>25.2f}{ratio:>24.1f}{equal[name]:>17}"
        if name in TARGETS:
            row += "   demanded {}, goal {}".format(*TARGETS[name])
        print(row)


def ours(path: Path) -> Contender:
    encoder = encoder_of(path)
    assert isinstance(encoder, Encoder)

    def contend(texts: list[str]) -> tuple[float, Ids]:
        batches = [pa.array(batch, pa.large_string()) for batch in batches_of(texts)]
        started = time.process_time()
        encoded = [encoder.encode(batch) for batch in batches]
        spent = time.process_time() - started
        return spent, [ids for part in encoded for ids in cut(part.ids, part.ends)]

    return contend


def library(path: Path) -> Contender:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.encode_special_tokens = True

    def contend(texts: list[str]) -> tuple[float, Ids]:
        batches = batches_of(texts)
        started = time.process_time()
        encoded = [[e.ids for e in tokenizer.encode_batch_fast(b, add_special_tokens=False)] for b in batches]
        return time.process_time() - started, [ids for batch in encoded for ids in batch]

    return contend


def tiktoken(path: Path, kind: str) -> Contender:
    """Its ranks are ids: bytes first, then the merges in their order. What it gives is named by the library's ids."""
    import json

    from tiktoken import Encoding

    model = json.loads(path.read_text("utf-8"))["model"]
    byte_of = {character: byte for byte, character in enumerate(byte_alphabet())}
    names = [*byte_of, *dict.fromkeys("".join(pair) for pair in model["merges"])]
    ranks = {bytes(byte_of[c] for c in name): rank for rank, name in enumerate(names)}
    id_of = np.array([model["vocab"][name] for name in names])
    encoding = Encoding(kind, pat_str=KINDS[kind][1], mergeable_ranks=ranks, special_tokens={})

    def contend(texts: list[str]) -> tuple[float, Ids]:
        batches = batches_of(texts)
        started = time.process_time()
        encoded = [encoding.encode_ordinary(text) for batch in batches for text in batch]
        spent = time.process_time() - started
        return spent, [id_of[ids].tolist() if ids else [] for ids in encoded]

    return contend


def tokie(path: Path, kind: str) -> Contender:
    from tokie import Tokenizer

    tokenizer = Tokenizer.from_json(str(path))

    def contend(texts: list[str]) -> tuple[float, Ids]:
        batches = batches_of(texts)
        started = time.process_time()
        encoded = [tokenizer.encode_batch_flat(batch, add_special_tokens=False) for batch in batches]
        spent = time.process_time() - started
        return spent, [ids for all_ids, lengths in encoded for ids in cut(all_ids, np.cumsum(lengths))]

    return contend


def batches_of(texts: list[str]) -> list[list[str]]:
    return [texts[at : at + BATCH] for at in range(0, len(texts), BATCH)]


def cut(ids: NDArray[Any], ends: NDArray[Any]) -> Ids:
    return [ids[start:end].tolist() for start, end in pairwise([0, *ends.tolist()])]


if __name__ == "__main__":
    main()
