"""How fast a swarm of proxies trains: stacked, one after another, and what bounds it. One command, on a GPU:

    python -m tests.benchmarks.swarm [--small] [--json FILE] [--steps NAME ...]

Without a GPU, or with --small, the same steps run at the demo's size on the CPU. Each step is a process of its own, and
each of its cases is caught on its own, so what fails (out of memory, a compiler that is absent) is a line that says so.

    ceilings     matrix product and copy: what the device can do
    products     bmm against grouped_mm at the shapes of the tiers
    stack        the first tier stacked, over models and tokens for each model and step, eager, compiled and captured
    separate     the same, one after another: the persistent worker
    against      stack and worker in turns, at one shape: the ratio
    head         the loss in parts against all logits at once, with their gradients
    tiers        the larger tiers, stacked
    (proxies)    proxies for each hour and device, from the fastest stack of the first tier
    evaluation   share of the time that goes into measuring at a quarter, half and all of a run of 200M tokens

Tokens are random: no figure depends on what they say. A rate is the median over the timed steps, in trained tokens for
each second of wall time, all models together; tflops counts model.flops_per_token.
"""

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812

from proxy_models.device import CapturedStep, device_of
from proxy_models.model import ModelConfig, flops_per_token, sized
from proxy_models.optimization import AdamW
from proxy_models.separate import Separate
from proxy_models.stacked import LOGITS_AT_ONCE, Models, Stack, head_losses

Case = dict[str, Any]
STEPS = ("ceilings", "products", "stack", "separate", "against", "head", "tiers", "evaluation")
PROXY_TOKENS = {"50M": 50e6, "200M": 200e6, "1B": 1e9}
LONGEST_STEP_S = {"stack": 3600}  # what was measured until then is kept; others 900 s
MODES = {  # is_compiled, is_captured
    "eager": (False, False),
    "graph": (False, True),
    "compiled, graph": (True, True),
    "compiled": (True, False),
}


