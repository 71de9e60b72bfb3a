"""Seconds and tokens to one validation loss: our model and loop, and a plain GPT-2 beside it in the same process.

    python -m tests.benchmarks.time_to_loss TEXT...          # files of text; CPU, small
    python -m tests.benchmarks.time_to_loss TEXT... --gpu    # size 100M, bfloat16, compiled

The baseline is GPT-2's layout (Radford et al. 2019: learned positions, LayerNorm, GELU, biases, tied head) of as many
parameters, AdamW at its best of --rates, cosine with warmup. Both read the same token shards in the same order, a plain
loop over the batches for the baseline, and are measured on the same held-out text. The loss to be reached is what the
baseline ends with. Ours is Muon with warmup-stable-decay by `pretrain`. Seconds are of training alone.
"""

import argparse
import dataclasses
import json
import math
import tempfile
import time
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from proxy_models.batches import Loader
from proxy_models.evaluation import bits_per_byte_on, held_out_texts
from proxy_models.model import ModelConfig, parameter_counts, sized
from proxy_models.muon import Muon
from proxy_models.optimization import Schedule
from proxy_models.phases import Phase
from proxy_models.pretrain import PretrainConfig, pretrain
from proxy_models.shards import Tokens, open_tokens
from tests.proxy_models.conftest import write_tokens

CHARACTERS = 2_000  # of a document
EVALUATIONS = 20


class GPT2(nn.Module):
    """[B, T] ids to [B, T, V] logits."""

    def __init__(self, vocabulary: int, context: int, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                into_residual = name.endswith(("out_proj.weight", "linear2.weight"))
                nn.init.normal_(parameter, std=0.02 / (math.sqrt(2 * layers) if into_residual else 1))

    def forward(self, ids: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(ids.shape[1], device=ids.device)
        x = self.tokens(ids) + self.positions.weight[: ids.shape[1]]
        for block in self.blocks:
            x = block(x, src_mask=mask, is_causal=True)
        return F.linear(self.norm(x), self.tokens.weight)

    def token_losses(self, sequences: Tensor) -> Tensor:
        logits = self(sequences[:, :-1]).float()
        return F.cross_entropy(logits.transpose(1, 2), sequences[:, 1:], reduction="none")


def baseline_of(config: ModelConfig) -> GPT2:
    """Of the width that comes closest to as many parameters, with as many layers and heads."""
    wanted = sum(parameter_counts(config))

    def parameters(width: int) -> int:
        return (config.vocabulary + config.context) * width + config.layers * (12 * width**2 + 13 * width) + 2 * width

    width = min(range(config.heads, 8192, config.heads), key=lambda width: abs(parameters(width) - wanted))
    return GPT2(config.vocabulary, config.context, width, config.layers, config.heads)


def curve_of_baseline(
    tokens: Tokens, config: ModelConfig, steps: int, batch: int, rate: float, device: str
) -> list[tuple[int, float, float]]:
    """Steps, seconds and bits per byte at each evaluation."""
    torch.manual_seed(0)
    model = baseline_of(config).to(device)
    forward = torch.compile(model.token_losses) if device == "cuda" else model.token_losses
    matrices = [p for p in model.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.95), fused=True)
    schedule = Schedule("cosine", warmup=0.1, floor=0.1)
    mixture = dict.fromkeys(tokens.sources, 1.0)
    batches = Loader(tokens, [Phase(mixture, steps, batch, config.context)]).batches()
    texts = {name: text.to(device) for name, text in held_out_texts(tokens, config.context, 32).items()}
    curve, seconds = [], 0.0
    for step, found in enumerate(batches):
        began = time.perf_counter()
        for group in optimizer.param_groups:
            group["lr"] = rate * schedule.share(step, steps)
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            loss = forward(torch.from_numpy(found.sequences).to(device)).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        loss.item()
        seconds += time.perf_counter() - began
        if (step + 1) % (steps // EVALUATIONS) == 0:
            measured = [bits_per_byte_on(model, text, batch)[0] for text in texts.values()]
            curve.append((step + 1, seconds, sum(measured) / len(measured)))
    return curve


def curve_of_ours(
    tokens: Tokens, config: ModelConfig, steps: int, batch: int, rate: float, device: str, work: Path
) -> list[tuple[int, float, float]]:
    settings = PretrainConfig(
        model=config,
        steps=steps,
        batch=batch,
        learning_rate=rate,
        optimizer=Muon(),
        products="bfloat16" if device == "cuda" else "float32",
        is_compiled=device == "cuda",
        device=device,
        threads=torch.get_num_threads(),
        evaluate_every=steps // EVALUATIONS,
        evaluation_sequences=32,
        checkpoint_every_s=1e9,
        log_every=1,
        is_on_tensorboard=False,
    )
    pretrain(tokens, settings, dict.fromkeys(tokens.sources, 1.0), work, lambda done, total: None)
    curve, seconds = [], 0.0
    for line in map(json.loads, (work / "log.jsonl").read_text().splitlines()[1:]):
        if "tokens_per_s" in line:
            seconds += batch * config.context / line["tokens_per_s"]
        else:
            measured = [value for name, value in line.items() if name.startswith("bpb.")]
            curve.append((line["step"], seconds, sum(measured) / len(measured)))
    return curve


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", type=Path, nargs="+")
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--size")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-3, 3e-3, 1e-2], help="each is tried for both")
    given = parser.parse_args()
    device = "cuda" if given.gpu else "cpu"
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        text = "\n".join(path.read_text(errors="replace") for path in given.texts)
        documents = [text[at : at + CHARACTERS] for at in range(0, len(text), CHARACTERS)]
        tokens = open_tokens(write_tokens(folder / "tokens", {"text": documents}, len(documents) // 10, 1000))
        config = dataclasses.replace(sized(given.size or ("100M" if given.gpu else "demo"), tokens.vocabulary))
        theirs = sum(parameter.numel() for parameter in baseline_of(config).parameters())
        print(f"{sum(parameter_counts(config)):,} parameters, {theirs:,} of the baseline; {len(text):,} characters")
        shape = (tokens, config, given.steps, given.batch)
        baselines = {rate: curve_of_baseline(*shape, rate, device) for rate in given.rates}
        ours = {rate: curve_of_ours(*shape, rate, device, folder / f"{rate}") for rate in given.rates}
    rate, best = min(baselines.items(), key=lambda found: found[1][-1][2])
    aim = best[-1][2]
    print(f"the baseline at {rate:g} comes to {aim:.3f} bits per byte after {best[-1][0]} steps, {best[-1][1]:.1f} s")
    for rate, curve in ours.items():
        reached = next((point for point in curve if point[2] <= aim), None)
        told = "never" if reached is None else f"after {reached[0]} steps, {reached[1]:.1f} s"
        print(f"ours at {rate:g}: there {told}; {curve[-1][2]:.3f} after {curve[-1][0]} steps, {curve[-1][1]:.1f} s")


if __name__ == "__main__":
    main()
