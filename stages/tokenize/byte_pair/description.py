"""What a tokenizer.json asks for, if it is something that the kernels do exactly."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import StageError
from stages.tokenize.byte_pair.merging import ID_BITS, RANK_BITS
from stages.tokenize.byte_pair.splitting import GPT2, PATTERNS

_NONE_OF_MODEL = ("dropout", "continuing_subword_prefix", "end_of_word_suffix")
_NONE_OF_TOKENIZER = ("truncation", "padding")


@dataclass(frozen=True)
class Unsupported:
    """A tokenizer that the kernels do not do."""

    reason: str  # for the user: what it has that is not known here


@dataclass(frozen=True)
class Description:
    """A byte-level BPE tokenizer."""

    split: int  # rule by which texts are cut, see splitting.py
    most_digits: int  # of a pre-token; 0: any number
    digits_alone: bool  # each digit is a pre-token of its own, before the rule is asked
    add_prefix_space: bool
    nfc: bool  # texts are normalised first
    byte_ids: NDArray[np.uint32]  # (256,)
    merges: NDArray[np.uint32]  # (merges, 3): ids of the first, the second and the joined symbol, in order
    whole: Mapping[bytes, int]  # pre-tokens that get their id without merges
    added: Mapping[str, int | None]  # tokens found in texts before anything else; None: they stay plain text
    most_id: int


def described(path: Path) -> Description | Unsupported:
    """Read a file of Hugging Face's format.

    Raises:
        OSError: the file cannot be read.
        StageError: the library cannot read it as a tokenizer.
    """
    from tokenizers import Tokenizer

    try:
        text = path.read_text("utf-8")
        content = json.loads(Tokenizer.from_str(text).to_str())  # with all defaults filled in
    except OSError:
        raise
    except Exception as error:  # the library raises bare Exception
        raise StageError(f"{path} cannot be read as a tokenizer: {error}") from error
    reason = _reason_against(content, json.loads(text))
    split = _split(content["pre_tokenizer"])
    if reason:
        return Unsupported(reason)
    if isinstance(split, Unsupported):
        return split
    vocabulary: dict[str, int] = content["model"]["vocab"]
    alphabet = byte_alphabet()
    merges = [(vocabulary[a], vocabulary[b], vocabulary[a + b]) for a, b in content["model"]["merges"]]
    added = {token["content"]: None if token["special"] else token["id"] for token in content["added_tokens"]}
    return Description(
        *split,
        nfc=content["normalizer"] is not None,
        byte_ids=np.array([vocabulary[c] for c in alphabet], np.uint32),
        merges=np.array(merges, np.uint32).reshape(-1, 3),
        whole=_texts(vocabulary) if content["model"]["ignore_merges"] else {},
        added=added,
        most_id=max([*vocabulary.values(), *(token["id"] for token in content["added_tokens"])]),
    )


def byte_alphabet() -> list[str]:
    """The character that stands for each byte in a byte-level vocabulary (GPT-2's table).

    It is the byte's own if that can be seen, else one from U+0100 on.
    """
    seen = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    unseen = [byte for byte in range(256) if byte not in seen]
    return [chr(byte) if byte in seen else chr(256 + unseen.index(byte)) for byte in range(256)]


def _texts(vocabulary: Mapping[str, int]) -> dict[bytes, int]:
    """Tokens that can be a pre-token: whole characters, and at least one."""
    byte_of = {character: byte for byte, character in enumerate(byte_alphabet())}
    found = {}
    for token, id_ in vocabulary.items():
        if token and all(character in byte_of for character in token):
            text = bytes(byte_of[character] for character in token)
            if text.decode(errors="ignore").encode() == text:
                found[text] = id_
    return found


def _reason_against(content: Mapping[str, Any], file: Mapping[str, Any]) -> str:
    """Why the kernels cannot do what is asked besides the pre-tokenizer; empty if they can.

    Args:
        content: as the library tells it, with all defaults filled in.
        file: as it stands.
    """
    model = content["model"]
    if model["type"] != "BPE":
        return f"its model is {model['type']}, not BPE"
    if reason := _reason_against_file(file):
        return reason
    for name in _NONE_OF_MODEL:
        if model[name]:
            return f"its model has {name} {model[name]!r}"
    for name in _NONE_OF_TOKENIZER:
        if content[name]:
            return f"it has {name}"
    # With all bytes in the vocabulary nothing is unknown: unk_token, fuse_unk and byte_fallback have no effect.
    if not model["merges"]:
        return "it has no merges"
    if len(model["merges"]) >= 2**RANK_BITS or max(model["vocab"].values()) >= 2**ID_BITS:
        return f"it has more than {2**RANK_BITS - 1} merges, or ids of {2**ID_BITS} and more"
    missing = [character for character in byte_alphabet() if character not in model["vocab"]]
    if missing:
        return f"{len(missing)} of 256 bytes are not in its vocabulary, such as {missing[0]!r}"
    if content["normalizer"] not in (None, {"type": "NFC"}):
        return f"its normalizer is {content['normalizer']['type']}, not NFC"
    return _reason_against_added(content["added_tokens"], content["normalizer"] is not None)


def _reason_against_file(file: Mapping[str, Any]) -> str:
    """What is told twice: the library then goes by either, and tells of one."""
    ids = file["model"]["vocab"].values()
    if len(set(ids)) < len(ids):
        return "its vocabulary has two names for one id"
    for name, times in Counter(token["content"] for token in file.get("added_tokens") or ()).items():
        if times > 1:
            return f"it adds the token {name!r} twice"
    return ""


def _reason_against_added(tokens: Sequence[Mapping[str, Any]], is_normalized: bool) -> str:
    kept = [token for token in tokens if not token["special"]]
    for token in kept:
        for name in ("single_word", "lstrip", "rstrip"):
            if token[name]:
                return f"its added token {token['content']!r} has {name}"
        if token["normalized"] and is_normalized:
            return f"its added token {token['content']!r} is looked for after normalisation"
    if kept and len({token["normalized"] for token in tokens}) > 1:
        return "some of its added tokens are normalized and some are not"
    return ""


def _split(pre_tokenizer: Mapping[str, Any] | None) -> tuple[int, int, bool, bool] | Unsupported:
    """The first four fields of a Description."""
    unknown = Unsupported(
        "its pre-tokenizer is none of those of GPT-2, GPT-4, GPT-4o, Llama 3, Qwen 2 and 3, and Sluice"
    )
    match pre_tokenizer:
        case {"type": "ByteLevel", "use_regex": True, "add_prefix_space": add_prefix_space}:
            return GPT2, 0, False, bool(add_prefix_space)
        case {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Digits", "individual_digits": True},
                {"type": "ByteLevel", "use_regex": True, "add_prefix_space": False},
            ],
        }:
            return GPT2, 0, True, False
        case {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False},
                {"type": "ByteLevel", "use_regex": False, "add_prefix_space": False},
            ],
        } if pattern in PATTERNS:
            return *PATTERNS[pattern], False, False
    return unknown
