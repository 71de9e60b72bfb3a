"""The rules of spaCy's blank English tokenizer as tables for the kernels of words_kernel.py."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import StageError
from stages.text.unicode_tables import character_table
from stages.text.words_hash import BASE, MODULUS

KNOWN_PATTERNS = frozenset({"72fa7f5e184e5662e204b31f6f25c0f01990ab45c804d629c855032de8737c73"})
"""Digests of the tokenizer's regular expressions for which words_kernel.py was written."""

MIX = np.uint64(0x9E3779B97F4A7C15)  # odd; spreads the numbers of states over 64 bits
SPECIAL_STATE, MEASURE_STATE, ROOT = -1, -2, 0
MAX_SPECIAL_CHARACTERS = 63
PART_BITS = 4096
CHARACTERS, BYTES = 0, 1  # planes of Rules.pieces


class Rules(NamedTuple):
    """Tables of the tokenizer."""

    characters: NDArray[np.uint32]  # [code point]: its bits, see unicode_tables.py
    states: NDArray[np.uint64]  # hash table: where a state and a word lead; [0]: keys, 0 if free, [1]: values
    special_sizes: NDArray[np.uint64]  # [0, last byte of the code point]: bit n is set if some special case of n
    # characters begins with it, such as "don't" or ":)"; [1, ...]: ends with it
    pieces: NDArray[np.int32]  # [plane, special case, k]: characters or bytes of its k-th word; 0: it has fewer
    part_bits: NDArray[np.bool_]  # [low bits of a hash]: whether the parts of some special case begin with such a word
    joined: NDArray[np.int32]  # [state]: the special case whose parts have led to this state, or -1


@cache
def english_rules() -> Rules:
    """The tables.

    The hash table answers three questions: whether a word is a special case (SPECIAL_STATE leads to its number),
    whether it is a unit or currency that is split off after a digit (from MEASURE_STATE), and which special case the
    words from some place on are the parts of (from ROOT through further states, a trie).

    Raises:
        StageError: the installed spaCy splits by rules that the kernels do not know.
    """
    import spacy

    tokenizer = spacy.blank("en").tokenizer
    if pattern_digest(tokenizer) not in KNOWN_PATTERNS:
        raise StageError(
            f"spaCy {spacy.__version__} splits English by rules that are not known here: "
            "run `pip install 'spacy>=3.8,<3.9'`"
        )
    specials = {text: [piece.text for piece in tokenizer(text)] for text in sorted(tokenizer.rules) if text.strip()}
    edges = {_key(SPECIAL_STATE, text): number for number, text in enumerate(specials)}
    edges |= {_key(MEASURE_STATE, text): 1 for text in _measures()}
    joined = [-1]
    part_bits = np.zeros(PART_BITS, np.bool_)
    for number, text in enumerate(specials):
        state = ROOT
        parts = special_parts(tokenizer, text)
        if parts:
            part_bits[_key(ROOT, parts[0]) % PART_BITS] = True
        for part in parts:
            key = _key(state, part)
            if key not in edges:
                edges[key] = len(joined)
                joined.append(-1)
            state = edges[key]
        if state != ROOT:
            joined[state] = number
    sizes = np.zeros((2, 256), np.uint64)
    pieces = np.zeros((2, len(specials), 1 + max(map(len, specials.values()))), np.int32)
    for number, (text, words) in enumerate(specials.items()):
        sizes[0, ord(text[0]) & 0xFF] |= np.uint64(1 << len(text))
        sizes[1, ord(text[-1]) & 0xFF] |= np.uint64(1 << len(text))
        pieces[CHARACTERS, number, : len(words)] = [len(word) for word in words]
        pieces[BYTES, number, : len(words)] = [len(word.encode()) for word in words]
    return Rules(character_table(), _hash_table(edges), sizes, pieces, part_bits, np.array(joined, np.int32))


def pattern_digest(tokenizer: Any) -> str:
    """Digest of all regular expressions of a spaCy tokenizer."""
    searches = (tokenizer.prefix_search, tokenizer.suffix_search, tokenizer.infix_finditer, tokenizer.url_match)
    patterns = [search.__self__.pattern for search in searches]
    patterns += [str(tokenizer.token_match), str(tokenizer.faster_heuristics)]
    return hashlib.sha256("\n".join(patterns).encode()).hexdigest()


def _measures() -> set[str]:
    from spacy.lang.char_classes import LIST_CURRENCY, LIST_UNITS

    return {text.replace("\\", "") for text in LIST_CURRENCY + LIST_UNITS if text}


def special_parts(tokenizer: Any, text: str) -> list[str]:
    """What spaCy looks for after splitting, to put a special case back together: its words had it not been special.

    Empty if spaCy does not look for this one.
    """
    if not (tokenizer.find_prefix(text) or tokenizer.find_infix(text) or tokenizer.find_suffix(text)):
        return []
    return [part.text for part in _plain_tokenizer()(text)]


@cache
def _plain_tokenizer() -> Any:
    """The English tokenizer without special cases."""
    import spacy

    tokenizer = spacy.blank("en").tokenizer
    tokenizer.rules = {}
    return tokenizer


def _key(state: int, word: str) -> int:
    """Key of the hash table, as `state_key` in words_chunk.py."""
    found = 0
    for byte in word.encode():
        found = (found * int(BASE) + byte + 1) % int(MODULUS)
    return (found + state * int(MIX)) % 2**64


def _hash_table(values: Mapping[int, int]) -> NDArray[np.uint64]:
    size = 1 << (2 * len(values)).bit_length()
    table = np.zeros((2, size), np.uint64)
    for key, value in values.items():
        slot = key % size
        while table[0, slot]:
            slot = (slot + 1) % size
        table[:, slot] = key, value
    return table
