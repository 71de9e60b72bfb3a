"""A smaller vocabulary for the same tokens, without their text.

The first merges of a BPE are a BPE of their own. It applies merges in order, and each merges two tokens that earlier
merges made; so all of the first ones are done before any of the rest, and those only join what the first ones
left. A token of the large vocabulary thus stands for the same few of the small one wherever it occurs, and ids
are cut by a lookup table.

Small models spend most of their work on the vocabulary: it sets the size of the output head. Losses stay comparable,
because they are counted per byte of text.
"""

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxy_models.shards import ShardError, TokenFile, Tokens, open_tokens

TOKENS_AT_ONCE = 1 << 20  # of the large vocabulary; about 30 MB of working memory
RETRAIN = "tokenize anew at the wanted size"


@dataclass(frozen=True)
class _Bpe:
    """A byte-level BPE that can be cut. Raises ShardError with what stands against it."""

    path: Path
    description: dict[str, Any]  # tokenizer.json

    def __post_init__(self) -> None:
        self._check_kind()
        made = Counter(left + right for left, right in self.merges)
        for token, times in made.items():
            if times > 1:
                self._refuse(f"{times} merges make {token!r}, so what it stands for depends on where it occurs")
            if token in self.added:
                self._refuse(f"the added token {token!r} is also made by a merge")
        known = set(self.alphabet)
        for left, right in self.merges:
            for part in (left, right):
                if part not in known:
                    self._refuse(f"the merge of {left!r} and {right!r} comes before {part!r} is made")
            known.add(left + right)
        if strangers := sorted(set(self.ids) - known - self.added):
            self._refuse(f"{strangers[0]!r} is neither a byte, nor made by a merge, nor an added token")

    def _check_kind(self) -> None:
        from tokenizers.pre_tokenizers import ByteLevel

        model = self.description["model"]
        if model["type"] != "BPE":
            self._refuse(f"its model is {model['type']}, not BPE")
        for option in ("byte_fallback", "continuing_subword_prefix", "dropout", "end_of_word_suffix", "ignore_merges"):
            if model.get(option):
                self._refuse(f"its option {option} changes what merges do")
        pre_tokenizer = self.description["pre_tokenizer"] or {}
        steps = [pre_tokenizer, *pre_tokenizer.get("pretokenizers", [])]
        letters = set(ByteLevel.alphabet())
        if not any(step.get("type") == "ByteLevel" for step in steps) or letters != set(self.alphabet):
            self._refuse("it does not work on the 256 bytes")
        post_processor = self.description["post_processor"]
        if post_processor and post_processor["type"] != "ByteLevel":
            self._refuse(f"its post-processor ({post_processor['type']}) adds tokens to the text's own")

    def _refuse(self, what: str) -> None:
        raise ShardError(f"{self.path} cannot be cut to a smaller vocabulary: {what}; {RETRAIN}")

    @cached_property
    def ids(self) -> dict[str, int]:
        """Entries of the model by name; an added token need not be among them."""
        ids: dict[str, int] = self.description["model"]["vocab"]
        return ids

    @cached_property
    def added(self) -> frozenset[str]:
        return frozenset(token["content"] for token in self.description["added_tokens"])

    @cached_property
    def alphabet(self) -> list[str]:
        return [token for token in self.ids if len(token) == 1 and token not in self.added]

    @cached_property
    def merges(self) -> list[tuple[str, str]]:
        """Pairs in order; older files write them as one string with a space between."""
        pairs = (merge.split(" ") if isinstance(merge, str) else merge for merge in self.description["model"]["merges"])
        return [(left, right) for left, right in pairs]

    def cut(self, vocabulary: int) -> tuple[dict[str, Any], list[list[int]]]:
        """The cut tokenizer.json, and for each of the present ids the ones it becomes.

        Bytes and added tokens stay, and as many of the first merges as fit; ids keep their order.
        """
        all_ids = self.ids | {token["content"]: token["id"] for token in self.description["added_tokens"]}
        smallest = len(all_ids) - len(self.merges)
        if not smallest <= vocabulary <= len(all_ids):
            raise ShardError(
                f"{self.path} has {len(all_ids)} entries, {smallest} of them bytes and added tokens: it can be cut to "
                f"{smallest} to {len(all_ids)} of them, not to {vocabulary}"
            )
        kept_merges = self.merges[: vocabulary - smallest]
        dropped = {left + right for left, right in self.merges[vocabulary - smallest :]}
        kept = sorted((number, token) for token, number in all_ids.items() if token not in dropped)
        new_ids = {token: number for number, (_, token) in enumerate(kept)}

        expansions = {token: [number] for token, number in new_ids.items()}
        for left, right in self.merges[vocabulary - smallest :]:
            expansions[left + right] = expansions[left] + expansions[right]
        table: list[list[int]] = [[] for _ in range(1 + max(all_ids.values()))]
        for token, number in all_ids.items():
            table[number] = expansions[token]

        model = {"vocab": {token: new_ids[token] for token in self.ids if token in new_ids}, "merges": kept_merges}
        added = [token | {"id": new_ids[token["content"]]} for token in self.description["added_tokens"]]
        return self.description | {"model": self.description["model"] | model, "added_tokens": added}, table


