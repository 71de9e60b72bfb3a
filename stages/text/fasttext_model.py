"""Reading the model files of fastText, so that compiled kernels can predict from them.

Any supervised model: hierarchical softmax, softmax, negative sampling and one-vs-all; quantised (.ftz), pruned, or
neither (.bin); with or without character and word n-grams. The layout is that of fastText's ``FastText::loadModel``
and of the ``load`` functions it calls (src/fasttext.cc, args.cc, dictionary.cc, densematrix.cc, quantmatrix.cc and
productquantizer.cc of https://github.com/facebookresearch/fastText, versions 11 and 12 of the format).
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import StageError
from stages.text.instructions import LANES

MAGIC = 793712314
VERSIONS = (11, 12)
SUPERVISED = 3
HIERARCHICAL, NEGATIVE_SAMPLING, SOFTMAX, ONE_VS_ALL = 1, 2, 3, 4  # losses, as the file numbers them
LABEL_PREFIX = "__label__"  # the file does not hold it; fastText predicts with this one whatever it was trained with
CENTROIDS = 256  # of each part of a product quantiser: a code is a byte

MAX_NGRAM = 1000  # characters; more can only be damage

MAX_LABEL_COUNT = 10**15
"""fastText's stand-in for infinity while it builds the Huffman tree."""


class ModelFileError(StageError):
    """A file is no model of fastText, is damaged, or is no classifier."""


class Vocabulary(NamedTuple):
    """How a word becomes rows of the input matrix, as arrays that a kernel takes."""

    text: NDArray[np.uint8]  # bytes of the words, then of the labels, one after another
    ends: NDArray[np.int64]  # (words + labels + 1,): entry i is text[ends[i]:ends[i + 1]]
    table: NDArray[np.int32]  # open hash table of entries by fastText's hash, a power of two long; -1: empty
    words: int  # entries from here on are labels; rows from here on are those of n-grams
    longest_entry: int  # bytes of the longest word or label
    shortest: int  # characters of a character n-gram, "<" and ">" around the word counted
    longest: int  # 0: none
    word_ngrams: int  # words of the longest word n-gram
    buckets: int  # of n-grams
    kept_bits: NDArray[np.uint64]  # a bit a bucket, lowest first; empty where no bucket was pruned
    kept_before: NDArray[np.int32]  # for each 64 buckets, how many before them are kept: the row of the first one kept


class Weights(NamedTuple):
    """What makes labels of rows, as arrays that a kernel takes."""

    rows: NDArray[np.float32]  # (rows, dim and zeros up to a multiple of LANES), the input matrix
    output: NDArray[np.float32]  # (labels, dim); by hierarchical softmax, of the tree's inner nodes from the leaves up
    output_norms: NDArray[np.float32]  # (labels,): factor of a product with a row of output, 1 unless quantised with it
    loss: int
    left: NDArray[np.int32]  # (2 * labels - 1,) children in the Huffman tree, -1 of a leaf; the root is last
    right: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class FastTextModel:
    """A model file in memory."""

    path: Path
    labels: tuple[str, ...]  # without __label__
    vocabulary: Vocabulary
    weights: Weights


def read_model(path: Path) -> FastTextModel:
    """Read a model whole.

    Raises:
        ModelFileError: the file cannot be read, is damaged or no supervised model; the message names file and reason.
    """
    with _opened(path) as file:
        options, dictionary = _head(file)
        is_quantised = file.flag("whether the input matrix is quantised")
        rows, row_norms = file.matrix("input matrix", options.dim, is_quantised)
        file.check(is_quantised or dictionary.kept_buckets is None, "is pruned and not quantised")
        needed = dictionary.words + options.bucket_rows(dictionary)
        file.check(len(rows) >= needed, f"has {len(rows)} rows in its input matrix where there should be {needed}")
        is_quantised = file.flag("whether the output matrix is quantised") and is_quantised
        output, output_norms = file.matrix("output matrix", options.dim, is_quantised)
        labels = len(dictionary.labels)
        file.check(len(output) == labels, f"has {len(output)} rows in its output matrix for {labels} labels")
        file.check_end()
        rows *= row_norms[:, None]
        if dictionary.kept_buckets is not None:  # into the order of buckets, so that a bucket's rank is its row
            order = dictionary.words + dictionary.kept_buckets[:, 1].astype(np.int64)
            rows = np.concatenate([rows[: dictionary.words], rows[order]])
        left, right = _huffman_tree(dictionary.label_counts)
        weights = Weights(_aligned(rows), output, output_norms, options.loss, left, right)
        return FastTextModel(path, dictionary.labels, _vocabulary(options, dictionary), weights)


