"""Bits per byte, the loss that compares across tokenizers, of held-out text and of answers to given prompts.

Both are an EvaluationText: sequences of one length, and which of their targets count. The bytes behind each token
are known exactly (Tokens.token_bytes), so the same text has the same number of bytes under every vocabulary.
"""

import hashlib
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from proxy_models.distributed import ALONE, Ranks
from proxy_models.shards import ShardError, TokenBody, Tokens

SHORTEST_ANSWER_SEQUENCE = 64  # of the lengths that answers are padded to: this, twice this, and so on
TOKENS_COUNTED_AT_ONCE = 1 << 22


class Model(Protocol):
    """A Transformer, or a Stack of them."""

    def token_losses(self, sequences: Tensor) -> Tensor:
        """Loss of each target in nats, [B, T], or [K, B, T] of a stack. sequences: int64 [B, T + 1]."""
        ...


@dataclass(frozen=True)
class EvaluationText:
    """Text to measure models on.

    sequences: int64 [n, T + 1], padded on the right. counted: bool [n, T], the targets whose loss counts.
    bytes: UTF-8 bytes that the counted targets stand for.
    """

    sequences: Tensor
    counted: Tensor
    bytes: int

    def to(self, device: torch.device | str) -> Self:
        return replace(self, sequences=self.sequences.to(device), counted=self.counted.to(device))


@dataclass(frozen=True)
class AnswerSet(EvaluationText):
    """Answers to prompts, from a file of JSON lines.

    shortened: how many prompts were too long, and lost their beginning. fingerprint: sha256 of the file.
    """

    name: str
    shortened: int
    fingerprint: str


class AnswerSetError(Exception):
    """A file of prompts and answers that cannot be used. The message names file and line."""


@torch.no_grad()
def total_nats(model: Model, text: EvaluationText, batch: int, group: Ranks = ALONE) -> Tensor:
    """Summed loss in nats over the counted targets: float64 [] of a Transformer, [K] of a Stack.

    Each call of the model has the same shape, [batch, T + 1]: the last one is filled up with sequences of which
    nothing counts. Ranks share the sequences and call the model equally often, as one that is split over them needs;
    each has the sum of all. Nothing is read back from the device.
    """
    totals = []
    at_once = batch * group.count
    own = slice(batch * group.rank, batch * (group.rank + 1))
    for sequences, counted in zip(text.sequences.split(at_once), text.counted.split(at_once), strict=True):
        missing = at_once - len(sequences)
        if missing:
            sequences = torch.cat([sequences, sequences[:1].expand(missing, -1)])
            counted = torch.cat([counted, torch.zeros_like(counted[:1]).expand(missing, -1)])
        sequences, counted = sequences[own], counted[own]
        # Not a product with 0: the loss of what does not count may be infinite.
        losses = model.token_losses(sequences).double().masked_fill(~counted, 0.0)
        totals.append(losses.sum(dim=(-2, -1)))
    return group.sum(torch.stack(totals).sum(dim=0))


def bits_per_byte_on(model: Model, text: EvaluationText, batch: int, group: Ranks = ALONE) -> list[float]:
    """Loss per UTF-8 byte of the counted text, in bits: one number for each model. Each rank takes `batch` sequences at
    a time."""
    bits = total_nats(model, text, batch, group) / math.log(2) / text.bytes
    return bits.reshape(-1).tolist()


def held_out_texts(tokens: Tokens, context: int, at_most: int) -> dict[str, EvaluationText]:
    """Text of each source to evaluate on: at most so many sequences of `context` targets, evenly spaced over its
    held-out text, or all of it where it is shorter than one sequence.

    Raises ShardError for a source whose held-out text has no token to predict, or has other bytes than
    tokens.json says, which would make bits per byte mean something else.
    """
    texts = {}
    for source in tokens.sources:
        body = tokens.held_out(source)
        _check_bytes(tokens, body)
        length = min(context, body.tokens - 1)
        count = body.sequence_count(length)
        chosen = np.unique(np.linspace(0, count - 1, min(at_most, count)).round().astype(np.int64))
        found = body.gather(chosen * length, length + 1)
        sequences = np.full((len(found), context + 1), tokens.eod)
        sequences[:, : length + 1] = found
        counted = np.zeros((len(found), context), dtype=bool)
        counted[:, :length] = True
        texts[source] = EvaluationText(
            torch.from_numpy(sequences), torch.from_numpy(counted), int(tokens.token_bytes[found[:, 1:]].sum())
        )
    return texts