class Scale:
    """What is measured: the tiers on a GPU, or the demo's size on a CPU."""

    def __init__(self, is_small: bool) -> None:
        self.device = "cpu" if is_small else device_of("auto")
        self.is_small = is_small or self.device == "cpu"
        if self.is_small:
            self.first, self.others = ("demo", 1024), [("nano", 1024)]
            self.models, self.tokens, self.modes = (1, 4, 16), (128, 512), ("eager",)
            self.against = (16, 512)
            self.timed_s, self.precision = 2.0, "float32"
        else:
            self.first, self.others = ("S", 8192), [("M", 8192), ("L", 16384)]
            self.models, self.tokens, self.modes = (1, 16, 64, 512), (2048, 8192, 32768), tuple(MODES)
            self.against = (512, 2048)
            self.timed_s, self.precision = 3.0, "bfloat16"

    def synchronize(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()

    def seconds(self, step: Callable[[], Any], warmup: int = 1) -> float:
        """Median wall seconds of a step, over at least 3 and about timed_s of them."""
        for _ in range(warmup):
            step()
        self.synchronize()
        taken: list[float] = []
        while len(taken) < 3 or (sum(taken) < self.timed_s and len(taken) < 200):
            began = time.perf_counter()
            step()
            self.synchronize()
            taken.append(time.perf_counter() - began)
        return statistics.median(taken)

    def config(self, tier: tuple[str, int]) -> ModelConfig:
        return sized(tier[0], tier[1])


def training(scale: Scale, models: Models, tokens: int, is_captured: bool) -> Callable[[], None]:
    """A step of training, sequences gathered from a pool on the device, as swarm.py does it."""
    c, count = models.config, len(models.alive)
    batch = max(1, tokens // c.context)
    generator = torch.Generator(device=scale.device).manual_seed(0)
    pool = torch.randint(0, c.vocabulary, (1 << 22,), generator=generator, device=scale.device).to(torch.int16)
    starts = torch.randint(0, len(pool) - c.context - 1, (64, count, batch), generator=generator, device=scale.device)
    within = torch.arange(c.context + 1, device=scale.device)
    rates = torch.full((count,), 1e-4, device=scale.device)
    clips = torch.ones(count, device=scale.device)

    def step() -> None:
        now = starts.index_select(0, models.steps_taken.view(1) % 64)[0]
        models.train_step(pool[now[..., None] + within].to(torch.int64) & 0xFFFF, rates, clips)

    models.start([0] * count)
    return CapturedStep(step) if is_captured else step


def stack_of(scale: Scale, tier: tuple[str, int], count: int, is_compiled: bool) -> Stack:
    return Stack(scale.config(tier), count, AdamW(), scale.precision, scale.device, is_compiled)


def rate(scale: Scale, tier: tuple[str, int], models: Models, tokens: int, is_captured: bool) -> Case:
    c = models.config
    trained = max(1, tokens // c.context) * c.context * len(models.alive)
    if scale.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = scale.seconds(training(scale, models, tokens, is_captured), warmup=5)
    case: Case = {"tokens_per_s": trained / seconds, "tflops": trained * flops_per_token(c) / seconds / 1e12}
    if scale.device == "cuda":
        case["peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
    return case


def ceilings(scale: Scale) -> Iterator[tuple[Case, Callable[[], Case]]]:
    size = 1024 if scale.is_small else 8192
    dtype = torch.float32 if scale.is_small else torch.bfloat16
    a, b = (torch.randn(size, size, device=scale.device, dtype=dtype) for _ in range(2))
    yield {"case": f"matmul {size}"}, lambda: {"tflops": 2 * size**3 / scale.seconds(lambda: a @ b) / 1e12}
    source = torch.empty(1 << (26 if scale.is_small else 30), dtype=torch.uint8, device=scale.device)
    copy = torch.empty_like(source)
    yield {"case": "copy"}, lambda: {"tb_per_s": 2 * source.numel() / scale.seconds(lambda: copy.copy_(source)) / 1e12}


def products(scale: Scale) -> Iterator[tuple[Case, Callable[[], Case]]]:
    grouped_mm = getattr(F, "grouped_mm", None) or torch._grouped_mm
    models, tokens = (4, 512) if scale.is_small else (64, 2048)
    for tier in (scale.first, *scale.others):
        c = scale.config(tier)
        shapes = {
            "query, key, value": (c.width, (c.heads + 2 * c.kv_heads) * c.head_width),
            "output": (c.heads * c.head_width, c.width),
            "gate, up": (c.width, 2 * c.ffn_width),
            "down": (c.ffn_width, c.width),
            "head": (c.width, c.vocabulary),
        }
        for (name, (inner, outer)), method in itertools.product(shapes.items(), ("bmm", "grouped_mm")):

            def measured(inner: int = inner, outer: int = outer, method: str = method) -> Case:
                # Made in the timed case: one product out of memory must not lose the others.
                x = torch.randn(models, tokens, inner, device=scale.device, dtype=torch.bfloat16)
                weight = torch.randn(models, outer, inner, device=scale.device, dtype=torch.bfloat16).transpose(1, 2)
                product = torch.bmm if method == "bmm" else grouped_mm
                return {
                    "tflops": 2 * models * tokens * inner * outer / scale.seconds(lambda: product(x, weight)) / 1e12
                }

            yield {"size": tier[0], "product": name, "method": method, "models": models, "tokens": tokens}, measured


def stack(scale: Scale) -> Iterator[tuple[Case, Callable[[], Case]]]:
    for mode, models, tokens in itertools.product(scale.modes, scale.models, scale.tokens):
        is_compiled, is_captured = MODES[mode]
        yield (
            {"size": scale.first[0], "models": models, "tokens": tokens, "mode": mode},
            lambda m=models, t=tokens, c=is_compiled, g=is_captured: rate(
                scale, scale.first, stack_of(scale, scale.first, m, c), t, g
            ),
        )


def separate(scale: Scale) -> Iterator[tuple[Case, Callable[[], Case]]]:
    for mode, tokens in itertools.product(scale.modes, scale.tokens):
        is_compiled, is_captured = MODES[mode]

        def measured(tokens: int = tokens, is_compiled: bool = is_compiled, is_captured: bool = is_captured) -> Case:
            worker = Separate(scale.config(scale.first), AdamW(), scale.precision, scale.device, is_compiled)
            return rate(scale, scale.first, worker, tokens, is_captured)

        yield {"size": scale.first[0], "models": 1, "tokens": tokens, "mode": mode}, measured


def against(scale: Scale) -> Iterator[tuple[Case, Callable[[], Case]]]:
    """Both in turns, so that what else the machine does meets both; CPU seconds beside wall time."""
    for tokens, mode in itertools.product(scale.tokens[:2], scale.modes):
        models = scale.against[0]

        def measured(tokens: int = tokens, mode: str = mode, models: int = models) -> Case:
            is_compiled, is_captured = MODES[mode]
            stacked = training(scale, stack_of(scale, scale.first, models, is_compiled), tokens, is_captured)
            worker = Separate(scale.config(scale.first), AdamW(), scale.precision, scale.device, is_compiled)
            alone = training(scale, worker, tokens, is_captured)
            for _ in range(5):
                stacked(), alone()
            wall: list[float] = []
            cpu: list[float] = []
            for _ in range(7):
                times = []
                for step, steps in ((stacked, 1), (alone, models)):
                    scale.synchronize()
                    began = time.perf_counter(), time.process_time()
                    for _ in range(steps):
                        step()
                    scale.synchronize()
                    times.append((time.perf_counter() - began[0], time.process_time() - began[1]))
                wall.append(times[1][0] / times[0][0])
                cpu.append(times[1][1] / times[0][1])
            return {"stacked_is_faster": statistics.median(wall), "in_cpu_seconds": statistics.median(cpu)}

        yield {"size": scale.first[0], "models": models, "tokens": tokens, "mode": mode}, measured


def head(scale: Scale) -> Iterator[tuple[Case, Callable[[], Case]]]:
    models, tokens = (4, 512) if scale.is_small else (64, 2048)
    c = scale.config(scale.first)
    dtype = torch.float32 if scale.is_small else torch.bfloat16

    def tensors() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        hidden = torch.randn(models, tokens, c.width, device=scale.device, dtype=dtype)
        table = torch.randn(models, c.vocabulary, c.width, device=scale.device, dtype=dtype) * 0.02
        return hidden, table, torch.randint(0, c.vocabulary, (models, tokens), device=scale.device)

    def in_parts(at_once: int) -> Case:
        hidden, table, targets = tensors()
        with torch.no_grad():
            seconds = scale.seconds(lambda: head_losses(hidden, table, targets, at_once))
        return {"tokens_per_s": models * tokens / seconds}

    def naive() -> Case:
        hidden, table, targets = tensors()
        hidden.requires_grad_(), table.requires_grad_()

        def step() -> None:
            logits = torch.bmm(hidden, table.transpose(1, 2)).float()
            loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")
            torch.autograd.grad(loss, [hidden, table])

        return {"tokens_per_s": models * tokens / scale.seconds(step)}

    for at_once in (LOGITS_AT_ONCE[scale.device] // 4, LOGITS_AT_ONCE[scale.device], 1 << 62):
        name = "all at once" if at_once == 1 << 62 else f"{at_once >> 10}k logits at once"
        yield {"loss": name, "models": models, "tokens": tokens}, lambda n=at_once: in_parts(n)
    yield {"loss": "naive", "models": models, "tokens": tokens}, naive


def tiers(scale: Scale) -> Iterator[tuple[Case, Callable[[], Case]]]:
    for tier, models, mode in itertools.product(scale.others, scale.models[1:3], scale.modes):
        is_compiled, is_captured = MODES[mode]
        tokens = scale.tokens[1]
        yield (
            {"size": tier[0], "models": models, "tokens": tokens, "mode": mode},
            lambda r=tier, m=models, t=tokens, c=is_compiled, g=is_captured: rate(
                scale, r, stack_of(scale, r, m, c), t, g
            ),
        )


def evaluation(scale: Scale) -> Iterator[tuple[Case, Callable[[], Case]]]:
    models, tokens = scale.against
    sources, sequences, measurements, run = 10, 128, 3, 200e6

    def measured() -> Case:
        made = stack_of(scale, scale.first, models, False)
        c = made.config
        batch = max(1, tokens // c.context)
        training_s = scale.seconds(training(scale, made, tokens, scale.device == "cuda"), warmup=5) / (
            batch * c.context
        )
        some = torch.randint(0, c.vocabulary, (batch, c.context + 1), device=scale.device)
        evaluation_s = scale.seconds(lambda: made.token_losses(some)) / (batch * c.context)
        measured_tokens = measurements * sources * sequences * c.context
        share = evaluation_s * measured_tokens / (evaluation_s * measured_tokens + training_s * run)
        return {"evaluation_to_training_of_a_token": evaluation_s / training_s, "share_of_time": share}

    yield (
        {"size": scale.first[0], "models": models, "tokens": tokens, "sources": sources, "sequences": sequences},
        measured,
    )


def run_step(name: str, scale: Scale) -> None:
    """One line of JSON for each case."""
    for case, measured in globals()[name](scale):
        try:
            result = measured()
        except Exception as error:  # whatever one case meets, the others are still worth having
            result = {"failed": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:200]}
        print(json.dumps({"step": name, **case, **result}), flush=True)
        torch.compiler.reset()
        if scale.device == "cuda":
            torch.cuda.empty_cache()


def proxies(cases: list[Case]) -> list[Case]:
    """Proxies for each hour from the fastest stack."""
    rates = [case for case in cases if case["step"] == "stack" and "tokens_per_s" in case]
    if not rates:
        return [{"step": "proxies", "failed": "no stack was measured"}]
    fastest = max(rates, key=lambda case: case["tokens_per_s"])
    shape = {name: fastest[name] for name in ("size", "models", "tokens", "mode")}
    hourly = {f"of {name}": 3600 * fastest["tokens_per_s"] / tokens for name, tokens in PROXY_TOKENS.items()}
    return [{"step": "proxies", **shape, **hourly}]


def shown(case: Case) -> str:
    values = (f"{value:,.4g}" if isinstance(value, float) else str(value) for value in case.values())
    return " | ".join(f"{name} {value}" for name, value in zip(case, values, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="the demo's size on the CPU")
    parser.add_argument("--json", type=Path, help="where the cases are written, as JSON")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=STEPS)
    parser.add_argument("--threads", type=int, default=2, help="of a CPU")
    parser.add_argument("--only", choices=STEPS, help=argparse.SUPPRESS)  # the child of one step
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    scale = Scale(given.small)
    if given.only:
        run_step(given.only, scale)
        return
    name = torch.cuda.get_device_name() if scale.device == "cuda" else f"CPU, {given.threads} threads"
    cases: list[Case] = [{"step": "machine", "device": name, "torch": torch.__version__, "precision": scale.precision}]
    print(shown(cases[0]))
    for step in given.steps:
        command = [sys.executable, "-m", "tests.benchmarks.swarm", "--only", step, "--threads", str(given.threads)]
        child = subprocess.Popen(
            command + ["--small"] * given.small, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            lines, errors = child.communicate(timeout=LONGEST_STEP_S.get(step, 900))
        except subprocess.TimeoutExpired:
            child.kill()
            lines, errors = child.communicate()
            errors += "\nended: it took too long"
        found = [json.loads(line) for line in lines.splitlines() if line.startswith("{")]
        if child.returncode:
            found.append({"step": step, "failed": f"process ended with {child.returncode}: {errors.strip()[-200:]}"})
        if step == "stack":
            found += proxies(found)
        for case in found:
            print(shown(case), flush=True)
        cases += found
        if given.json:
            given.json.write_text(json.dumps(cases, indent=1))


if __name__ == "__main__":
    main()
