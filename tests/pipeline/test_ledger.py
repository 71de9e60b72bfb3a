"""in + created = kept + dropped + failed, at each step and across steps."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import LedgerError
from pipeline.ledger import Counts, Ledger

NUMBERS = st.integers(0, 10**6)
REASONS = st.dictionaries(st.sampled_from(["short", "language", "damaged"]), st.integers(1, 1000))


@st.composite
def balanced_counts(draw: st.DrawFn, received: int | None = None) -> Counts:
    dropped, failed, kept = Counter(draw(REASONS)), Counter(draw(REASONS)), draw(NUMBERS)
    out = kept + dropped.total() + failed.total()
    incoming = draw(st.integers(0, out)) if received is None else received
    return Counts(incoming, out - incoming, kept, dropped, failed)


@given(balanced_counts(), balanced_counts())
def test_sums_of_balanced_counts_balance(a: Counts, b: Counts) -> None:
    a.add(b)
    assert a.missing() == 0


@given(balanced_counts())
def test_counts_survive_json(counts: Counts) -> None:
    assert Counts.from_json(counts.to_json()) == counts


@given(balanced_counts(), st.integers(1, 5))
def test_a_lost_document_is_an_error_that_names_stage_and_source(counts: Counts, lost: int) -> None:
    ledger = Ledger()
    ledger.steps["web.gopher"] = {"web": counts}
    ledger.check("web")
    counts.received += lost
    with pytest.raises(LedgerError, match=rf"web\.gopher.*source web.*\+{lost} unaccounted"):
        ledger.check("web")


def test_what_a_step_keeps_the_next_step_must_receive() -> None:
    ledger = Ledger()
    ledger.steps["read"] = {"web": Counts(created=10, kept=10)}
    ledger.steps["filter"] = {"web": Counts(received=9, kept=9)}
    with pytest.raises(LedgerError, match="read kept 10 documents but filter received 9"):
        ledger.check("web")


def test_a_source_that_vanishes_between_steps_is_noticed() -> None:
    ledger = Ledger()
    ledger.steps["read"] = {"web": Counts(created=1, kept=1), "papers": Counts(created=2, kept=2)}
    ledger.steps["filter"] = {"web": Counts(received=1, kept=1)}
    with pytest.raises(LedgerError, match="source papers"):
        ledger.check("web")
