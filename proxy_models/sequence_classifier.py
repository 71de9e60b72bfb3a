"""Scores of texts by a sequence classifier in Hugging Face's format, in batches of similar length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import transformers
from safetensors import SafetensorError

CHARACTERS_A_TOKEN = 16  # a long text is cut at so many times max_tokens before it is tokenized, if that suffices
NO_LIMIT = 1 << 20  # tokenizers without a limit of their own say 1e30


class ClassifierError(ValueError):
    """The model cannot be had, or does not fit what is asked of it."""


@dataclass(frozen=True)
class Reading:
    """What the model made of a text, and how much of it it saw."""

    score: float  # NaN if there was no token
    tokens: int  # that the model saw, without special ones
    seen: float  # share of the text's characters that they cover


class SequenceClassifier:
    """A model, its tokenizer, and the output that is the score."""

    def __init__(
        self,
        model: str,
        *,
        revision: str | None = None,
        label: str | int | None = None,
        activation: Literal["auto", "none", "softmax", "sigmoid"] = "auto",
        max_tokens: int = 512,
        batch_tokens: int | None = None,
        dtype: Literal["float32", "bfloat16", "float16"] = "float32",
        device: Literal["auto", "cpu", "cuda"] = "auto",
        threads: int = 1,
    ) -> None:
        """Load a model.

        Args:
            model: folder, or name on the hub; no code of the model's authors is run.
            revision: of a model on the hub.
            label: name or number of the output that is the score; None if there is one only.
            max_tokens: that the model sees of a text, special ones included.
            batch_tokens: in a batch, padding included; a longer text makes a batch of its own. Default: 16,384 on a
                GPU, 1,024 on a CPU, whose caches larger ones overflow.
            threads: of the CPU; counts for the whole process.

        Raises:
            ClassifierError: see above.
        """
        if device == "cuda" and not torch.cuda.is_available():
            raise ClassifierError("device is cuda, but torch sees no GPU here: set device to auto or cpu")
        self._device = torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")
        if dtype == "float16" and self._device.type == "cpu":
            raise ClassifierError("float16 needs a GPU: set dtype to float32 or bfloat16")
        torch.set_num_threads(threads)
        self._tokenizer = _tokenizer(model, revision)
        self._model = _model(model, revision, getattr(torch, dtype)).to(self._device)
        config = self._model.config
        if len(self._tokenizer) > (known := self._model.get_input_embeddings().num_embeddings):
            raise ClassifierError(f"the tokenizer of {model} has {len(self._tokenizer)} tokens, the model {known}")
        most = min(self._tokenizer.model_max_length, getattr(config, "max_position_embeddings", None) or NO_LIMIT)
        if max_tokens > most:
            raise ClassifierError(f"max_tokens is {max_tokens}, but {model} can see {most}: set max_tokens to {most}")
        self._max_tokens = max_tokens
        self._batch_tokens = batch_tokens or (16_384 if self._device.type == "cuda" else 1024)
        self._output = _output(model, config, label)
        self._activation = _activation(config) if activation == "auto" else activation

    def readings(self, texts: Sequence[str]) -> list[Reading]:
        """The score of each text; a text without a token has none. Batches move scores by float rounding only."""
        encoded = self._encoded(texts)
        scores = [float("nan")] * len(texts)
        lengths = [len(ids) if tokens else 0 for ids, tokens, _ in encoded]
        for rows in batches(lengths, self._batch_tokens):
            for row, score in zip(rows, self._scores([encoded[row][0] for row in rows]), strict=True):
                scores[row] = score
        return [Reading(score, tokens, seen) for score, (_, tokens, seen) in zip(scores, encoded, strict=True)]

    @torch.inference_mode()
    def _scores(self, ids: list[list[int]]) -> list[float]:
        padded = self._tokenizer.pad({"input_ids": ids}, return_tensors="pt").to(self._device)
        logits = self._model(**padded).logits.float()  # [texts, outputs]
        if self._activation == "softmax":
            logits = logits.softmax(-1)
        elif self._activation == "sigmoid":
            logits = logits.sigmoid()
        return logits[:, self._output].tolist()

    def _encoded(self, texts: Sequence[str]) -> list[tuple[list[int], int, float]]:
        """For each text its token ids, how many are not special, and the share of its characters that they cover."""
        starts = [_start(text, self._max_tokens * CHARACTERS_A_TOKEN) for text in texts]
        found = self._tokenized(starts)
        # Where the start of a text gave fewer tokens than the model can see, the whole text is needed.
        short = [
            i for i, text in enumerate(texts) if len(starts[i]) < len(text) and len(found[i][0]) < self._max_tokens
        ]
        for i, ids in zip(short, self._tokenized([texts[i] for i in short]), strict=True):
            found[i] = ids
        return [
            (ids, tokens, 1.0 if len(ids) < self._max_tokens else min(1.0, end / len(text.rstrip() or "-")))
            for text, (ids, tokens, end) in zip(texts, found, strict=True)
        ]

    def _tokenized(self, texts: list[str]) -> list[tuple[list[int], int, int]]:
        """For each text its token ids, how many are not special, and where the last of those ends."""
        if not texts:
            return []
        encoded = self._tokenizer(
            texts,
            truncation=True,
            max_length=self._max_tokens,
            return_special_tokens_mask=True,
            return_offsets_mapping=True,
        )
        return [
            (ids, special.count(0), max((end for _, end in offsets), default=0))
            for ids, special, offsets in zip(
                encoded["input_ids"], encoded["special_tokens_mask"], encoded["offset_mapping"], strict=True
            )
        ]


def batches(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Rows of similar length, longest first, at most ``batch_tokens`` with padding; rows of length 0 are left out.

    A row less than half as long as the first of its batch begins the next one: padding is at most half of a batch.
    """
    rows = sorted((i for i, length in enumerate(lengths) if length), key=lambda i: (-lengths[i], i))
    first = 0
    while first < len(rows):
        longest = lengths[rows[first]]
        end = first + 1
        while end < len(rows) and (end + 1 - first) * longest <= batch_tokens and 2 * lengths[rows[end]] >= longest:
            end += 1
        yield rows[first:end]
        first = end


