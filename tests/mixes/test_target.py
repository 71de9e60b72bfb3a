"""Limits as a person writes them."""

import numpy as np
import pytest
import yaml

from mixes.limits import InfeasibleLimitsError
from mixes.target import InputFileError, Target, nearest

SOURCES = ("web", "code", "papers")
FILE = """
target_tokens: 8e9
max_epochs: 3
sources:
  web: {tokens: 5B, highest: 0.7, fingerprint: "sha256:web"}
  code: {tokens: 500000000, lowest: 0.1}
  papers: {tokens: 2.5B}
groups:
  knowledge: {members: [code, papers], lowest: 0.25}
"""


def written(tmp_path, text):
    path = tmp_path / "limits.yaml"
    path.write_text(text)
    return path


def test_limits_are_those_of_the_file(tmp_path):
    target = Target.read(written(tmp_path, FILE), SOURCES)
    assert target.target_tokens == 8_000_000_000
    assert target.unique_tokens(SOURCES).tolist() == [5e9, 5e8, 2.5e9]
    assert np.allclose(target.natural(SOURCES), [0.625, 0.0625, 0.3125])
    limits = target.limits(SOURCES)
    assert limits.lower.tolist() == [0.0, 0.1, 0.0]
    assert np.allclose(limits.upper, [0.7, 3 * 5e8 / 8e9, 3 * 2.5e9 / 8e9])
    [group] = limits.groups
    assert (group.name, group.members, group.lower, group.upper) == ("knowledge", (1, 2), 0.25, 1.0)


def test_order_of_the_sources_is_the_callers(tmp_path):
    target = Target.read(written(tmp_path, FILE), SOURCES)
    assert target.unique_tokens(SOURCES[::-1]).tolist() == [2.5e9, 5e8, 5e9]
    assert target.limits(SOURCES[::-1]).lower.tolist() == [0.0, 0.1, 0.0][::-1]


def test_a_source_that_is_gone_is_fixed_at_zero_and_needs_no_tokens(tmp_path):
    text = FILE.replace("papers: {tokens: 2.5B}", "papers: {fixed: 0}").replace(", papers], lowest: 0.25", "]")
    target = Target.read(written(tmp_path, text.replace("highest: 0.7, ", "")), SOURCES)
    assert target.limits(SOURCES).upper[2] == 0.0
    assert target.natural(SOURCES)[2] == 0.0


def test_a_fixed_ratio_is_both_bounds(tmp_path):
    target = Target.read(
        written(tmp_path, FILE.replace("papers: {tokens: 2.5B}", "papers: {tokens: 2.5B, fixed: 0.3}")), SOURCES
    )
    limits = target.limits(SOURCES)
    assert (limits.lower[2], limits.upper[2]) == (0.3, 0.3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("code: {", "coed: {"), r"sources\.coed: unknown; did you mean code\?"),
        (("  papers: {tokens: 2.5B}\n", ""), "papers is missing; a source that is gone is {fixed: 0}"),
        (("[code, papers]", "[code, paper]"), r"groups\.knowledge\.paper: unknown; did you mean papers\?"),
        (("target_tokens: 8e9", "target_tokens: many"), r"target_tokens: .*'many'"),
        (("target_tokens: 8e9", "target_tokens: 0.5"), "target_tokens"),
        (("tokens: 5B, ", ""), r"sources\.web: .*tokens must be a positive number"),
        (("lowest: 0.1", "lowest: 1.1"), r"sources\.code\.lowest: .*less than or equal to 1"),
        (("lowest: 0.1", "lowest: 0.5, highest: 0.2"), r"sources\.code: .*lowest 0\.5 is above highest 0\.2"),
        (("lowest: 0.1", "lowest: 0.1, fixed: 0.2"), r"sources\.code: .*either fixed, or lowest and highest"),
        (("lowest: 0.1", "floor: 0.1"), r"sources\.code\.floor: Extra inputs"),
        (("max_epochs: 3", "max_epochs: .nan"), "max_epochs"),
        (("  code:", "  web:"), r"'web' is given twice"),
        (("sources:", "sources: ["), "is not YAML"),
    ],
)
def test_a_wrong_key_is_named_with_the_file(tmp_path, change, message):
    path = written(tmp_path, FILE.replace(*change))
    with pytest.raises(InputFileError, match=message) as refusal:
        Target.read(path, SOURCES)
    assert all(line.startswith(str(path)) for line in str(refusal.value).splitlines())


def test_limits_that_no_mixture_meets_are_refused(tmp_path):
    target = Target.read(written(tmp_path, FILE.replace("8e9", "8T")), SOURCES)
    with pytest.raises(InfeasibleLimitsError, match="largest feasible target"):
        target.limits(SOURCES)


def test_target_survives_yaml(tmp_path):
    target = Target.read(written(tmp_path, FILE), SOURCES)
    again = written(tmp_path, yaml.safe_dump(target.model_dump(mode="json", exclude_unset=True)))
    assert Target.read(again, SOURCES) == target


def test_absent_file_is_named(tmp_path):
    with pytest.raises(InputFileError, match=r"absent\.yaml: cannot be read"):
        Target.read(tmp_path / "absent.yaml", SOURCES)


def test_nothing_near_lists_what_is_known():
    assert nearest("xyz", SOURCES) == "xyz: unknown; known are web, code, papers"