def read_labels(path: Path) -> tuple[str, ...]:
    """The labels of a model, without ``__label__``; reads the head of the file only.

    Raises:
        ModelFileError: as by ``read_model``.
    """
    with _opened(path) as file:
        return _head(file)[1].labels


@dataclass(frozen=True)
class _Options:
    """Those of the training options in the file that a prediction needs."""

    dim: int
    word_ngrams: int
    loss: int
    buckets: int
    shortest: int
    longest: int

    def bucket_rows(self, dictionary: _Dictionary) -> int:
        """Rows of the input matrix that n-grams can reach."""
        if dictionary.kept_buckets is not None:
            return len(dictionary.kept_buckets)
        return self.buckets if self.longest > 0 or self.word_ngrams > 1 else 0


@dataclass(frozen=True)
class _Dictionary:
    entries: tuple[bytes, ...]  # words, then labels
    words: int
    labels: tuple[str, ...]
    label_counts: tuple[int, ...]
    kept_buckets: NDArray[np.int32] | None  # (kept, 2), by bucket: bucket, offset of its row behind those of the words


class _ModelFile:
    """A mapped model file, read from front to back; every length is checked before it is believed."""

    def __init__(self, path: Path, content: mmap.mmap) -> None:
        self._path, self._content, self._position = path, content, 0

    def __enter__(self) -> _ModelFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._content.close()

    def check(self, is_right: bool, problem: str) -> None:
        if not is_right:
            raise ModelFileError(f"{self._path}: this fastText model {problem}: get the file anew, or name another")

    def check_end(self) -> None:
        surplus = len(self._content) - self._position
        self.check(surplus == 0, f"is damaged: {surplus} bytes follow its end")

    def _advance(self, size: int, what: str) -> int:
        start = self._position
        self.check(
            0 <= size <= len(self._content) - start,
            f"is damaged or cut off: it has {len(self._content)} bytes and ends within its {what}",
        )
        self._position = start + size
        return start

    def numbers(self, layout: str, what: str) -> tuple[Any, ...]:
        layout = "<" + layout
        return struct.unpack_from(layout, self._content, self._advance(struct.calcsize(layout), what))

    def flag(self, what: str) -> bool:
        (value,) = self.numbers("B", what)
        self.check(value in (0, 1), f"is damaged: byte {self._position - 1} says {what} by {value}")
        return bool(value)

    def array(self, dtype: type[np.generic], count: int, what: str) -> NDArray[Any]:
        """A copy, for the file may hold it at any address."""
        start = self._advance(count * np.dtype(dtype).itemsize, what)
        return np.frombuffer(self._content, np.dtype(dtype).newbyteorder("<"), count, start).astype(dtype)

    def entry(self) -> tuple[bytes, int, int]:
        """Word, count and type of the next entry of the dictionary."""
        end = self._content.find(b"\0", self._position)
        word_size = (end if end >= 0 else len(self._content)) - self._position
        start = self._advance(word_size + 1, "dictionary")
        count, kind = self.numbers("qB", "dictionary")
        return self._content[start : start + word_size], count, kind

    def matrix(self, what: str, dim: int, is_quantised: bool) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Rows, (n, dim), and the factor of each."""
        has_norms = self.flag(f"whether the {what} has norms") if is_quantised else False
        rows, columns = self.numbers("qq", what)
        self.check(columns == dim and rows > 0, f"is damaged: its {what} is {rows} x {columns}, dim is {dim}")
        norms = np.ones(rows, np.float32)
        if is_quantised:
            (size,) = self.numbers("i", what)
            codes = self.array(np.uint8, size, f"{what}'s codes")
            values = self._decoded(codes, rows, dim, what)
            if has_norms:
                codes = self.array(np.uint8, rows, f"{what}'s norms")
                norms = self._decoded(codes, rows, 1, f"{what}'s norms")[:, 0]
        else:
            values = self.array(np.float32, rows * dim, what).reshape(rows, dim)
        is_finite = np.isfinite(values).all() and np.isfinite(norms).all()
        self.check(bool(is_finite), f"is damaged: its {what} holds numbers that are not finite")
        return values, norms

    def _decoded(self, codes: NDArray[np.uint8], rows: int, dim: int, what: str) -> NDArray[np.float32]:
        """Vectors from one code for each part of a vector and the centroids that follow in the file."""
        columns, parts, width, last_width = self.numbers("iiii", f"{what}'s quantiser")
        is_right = columns == dim and width > 0 and parts == -(-dim // width) and len(codes) == rows * parts
        is_right = is_right and last_width == dim - (parts - 1) * width
        shape = f"{rows} x {dim}, its quantiser has {len(codes)} codes for {parts} parts of {width} columns"
        self.check(is_right, f"is damaged: its {what} is {shape}")
        centroids = self.array(np.float32, dim * CENTROIDS, f"{what}'s quantiser")
        codes = codes.reshape(rows, parts)
        values = np.empty((rows, dim), np.float32)
        for part in range(parts):
            start, end = part * width, min(dim, (part + 1) * width)
            table = centroids[start * CENTROIDS : end * CENTROIDS].reshape(CENTROIDS, end - start)
            values[:, start:end] = table[codes[:, part]]
        return values


def _opened(path: Path) -> _ModelFile:
    try:
        with path.open("rb") as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except ValueError as error:  # by mmap, of an empty file
        raise ModelFileError(f"{path}: the file is empty, not a fastText model") from error
    except OSError as error:
        raise ModelFileError(f"{path}: cannot read this model: {error.strerror}") from error
    return _ModelFile(path, content)


def _head(file: _ModelFile) -> tuple[_Options, _Dictionary]:
    magic, version = file.numbers("ii", "head")
    if magic != MAGIC:
        raise ModelFileError(f"{file._path}: not a fastText model (no magic number {MAGIC} at its start)")
    file.check(version in VERSIONS, f"is of version {version}; versions {VERSIONS[0]} and {VERSIONS[1]} are known")
    dim, _, _, _, _, word_ngrams, loss, model, buckets, shortest, longest, _, _ = file.numbers("12id", "options")
    file.check(model == SUPERVISED, "holds word vectors and no classifier (it was not trained by `supervised`)")
    file.check(loss in (HIERARCHICAL, NEGATIVE_SAMPLING, SOFTMAX, ONE_VS_ALL), f"has an unknown loss {loss}")
    if version == VERSIONS[0]:
        longest = 0  # as FastText::loadModel does: classifiers of this version knew no character n-grams
    options = _Options(dim, word_ngrams, loss, buckets, max(shortest, 1), max(longest, 0))
    is_right = dim > 0 and longest <= MAX_NGRAM and (buckets > 0 or (options.longest == 0 and word_ngrams <= 1))
    file.check(is_right, f"is damaged: dim {dim}, bucket {buckets}, maxn {longest}, wordNgrams {word_ngrams}")
    return options, _dictionary(file, buckets)


def _dictionary(file: _ModelFile, buckets: int) -> _Dictionary:
    size, words, labels, _, kept = file.numbers("iiiqq", "dictionary")
    is_right = words >= 0 and labels > 0 and size == words + labels and -1 <= kept <= max(buckets, 0)
    file.check(is_right, f"is damaged: {size} entries, {words} words, {labels} labels, {kept} buckets kept")
    entries = [file.entry() for _ in range(size)]
    kinds = bytes(kind for _, _, kind in entries)
    file.check(kinds == bytes(words) + b"\1" * labels, "is damaged: words and labels are mixed up in its dictionary")
    counts = tuple(count for _, count, _ in entries[words:])
    file.check(min(counts) >= 0 and sum(counts) < MAX_LABEL_COUNT, "is damaged: impossible counts of labels")
    try:
        names = tuple(word.decode().removeprefix(LABEL_PREFIX) for word, _, _ in entries[words:])
    except UnicodeDecodeError:
        names = ()
    file.check(len(set(names)) == labels, "is damaged: its labels are not distinct UTF-8 texts")
    pairs = None
    if kept >= 0:
        pairs = file.array(np.int32, 2 * kept, "list of kept n-grams").reshape(kept, 2)
        is_right = kept == 0 or bool((pairs.min() >= 0) and pairs[:, 0].max() < buckets and pairs[:, 1].max() < kept)
        pairs = pairs[np.argsort(pairs[:, 0])]
        is_right = is_right and not (pairs[1:, 0] == pairs[:-1, 0]).any()
        file.check(is_right, "is damaged: impossible buckets in its list of kept n-grams")
    return _Dictionary(tuple(word for word, _, _ in entries), words, names, counts, pairs)


def _aligned(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """A copy with zeros up to a multiple of LANES columns, in which LANES numbers never straddle two cache lines."""
    columns = -(-rows.shape[1] // LANES) * LANES
    memory = np.zeros((len(rows) + 1) * columns, np.float32)
    surplus = memory.ctypes.data // memory.itemsize % LANES
    aligned = memory[LANES - surplus :][: len(rows) * columns].reshape(len(rows), columns)
    aligned[:, : rows.shape[1]] = rows
    return aligned


def _vocabulary(options: _Options, dictionary: _Dictionary) -> Vocabulary:
    bits, before = np.empty(0, np.uint64), np.empty(0, np.int32)
    if dictionary.kept_buckets is not None:
        is_kept = np.zeros((-(-options.buckets // 64), 64), np.bool_)
        is_kept.reshape(-1)[dictionary.kept_buckets[:, 0]] = True
        bits = np.packbits(is_kept, axis=1, bitorder="little").view("<u8").reshape(-1).astype(np.uint64)
        before = (np.cumsum(is_kept.sum(axis=1)) - is_kept.sum(axis=1)).astype(np.int32)
    return Vocabulary(
        text=np.frombuffer(b"".join(dictionary.entries), np.uint8),
        ends=np.cumsum([0, *map(len, dictionary.entries)], dtype=np.int64),
        table=_hash_table(dictionary.entries),
        words=dictionary.words,
        longest_entry=max(map(len, dictionary.entries)),
        shortest=options.shortest,
        longest=options.longest,
        word_ngrams=options.word_ngrams,
        buckets=options.buckets,
        kept_bits=bits,
        kept_before=before,
    )


def fasttext_hash(word: bytes) -> int:
    """32-bit FNV-1a with each byte taken as a signed number, as ``Dictionary::hash`` of fastText does."""
    value = 2166136261
    for byte in word:
        value = ((value ^ (byte if byte < 128 else byte | 0xFFFFFF00)) * 16777619) & 0xFFFFFFFF
    return value


def _hash_table(entries: tuple[bytes, ...]) -> NDArray[np.int32]:
    table = np.full(2 ** math.ceil(math.log2(2 * len(entries) + 1)), -1, np.int32)
    for i, entry in enumerate(entries):
        slot = fasttext_hash(entry) % len(table)
        while table[slot] >= 0 and entries[table[slot]] != entry:
            slot = (slot + 1) % len(table)
        table[slot] = i
    return table


def _huffman_tree(counts: tuple[int, ...]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Children of each node, -1 of a leaf: labels are the first nodes, the root is the last.

    As ``HierarchicalSoftmaxLoss::buildTree`` of fastText, which relies on labels being sorted by falling count.
    """
    labels = len(counts)
    size = 2 * labels - 1
    left, right = np.full(size, -1, np.int32), np.full(size, -1, np.int32)
    node_counts = [*counts, *[MAX_LABEL_COUNT] * (labels - 1)]
    leaf, node = labels - 1, labels
    for parent in range(labels, size):
        children = []
        for _ in range(2):
            if leaf >= 0 and node_counts[leaf] < node_counts[node]:
                children.append(leaf)
                leaf -= 1
            else:
                children.append(node)
                node += 1
        left[parent], right[parent] = children
        node_counts[parent] = node_counts[children[0]] + node_counts[children[1]]
    return left, right