def _check_bytes(tokens: Tokens, body: TokenBody) -> None:
    where = f"{tokens.folder}: source {body.source}"
    if body.tokens < 2 or not body.bytes:
        raise ShardError(f"{where} holds out {body.tokens} tokens; hold out more, or drop it")
    counted = sum(int(tokens.token_bytes[ids].sum()) for ids in body.pieces(TOKENS_COUNTED_AT_ONCE))
    if counted != body.bytes:
        raise ShardError(
            f"{where} holds out {body.bytes} bytes of text, but its tokens stand for {counted}: the tokenizer changes "
            "the text (a normaliser, or a space put before it); tokenize without that"
        )


def read_answer_set(path: Path, tokens: Tokens, context: int) -> AnswerSet:
    """Prompts and answers to measure models of this context on.

    path: JSON lines, each {"prompt": str, "answer": str}; other fields are passed over. The stem names the set.

    A sequence is eod, prompt, answer, as at the start of a document; only the answer's targets count. Prompt and
    answer are tokenized apart, so no token stands for a bit of both. A space between them belongs to the
    answer: tokenizers join a space to the word behind it, and "A: " + "Paris" would otherwise end in two
    tokens that training hardly ever shows next to each other, "A:", " ", "Paris". So a prompt's last space is
    moved to the answer, and counts as a byte of it. A newline between them stays where it is.

    A prompt that is too long for the context loses its beginning, and with it the eod. Sequences are as long as the
    longest needs, rounded up to 64 times a power of two and at most `context`, so few shapes are compiled.

    Raises AnswerSetError, with file and line, for what is not such a line, for an answer without text, and for one
    longer than the context.
    """
    content = path.read_bytes()
    tokenizer = Tokenizer.from_file(str(tokens.tokenizer_path))
    tokenizer.encode_special_tokens = True  # a text that names the end-of-document token does not end there
    lines = content.removesuffix(b"\n").split(b"\n")
    pairs = [_pair(line, f"{path}:{number}") for number, line in enumerate(lines, start=1)]
    prompts = tokenizer.encode_batch([prompt for prompt, _ in pairs], add_special_tokens=False)
    answers = tokenizer.encode_batch([answer for _, answer in pairs], add_special_tokens=False)
    for number, answer in enumerate(answers, start=1):
        if len(answer.ids) > context:
            raise AnswerSetError(
                f"{path}:{number}: the answer has {len(answer.ids)} tokens, more than the context of {context}: "
                "shorten it, or take proxies of a larger context"
            )
    rows = [
        (np.array([tokens.eod, *prompt.ids, *answer.ids])[-(context + 1) :], len(answer.ids))
        for prompt, answer in zip(prompts, answers, strict=True)
    ]
    sequences, counted = _padded(rows, tokens.eod, context)
    return AnswerSet(
        sequences=torch.from_numpy(sequences),
        counted=torch.from_numpy(counted),
        bytes=sum(len(answer.encode()) for _, answer in pairs),
        name=path.stem,
        shortened=sum(
            1 + len(prompt.ids) + len(answer.ids) > context + 1 for prompt, answer in zip(prompts, answers, strict=True)
        ),
        fingerprint=hashlib.sha256(content).hexdigest(),
    )


def _pair(line: bytes, where: str) -> tuple[str, str]:
    """Prompt and answer of a line, a space between them moved to the answer."""
    try:
        record = json.loads(line)
        prompt, answer = record["prompt"], record["answer"]
        prompt.encode(), answer.encode()  # half a surrogate pair is valid JSON and no text
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        wanted = 'each line must be {"prompt": "...", "answer": "..."}'
        raise AnswerSetError(f"{where}: {wanted}; this one is {line[:60]!r} ({error})") from error
    if not answer.strip():
        raise AnswerSetError(f"{where}: the answer is empty; give it text, or drop the line")
    if prompt.endswith(" ") and not answer[0].isspace():
        return prompt[:-1], " " + answer
    return prompt, answer


def _padded(
    rows: list[tuple[NDArray[np.int64], int]], padding: int, context: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Sequences [n, T + 1] and counted targets [n, T] of ids and how many of the last ones count."""
    longest = max(len(ids) for ids, _ in rows) - 1
    length = SHORTEST_ANSWER_SEQUENCE
    while length < longest:
        length *= 2
    length = min(length, context)
    sequences = np.full((len(rows), length + 1), padding)
    counted = np.zeros((len(rows), length), dtype=bool)
    for row, (ids, answer) in enumerate(rows):
        sequences[row, : len(ids)] = ids
        counted[row, len(ids) - 1 - answer : len(ids) - 1] = True
    return sequences, counted