def _start(text: str, characters: int) -> str:
    """The first words of a text, at most so many characters; all of it where they hold no space to cut at."""
    if len(text) <= characters:
        return text
    cut = max(text.rfind(" ", 0, characters), text.rfind("\n", 0, characters))
    return text[:cut] if cut > characters // 2 else text


def _tokenizer(model: str, revision: str | None) -> Any:
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(model, revision=revision)
    except (OSError, ValueError, KeyError) as error:
        raise ClassifierError(f"the tokenizer of {model} cannot be loaded: {error}") from error
    if not tokenizer.is_fast:
        raise ClassifierError(f"the tokenizer of {model} has no tokenizer.json")
    if len(tokenizer) <= len(tokenizer.all_special_tokens):  # transformers makes one up rather than fail
        raise ClassifierError(f"the tokenizer of {model} knows no words: its files are missing")
    if tokenizer.pad_token is None:
        raise ClassifierError(f"the tokenizer of {model} has no padding token: set pad_token in its configuration")
    tokenizer.truncation_side = tokenizer.padding_side = "right"
    return tokenizer


def _model(model: str, revision: str | None, dtype: torch.dtype) -> Any:
    transformers.utils.logging.disable_progress_bar()
    try:
        loaded, report = transformers.AutoModelForSequenceClassification.from_pretrained(
            model, revision=revision, dtype=dtype, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ClassifierError(f"{model} cannot be loaded as a sequence classifier: {error}") from error
    if missing := sorted(report["missing_keys"]):  # transformers would fill them with random numbers
        raise ClassifierError(f"{model} is no trained sequence classifier: it lacks the weights {', '.join(missing)}")
    return loaded.eval()


def _output(model: str, config: Any, label: str | int | None) -> int:
    names: dict[int, str] = config.id2label
    if label is None and len(names) == 1:
        return 0
    for number, name in names.items():
        if label is not None and label in (number, name):
            return number
    known = ", ".join(f"{number} ({name})" for number, name in names.items())
    raise ClassifierError(f"{model} has no output {label}: set label to one of {known}")


def _activation(config: Any) -> str:
    if len(config.id2label) == 1:
        return "none"
    return "sigmoid" if config.problem_type == "multi_label_classification" else "softmax"
