"""The order of a run, a pure function of the slot number."""

import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_models.loader import MixtureError, Order, draw_totals, matched_cut, permuted, read_batches, read_sequences
from proxy_models.shards import TokenReader, Tokens

RATIOS = st.lists(st.floats(0, 1), min_size=1, max_size=8).filter(lambda ratios: sum(ratios) > 0.01)


@st.composite
def orders(draw: st.DrawFn) -> Order:
    ratios = draw(RATIOS)
    available = draw(st.lists(st.integers(1, 40), min_size=len(ratios), max_size=len(ratios)))
    return Order(tuple(ratios), tuple(available), slots=draw(st.integers(1, 400)), seed=draw(st.integers(0, 99)))


def test_totals_by_largest_remainder() -> None:
    # 7 slots of (0.5, 0.3, 0.2): shares 3.5, 2.1, 1.4; floors 3, 2, 1 leave one, and 0.5 is the largest
    # remainder.
    assert draw_totals([0.5, 0.3, 0.2], 7).tolist() == [4, 2, 1]


@given(RATIOS, st.integers(1, 10_000))
def test_totals_sum_to_the_slots_and_are_within_one_of_the_share(ratios: list[float], slots: int) -> None:
    totals = draw_totals(ratios, slots)
    shares = np.asarray(ratios) / sum(ratios) * slots
    assert totals.sum() == slots
    assert np.all(np.abs(totals - shares) < 1 + 1e-9)
    assert np.all(totals[np.asarray(ratios) == 0] == 0)


def test_draws_stand_at_their_places() -> None:
    # 4 draws of source 0 at 1/8 3/8 5/8 7/8, 2 of source 1 at 1/4 3/4, by hand:
    order = Order((2.0, 1.0), (10, 10), slots=6, seed=0)
    assert order.block(0, 6).source.tolist() == [0, 1, 0, 0, 1, 0]


@given(orders())
def test_the_order_is_that_of_exact_fractions(order: Order) -> None:
    placed = sorted(
        (Fraction(2 * j + 1, 2 * int(total)), d, j) for d, total in enumerate(order.totals) for j in range(total)
    )
    draws = order.block(0, order.slots)
    assert list(zip(draws.source.tolist(), draws.draw.tolist(), strict=True)) == [(d, j) for _, d, j in placed]


@given(orders())
def test_every_prefix_is_within_the_number_of_sources_of_its_share(order: Order) -> None:
    source = order.block(0, order.slots).source
    drawn = np.cumsum(source[:, None] == np.arange(len(order.totals)), axis=0)
    due = np.arange(1, order.slots + 1)[:, None] * order.totals / order.slots
    assert np.abs(drawn - due).max() <= len(order.totals)
    assert drawn[-1].tolist() == order.totals.tolist()


@given(orders(), st.data())
def test_a_block_equals_its_slots_one_by_one(order: Order, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, order.slots))
    last = data.draw(st.integers(first, min(first + 30, order.slots)))
    whole = np.stack(order.block(0, order.slots))
    assert np.array_equal(np.stack(order.block(first, last)), whole[:, first:last])
    for slot in range(first, last):
        assert np.array_equal(np.stack(order.block(slot, slot + 1)), whole[:, slot : slot + 1])


