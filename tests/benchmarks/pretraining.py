"""Steps of pretraining: on a CPU beside the same model in transformers, on a GPU with MFU and loader stalls.

    python -m tests.benchmarks.pretraining                  # CPU: step times in turns
    python -m tests.benchmarks.pretraining --gpu            # one GPU: 1B dense and experts at 2048, bfloat16

CPU seconds of one thread; the ratio is the median over turns, the seconds are those of this machine at that hour. Both
take the same steps of forward, backward, clipping and AdamW, from the same weights on the same tokens, and must come to
the same losses.
"""

import argparse
import dataclasses
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from proxy_models.export import _qwen3_config, _qwen3_weights
from proxy_models.model import ModelConfig, Transformer, flops_per_token, init_weights, sized
from proxy_models.optimization import AdamW
from proxy_models.pretrain import PretrainConfig, pretrain
from proxy_models.shards import open_tokens
from proxy_models.training_log import MFU_FORMULA

BATCH = 4
VOCABULARY = 8192


def of_transformers(config: ModelConfig) -> Any:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    ours = Transformer(config)
    init_weights(ours, 0)
    theirs = Qwen3ForCausalLM(Qwen3Config(**_qwen3_config(config, 0, torch.float32), use_cache=False)).train()
    weights = {
        name: w for ours_name, v in ours.state_dict().items() for name, w in _qwen3_weights(ours_name, v, config)
    }
    theirs.load_state_dict(weights, strict=False)
    return theirs


def on_cpu(size: str, turns: int) -> None:
    torch.set_num_threads(1)
    config = sized(size, VOCABULARY)
    ours = Transformer(config)
    init_weights(ours, 0)
    theirs = of_transformers(config)
    optimizers = [AdamW().of(ours, 1e-3), torch.optim.AdamW(theirs.parameters(), lr=1e-3, fused=True)]
    seconds: list[list[float]] = [[], []]
    losses: list[list[float]] = [[], []]
    generator = torch.Generator().manual_seed(0)
    for turn in range(turns + 1):
        sequences = torch.randint(VOCABULARY, (BATCH, config.context + 1), generator=generator)
        for which in (0, 1) if turn % 2 else (1, 0):
            began = time.process_time()
            optimizers[which].zero_grad()
            if which == 0:
                loss = ours.training_loss(sequences).total
            else:
                logits = theirs(input_ids=sequences[:, :-1]).logits
                loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), sequences[:, 1:].flatten())
            loss.backward()
            torch.nn.utils.clip_grad_norm_((ours, theirs)[which].parameters(), 1.0)
            optimizers[which].step()
            losses[which].append(loss.item())
            if turn:  # the first one is to warm up
                seconds[which].append(time.process_time() - began)
    apart = max(abs(a - b) for a, b in zip(*losses, strict=True))
    ratio = statistics.median(b / a for a, b in zip(*seconds, strict=True))
    print(
        f"{size}, {BATCH} x {config.context} tokens: {statistics.median(seconds[0]):.3f} s a step, transformers "
        f"{statistics.median(seconds[1]):.3f} s, ratio {ratio:.2f} (median of {turns} turns); losses at most "
        f"{apart:.1e} apart"
    )


def written_tokens(folder: Path, vocabulary: int, tokens: int) -> Path:
    """Random ids in a token folder of one source, with a byte-level tokenizer whose merges are never used."""
    import hashlib

    import tokenizers
    from tokenizers import pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    entries = {letter: number for number, letter in enumerate(letters)}
    names = (a + b + c for a in letters for b in letters for c in letters)
    for name in names:
        if len(entries) == vocabulary - 1:
            break
        entries[name] = len(entries)
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=entries, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(["<eod>"])
    (folder / "web").mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    sizes = np.array([len(name) for name in entries] + [0])
    splits = {}
    for split, count in (("train", tokens), ("held_out", 4096)):
        ids = np.random.default_rng(0).integers(0, vocabulary - 1, count).astype("<u2")
        ids[-1] = vocabulary - 1
        body = ids.tobytes()
        (folder / "web" / f"{split}.bin").write_bytes(body)
        digest = hashlib.sha256(body).hexdigest()
        files = [{"path": f"web/{split}.bin", "tokens": count, "sha256": digest}]
        splits[split] = {"files": files, "tokens": count, "documents": 1, "bytes": int(sizes[ids].sum())}
    manifest = {
        "vocabulary": vocabulary,
        "dtype": "uint16",
        "eod": vocabulary - 1,
        "tokenizer_sha256": hashlib.sha256((folder / "tokenizer.json").read_bytes()).hexdigest(),
        "sources": {"web": splits},
    }
    (folder / "tokens.json").write_text(json.dumps(manifest))
    return folder


def through_the_loop(name: str, config: ModelConfig, batch: int, accumulate: int, steps: int, device: str) -> None:
    """Tokens per second, MFU and loader stalls of the second half of a run, as its own log has them."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        tokens = open_tokens(
            written_tokens(folder / "tokens", config.vocabulary, (steps * batch + 1) * config.context + 1)
        )
        settings = PretrainConfig(
            model=config,
            steps=steps,
            batch=batch,
            accumulate=accumulate,
            products="bfloat16" if device == "cuda" else "float32",
            is_compiled=device == "cuda",
            device=device,
            threads=1,  # more of them wait for each other where cores are shared
            learning_rate=1e-4,
            evaluate_every=steps,
            evaluation_sequences=1,
            checkpoint_every_s=1e9,
            log_every=max(1, steps // 2),
        )
        pretrain(tokens, settings, {"web": 1.0}, folder / "work", lambda done, total: None, stop_after_step=steps - 1)
        lines = [json.loads(line) for line in (folder / "work" / "log.jsonl").read_text().splitlines()]
        last = [line for line in lines if "tokens_per_s" in line][-1]
        share = "unknown" if last["mfu"] is None else f"{last['mfu']:.1%}"
        print(
            f"{name}: {last['tokens_per_s']:,.0f} tokens/s, {flops_per_token(config) / 1e9:.3f} GFLOP a token, MFU "
            f"{share}, loader stalls {last['loader_share']:.2%}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--size", default="S")
    parser.add_argument("--turns", type=int, default=8)
    arguments = parser.parse_args()
    if not arguments.gpu:
        on_cpu(arguments.size, arguments.turns)
        through_the_loop("the loop, size 1M", sized("1M", VOCABULARY), 2, 1, 8, "cpu")
        return
    print(MFU_FORMULA)
    dense = dataclasses.replace(sized("1B", 32_768), context=2048)
    through_the_loop("1B dense", dense, 32, 4, 40, "cuda")
    experts = dataclasses.replace(
        dense, width=1024, heads=8, kv_heads=4, layers=16, experts=32, experts_per_token=4, expert_width=768
    )
    through_the_loop("mixture of 32 experts", experts, 32, 4, 40, "cuda")


if __name__ == "__main__":
    main()
