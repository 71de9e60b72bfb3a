"""Best-fit packing: every document is there once, and whole where it fits."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_models import packing
from proxy_models.packing import BestFit, PackedReader, best_fit, concatenated_report, document_ends, document_numbers
from proxy_models.shards import ShardError, TokenBody, TokenFile, TokenReader

EOD = 0
SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=60)


def body_of(folder: Path, sizes: list[int], file_tokens: int = 50, ends_with_eod: bool = True) -> TokenBody:
    """Documents of so many tokens, their end included; the other tokens count up from 1."""
    documents = [np.append(np.arange(size - 1) % 1000 + 1 + number, EOD) for number, size in enumerate(sizes)]
    ids = np.concatenate(documents).astype("<u2")
    ids = ids if ends_with_eod else ids[:-1]
    files = []
    for first in range(0, len(ids), file_tokens):
        some = ids[first : first + file_tokens]
        path = folder / f"{hashlib.sha256(json.dumps([sizes, file_tokens]).encode()).hexdigest()[:16]}-{first}.bin"
        path.write_bytes(some.tobytes())
        files.append(TokenFile(path, len(some), ""))
    return TokenBody("web", "train", tuple(files), np.dtype("<u2"), len(ids), len(sizes), 1)


def rows_of(packed: BestFit) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    reader = PackedReader({0: packed}, TokenReader([packed.body]), EOD)
    return reader.read(np.zeros(packed.sequence_count, dtype=np.int64), np.arange(packed.sequence_count))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bodies")


def test_documents_by_hand(folder: Path) -> None:
    # Room for 10. 7 first, then 6, then 4 (fits best beside 6: nothing stays free), 3 beside 7, and 2 alone.
    packed = best_fit(body_of(folder, [3, 6, 2, 7, 4]), context=9, eod=EOD)
    sequences = [sorted(packed.length[a:b].tolist()) for a, b in zip(packed.first, packed.first[1:], strict=False)]
    assert sequences == [[3, 7], [4, 6], [2]]
    assert packed.report() == packing.PackingReport(
        sequences=3, trained=22 - 3, padded=8, repeated=0, cropped=0, documents=5, cut_documents=0
    )


def test_a_document_longer_than_a_sequence_is_cut_and_every_token_stays_a_target(folder: Path) -> None:
    packed = best_fit(body_of(folder, [25]), context=10, eod=EOD)
    assert list(zip(packed.start.tolist(), packed.length.tolist(), strict=True)) == [(0, 11), (10, 11), (20, 5)]
    assert (packed.trained, packed.cut_documents) == (24, 1)


@given(SIZES, st.integers(1, 30))
def test_every_document_is_read_once_with_all_its_targets(folder: Path, sizes: list[int], context: int) -> None:
    body = body_of(folder, sizes)
    packed = best_fit(body, context, EOD)
    ends = np.cumsum(sizes)
    targets = np.zeros(body.tokens, dtype=np.int64)
    for start, length in zip(packed.start, packed.length, strict=True):
        targets[start + 1 : start + length] += 1
        number = np.searchsorted(ends, start, side="right")
        assert start + length <= ends[number]  # of one document
        assert start + length == ends[number] or length == context + 1
    expected = np.ones(body.tokens, dtype=np.int64)
    expected[ends - sizes] = 0  # the first of a document is a target where another stands before it
    assert np.array_equal(targets, expected)
    filled = np.add.reduceat(packed.length, packed.first[:-1])
    assert filled.max() <= context + 1
    assert packed.report().padded == (context + 1 - filled).sum()
    assert packed.cut_documents == sum(size > context + 1 for size in sizes)


@given(SIZES, st.integers(1, 30))
def test_no_two_sequences_would_fit_into_one(folder: Path, sizes: list[int], context: int) -> None:
    packed = best_fit(body_of(folder, sizes), context, EOD)
    fill = sorted(np.add.reduceat(packed.length, packed.first[:-1]).tolist())
    assert len(fill) == 1 or fill[0] + fill[1] > context + 1


@given(SIZES, st.integers(1, 30))
def test_packing_is_that_of_the_plain_algorithm(folder: Path, sizes: list[int], context: int) -> None:
    body = body_of(folder, sizes)
    pieces = []
    for end, size in zip(np.cumsum(sizes).tolist(), sizes, strict=True):
        begin = end - size
        pieces += [(at, min(context + 1, end - at)) for at in range(begin, max(begin + 1, end - 1), context)]
    # The most recently used of the sequences with the least room that suffices.
    sequences: list[tuple[int, list[tuple[int, int]]]] = []  # room, pieces; in order of use
    numbers: list[int] = []
    for piece in sorted(pieces, key=lambda piece: -piece[1]):
        fitting = [i for i, (room, _) in enumerate(sequences) if room >= piece[1]]
        if fitting:
            least = min(sequences[i][0] for i in fitting)
            i = max(i for i in fitting if sequences[i][0] == least)
            room, inside = sequences.pop(i)
            number = numbers.pop(i)
        else:
            room, inside, number = context + 1, [], len(sequences)
        sequences.append((room - piece[1], [*inside, piece]))
        numbers.append(number)
    packed = best_fit(body, context, EOD)
    found = [
        list(zip(packed.start[a:b].tolist(), packed.length[a:b].tolist(), strict=True))
        for a, b in zip(packed.first, packed.first[1:], strict=False)
    ]
    assert found == [sorted(inside) for _, (_, inside) in sorted(zip(numbers, sequences, strict=True))]


@given(SIZES, st.integers(1, 30))
def test_rows_hold_the_pieces_and_then_padding(folder: Path, sizes: list[int], context: int) -> None:
    body = body_of(folder, sizes)
    whole = np.concatenate([np.fromfile(file.path, dtype="<u2") for file in body.files])
    packed = best_fit(body, context, EOD)
    rows, filled, _ = rows_of(packed)
    for i, row in enumerate(rows):
        pieces = range(packed.first[i], packed.first[i + 1])
        expected = np.concatenate([whole[packed.start[p] :][: packed.length[p]] for p in pieces])
        assert filled[i] == len(expected)
        assert np.array_equal(row[: filled[i]], expected)
        assert np.all(row[filled[i] :] == EOD)


@given(SIZES, st.integers(1, 30))
def test_no_token_is_a_target_twice_and_all_but_the_first_of_each_sequence_are(
    folder: Path, sizes: list[int], context: int
) -> None:
    body = body_of(folder, sizes)
    packed = best_fit(body, context, EOD)
    _, filled, is_target = rows_of(packed)
    targets, first = np.zeros(body.tokens, dtype=np.int64), np.zeros(body.tokens, dtype=bool)
    for i in range(packed.sequence_count):
        pieces = range(packed.first[i], packed.first[i + 1])
        place = np.concatenate([np.arange(packed.start[p], packed.start[p] + packed.length[p]) for p in pieces])
        first[place[0]] = True
        targets[place[1:][is_target[i, : filled[i] - 1]]] += 1
        assert not is_target[i, filled[i] - 1 :].any()
    assert targets.max(initial=0) <= 1
    assert first[targets == 0].all()
    report = packed.report()
    assert report.trained == is_target.sum() == targets.sum()
    assert report.padded == (context + 1 - filled).sum()
    assert report.trained + report.padded + report.repeated == report.sequences * context
    assert report.repeated == packed.length.sum() - packed.sequence_count - report.trained


def test_the_rest_of_a_cut_document_is_not_foretold_from_the_document_before_it(folder: Path) -> None:
    # Of 12 tokens in sequences of 10 the last 3 are a piece of their own, whose first is a target of the first piece.
    body = body_of(folder, [4, 12])
    packed = best_fit(body, context=9, eod=EOD)
    rows, _, is_target = rows_of(packed)
    assert rows.tolist() == [[2, 3, 4, 5, 6, 7, 8, 9, 10, 11], [1, 2, 3, EOD, 11, 12, EOD, EOD, EOD, EOD]]
    assert is_target.tolist() == [[True] * 9, [True] * 3 + [False] + [True] * 2 + [False] * 3]
    assert packed.report() == packing.PackingReport(2, 14, 3, 1, 0, 2, 1)


def test_documents_far_apart_are_packed_apart_and_none_is_lost(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = np.random.default_rng(0).integers(1, 30, 500).tolist()
    body = body_of(folder, sizes, file_tokens=1000)
    # Ends of documents come in other portions than windows take them.
    monkeypatch.setattr(packing, "TOKENS_AT_ONCE", 70)
    windowed = best_fit(body, 20, EOD, documents_at_once=64)
    assert windowed.documents == 500
    assert sorted(windowed.start.tolist()) == sorted(best_fit(body, 20, EOD).start.tolist())
    border = np.cumsum(sizes)[63]
    for a, b in zip(windowed.first, windowed.first[1:], strict=False):
        assert (windowed.start[a:b] < border).all() or (windowed.start[a:b] >= border).all()


def test_many_documents_leave_little_free(folder: Path) -> None:
    sizes = np.random.default_rng(0).geometric(1 / 100, 2000).tolist()
    report = best_fit(body_of(folder, sizes, file_tokens=1 << 20), 255, EOD).report()
    assert report.padded < 0.01 * (report.padded + report.trained)


def test_the_same_packing_on_every_machine_and_in_every_version(folder: Path) -> None:
    # Written down: a run is resumed by a slot number, which means a sequence of this packing.
    sizes = np.random.default_rng(0).integers(1, 60, 300).tolist()
    packed = best_fit(body_of(folder, sizes), 32, EOD)
    digest = hashlib.sha256(packed.first.tobytes() + packed.start.tobytes() + packed.length.tobytes()).hexdigest()
    assert digest[:16] == "a83e1b3962c14c8e"


@given(SIZES, st.integers(1, 30))
def test_the_report_of_concatenation_counts_what_is_cut_and_cropped(
    folder: Path, sizes: list[int], context: int
) -> None:
    body = body_of(folder, sizes)
    count = body.sequence_count(context)
    read = [range(q * context, (q + 1) * context + 1) for q in range(count)]
    reach = read[-1].stop if read else 0
    cut = 0
    for end, size in zip(np.cumsum(sizes).tolist(), sizes, strict=True):
        is_whole = any(end - size in some and end - 1 in some for some in read)
        cut += end - size < reach and not is_whole
    report = concatenated_report(body, context, EOD)
    assert report == packing.PackingReport(count, count * context, 0, 0, body.tokens - reach, len(sizes), cut)


def test_a_body_that_does_not_end_with_a_document_is_refused(folder: Path) -> None:
    body = body_of(folder, [5, 7], file_tokens=51, ends_with_eod=False)
    with pytest.raises(ShardError, match="web/train: its 11 tokens do not end with the end of a document, id 0"):
        list(document_ends(body, EOD))


def test_a_body_without_tokens_has_no_sequences(folder: Path) -> None:
    empty = TokenBody("web", "train", (), np.dtype("<u2"), 0, 0, 0)
    assert best_fit(empty, 8, EOD).report() == packing.PackingReport(0, 0, 0, 0, 0, 0, 0)


def test_positions_are_numbered_by_document_and_padding_by_none() -> None:
    rows = np.array([[5, 6, EOD, 7, EOD, EOD, EOD], [1, 2, 3, 4, 5, 6, 7]])
    assert document_numbers(rows, np.array([6, 7]), EOD).tolist() == [[0, 0, 0, 1, 1, 2, -1], [0] * 7]
    assert document_numbers(rows, np.array([6, 7]), EOD).dtype == np.int32
