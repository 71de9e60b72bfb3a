"""mix.yaml: what is written is read, and what is wrong is refused by its key."""

import numpy as np
import pytest
import yaml

from mixes.design import design
from mixes.mix_file import MixFile, MixFileError
from mixes.optimum import ratio_caps, solve
from mixes.regression import cross_validate, fit
from tests.mixes.worlds import METRICS, NATURAL, measured_losses

TOKENS = {"web": 5_500_000, "papers": 2_500_000, "code": 500_000, "dialogue": 1_500_000}
TARGET = 8_000_000
WEIGHTS = np.array([1.0, 2.0, 1.0])


@pytest.fixture(scope="module")
def mix():
    caps = ratio_caps(np.array(list(TOKENS.values())), TARGET, 4.0)
    mixtures = design(NATURAL, 24, 0, caps)
    losses = measured_losses(mixtures, 0)
    optimum = solve(fit(mixtures, losses, METRICS, seed=0), WEIGHTS, np.zeros(4), caps, NATURAL, seed=0)
    evidence = cross_validate(mixtures, losses, METRICS, seed=0)
    fingerprints = {name: f"sha256:{name}" for name in TOKENS}
    return MixFile.of(optimum, evidence, WEIGHTS, source_tokens=TOKENS, fingerprints=fingerprints, target_tokens=TARGET)


def test_file_read_is_the_file_written(mix, tmp_path):
    mix.write(tmp_path / "mix.yaml")
    assert MixFile.read(tmp_path / "mix.yaml") == mix


def test_same_mixture_gives_the_same_bytes(mix, tmp_path):
    mix.write(tmp_path / "a.yaml")
    MixFile.read(tmp_path / "a.yaml").write(tmp_path / "b.yaml")
    assert (tmp_path / "a.yaml").read_bytes() == (tmp_path / "b.yaml").read_bytes()


def test_file_says_ratios_tokens_and_epochs_by_source(mix):
    assert list(mix.ratios) == list(TOKENS)
    assert sum(mix.ratios.values()) == pytest.approx(1.0)
    for name, share in mix.sources.items():
        assert share.tokens == pytest.approx(share.ratio * TARGET, abs=1)
        assert share.epochs == pytest.approx(share.tokens / TOKENS[name], rel=1e-4)
        assert share.epochs <= 4.0 + 1e-4
        assert share.natural_ratio == pytest.approx(TOKENS[name] / 10_000_000)
        assert share.fingerprint == f"sha256:{name}"


def test_file_holds_the_evidence_beside_the_baseline(mix):
    assert mix.evidence.runs == 24
    assert list(mix.evidence.metrics) == METRICS
    for metric in mix.evidence.metrics.values():
        assert metric.rmse < metric.linear_rmse
        assert metric.noise is not None
    assert mix.evidence.gain == pytest.approx(mix.evidence.natural_objective - mix.evidence.objective, abs=1e-5)


def changed(mix, tmp_path, change):
    plain = yaml.safe_load(yaml.safe_dump(mix.model_dump(mode="json")))
    change(plain)
    path = tmp_path / "mix.yaml"
    path.write_text(yaml.safe_dump(plain))
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p["sources"]["web"].update(ratio="half"), r"sources\.web\.ratio: .*valid number.*'half'"),
        (
            lambda p: p["sources"]["code"].update(ratio=-0.1),
            r"sources\.code\.ratio: .*greater than or equal to 0",
        ),
        (lambda p: p["sources"]["code"].pop("fingerprint"), r"sources\.code\.fingerprint: Field required"),
        (lambda p: p["sources"]["code"].update(colour="red"), r"sources\.code\.colour: Extra inputs"),
        (lambda p: p["sources"].pop("papers"), r"sources: the ratios sum to 0\.\d+, not to 1"),
        (
            lambda p: p["sources"]["web"].update(tokens=5),
            r"sources\.web\.tokens: 5 is not ratio x target_tokens",
        ),
        (
            lambda p: p["sources"]["web"].update(ratio_interval=[0.5, 0.2]),
            r"sources\.web: .*ratio_interval runs from",
        ),
        (
            lambda p: p["evidence"]["metrics"]["code"].update(rmse=float("nan")),
            r"evidence\.metrics\.code\.rmse",
        ),
        (lambda p: p.update(format=2), r"format: Input should be 1"),
        (lambda p: p["evidence"].pop("runs"), r"evidence\.runs: Field required"),
    ],
)
def test_wrong_key_is_named_with_its_file(mix, tmp_path, change, message):
    path = changed(mix, tmp_path, change)
    with pytest.raises(MixFileError, match=message) as refusal:
        MixFile.read(path)
    assert str(path) in str(refusal.value)


def test_every_wrong_key_is_named_at_once(mix, tmp_path):
    def change(plain):
        plain["sources"]["web"]["tokens"] = 1.5
        plain["target_tokens"] = 0

    with pytest.raises(MixFileError) as refusal:
        MixFile.read(changed(mix, tmp_path, change))
    assert "sources.web.tokens" in str(refusal.value)
    assert "target_tokens" in str(refusal.value)


@pytest.mark.parametrize("text", ["sources: [", "", "- 1\n"])
def test_text_that_is_no_mix_file_is_refused(tmp_path, text):
    path = tmp_path / "mix.yaml"
    path.write_text(text)
    with pytest.raises(MixFileError, match=r"mix\.yaml"):
        MixFile.read(path)


def test_absent_file_is_named(tmp_path):
    with pytest.raises(MixFileError, match=r"absent\.yaml"):
        MixFile.read(tmp_path / "absent.yaml")
