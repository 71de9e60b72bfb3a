"""Reading of tokens for training, and cutting them to a smaller vocabulary: tokens per CPU second of one core.

    python -m tests.benchmarks.token_reading [--tokenizer tokenizer.json]

Reading: 12 sources of 6M random tokens in two files each, in the page cache. For a swarm, K runs of random mixtures,
each source cut to 30 %, B sequences of T tokens a step, from step 64 on, with everything that read_batches does; a tier
S swarm at 8M tokens per second on one GPU needs as much of one core. For one model, everything that Loader.batches
does, for each packing, with documents numbered or not, and in two phases, the first at a quarter of the context; goal
200M at 2,048 tokens and more. Beside it, in turns, the loop that copies row after row out of a numpy memmap, and what
packing takes, once for a run.

Cutting: 40M tokens drawn evenly from the ids of a tokenizer of 32,768 (by default one trained on ../shared/data/text),
to 16,384, 8,192 and 4,096. Even draws are harder than text, where long tokens are rare.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from proxy_models.batches import Loader
from proxy_models.loader import Order, read_batches
from proxy_models.packing import best_fit
from proxy_models.phases import Phase
from proxy_models.shards import TokenBody, Tokens, open_tokens
from proxy_models.vocabulary import cut_tokens

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
SOURCES, FILES, FILE_TOKENS = 12, 2, 3_000_000
SHAPES = ((64, 4, 512), (512, 4, 512), (16, 16, 1024), (64, 4, 64), (1, 16, 1024))  # K, B, T
STEPS = 128
MODEL_SHAPES = ((16, 1024), (16, 2048), (8, 8192), (4, 32_768))  # B, T, for one model
MODEL_TOKENS = 200_000_000  # read for each figure
DOCUMENT_TOKENS = 700  # on average


def token_folder(folder: Path, tokenizer: str, tokens: int, sources: int, files: int) -> Tokens:
    """Random tokens under a tokenizer: so many in each file."""
    vocabulary = len(json.loads(tokenizer)["model"]["vocab"])
    folder.mkdir()
    (folder / "tokenizer.json").write_text(tokenizer)
    rng = np.random.default_rng(0)

    def written(source: str, name: str) -> dict[str, object]:
        path = folder / source / f"{name}.bin"
        path.parent.mkdir(exist_ok=True)
        ids = rng.integers(1, vocabulary, tokens, dtype=np.uint16)
        ids[rng.integers(0, tokens, tokens // DOCUMENT_TOKENS)] = ids[-1] = 0  # ends of documents
        path.write_bytes(ids.tobytes())
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return {"path": f"{source}/{path.name}", "tokens": tokens, "sha256": digest}

    def split(source: str, name: str, count: int) -> dict[str, object]:
        entries = [written(source, f"{name}-{i}") for i in range(count)]
        return {"files": entries, "tokens": tokens * count, "documents": 1, "bytes": 1}

    manifest = {
        "vocabulary": vocabulary,
        "dtype": "uint16",
        "eod": 0,
        "tokenizer_sha256": hashlib.sha256(tokenizer.encode()).hexdigest(),
        "sources": {
            f"source{s}": {"train": split(f"source{s}", "train", files), "held_out": split(f"source{s}", "held_out", 0)}
            for s in range(sources)
        },
    }
    (folder / "tokens.json").write_text(json.dumps(manifest))
    return open_tokens(folder)


def reading(bodies: list[TokenBody], models: int, batch: int, context: int) -> float:
    """Tokens per CPU second."""
    rng = np.random.default_rng(1)
    available = tuple(body.sequence_count(context) for body in bodies)
    cut = tuple(int(0.3 * count) for count in available)
    orders = [
        Order(tuple(rng.dirichlet(np.ones(len(bodies)))), available, (64 + STEPS) * batch, seed=1, max_sequences=cut)
        for _ in range(models)
    ]
    began = time.process_time()
    for _ in read_batches(bodies, orders, batch, context, first_step=64):
        pass
    return STEPS * models * batch * context / (time.process_time() - began)


def phase(tokens: Tokens, batch: int, context: int, read: int = MODEL_TOKENS) -> Phase:
    shares = np.random.default_rng(1).dirichlet(np.full(len(tokens.sources), 5.0)).tolist()
    return Phase(dict(zip(tokens.sources, shares, strict=True)), read // (batch * context), batch, context)


def reading_for_one(loader: Loader) -> float:
    """Tokens per CPU second."""
    began = time.process_time()
    for _ in loader.batches():
        pass
    read = sum(phase.slots * phase.context for phase in loader.order.phases)
    return read / (time.process_time() - began)


def reading_by_rows(loader: Loader) -> float:
    """Rows of the same sources and lengths, copied one by one out of a memmap."""
    maps = [np.memmap(body.files[0].path, dtype=body.dtype, mode="r") for body in loader.bodies]
    (phase,), (order,) = loader.order.phases, loader.order.orders
    began = time.process_time()
    read = 0
    for step in range(phase.steps):
        draws = order.block(step * phase.batch, (step + 1) * phase.batch)
        rows = np.empty((phase.batch, phase.context + 1), dtype=np.int64)
        for row, d, number in zip(rows, draws.source, draws.sequence, strict=True):
            start = int(number) % (FILE_TOKENS // phase.context - 1) * phase.context
            row[:] = maps[d][start : start + phase.context + 1]
            read += phase.context
    return read / (time.process_time() - began)


def trained_tokenizer() -> str:
    from tests.proxy_models.test_vocabulary import trained
    from tests.real_texts import real_texts

    return trained((document.text for document in real_texts(DATA)), 32_768).to_str()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", type=Path, help="a tokenizer.json of a byte-level BPE, up to 65,536 entries")
    path = parser.parse_args().tokenizer
    tokenizer = path.read_text() if path else trained_tokenizer()
    with tempfile.TemporaryDirectory() as name:
        tokens = token_folder(Path(name) / "reading", tokenizer, FILE_TOKENS, SOURCES, FILES)
        bodies = [tokens.train(source) for source in tokens.sources]
        reading(bodies, 1, 4, 64)  # compiles
        print("| models | sequences | context | read, Mtok/s |\n|---|---|---|---|")
        for models, batch, context in SHAPES:
            rate = max(reading(bodies, models, batch, context) for _ in range(3))
            print(f"| {models} | {batch} | {context} | {rate / 1e6:.0f} |", flush=True)
        print("\n| sequences | context | concatenated | + documents | best fit | + documents | two phases | row loop |")
        print("|---|---|---|---|---|---|---|---|")
        for batch, context in MODEL_SHAPES:
            loaders = [
                Loader(tokens, [phase(tokens, batch, context)], packing=packing, has_documents=has_documents)
                for packing in ("concatenated", "best_fit")
                for has_documents in (False, True)
            ]
            half = MODEL_TOKENS // 2
            loaders.append(
                Loader(tokens, [phase(tokens, 4 * batch, context // 4, half), phase(tokens, batch, context, half)])
            )
            for loader in loaders:
                next(loader.batches())  # compiles, maps the files
            turns = [[*(reading_for_one(loader) for loader in loaders), reading_by_rows(loaders[0])] for _ in range(5)]
            rates = " | ".join(f"{max(rate) / 1e6:.0f}" for rate in zip(*turns, strict=True))
            print(f"| {batch} | {context} | {rates} |", flush=True)
        began = time.process_time()
        reports = [best_fit(body, 2048, tokens.eod).report() for body in bodies]
        seconds = time.process_time() - began
        packed, padded = sum(body.tokens for body in bodies), sum(report.padded for report in reports)
        print(f"\npacking by best fit: {packed / seconds / 1e6:.0f} Mtok/s, {padded / packed:.2%} padded")
        whole = token_folder(Path(name) / "cutting", tokenizer, 40_000_000, 1, 1)
        print("\n| vocabulary | cut, Mtok/s | tokens for one |\n|---|---|---|")
        for size in (16_384, 8_192, 4_096):
            began = time.process_time()
            cut = cut_tokens(whole, size, Path(name) / str(size))
            rate = whole.train("source0").tokens / (time.process_time() - began)
            growth = cut.train("source0").tokens / whole.train("source0").tokens
            print(f"| {size} | {rate / 1e6:.0f} | {growth:.2f} |", flush=True)


if __name__ == "__main__":
    main()
