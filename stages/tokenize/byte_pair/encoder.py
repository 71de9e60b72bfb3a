"""Byte-level BPE that gives the ids of Hugging Face's tokenizers library, many times faster.

A text is cut into pre-tokens by a hand-written equal of the tokenizer's regular expression. Most pre-tokens have been
seen before, and their ids are in a cache; the others are merged.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stages.text.utf8 import bytes_and_offsets, read_only
from stages.tokenize.byte_pair.cache import LEAST_SLOTS, Cache, cache_of, empty_cache
from stages.tokenize.byte_pair.classes import character_classes
from stages.tokenize.byte_pair.description import Description, Unsupported, described
from stages.tokenize.byte_pair.encoding import SPARE_IDS, Rules, encode_texts, keep_whole, unstable_texts
from stages.tokenize.byte_pair.merging import Merges, merged_to_one, merges_of

if TYPE_CHECKING:
    from tokenizers.normalizers import Normalizer

CACHE_BYTES = 48 << 20
"""Room for about half a million pre-tokens."""


@dataclass(frozen=True)
class Encoded:
    """Ids of a batch of texts."""

    ids: NDArray[np.uint16] | NDArray[np.uint32]  # those of all texts, one after the other
    ends: NDArray[np.int64]  # (texts,): those of text i end before ids[ends[i]] and start where the last text's end


def encoder_of(tokenizer_json: Path, cache_bytes: int = CACHE_BYTES) -> Encoder | Unsupported:
    """An encoder for a file of Hugging Face's format, or why there is none for it.

    Takes about a second at the first call of a process.

    Args:
        tokenizer_json: the file.
        cache_bytes: memory for the cache of pre-tokens, at most.

    Raises:
        OSError: the file cannot be read.
        StageError: the library cannot read it as a tokenizer.
    """
    description = described(tokenizer_json)
    return description if isinstance(description, Unsupported) else Encoder(description, cache_bytes)


class Encoder:
    """Text to ids, for one thread at a time: the cache is written to without a lock. The GIL is not held meanwhile."""

    def __init__(self, description: Description, cache_bytes: int = CACHE_BYTES) -> None:
        self.dtype = np.dtype(np.uint16 if description.most_id < 2**16 else np.uint32)
        self._add_blank = description.add_prefix_space
        self._normalizer = _nfc() if description.nfc else None
        self._added = description.added
        self._any_added = _any_of(description.added)
        self._kept_added = _any_of(text for text, id_ in description.added.items() if id_ is not None)
        merges = merges_of(description.byte_ids, description.merges)
        whole = _whole(merges, description.whole)
        classes = character_classes(description.digits_alone)
        self._rules = Rules(description.split, description.most_digits, classes, merges, whole, bool(whole.used.any()))
        self._cache = cache_of(cache_bytes)

    def encode(self, texts: pa.Array | pa.ChunkedArray) -> Encoded:
        """Ids of each text, as the library gives them without special tokens of its own.

        Special tokens that a text names are plain text; other added tokens are found in it. Null counts as empty.

        Args:
            texts: strings, of any length.
        """
        if self._kept_added and pc.any(pc.match_substring_regex(texts, self._kept_added)).as_py():
            return self._encode_around_added(texts.to_pylist())
        return self._encode(texts)

    def _encode(self, texts: pa.Array | pa.ChunkedArray) -> Encoded:
        if self._add_blank:
            texts = _with_blank(texts)
        if self._normalizer:
            texts = self._normalized(texts, self._normalizer)
        data, offsets = bytes_and_offsets(texts)
        # An id for each byte is far too many, but memory that is never written to is never taken.
        ids = np.empty(offsets[-1] - offsets[0] + SPARE_IDS, self.dtype)
        ends = np.empty(len(offsets) - 1, np.int64)
        count = encode_texts(self._rules, self._cache, data, offsets, ids, ends)
        return Encoded(ids[:count], ends)

    def _encode_around_added(self, texts: list[str | None]) -> Encoded:
        """Cut the texts at added tokens; the longest of those that start at the first place is taken."""
        pieces, ids_after, last_pieces = [], [], []
        for text in texts:
            at = 0
            for named in re.finditer(self._any_added, text or ""):
                id_ = self._added[named.group()]
                if id_ is not None:
                    pieces.append(named.string[at : named.start()])
                    ids_after.append(id_)
                    at = named.end()
            pieces.append((text or "")[at:])
            ids_after.append(-1)
            last_pieces.append(len(pieces) - 1)
        encoded = self._encode(pa.array(pieces, pa.large_string()))
        after = np.array(ids_after)
        is_added = after >= 0
        ids = np.insert(encoded.ids, encoded.ends[is_added], after[is_added]).astype(self.dtype, copy=False)
        return Encoded(ids, (encoded.ends + np.cumsum(is_added))[last_pieces])

    def _normalized(self, texts: pa.Array | pa.ChunkedArray, normalizer: Normalizer) -> pa.Array | pa.ChunkedArray:
        """The texts in NFC. The library is asked only for those with characters that may change."""
        data, offsets = bytes_and_offsets(texts)
        unstable = np.empty(len(texts), np.bool_)
        if not unstable_texts(self._rules.classes, data, offsets, unstable):
            return texts
        changed = [normalizer.normalize_str(text) for text in texts.filter(pa.array(unstable)).to_pylist()]
        if isinstance(texts, pa.ChunkedArray):
            texts = texts.combine_chunks()
        return pc.replace_with_mask(texts, unstable, pa.array(changed, texts.type))


def _nfc() -> Normalizer:
    from tokenizers.normalizers import NFC

    return NFC()


def _any_of(texts: Iterable[str]) -> str:
    """Regular expression (of Python and of RE2) for any of the texts, the longest first; empty without texts."""
    return "|".join(map(re.escape, sorted(texts, key=len, reverse=True)))


def _with_blank(texts: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    has_none = pc.invert(pc.or_(pc.starts_with(texts, " "), pc.equal(pc.binary_length(texts), 0)))
    blank = pc.if_else(has_none, pa.scalar(" ", texts.type), pa.scalar("", texts.type))
    return pc.binary_join_element_wise(blank, texts, pa.scalar("", texts.type))


def _whole(merges: Merges, ids_of: Mapping[bytes, int]) -> Cache:
    """A table of those pre-tokens that would not get their id by merges."""
    agree = merged_to_one(merges, *_joined(ids_of))
    others = {token: id_ for (token, id_), same in zip(ids_of.items(), agree, strict=True) if not same}
    data, offsets, ids = _joined(others)
    slots = LEAST_SLOTS
    while True:
        whole = empty_cache(slots, len(data), 0)
        if keep_whole(whole, data, offsets, ids):
            return whole
        slots *= 2


def _joined(ids_of: Mapping[bytes, int]) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.uint32]]:
    """Bytes of all tokens, where each starts in them, and their ids."""
    data = np.frombuffer(b"".join(ids_of), np.uint8)
    offsets = np.cumsum([0, *map(len, ids_of)], dtype=np.int64)
    return read_only(data), read_only(offsets), np.array(list(ids_of.values()), np.uint32)
