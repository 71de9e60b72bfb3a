"""A stored fit is the fit, or it is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest

from mixes.regression import cross_validate, fit
from mixes.runs import Runs
from mixes.signal import signal_to_noise
from mixes.stored_fit import Scores, StoredFit, StoredFitError, replacing
from mixes.target import SourceLimits, Target
from mixes.transfer import Sizes, fit_transfer
from tests.mixes.worlds import METRICS, measured_losses

SOURCES = ("web", "papers", "code", "dialogue")


@pytest.fixture(scope="module")
def stored():
    mixtures = np.random.default_rng(0).dirichlet(np.ones(4), 24)
    mixtures[-3:] = mixtures[0]
    values = measured_losses(mixtures, 0)
    runs = Runs(SOURCES, tuple(METRICS), tuple(f"run{i}" for i in range(24)), mixtures, values)
    return StoredFit(
        fit=fit(mixtures, values, METRICS, seed=0),
        runs=runs,
        scores=Scores.of(cross_validate(mixtures, values, METRICS, seed=0)),
        seed=7,
        target=Target(target_tokens=10**9, sources={name: SourceLimits(tokens=10**9) for name in SOURCES}),
        signal=signal_to_noise(values, mixtures, METRICS),
        transfer=fit_transfer(values[:16], 0.5 * values[:16], Sizes(10, 20, 40), np.ones(len(METRICS)), 0),
    )


@pytest.fixture
def path(stored, tmp_path):
    stored.save(tmp_path / "FIT")
    return tmp_path / "FIT"


def test_predictions_of_a_loaded_fit_are_the_same_to_the_last_bit(stored, path):
    asked = np.random.default_rng(1).dirichlet(np.ones(4), 10)
    for before, after in zip(stored.fit.predict(asked), StoredFit.load(path).fit.predict(asked), strict=True):
        assert before.tobytes() == after.tobytes()


def test_everything_around_the_fit_is_restored_and_saved_to_the_same_bytes(stored, path, tmp_path):
    loaded = StoredFit.load(path)
    assert (loaded.runs.sources, loaded.runs.metrics, loaded.runs.ids) == (SOURCES, tuple(METRICS), stored.runs.ids)
    assert loaded.target == stored.target
    assert loaded.seed == 7
    loaded.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_a_fit_of_a_plain_table_needs_neither_target_nor_repeats(stored, tmp_path):
    plain = replace(stored, target=None, signal=None, transfer=None)
    plain.save(tmp_path / "plain")
    loaded = StoredFit.load(tmp_path / "plain")
    assert (loaded.target, loaded.signal, loaded.transfer) == (None, None, None)
    assert np.allclose(loaded.natural, stored.runs.mixtures.mean(axis=0))


def damaged(path, change):
    first, rest = path.read_text().split("\n", 1)
    plain = json.loads(first)
    change(plain)
    path.write_text(f"{json.dumps(plain)}\n{rest}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda plain: plain.update(kind="recipe"), "is no stored fit; write one with `sluice mix fit`"),
        (lambda plain: plain.update(format=1), "is of format 1, this version reads 2; fit the runs again"),
        (lambda plain: plain.pop("scores"), r"is damaged \(KeyError: 'scores'\); fit the runs again"),
        (lambda plain: plain["target"].update(target_tokens="many"), "is damaged"),
    ],
)
def test_a_file_of_another_kind_or_format_is_refused(path, change, message):
    damaged(path, change)
    with pytest.raises(StoredFitError, match=message) as refusal:
        StoredFit.load(path)
    assert str(refusal.value).startswith(str(path))


@pytest.mark.parametrize("content", [b"", b"index,web\n1,0.5\n", b"[1]\n", b"\xff\xfe\x00PAR1", b"PAR1\n"])
def test_a_file_that_is_something_else_is_refused(tmp_path, content):
    (tmp_path / "FIT").write_bytes(content)
    with pytest.raises(StoredFitError, match="is no stored fit"):
        StoredFit.load(tmp_path / "FIT")


def test_a_file_cut_anywhere_is_refused(path):
    whole = path.read_bytes()
    for share in (0.1, 0.5, 0.9, 0.99):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(StoredFitError, match=r"is no stored fit|is damaged"):
            StoredFit.load(path)


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(StoredFitError, match=r"absent: cannot be read"):
        StoredFit.load(tmp_path / "absent")


def test_who_reads_while_it_is_written_reads_the_old_file_whole(stored, path):
    old = path.read_text()
    with path.open() as reader:
        replace(stored, seed=8).save(path)
        assert reader.read() == old
    assert path.read_text() != old
    assert StoredFit.load(path).seed == 8


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def fails():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        fails()
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "old"
