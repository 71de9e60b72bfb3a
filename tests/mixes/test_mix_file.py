"""mix.yaml: what is written is read, and what is wrong is refused by its key."""

import numpy as np
import pytest
import yaml

from mixes.mix_file import Confirmation, MixFile, MixFileError, check_sources
from mixes.optimum import solve
from mixes.regression import cross_validate, fit
from mixes.signal import signal_to_noise
from mixes.stored_fit import Scores
from mixes.target import SourceLimits, Target
from mixes.transfer import Sizes, fit_transfer
from tests.mixes.worlds import METRICS, measured_losses

TOKENS = {"web": 5_500_000, "papers": 2_500_000, "code": 500_000, "dialogue": 1_500_000}
TARGET = Target(
    target_tokens=8_000_000,
    max_epochs=4.0,
    sources={name: SourceLimits(tokens=tokens, fingerprint=f"sha256:{name}") for name, tokens in TOKENS.items()},
)
WEIGHTS = dict(zip(METRICS, [1.0, 2.0, 1.0], strict=True))
CONFIRMATION = Confirmation.of(
    "S", best=np.array([1.0, 1.1, 0.9]), natural=np.array([1.2, 1.2, 1.3]), predicted_gain=0.25
)


@pytest.fixture(scope="module")
def made():
    """Arguments of MixFile.of."""
    sources, weights = list(TOKENS), np.array(list(WEIGHTS.values()))
    mixtures = np.random.default_rng(0).dirichlet(np.ones(4), 24)
    mixtures[-3:] = mixtures[0]
    losses = measured_losses(mixtures, 0)
    signal = signal_to_noise(losses, mixtures, METRICS)
    transfer = fit_transfer(losses[:16], 0.5 * losses[:16], Sizes(10, 20, 40), weights, 0)
    optimum = solve(
        fit(mixtures, losses, METRICS, seed=0), signal.used(weights), TARGET.limits(sources), TARGET.natural(sources),
        seed=0, unique_tokens=TARGET.unique_tokens(sources), target_tokens=8e6, slopes=transfer.extrapolated,
    )  # fmt: skip
    return optimum, Scores.of(cross_validate(mixtures, losses, METRICS, seed=0)), signal, transfer


@pytest.fixture(scope="module")
def mix(made):
    optimum, scores, signal, transfer = made
    return MixFile.of(
        optimum, TARGET, scores, WEIGHTS, signal=signal, transfer=transfer, confirmation=[CONFIRMATION]
    )  # fmt: skip


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
        assert share.unique_tokens == TOKENS[name]
        assert share.tokens == pytest.approx(share.ratio * TARGET.target_tokens, abs=1)
        assert share.epochs == pytest.approx(share.tokens / TOKENS[name], rel=1e-4, abs=1e-5)
        assert share.epochs <= 4.0 + 1e-4
        assert share.highest == pytest.approx(min(4 * TOKENS[name] / TARGET.target_tokens, 1.0))
        assert share.natural_ratio == pytest.approx(TOKENS[name] / 10_000_000)
        assert share.fingerprint == f"sha256:{name}"


def test_file_says_what_more_of_a_source_is_worth(mix, made):
    assert [s.worth_of_epoch for s in mix.sources.values()] == pytest.approx(made[0].worth_of_epoch, rel=1e-5)
    assert max(s.worth_of_epoch for s in mix.sources.values()) > 0


def test_file_holds_the_evidence_beside_the_baseline(mix):
    assert mix.evidence.runs == 24
    assert list(mix.evidence.metrics) == METRICS
    for metric in mix.evidence.metrics.values():
        assert metric.rmse < metric.linear_rmse
        assert metric.noise is not None
        assert metric.signal_to_noise is not None
    assert mix.evidence.gain == pytest.approx(mix.evidence.natural_objective - mix.evidence.objective, abs=1e-5)


def test_objective_is_the_sum_of_used_weight_slope_and_metric(mix):
    summed = sum(m.used_weight * m.slope * m.predicted for m in mix.evidence.metrics.values())
    assert mix.evidence.objective == pytest.approx(summed, rel=1e-4)


def test_weights_stand_as_given_and_as_used(made):
    optimum, scores, signal, _ = made
    muted = type(signal)(**{**vars(signal), "factor": np.array([1.0, 0.0, 1.0]), "ratio": np.array([9.0, 0.8, 9.0])})
    metrics = MixFile.of(optimum, TARGET, scores, WEIGHTS, signal=muted).evidence.metrics
    assert [m.weight for m in metrics.values()] == [0.25, 0.5, 0.25]
    assert [m.used_weight for m in metrics.values()] == [0.5, 0.0, 0.5]


def test_reasons_of_lost_weight_are_among_the_warnings(made):
    optimum, scores, signal, _ = made
    muted = type(signal)(**{**vars(signal), "factor": np.array([1.0, 0.0, 1.0]), "ratio": np.array([9.0, 0.8, 9.0])})
    warnings = MixFile.of(optimum, TARGET, scores, WEIGHTS, signal=muted).evidence.warnings
    assert any(warning.startswith(f"{METRICS[1]} is left out") for warning in warnings)