def cut_tokens(tokens: Tokens, vocabulary: int, folder: Path) -> Tokens:
    """The same documents under the first `vocabulary` entries of their tokenizer, as a token folder of its own.

    The ids are those that the cut tokenizer would give the text: `tokenizer.json` in `folder` is that tokenizer. A
    folder that holds this cut already is opened as it is; a cut that was broken off is written anew. With the
    present size, `tokens` is returned and nothing is written. Memory does not grow with the tokens. One process
    at a time may write a folder; indexes of documents beside the bodies are not written.

    Raises ShardError if the tokenizer cannot be cut so (see the module's text; it must be a byte-level BPE with
    one merge for each token), if `vocabulary` is larger than the present one, or if `folder` holds something else.
    """
    if vocabulary == tokens.vocabulary:
        return tokens
    origin = {"tokens": tokens.fingerprint, "vocabulary": vocabulary}
    if folder.exists():
        manifest = folder / "tokens.json"
        if not manifest.is_file() or json.loads(manifest.read_bytes()).get("cut_from") != origin:
            raise ShardError(f"{folder} holds something else than these tokens cut to {vocabulary}; delete it")
        return open_tokens(folder)
    bpe = _Bpe(tokens.tokenizer_path, json.loads(tokens.tokenizer_path.read_bytes()))
    tokenizer, expansions = bpe.cut(vocabulary)

    unfinished = folder.with_name(folder.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    tokenizer_bytes = json.dumps(tokenizer, ensure_ascii=False).encode()
    (unfinished / "tokenizer.json").write_bytes(tokenizer_bytes)
    dtype = "uint16" if vocabulary <= 2**16 else "uint32"
    lookup = _Lookup(expansions, f"<u{2 if dtype == 'uint16' else 4}", tokens.folder)
    manifest_entries = {
        "vocabulary": vocabulary,
        "dtype": dtype,
        "eod": int(lookup.cut(np.array([tokens.eod]))[0]),
        "tokenizer_sha256": hashlib.sha256(tokenizer_bytes).hexdigest(),
        "cut_from": origin,
        "sources": {
            source: {split: _cut_body(tokens, source, split, lookup, unfinished) for split in ("train", "held_out")}
            for source in tokens.sources
        },
    }
    (unfinished / "tokens.json").write_text(json.dumps(manifest_entries, indent=1))
    os.rename(unfinished, folder)
    return open_tokens(folder)


def token_growth(tokens: Tokens, cut: Tokens) -> NDArray[np.float64]:
    """Training tokens of each source after a cut for one before: [S], in the order of tokens.sources, from 1 on.

    Sources grow differently, so a mixture is not the same numbers under both vocabularies: shares p of the large
    one's tokens are p * growth / sum(p * growth) of the small one's.
    """
    return np.array([cut.train(source).tokens / tokens.train(source).tokens for source in tokens.sources])


class _Lookup:
    """What each id becomes, as arrays: id i becomes flat[first[i] : first[i] + length[i]]."""

    def __init__(self, expansions: list[list[int]], dtype: str, folder: Path) -> None:
        self.folder = folder
        self.length = np.array([len(ids) for ids in expansions])
        self.first = np.concatenate([[0], np.cumsum(self.length)[:-1]])
        self.flat = np.array([number for ids in expansions for number in ids], dtype=dtype)

    def cut(self, ids: NDArray[Any]) -> NDArray[Any]:
        lengths = np.take(self.length, ids, mode="clip")
        if len(ids) and (ids.max() >= len(self.length) or not lengths.all()):
            raise ShardError(f"{self.folder}: its bodies hold ids that its tokenizer lacks; tokenize again")
        ends = np.cumsum(lengths)
        # Position in `flat` less position in the result is the same for all that one id becomes.
        places = np.repeat(self.first[ids] - (ends - lengths), lengths)
        places += np.arange(len(places))
        return self.flat[places]


def _cut_body(tokens: Tokens, source: str, split: str, lookup: _Lookup, folder: Path) -> dict[str, Any]:
    body = tokens.bodies[source, split]
    files = [_cut_file(file, body.dtype, lookup, folder / file.path.relative_to(tokens.folder)) for file in body.files]
    named = [
        {"path": file.path.relative_to(folder).as_posix(), "tokens": file.tokens, "sha256": file.sha256}
        for file in files
    ]
    counted = sum(file.tokens for file in files)
    return {"files": named, "tokens": counted, "documents": body.documents, "bytes": body.bytes}


def _cut_file(file: TokenFile, dtype: np.dtype[Any], lookup: _Lookup, path: Path) -> TokenFile:
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with path.open("wb") as target:
        for ids in _read(file, dtype):
            cut = lookup.cut(ids).tobytes()
            digest.update(cut)
            target.write(cut)
    return TokenFile(path, path.stat().st_size // lookup.flat.itemsize, digest.hexdigest())


def _read(file: TokenFile, dtype: np.dtype[Any]) -> Iterator[NDArray[Any]]:
    whole = np.memmap(file.path, dtype=dtype, mode="r")
    for first in range(0, len(whole), TOKENS_AT_ONCE):
        yield np.asarray(whole[first : first + TOKENS_AT_ONCE])
