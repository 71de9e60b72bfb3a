"""From scores and bounds to a reason of rejection."""

import pytest

from stages.rephrase.answers import ParsedAnswer
from stages.rephrase.gates import GATES, failure, scores
from stages.rephrase.styles import Bound, read_styles
from tests.stages.rephrase.gates.small_answers import ENGLISH


def test_scores_within_their_bounds_pass() -> None:
    assert failure({"support": 0.6, "copied": 0.7}, {"support": Bound(min=0.6), "copied": Bound(max=0.7)}) is None


def test_the_first_score_out_of_bounds_is_the_reason() -> None:
    bounds = {"copied": Bound(max=0.7), "support": Bound(min=0.6), "repetition": Bound()}
    measured = {"repetition": 9.0, "support": 0.512, "copied": 0.9}
    assert failure(measured, bounds) == ("support", "0.512 < 0.6")
    assert failure(measured | {"support": 1.0}, bounds) == ("copied", "0.9 > 0.7")


def test_what_is_no_number_passes_no_bound() -> None:
    assert failure({"support": float("nan")}, {"support": Bound(min=0.6)}) is not None
    assert failure({"copied": float("nan")}, {"copied": Bound(max=0.6)}) is not None


def test_a_bound_for_no_gate_is_an_error() -> None:
    with pytest.raises(ValueError, match="no gate 'suport'"):
        failure({"support": 1.0}, {"suport": Bound(min=0.6)})


def test_every_gate_is_measured() -> None:
    measured = scores("The river rises in the mountains.", ParsedAnswer("The river rises."), ENGLISH)
    assert list(measured) == [gate.name for gate in GATES]
    assert all(isinstance(score, float) for score in measured.values())


def test_the_styles_bound_gates_that_exist() -> None:
    names = {gate.name for gate in GATES}
    for style in read_styles().values():
        assert set(style.gates) <= names, style.name