@given(orders())
def test_each_epoch_reads_each_sequence_once(order: Order) -> None:
    draws = order.block(0, order.slots)
    for d, total in enumerate(order.totals):
        for epoch in range(total // order.sequences[d]):
            read = draws.sequence[(draws.source == d) & (draws.epoch == epoch)]
            assert sorted(read.tolist()) == list(range(order.sequences[d]))


def test_epochs_and_seeds_differ_in_their_permutation() -> None:
    first, second = Order((1.0,), (100,), 200, seed=0).block(0, 200).sequence.reshape(2, 100)
    other_seed = Order((1.0,), (100,), 100, seed=1).block(0, 100).sequence
    assert len({tuple(order.tolist()) for order in (first, second, other_seed)}) == 3


@given(st.integers(1, 300), st.integers(0, 2**64 - 1))
def test_permuted_is_a_permutation(size: int, key: int) -> None:
    assert sorted(permuted(value, size, np.uint64(key)) for value in range(size)) == list(range(size))


def test_an_order_is_the_same_on_every_machine_and_in_every_version() -> None:
    # Written down, so that a run can be resumed after an update: its order is stored nowhere.
    order = Order((0.5, 0.5), (7, 1000), slots=12, seed=5, max_sequences=(7, 3))
    assert order.block(0, 12).sequence.tolist() == [4, 439, 0, 731, 3, 833, 2, 833, 6, 731, 5, 439]
    assert [permuted(value, 10, np.uint64(3)) for value in range(10)] == [3, 8, 7, 1, 6, 0, 4, 5, 9, 2]


def test_permuted_spreads_evenly() -> None:
    # Where value 0 of 0..9 goes under 20,000 keys; chi-square with 9 degrees of freedom is above 27.9 in 1
    # of 1,000.
    counts = np.bincount([permuted(0, 10, np.uint64(key)) for key in range(20_000)], minlength=10)
    assert ((counts - 2000) ** 2 / 2000).sum() < 27.9


def test_a_cut_source_repeats_the_same_few_sequences_for_every_seed() -> None:
    kept = []
    for seed in (0, 1):
        order = Order((1.0,), (100,), slots=30, seed=seed, max_sequences=(10,))
        sequences = order.block(0, 30).sequence.reshape(3, 10)
        assert all(sorted(epoch) == sorted(sequences[0]) for epoch in sequences.tolist())
        kept.append(set(sequences[0].tolist()))
    assert kept[0] == kept[1]
    assert len(kept[0]) == 10
    assert kept[0] != set(range(10))  # spread over the source, not its first documents


def test_a_smaller_cut_is_part_of_a_larger_one() -> None:
    def kept(cut: int) -> set[int]:
        order = Order((1.0,), (100,), slots=cut, seed=3, max_sequences=(cut,))
        return set(order.block(0, cut).sequence.tolist())

    assert kept(10) < kept(25)


@given(
    st.lists(st.tuples(st.integers(1, 5000), st.floats(0.01, 1)), min_size=1, max_size=6),
    st.integers(200, 20_000),
    st.floats(0.001, 1),
)
def test_a_proxy_repeats_each_source_as_often_as_the_target_run_would(
    sources: list[tuple[int, float]], target_slots: int, share: float
) -> None:
    available, ratios = zip(*sources, strict=True)
    proxy_slots = max(1, round(share * target_slots))
    share = proxy_slots / target_slots
    cut, notes = matched_cut([str(d) for d in range(len(sources))], available, share)
    target = Order(ratios, available, target_slots, seed=0)
    proxy = Order(ratios, available, proxy_slots, seed=0, max_sequences=cut)
    assert max(cut) <= max(available)
    assert len(notes) == sum(share * count < 1 for count in available)
    for d, count in enumerate(available):
        if share * count < 1:
            assert cut[d] == 1
            assert any(note.startswith(f"source {d}: ") for note in notes)
            continue
        # The draws of either run are within one of their share, the cut within half a sequence of its own.
        epochs, wanted = proxy.totals[d] / cut[d], target.totals[d] / count
        assert abs(epochs - wanted) <= 1 / cut[d] + 0.5 / cut[d] * wanted + (1 + 0.5 / cut[d]) / count


def test_a_cut_by_hand() -> None:
    # A tenth of the target: 100 sequences become 10, 14 become 1 (1.4), 16 become 2, 3 would be a third of one.
    cut, notes = matched_cut(["a", "b", "c", "few"], [100, 14, 16, 3], 0.1)
    assert cut == (10, 1, 2, 1)
    assert len(notes) == 1
    assert notes[0].startswith("source few: 0.3 of its 3 sequences would match")
    assert "Train 3.33 times as many tokens" in notes[0]


def test_a_source_without_sequences_keeps_none() -> None:
    assert matched_cut(["a", "empty"], [100, 0], 0.1) == ((10, 0), ())


def test_a_run_longer_than_the_target_keeps_all_and_says_so() -> None:
    cut, notes = matched_cut(["a"], [100], 2.0)
    assert cut == (100,)
    assert "2 times the target's tokens" in notes[0]


@pytest.mark.parametrize("share", [0.0, -1.0, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(MixtureError, match="cannot stand for it"):
        matched_cut(["a"], [100], share)


def test_a_mixture_the_tokens_cannot_serve_fails_with_the_largest_feasible_run() -> None:
    # Source 1: 5 sequences under 2 epochs are 10 draws, 25 % of 40 slots; of 42 they are 10.5, and the first of equal
    # remainders wins.
    with pytest.raises(MixtureError, match=r"source 1 needs 25 draws of 5 sequences.* has 42 slots"):
        Order((0.75, 0.25), (1000, 5), slots=100, seed=0, max_epochs=2)
    assert Order((0.75, 0.25), (1000, 5), slots=42, seed=0, max_epochs=2).totals.tolist() == [32, 10]


@given(RATIOS, st.data(), st.sampled_from([0.5, 1, 2]))
def test_the_run_named_as_the_largest_works_and_one_slot_more_does_not(
    ratios: list[float], data: st.DataObject, max_epochs: float
) -> None:
    available = tuple(data.draw(st.lists(st.integers(1, 20), min_size=len(ratios), max_size=len(ratios))))
    slots = 20 * len(ratios) * 2 + 1  # more than all sources hold in 2 epochs
    with pytest.raises(MixtureError) as error:
        Order(tuple(ratios), available, slots, seed=0, max_epochs=max_epochs)
    feasible = int(re.search(r"has (\d+) slots", str(error.value))[1])
    if feasible:
        Order(tuple(ratios), available, feasible, seed=0, max_epochs=max_epochs)
    with pytest.raises(MixtureError):
        Order(tuple(ratios), available, feasible + 1, seed=0, max_epochs=max_epochs)


def test_a_part_of_an_epoch_is_rounded_down_to_sequences() -> None:
    with pytest.raises(MixtureError, match="has 2 slots"):
        Order((1.0,), (5,), slots=3, seed=0, max_epochs=0.5)


def test_what_was_read_before_counts_towards_the_limit() -> None:
    with pytest.raises(MixtureError, match="has 3 slots"):
        Order((1.0,), (10,), slots=4, seed=0, max_epochs=1, read_before=(7,))


@pytest.mark.parametrize("max_epochs", [0.0, -1.0, float("nan")])
def test_a_limit_of_no_epochs_is_refused(max_epochs: float) -> None:
    with pytest.raises(MixtureError, match="max_epochs must be above 0"):
        Order((1.0,), (10,), slots=5, seed=0, max_epochs=max_epochs)


def test_a_source_without_a_whole_sequence_cannot_be_drawn_from() -> None:
    with pytest.raises(MixtureError, match="source 1 needs 5 draws of 0 sequences"):
        Order((0.5, 0.5), (10, 0), slots=10, seed=0)


@pytest.mark.parametrize("ratios", [(0.0, 0.0), (1.0, -0.5), (float("nan"), 1.0), (1e308, 1e308)])
def test_ratios_that_are_no_mixture_are_refused(ratios: tuple[float, float]) -> None:
    with pytest.raises(MixtureError, match="ratios"):
        draw_totals(ratios, 10)


def test_sequences_are_cuts_of_the_body_with_the_next_token_as_last_target(tokens: Tokens) -> None:
    body = tokens.train("sums")
    whole = np.concatenate([np.fromfile(file.path, dtype="<u2") for file in body.files])
    rows = read_sequences(TokenReader([body]), np.array([0, 0]), np.array([3, 0]), context=16)
    assert np.array_equal(rows, [whole[48:65], whole[0:17]])


@pytest.mark.parametrize("first_step", [0, 3, 70])
def test_batches_are_the_slots_of_each_run_in_order(tokens: Tokens, first_step: int) -> None:
    bodies = [tokens.train(source) for source in tokens.sources]
    available = tuple(body.sequence_count(16) for body in bodies)
    orders = [Order(ratios, available, slots=200, seed=7) for ratios in ((0.5, 0.3, 0.2), (0.0, 0.1, 0.9))]
    steps = 0
    for step, rows in read_batches(bodies, orders, batch=2, context=16, first_step=first_step):
        assert step == first_step + steps
        assert rows.shape == (2, 2, 17)
        for k, order in enumerate(orders):
            draws = order.block(2 * step, 2 * step + 2)
            assert np.array_equal(rows[k], read_sequences(TokenReader(bodies), draws.source, draws.sequence, 16))
        steps += 1
    assert first_step + steps == 100


@pytest.mark.parametrize("slots", [0, 2**48 + 1])
def test_a_run_of_no_slots_or_more_than_can_be_counted_is_refused(slots: int) -> None:
    # Places are float64: far beyond, two draws of a source could have one.
    with pytest.raises(MixtureError, match=f"from 1 to 281474976710656 slots, not {slots}"):
        Order((1.0,), (10,), slots=slots, seed=0)


@pytest.mark.parametrize("bits", [40, 48])
@pytest.mark.parametrize("ratios", [(1.0,), (1.0, 1e-12), (0.0, 1.0, 0.0), tuple(1 / n for n in range(1, 1001))])
def test_a_long_run_is_exact_at_its_far_slots(ratios: tuple[float, ...], bits: int) -> None:
    slots, sources = 2**bits, len(ratios)
    order = Order(ratios, (10**6,) * sources, slots, seed=0)
    due = [Fraction(ratio) / sum(map(Fraction, ratios)) * slots for ratio in ratios]
    assert sum(map(int, order.totals)) == slots
    assert max(abs(int(total) - share) for total, share in zip(order.totals, due, strict=True)) < 1
    for first in (0, 2**39, slots - 300):
        draws = order.block(first, first + 300)
        assert len(draws.source) == 300
        for slot, (d, j) in enumerate(zip(draws.source.tolist(), draws.draw.tolist(), strict=True), first):
            # The draws of d before this slot: j; its share of the prefix, within the number of sources.
            assert abs(j - Fraction(int(order.totals[d]) * slot, slots)) <= sources
        assert np.array_equal(np.stack(order.block(first + 150, first + 151)), np.stack(draws)[:, 150:151])


def test_far_slots_of_a_long_run_are_reached_at_once() -> None:
    order = Order((0.6, 0.399, 0.001), (10**9, 10**8, 1000), slots=10**12, seed=0)
    draws = order.block(10**12 - 1000, 10**12)
    assert np.bincount(draws.source, minlength=3).tolist() == pytest.approx([600, 399, 1], abs=3)
