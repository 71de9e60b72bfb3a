"""Runs of several phases: what one has read, the next does not read again."""

import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_models.loader import MixtureError, Order
from proxy_models.phases import Phase, PhasedOrder

SOURCES = ("web", "code", "books")


def phased(
    phases: list[Phase], tokens: tuple[int, ...], max_epochs: float | None = None, are_divisible: bool = True
) -> PhasedOrder:
    """Of sources that have so many tokens."""
    return PhasedOrder(
        SOURCES[: len(tokens)],
        phases,
        seed=3,
        max_epochs=max_epochs,
        sequences=lambda d, context: max(0, (tokens[d] - 1) // context),
        are_divisible=are_divisible,
    )


@st.composite
def runs(draw: st.DrawFn) -> tuple[list[Phase], tuple[int, ...]]:
    tokens = draw(st.lists(st.integers(200, 1500), min_size=1, max_size=3))
    phases = [
        Phase(
            {s: draw(st.floats(0.05, 1)) for s in SOURCES[: len(tokens)]},
            steps=draw(st.integers(1, 20)),
            batch=draw(st.integers(1, 8)),
            context=draw(st.sampled_from([8, 16, 32])),
        )
        for _ in range(draw(st.integers(1, 4)))
    ]
    return phases, tuple(tokens)


def test_a_run_of_one_phase_is_its_order() -> None:
    run = phased([Phase({"web": 2.0, "code": 1.0}, steps=10, batch=3, context=10)], (101, 51))
    alone = Order((2.0, 1.0), (10, 5), slots=30, seed=3)
    assert np.array_equal(run.orders[0].block(0, 30), alone.block(0, 30))


def test_the_second_phase_goes_on_in_the_epoch_of_the_first() -> None:
    # 12 sequences: phase one reads 7, phase two, of twice their share, the other 5 and then 2 of the next epoch.
    phases = [Phase({"web": 1.0}, 7, 1, 10), Phase({"web": 0.5, "code": 0.5}, 7, 2, 10)]
    run = phased(phases, (121, 1001))
    first, second = run.orders[0].block(0, 7), run.orders[1].block(0, 14)
    of_web = second.source == 0
    assert second.epoch[of_web].tolist() == [0] * 5 + [1] * 2
    assert sorted([*first.sequence, *second.sequence[of_web][:5]]) == list(range(12))
    assert run.epochs == {"web": 14 / 12, "code": 7 / 100}


@given(runs())
def test_no_tokens_are_read_again_before_all_of_their_source_were(run: tuple[list[Phase], tuple[int, ...]]) -> None:
    phases, tokens = run
    order = phased(phases, tokens)
    for d in range(len(tokens)):
        longest = max(phase.context for phase in phases)
        reads = np.zeros((len(phases), tokens[d]), dtype=np.int64)
        for p, phase in enumerate(phases):
            draws = order.orders[p].block(0, phase.slots)
            for sequence in draws.sequence[draws.source == d]:
                reads[p, sequence * phase.context : (sequence + 1) * phase.context] += 1
        units = (tokens[d] - 1) // longest
        of_units = reads.sum(axis=0)[: units * longest]
        assert of_units.sum() == reads.sum()
        assert of_units.max() <= np.ceil(order.epochs[SOURCES[d]])
        # Each phase of shorter context may leave less than one unit unread.
        left = np.maximum(0, int(order.epochs[SOURCES[d]]) - of_units).sum()
        parted = sum(phase.context < longest for phase in phases)
        assert left <= parted * (longest - 8)


@given(runs())
def test_an_epoch_of_a_source_begins_when_the_one_before_has_ended(run: tuple[list[Phase], tuple[int, ...]]) -> None:
    phases, tokens = run
    drawn = [order.block(0, order.slots) for order in phased(phases, tokens).orders]
    for d in range(len(tokens)):
        epochs = np.concatenate([draws.epoch[draws.source == d] for draws in drawn])
        assert np.all(np.diff(epochs) >= 0)


def test_parts_of_units_do_not_wander_over_the_end_of_an_epoch() -> None:
    # 8 units of 40 tokens: 5 are read, then 3 and 5 of the next epoch in parts of 10.
    run = phased([Phase({"web": 1.0}, 5, 1, 40), Phase({"web": 1.0}, 32, 1, 10)], (321,))
    whole, parts = (order.block(0, order.slots) for order in run.orders)
    assert parts.epoch.tolist() == [0] * 12 + [1] * 20
    assert set(whole.sequence) | set(parts.sequence[:12] // 4) == set(range(8))


def test_each_epoch_read_in_parts_has_an_order_of_its_own() -> None:
    # 8 units of 40 tokens, twice in parts of 10, after a phase of the longer context.
    run = phased([Phase({"web": 1.0}, 8, 1, 40), Phase({"web": 1.0}, 64, 1, 10)], (321,))
    first, second = run.orders[1].block(0, 64).sequence.reshape(2, 32)
    assert sorted(first) == sorted(second) == list(range(32))
    # Which part of its unit is read when; the order of units alone would leave it the same.
    assert np.any(first % 4 != second % 4)


@given(runs())
def test_each_phase_has_its_exact_totals_and_prefixes(run: tuple[list[Phase], tuple[int, ...]]) -> None:
    phases, tokens = run
    for phase, order in zip(phases, phased(phases, tokens).orders, strict=True):
        source = order.block(0, phase.slots).source
        drawn = np.cumsum(source[:, None] == np.arange(len(tokens)), axis=0)
        due = np.arange(1, phase.slots + 1)[:, None] * order.totals / phase.slots
        assert drawn[-1].tolist() == order.totals.tolist()
        assert np.abs(drawn - due).max() <= len(tokens)


@given(runs(), st.data())
def test_a_slot_of_any_phase_is_reached_at_once(
    run: tuple[list[Phase], tuple[int, ...]], choice: st.DataObject
) -> None:
    phases, tokens = run
    order = choice.draw(st.sampled_from(phased(phases, tokens).orders))
    slot = choice.draw(st.integers(0, order.slots - 1))
    whole = np.stack(order.block(0, order.slots))
    assert np.array_equal(np.stack(order.block(slot, slot + 1)), whole[:, slot : slot + 1])


def test_a_longer_context_reads_what_the_shorter_left() -> None:
    # 8 units of 40 tokens: 12 sequences of 10 are 3 units whole, 5 sequences of 40 are the other five.
    run = phased([Phase({"web": 1.0}, 12, 1, 10), Phase({"web": 1.0}, 5, 1, 40)], (321,), max_epochs=1)
    short, long = (order.block(0, order.slots).sequence for order in run.orders)
    assert len(set(short)) == 12
    assert set(short // 4) | set(long) == set(range(8))
    # The parts of a unit are apart in the phase, not one after the other.
    assert np.count_nonzero(np.diff(short) == 1) < 6


def test_earlier_data_is_replayed_by_naming_it_in_a_later_phase() -> None:
    # All of the web, then code with a quarter of web: 10 slots of 40, which is its second epoch.
    phases = [Phase({"web": 1.0}, 50, 2, 10), Phase({"code": 0.75, "web": 0.25}, 20, 2, 10)]
    run = phased(phases, (1001, 1001), max_epochs=2)
    draws = run.orders[1].block(0, 40)
    assert Counter(draws.source.tolist()) == {1: 30, 0: 10}
    assert set(draws.epoch[draws.source == 0].tolist()) == {1}
    assert set(draws.epoch[draws.source == 1].tolist()) == {0}


def test_limits_span_phases_and_the_longest_run_is_said_in_steps_and_tokens() -> None:
    # 100 sequences of web once: 60 + 60 are too many, 50 + 50 are not; each step has 2 of them, each 10 tokens.
    phases = [Phase({"web": 1.0}, 30, 2, 10), Phase({"web": 1.0}, 30, 2, 10)]
    with pytest.raises(
        MixtureError,
        match=r"60 steps under max_epochs 1 .*source web needs 120 reads of 100 sequences of 10 tokens.* "
        r"has 50 steps \(25 \+ 25\), 1000 tokens",
    ):
        phased(phases, (1001,), max_epochs=1)
    assert phased([Phase({"web": 1.0}, 25, 2, 10)] * 2, (1001,), max_epochs=1).epochs == {"web": 1.0}


@given(runs(), st.sampled_from([0.1, 0.5, 1, 2.5]))
def test_the_run_named_as_feasible_is(run: tuple[list[Phase], tuple[int, ...]], max_epochs: float) -> None:
    phases, tokens = run
    try:
        phased(phases, tokens, max_epochs)
    except MixtureError as error:
        if "Not even one step of each phase" in str(error):
            with pytest.raises(MixtureError):
                phased([Phase(p.mixture, 1, p.batch, p.context) for p in phases], tokens, max_epochs)
            return
        found = re.search(r"has (\d+) steps(?: \(([\d +]+)\))?, (\d+) tokens", str(error))
        steps = [int(n) for n in (found[2] or found[1]).split(" + ")]
        shorter = [Phase(p.mixture, n, p.batch, p.context) for p, n in zip(phases, steps, strict=True)]
        assert sum(steps) == int(found[1])
        assert sum(p.slots * p.context for p in shorter) == int(found[3])
        phased(shorter, tokens, max_epochs)
        if len(phases) == 1:
            with pytest.raises(MixtureError):
                phased([Phase(p.mixture, steps[0] + 1, p.batch, p.context) for p in phases], tokens, max_epochs)


def test_a_phase_keeps_a_step_in_the_run_that_is_named() -> None:
    # 100 sequences for 990 + 10 steps: a tenth of the run would leave the second phase less than one step.
    with pytest.raises(MixtureError, match=r"has 100 steps \(99 \+ 1\), 1000 tokens"):
        phased([Phase({"web": 1.0}, 9990, 1, 10), Phase({"web": 1.0}, 10, 1, 10)], (1001,), max_epochs=1)


def test_a_source_too_short_for_a_context_that_does_not_read_it_is_no_matter() -> None:
    run = phased([Phase({"web": 1.0}, 3, 1, 10), Phase({"code": 1.0}, 3, 1, 100)], (51, 1001))
    assert run.epochs == {"web": 3 / 5, "code": 3 / 10}
    with pytest.raises(
        MixtureError, match=r"source web needs 2 reads of 0 sequences of 100 tokens.* Not even one step of each phase"
    ):
        phased([Phase({"web": 1.0}, 3, 1, 10), Phase({"web": 1.0}, 1, 1, 100)], (51, 1001))


@given(runs())
def test_steps_and_slots_count_on_over_phases(run: tuple[list[Phase], tuple[int, ...]]) -> None:
    phases, tokens = run
    order = phased(phases, tokens)
    slot = step = 0
    for number, phase in enumerate(phases):
        for _ in range(phase.steps):
            assert (order.slot_of(step), order.step_of(slot), order.phase_of(step)) == (slot, step, number)
            if phase.batch > 1:
                with pytest.raises(ValueError, match="no step of this run begins at slot"):
                    order.step_of(slot + 1)
            step, slot = step + 1, slot + phase.batch
    assert (order.slot_of(step), order.step_of(slot), order.phase_of(step)) == (slot, step, len(phases))


@pytest.mark.parametrize("slot", [-1, 1, 9])
def test_a_slot_at_which_no_step_begins_is_refused(slot: int) -> None:
    with pytest.raises(ValueError, match=f"no step of this run begins at slot {slot}, of 8"):
        phased([Phase({"web": 1.0}, 4, 2, 10)], (101,)).step_of(slot)


@pytest.mark.parametrize(
    ("phases", "reason"),
    [
        ([], "at least one phase"),
        ([Phase({"web": 1}, 1, 1, 8), Phase({"poems": 1}, 1, 1, 8)], "phase 2: no tokens of poems; .* web, code"),
        ([Phase({"web": 1}, 0, 1, 8)], "must be at least 1"),
        ([Phase({"web": 0}, 1, 1, 8)], "not all zero"),
        ([Phase({"web": 1}, 1, 1, 8), Phase({"web": 1}, 1, 1, 12)], r"source web .* \[8, 12\], which must divide"),
    ],
)
def test_phases_that_cannot_be_are_refused(phases: list[Phase], reason: str) -> None:
    with pytest.raises(MixtureError, match=reason):
        phased(phases, (1001, 1001))


def test_sequences_that_cannot_be_divided_are_of_one_context() -> None:
    with pytest.raises(MixtureError, match=r"source web .* cannot differ under best-fit packing"):
        phased([Phase({"web": 1}, 1, 1, 8), Phase({"web": 1}, 1, 1, 16)], (1001,), are_divisible=False)
