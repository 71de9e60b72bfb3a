"""What a mixture may be, and how others are brought there."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from mixes.limits import Group, GroupBound, InfeasibleLimitsError, Limits

NAMES = ("web", "papers", "code", "dialogue")
TOKENS = np.array([1000.0, 100.0, 50.0, 200.0])


@st.composite
def limits_of_some_mixture(draw):
    """Limits around a mixture, which is therefore within: bounds, some of them at the mixture, and disjoint groups."""
    sources = draw(st.integers(2, 9))
    inside = np.array(draw(st.lists(st.one_of(st.just(0.0), st.floats(0.001, 1)), min_size=sources, max_size=sources)))
    inside = (inside + (inside.sum() == 0)) / (inside + (inside.sum() == 0)).sum()
    slack = np.array(draw(st.lists(st.floats(0, 1), min_size=2 * sources, max_size=2 * sources))).reshape(2, sources)
    slack *= np.array(draw(st.lists(st.booleans(), min_size=2 * sources, max_size=2 * sources))).reshape(2, sources)
    group_of = draw(st.lists(st.integers(0, 3), min_size=sources, max_size=sources))
    groups = []
    for number in range(3):  # those numbered 3 are in no group
        members = tuple(source for source in range(sources) if group_of[source] == number)
        if members:
            total = inside[list(members)].sum()
            low, high = (draw(st.sampled_from([0.0, 0.05, 1.0])) for _ in range(2))
            groups.append(Group(f"g{number}", members, max(total - low, 0.0), min(total + high, 1.0)))
    lower, upper = np.maximum(inside - slack[0], 0.0), np.minimum(inside + slack[1], 1.0)
    names = tuple(f"s{source}" for source in range(sources))
    return Limits(lower, upper, tuple(groups), names, np.ones(sources)), inside


@st.composite
def limits_and_mixtures(draw):
    limits, _ = draw(limits_of_some_mixture())
    ratios = st.lists(
        st.one_of(st.just(0.0), st.floats(1e-9, 1)), min_size=len(limits.lower), max_size=len(limits.lower)
    )
    mixtures = np.array(draw(st.lists(ratios, min_size=1, max_size=5)))
    return limits, mixtures


@settings(max_examples=300)
@given(limits_and_mixtures())
def test_what_is_brought_is_a_mixture_within_all_limits(world):
    limits, mixtures = world
    brought = limits.bring(mixtures)
    assert np.abs(brought.sum(axis=1) - 1.0).max() < 1e-12
    assert (brought >= limits.lower - 1e-12).all()
    assert (brought <= limits.upper + 1e-12).all()
    for group in limits.groups:
        total = brought[:, group.members].sum(axis=1)
        assert (total >= group.lower - 1e-12).all()
        assert (total <= group.upper + 1e-12).all()
    assert limits.hold(brought).all()


@settings(max_examples=100)
@given(limits_and_mixtures())
def test_what_is_brought_stays_when_brought_again(world):
    limits, mixtures = world
    brought = limits.bring(mixtures)
    assert limits.bring(brought).tobytes() == brought.tobytes()


@settings(max_examples=100)
@given(limits_of_some_mixture())
def test_a_mixture_within_is_not_changed(world):
    limits, inside = world
    assert limits.hold(inside[None, :]).all()
    assert limits.bring(inside[None, :]).tobytes() == inside.tobytes()


@settings(max_examples=100)
@given(limits_and_mixtures())
def test_sources_between_their_limits_keep_their_proportions_within_a_group(world):
    limits, mixtures = world
    given, brought = mixtures[0], limits.bring(mixtures[:1])[0]
    for group in limits.groups:
        free = [
            j for j in group.members if limits.lower[j] + 1e-9 < brought[j] < limits.upper[j] - 1e-9 and given[j] > 1e-6
        ]
        full = all(brought[j] > limits.upper[j] - 1e-9 for j in group.members if given[j] > 0)
        if len(free) > 1 and not full:
            scale = brought[free] / given[free]
            assert scale.max() == pytest.approx(scale.min(), rel=1e-3)


@pytest.mark.parametrize("change", [[0.31, 0.09, 0.0], [-0.01, 0.01, 0.0], [0.0, 0.0, 0.01]])
def test_a_mixture_outside_of_any_limit_does_not_hold(change):
    group = Group("small", (1, 2), 0.0, 0.5)
    limits = Limits(np.array([0.5, 0, 0]), np.array([0.8, 0.4, 0.4]), (group,), NAMES[:3], np.ones(3))
    inside = np.array([0.5, 0.3, 0.2])
    assert limits.hold(inside[None, :]).all()
    assert not limits.hold((inside + change)[None, :]).any()


def test_the_sum_of_a_group_is_a_limit():
    limits = Limits(np.zeros(3), np.ones(3), (Group("small", (1, 2), 0.0, 0.4),), NAMES[:3], np.ones(3))
    assert not limits.hold(np.array([[0.5, 0.3, 0.2]])).any()
    # The group is cut from 0.5 to 0.4, its sources as 3 : 2; the source outside takes the rest.
    assert np.allclose(limits.bring(np.array([[0.5, 0.3, 0.2]])), [[0.6, 0.24, 0.16]])


def capped(upper):
    upper = np.array(upper)
    return Limits(np.zeros(len(upper)), upper, (), NAMES[: len(upper)], np.ones(len(upper)))


def test_excess_over_a_cap_goes_to_the_others_in_proportion():
    # 0.6 is cut to 0.3; the 0.3 cut off goes to 0.3 and 0.1 as 3 : 1.
    assert np.allclose(capped([0.3, 1.0, 1.0]).bring(np.array([[0.6, 0.3, 0.1]])), [[0.3, 0.525, 0.175]])


def test_absent_sources_take_a_share_only_when_the_present_ones_are_full():
    assert np.allclose(capped([0.4, 0.9, 0.3]).bring(np.array([[1.0, 0.0, 0.0]])), [[0.4, 0.45, 0.15]])


def test_caps_are_the_lower_of_the_highest_ratio_and_the_epochs():
    limits = Limits.of(NAMES[:3], TOKENS[:3], 800.0, 4.0, bounds={"web": (0.1, 0.7)})
    # 4 x 1000 / 800 = 5, limited to 0.7; 4 x 100 / 800 = 0.5; 4 x 50 / 800 = 0.25.
    assert np.allclose(limits.upper, [0.7, 0.5, 0.25])
    assert np.allclose(limits.lower, [0.1, 0, 0])


def test_a_fixed_source_keeps_its_ratio():
    limits = Limits.of(NAMES, TOKENS, 1000.0, 4.0, fixed={"papers": 0.3})
    brought = limits.bring(np.random.default_rng(0).dirichlet(np.ones(4), 20))
    assert np.allclose(brought[:, 1], 0.3)


def test_range_of_a_source_is_what_the_others_leave():
    limits = Limits.of(NAMES[:3], TOKENS[:3], 800.0, 4.0, groups={"small": GroupBound(("papers", "code"), 0.2, 0.6)})
    assert limits.range_of(0) == pytest.approx((0.4, 0.8))
    assert limits.range_of(1) == pytest.approx((0.0, 0.5))
    assert limits.fixing(0, 0.4).bring(np.ones((1, 3)) / 3)[0, 0] == pytest.approx(0.4)


@settings(max_examples=60)
@given(limits_of_some_mixture())
def test_range_of_a_source_is_that_of_a_linear_programme(world):
    limits, _ = world
    sources = len(limits.lower)
    member = np.array([np.isin(np.arange(sources), group.members) * 1.0 for group in limits.groups]).reshape(
        -1, sources
    )
    sums = np.concatenate([member, -member])
    most = np.array([group.upper for group in limits.groups] + [-group.lower for group in limits.groups])
    for source, ends in enumerate(limits.range_of(source) for source in range(sources)):
        for sign, end in zip((1.0, -1.0), ends, strict=True):
            found = linprog(
                sign * (np.arange(sources) == source), sums, most, np.ones((1, sources)), [1.0],
                bounds=list(zip(limits.lower, np.maximum(limits.upper, limits.lower), strict=True)),
            )  # fmt: skip
            assert found.status != 0 or end == pytest.approx(sign * found.fun, abs=1e-6)


def test_infeasible_target_names_the_largest_feasible_one():
    # Web fills half at most; 4 epochs of 100 + 50 tokens, 600, must be the other: 1200 in all, 12 epochs for 3600.
    with pytest.raises(InfeasibleLimitsError, match=r"target is 1200 tokens; this one needs 12 epochs") as refusal:
        Limits.of(NAMES[:3], TOKENS[:3], 3600.0, 4.0, bounds={"web": (0.0, 0.5)})
    assert "web, papers, code can fill only 0.6667" in str(refusal.value)
    assert Limits.of(NAMES[:3], TOKENS[:3], 1200.0, 4.0, bounds={"web": (0, 0.5)}).upper.sum() == pytest.approx(1.0)


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.floats(100, 1e9), st.floats(0.3, 1.0), st.floats(0, 0.1)), min_size=4, max_size=8),
    st.floats(0.5, 8),
    st.floats(0.0, 0.4),
)
def test_the_named_target_is_feasible_and_a_larger_one_is_not(sources, epochs, group_lower):
    tokens = np.array([tokens for tokens, _, _ in sources])
    names = [f"s{j}" for j in range(len(sources))]
    bounds = {name: (low, high) for name, (_, high, low) in zip(names, sources, strict=True)}

    def limits(target):
        return Limits.of(
            names, tokens, target, epochs, bounds, groups={"pair": GroupBound(("s0", "s1"), group_lower, 0.9)}
        )

    with pytest.raises(InfeasibleLimitsError) as refusal:
        limits(1e15)
    largest = int(re.search(r"target is (\d+) tokens", str(refusal.value))[1])
    assert limits(largest).bring(np.ones((1, len(names)))).sum() == pytest.approx(1.0)
    with pytest.raises(InfeasibleLimitsError):
        limits(largest * 1.01 + 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bounds": {"web": (0.6, 1.0), "code": (0.5, 1.0)}}, r"web, code sum to 1\.1, more than 1"),
        ({"bounds": dict.fromkeys(NAMES, (0.0, 0.2))}, r"fill only 0\.8 of the mixture"),
        ({"fixed": {"code": 0.3}}, r"code must have at least 0\.3 and can have at most 0\.2.*target is 666 tokens"),
        (
            {"groups": {"rare": GroupBound(("papers", "code"), 0.7)}},
            r"group rare must have at least 0\.7, its sources \(papers, code\) can have 0\.6",
        ),
        (
            {"bounds": {"web": (0.5, 1.0)}, "groups": {"big": GroupBound(("web", "dialogue"), 0.0, 0.4)}},
            r"group big can have at most 0\.4, its sources \(web, dialogue\) must have 0\.5",
        ),
    ],
)
def test_limits_that_no_mixture_meets_are_refused_by_name(arguments, message):
    with pytest.raises(InfeasibleLimitsError, match=message):
        Limits.of(NAMES, TOKENS, 1000.0, 4.0, **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bounds": {"wbe": (0.0, 1.0)}}, "name wbe, but the sources are web, papers, code, dialogue"),
        ({"bounds": {"web": (0.5, 0.2)}}, "web: bounds must be ratios, the lowest first"),
        ({"bounds": {"web": (0.1, 0.2)}, "fixed": {"web": 0.1}}, "web: either fixed or bounded"),
        ({"groups": {"a": GroupBound(("web", "books"))}}, "group a names books"),
        ({"groups": {"a": GroupBound(("web",)), "b": GroupBound(("code", "web"))}}, "web is in the groups a and b"),
        ({"groups": {"a": GroupBound((), 0.0, 1.0)}}, "group a: needs sources"),
    ],
)
def test_wrong_limits_are_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        Limits.of(NAMES, TOKENS, 1000.0, 4.0, **arguments)


def test_without_limits_every_mixture_is_within():
    assert Limits.none(5).hold(np.concatenate([np.eye(5), np.full((1, 5), 0.2)])).all()