def test_transfer_and_confirmation_are_told(mix):
    assert mix.transfer.second_parameters == 20
    assert mix.transfer.exponent == pytest.approx(2.0)
    assert mix.transfer.confirmed
    assert mix.confirmation == [CONFIRMATION]


def test_gains_of_seeds_that_scatter_confirm_nothing():
    # Gains 0.2, 0.1, 0.4: mean 0.2333, sd 0.1528, Student's 80 % half width 1.8856 * 0.1528 / sqrt(3) = 0.1663.
    assert CONFIRMATION.gain == pytest.approx(0.23333, abs=1e-5)
    assert CONFIRMATION.gain_interval == pytest.approx((0.0670, 0.3996), abs=1e-4)
    assert CONFIRMATION.beats_natural
    scattered = Confirmation.of("S", np.array([1.0, 1.3]), np.array([1.2, 1.2]), predicted_gain=0.25)
    assert scattered.gain > 0
    assert not scattered.beats_natural
    assert "does not beat the natural mix beyond chance" in scattered.verdict
    with pytest.raises(ValueError, match="2 seeds or more"):
        Confirmation.of("S", np.array([1.0]), np.array([1.2]), predicted_gain=0.25)


def test_a_mix_without_second_size_and_confirmation_says_so(made, tmp_path):
    optimum, scores, *_ = made
    MixFile.of(optimum, TARGET, scores, WEIGHTS).write(tmp_path / "mix.yaml")
    plain = yaml.safe_load((tmp_path / "mix.yaml").read_text())
    assert plain["transfer"] is None
    assert plain["confirmation"] == []


FINGERPRINTS = {name: f"sha256:{name}" for name in TOKENS}


@pytest.mark.parametrize(
    ("fingerprints", "changed"),
    [
        (FINGERPRINTS, []),
        ({**FINGERPRINTS, "code": "sha256:other"}, ["code"]),
        ({name: mark for name, mark in FINGERPRINTS.items() if name != "web"}, ["web"]),
        ({**FINGERPRINTS, "books": "sha256:books"}, ["books"]),
    ],
)
def test_changed_missing_and_new_sources_are_noticed(mix, fingerprints, changed):
    assert check_sources(mix, fingerprints) == changed


def test_a_fingerprint_never_taken_cannot_differ_but_its_source_must_be_there(mix):
    sources = {**mix.sources, "web": mix.sources["web"].model_copy(update={"fingerprint": None})}
    unknown = mix.model_copy(update={"sources": sources})
    assert check_sources(unknown, FINGERPRINTS) == []
    assert check_sources(unknown, {name: mark for name, mark in FINGERPRINTS.items() if name != "web"}) == ["web"]


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
        (lambda p: p["sources"]["code"].update(ratio=-0.1), r"sources\.code\.ratio: .*greater than or equal to 0"),
        (lambda p: p["sources"]["code"].pop("fingerprint"), r"sources\.code\.fingerprint: Field required"),
        (lambda p: p["sources"]["code"].update(colour="red"), r"sources\.code\.colour: Extra inputs"),
        (lambda p: p["sources"].pop("web"), r"sources: the ratios sum to 0\.\d+, not to 1"),
        (lambda p: p["sources"]["web"].update(tokens=5), r"sources\.web\.tokens: 5 is not ratio x target_tokens"),
        (
            lambda p: p["sources"]["web"].update(unique_tokens=5),
            r"sources\.web\.epochs: .* is not tokens / unique_tokens",
        ),
        (lambda p: p["sources"]["web"].update(ratio_interval=[0.5, 0.2]), r"sources\.web: .*ratio_interval runs from"),
        (lambda p: p["sources"]["web"].update(highest=0.0), r"sources\.web: .*ratio .* is not within 0 to 0"),
        (lambda p: p["evidence"]["metrics"]["code"].update(rmse=float("nan")), r"evidence\.metrics\.code\.rmse"),
        (lambda p: p["evidence"]["metrics"]["code"].update(weight=0.9), r"values of weight do not sum to 1"),
        (lambda p: p["evidence"]["metrics"]["code"].update(used_weight=0.9), r"values of used_weight do not sum to 1"),
        (lambda p: p["confirmation"][0].update(seeds=4), r"confirmation\.0: .*not those of 4 seeds"),
        (lambda p: p["transfer"].update(confirmed="yes"), r"transfer\.confirmed: .*valid boolean"),
        (lambda p: p.update(format=1), r"format: Input should be 2"),
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


@pytest.mark.parametrize("text", ["sources: [", "", "- 1\n", "format: 2\nformat: 2\n"])
def test_text_that_is_no_mix_file_is_refused(tmp_path, text):
    path = tmp_path / "mix.yaml"
    path.write_text(text)
    with pytest.raises(MixFileError, match=r"mix\.yaml"):
        MixFile.read(path)


def test_absent_file_is_named(tmp_path):
    with pytest.raises(MixFileError, match=r"absent\.yaml"):
        MixFile.read(tmp_path / "absent.yaml")
