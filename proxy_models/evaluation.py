"""Held-out text and bits per byte, the loss that compares across tokenizers."""

import math

import numpy as np
import torch
from torch import Tensor

from proxy_models.model import Transformer
from proxy_models.shards import ShardError, Tokens


def held_out_sequences(tokens: Tokens, context: int, at_most: int) -> dict[str, Tensor]:
    """Sequences of each source to evaluate on: int64 [n, T + 1], n <= at_most, evenly spaced over its
    held-out text.

    T is `context`, or less where the source's whole held-out text is shorter. Raises ShardError for a
    source whose held-out text has no token to predict.
    """
    sequences = {}
    for source in tokens.sources:
        body = tokens.held_out(source)
        if body.tokens < 2 or not body.bytes:
            raise ShardError(
                f"{tokens.folder}: source {source} holds out {body.tokens} tokens; hold out more, or drop it"
            )
        length = min(context, body.tokens - 1)
        count = body.sequence_count(length)
        chosen = np.unique(np.linspace(0, count - 1, min(at_most, count)).round().astype(np.int64))
        sequences[source] = torch.from_numpy(body.gather(chosen * length, length + 1))
    return sequences


@torch.no_grad()
def total_loss(model: Transformer, sequences: Tensor, batch: int) -> float:
    """Summed loss in nats over sequences, int64 [n, T + 1], `batch` at a time."""
    return sum(model.token_losses(some).double().sum().item() for some in sequences.split(batch))


def bits_per_byte(nats: float, targets: int, bytes_per_token: float) -> float:
    """nats: summed loss over `targets` tokens. Their bytes are taken at the source's average per token."""
    return nats / math.log(2) / (targets * bytes_per_token)
