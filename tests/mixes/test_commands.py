"""`sluice mix`: tables in, tables and answers out."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import yaml

from mixes.commands import USER_ERRORS, change_sources, fit_tables, log_larger, predict_table, solve_weights
from mixes.mix_file import MixFile
from mixes.stored_fit import StoredFit
from tests.mixes.worlds import METRICS, measured_losses, true_losses
from tests.steps import Told

SOURCES = ["web", "papers", "code", "dialogue"]
LIMITS = {
    "target_tokens": "8M",
    "max_epochs": 4,
    "sources": {"web": {"tokens": "5.5M"}, "papers": {"tokens": "2.5M"}, "code": {"tokens": 500_000},
                "dialogue": {"tokens": "1.5M", "fingerprint": "sha256:d"}},
}  # fmt: skip


def write_csv(path, header, rows):
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
    return path


def read_csv(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Tables of a known world, and the fit of them."""
    folder = tmp_path_factory.mktemp("mix")
    mixtures = np.random.default_rng(0).dirichlet(np.ones(4), 24)
    mixtures[-3:] = mixtures[0]
    losses = measured_losses(mixtures, 0)
    ids = [f"run-{i}" for i in range(24)]
    write_csv(folder / "ratios.csv", ["index", *SOURCES], [[i, *row] for i, row in zip(ids, mixtures, strict=True)])
    names = [f"bpb.{name}" for name in METRICS]
    rows = [[i, *row] for i, row in zip(ids, losses, strict=True)]
    write_csv(folder / "losses.csv", ["index", *names], reversed(rows))
    (folder / "limits.yaml").write_text(yaml.safe_dump(LIMITS))
    text = fit_tables(
        mixtures=folder / "ratios.csv", metrics=folder / "losses.csv", limits=folder / "limits.yaml", out=folder / "FIT"
    )
    (folder / "fit.txt").write_text(text)
    fit_tables(mixtures=folder / "ratios.csv", metrics=folder / "losses.csv", out=folder / "UNLIMITED")
    return folder


@pytest.fixture
def fit(folder):
    return folder / "FIT"


def weights_file(tmp_path, text):
    path = tmp_path / "weights.yaml"
    path.write_text(text)
    return path


def test_fit_prints_each_metric_beside_the_baseline(folder):
    lines = (folder / "fit.txt").read_text().splitlines()
    assert lines[0].startswith("24 runs, 4 sources")
    assert "stack Spearman" in lines[1]
    assert "linear RMSE" in lines[1]
    for line, metric in zip(lines[2:5], METRICS, strict=True):
        assert line.startswith(f"bpb.{metric} ")
    assert lines[-1] == f"written: {folder / 'FIT'}"


def other_table(tmp_path, suffix=".csv", ids=("b", "a", "7", "c")):
    """Four mixtures, columns in another order."""
    mixtures = np.random.default_rng(5).dirichlet(np.ones(4), 4)
    path = tmp_path / f"other{suffix}"
    columns = {"code": mixtures[:, 2], "index": list(ids), "web": mixtures[:, 0], "dialogue": mixtures[:, 3],
               "papers": mixtures[:, 1]}  # fmt: skip
    if suffix == ".csv":
        write_csv(path, list(columns), zip(*columns.values(), strict=True))
    else:
        pq.write_table(pa.table(columns), path)
    return path, mixtures


def test_predictions_carry_the_metrics_names_and_the_ids_in_order(fit, tmp_path):
    path, mixtures = other_table(tmp_path)
    predict_table(fit, path, "index", tmp_path / "out.csv")
    header, *rows = read_csv(tmp_path / "out.csv")
    assert header == ["index", *(f"bpb.{name}" for name in METRICS)]
    assert [row[0] for row in rows] == ["b", "a", "7", "c"]
    predicted = np.array([row[1:] for row in rows], dtype=float)
    assert np.array_equal(predicted, StoredFit.load(fit).fit.predict(mixtures)[0])
    assert np.abs(predicted - true_losses(mixtures)).max() < 0.2


def test_parquet_and_csv_hold_the_same(fit, tmp_path):
    path, _ = other_table(tmp_path)
    columnar, _ = other_table(tmp_path, ".parquet")
    predict_table(fit, path, "index", tmp_path / "out.csv")
    predict_table(fit, columnar, "index", tmp_path / "out.parquet")
    assert pq.read_table(tmp_path / "out.parquet").to_pydict() == pyarrow.csv.read_csv(tmp_path / "out.csv").to_pydict()


def test_numbers_as_ids_stay_numbers(fit, tmp_path):
    path, _ = other_table(tmp_path, ids=(3, 1, 10, 2))
    predict_table(fit, path, "index", tmp_path / "out.parquet")
    assert pq.read_table(tmp_path / "out.parquet")["index"].to_pylist() == [3, 1, 10, 2]


def test_prediction_into_another_kind_of_file_is_refused_and_writes_nothing(fit, tmp_path):
    path, _ = other_table(tmp_path)
    with pytest.raises(USER_ERRORS, match=r"out\.xlsx: write to a \.csv or a \.parquet"):
        predict_table(fit, path, "index", tmp_path / "out.xlsx")
    assert not (tmp_path / "out.xlsx").exists()


def ratios_in(text):
    found = re.findall(r"^(\w+) +([\d.]+)% +[\d.]+% to", text, flags=re.MULTILINE)
    return {name: float(ratio) / 100 for name, ratio in found}


def test_more_weight_on_a_metric_raises_its_source(fit, tmp_path):
    prose = ratios_in(solve_weights(fit, weights_file(tmp_path, "prose: 1")))
    code = ratios_in(solve_weights(fit, weights_file(tmp_path, "bpb.code: 1")))
    assert list(prose) == SOURCES
    assert prose["web"] > code["web"] + 0.2
    assert code["code"] == pytest.approx(0.25, abs=1e-3)  # 4 epochs of 0.5M tokens in 8M


def test_weights_are_relative_and_json_is_yaml(fit, tmp_path):
    one = solve_weights(fit, weights_file(tmp_path, "prose: 1\ncode: 3\n"))
    assert solve_weights(fit, weights_file(tmp_path, '{"prose": 10, "code": 30}')) == one


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("proes: 1", r"proes: unknown; did you mean prose\?"),
        ("bpb.coed: 1", r"bpb\.coed: unknown; did you mean bpb\.code\?"),
        ("prose: -1", "prose: needs a number of 0 or more, got -1"),
        ("prose: true", "prose: needs a number"),
        ("prose: .inf", "prose: needs a number"),
        ("prose: much", "prose: needs a number of 0 or more, got 'much'"),
        ("prose: 0", "every weight is 0"),
        ("prose: 1\nbpb.prose: 2", r"bpb\.prose: is the same metric as prose"),
        ("prose: 1\nprose: 2", "'prose' is given twice"),
        ("[prose]", "needs a line `name: weight`"),
        ("", "needs a line `name: weight`"),
        ("prose: [", "is not YAML"),
    ],
)
def test_weights_that_mean_nothing_are_refused_with_the_file(fit, tmp_path, text, message):
    path = weights_file(tmp_path, text)
    with pytest.raises(USER_ERRORS, match=message) as refusal:
        solve_weights(fit, path)
    assert all(line.startswith(str(path)) for line in str(refusal.value).splitlines())


def test_limits_of_a_file_hold_instead_of_those_of_the_fit(fit, tmp_path):
    limits = yaml.safe_load(yaml.safe_dump(LIMITS))
    limits["sources"]["web"]["highest"] = 0.2
    limits["groups"] = {"text": {"members": ["web", "dialogue"], "lowest": 0.5}}
    (tmp_path / "limits.yaml").write_text(yaml.safe_dump(limits))
    ratios = ratios_in(solve_weights(fit, limits=tmp_path / "limits.yaml"))
    assert ratios["web"] <= 0.2
    assert ratios["web"] + ratios["dialogue"] >= 0.499


def test_mix_file_is_the_answer(fit, tmp_path):
    text = solve_weights(fit, weights_file(tmp_path, "prose: 1\ncode: 3\n"), out=tmp_path / "mix.yaml")
    mix = MixFile.read(tmp_path / "mix.yaml")
    assert mix.ratios == pytest.approx(ratios_in(text), abs=6e-4)
    assert [metric.weight for metric in mix.evidence.metrics.values()] == [0.25, 0.75, 0.0]
    assert mix.sources["dialogue"].fingerprint == "sha256:d"
    assert text.endswith(f"written: {tmp_path / 'mix.yaml'}")


def test_new_limits_keep_the_fingerprints_of_the_data_that_was_measured(fit, tmp_path):
    limits = yaml.safe_load(yaml.safe_dump(LIMITS))
    del limits["sources"]["dialogue"]["fingerprint"]
    (tmp_path / "limits.yaml").write_text(yaml.safe_dump(limits))
    solve_weights(fit, limits=tmp_path / "limits.yaml", out=tmp_path / "mix.yaml")
    assert MixFile.read(tmp_path / "mix.yaml").sources["dialogue"].fingerprint == "sha256:d"


def test_mix_file_needs_tokens(folder, tmp_path):
    with pytest.raises(USER_ERRORS, match="give them with --limits"):
        solve_weights(folder / "UNLIMITED", out=tmp_path / "mix.yaml")
    assert "mean of the runs (no tokens are known)" in solve_weights(folder / "UNLIMITED")


def test_an_answer_far_from_all_runs_warns_and_names_runs_that_would_help(tmp_path):
    # All runs hold much of the first two sources; the metric wants the third alone.
    rng = np.random.default_rng(0)
    mixtures = rng.dirichlet([40, 40, 2, 1], 24)
    rows = [[i, *row] for i, row in enumerate(mixtures)]
    write_csv(tmp_path / "ratios.csv", ["index", *SOURCES], rows)
    losses = 1.0 - 3.0 * mixtures[:, 2] + 0.001 * rng.normal(size=24)
    write_csv(tmp_path / "losses.csv", ["index", "loss"], enumerate(losses))
    fit_tables(mixtures=tmp_path / "ratios.csv", metrics=tmp_path / "losses.csv", out=tmp_path / "FIT")
    text = solve_weights(tmp_path / "FIT", pessimism=0.0)
    assert "warning: the mixture is" in text
    assert "from the nearest run" in text
    helpful = [line.split() for line in text.split("Runs that would help most:\n")[1].splitlines()[1:]]
    assert [row[0] for row in helpful] == SOURCES
    runs = np.array([row[1:] for row in helpful], dtype=float)
    assert 1 <= runs.shape[1] <= 8
    assert np.allclose(runs.sum(axis=0), 1.0, atol=0.003)


def test_changed_sources_reuse_the_old_runs(folder, tmp_path):
    changes = {"split": {"web": {"news": 3, "forums": 1}}, "removed": ["dialogue"], "added": ["books"]}
    (tmp_path / "changes.yaml").write_text(yaml.safe_dump(changes, sort_keys=False))
    text = change_sources(folder / "FIT", tmp_path / "changes.yaml", tmp_path / "NOW")
    now, before = StoredFit.load(tmp_path / "NOW").runs, StoredFit.load(folder / "FIT").runs
    assert now.sources == ("papers", "code", "news", "forums", "books", "dialogue")
    assert np.allclose(now.mixtures[:, 2], 0.75 * before.mixtures[:, 0])
    assert "books: no run held it yet" in text
    assert "dialogue: fix it at 0" in text


def test_a_change_of_a_source_that_is_not_there_is_refused(fit, tmp_path):
    (tmp_path / "changes.yaml").write_text("removed: [codes]")
    with pytest.raises(USER_ERRORS, match=r"changes\.yaml: codes: unknown; did you mean code\?"):
        change_sources(fit, tmp_path / "changes.yaml", tmp_path / "NOW")


def larger_table(path, slopes, runs=16):
    rng = np.random.default_rng(9)
    mixtures = rng.dirichlet(np.ones(4), runs)
    losses = 0.5 + slopes * true_losses(mixtures) + 0.002 * rng.normal(size=(runs, len(METRICS)))
    header = ["name", "parameters", *SOURCES, *(f"bpb.{name}" for name in METRICS)]
    rows = [[f"x{i}", 16_000_000, *m, *row] for i, (m, row) in enumerate(zip(mixtures, losses, strict=True))]
    return write_csv(path, header, rows)


def test_runs_of_a_larger_size_teach_the_slopes(fit, tmp_path):
    slopes = np.array([0.9, 0.5, 0.7])
    table = larger_table(tmp_path / "larger.csv", slopes)
    text = log_larger(fit, table, tmp_path / "NOW", base_parameters=1_000_000, target_parameters=256_000_000)
    transfer = StoredFit.load(tmp_path / "NOW").transfer
    assert np.allclose(transfer.slopes, slopes, atol=0.08)
    assert np.allclose(transfer.extrapolated, transfer.slopes**2)
    assert transfer.verdict in text
    answer = solve_weights(tmp_path / "NOW")
    assert f"larger models: {transfer.verdict}" in answer
    assert ratios_in(answer) != ratios_in(solve_weights(fit))


def test_runs_parquet_of_a_swarm_of_two_sizes_teaches_the_slopes_of_its_sound_larger_runs(fit, tmp_path):
    header, *rows = read_csv(larger_table(tmp_path / "larger.csv", np.array([0.9, 0.5, 0.7]), runs=12))
    names = [
        f"mixture.{name}" if name in SOURCES else name.replace("parameters", "trunk_parameters") for name in header
    ]
    columns = {name: [float(row[j]) for row in rows] for j, name in enumerate(names) if j}
    base = {name: values[0] for name, values in columns.items()} | {"trunk_parameters": 1_000_000.0}
    broken = base | {"trunk_parameters": 16_000_000.0, "bpb.code": None}
    table = {name: [*values, *[base[name]] * 5, broken[name]] for name, values in columns.items()}
    table["diverged"] = [False] * 17 + [True]
    pq.write_table(pa.table(table), tmp_path / "runs.parquet")
    log_larger(
        fit, tmp_path / "runs.parquet", tmp_path / "NOW", base_parameters=1_000_000, target_parameters=64_000_000
    )
    [agreement] = StoredFit.load(tmp_path / "NOW").transfer.agreements
    assert (agreement.parameters, agreement.pairs) == (16_000_000, 12)


def test_later_runs_improve_slopes_that_are_known(fit, tmp_path):
    table = larger_table(tmp_path / "second.csv", np.array([0.9, 0.5, 0.7]))
    log_larger(fit, table, tmp_path / "ONE", base_parameters=1_000_000, target_parameters=64_000_000)
    rows = read_csv(larger_table(tmp_path / "third.csv", np.array([0.85, 0.3, 0.6]), runs=24))
    write_csv(tmp_path / "third.csv", rows[0], [[row[0], 64_000_000, *row[2:]] for row in rows[1:]])
    log_larger(tmp_path / "ONE", tmp_path / "third.csv", tmp_path / "TWO")
    transfer = StoredFit.load(tmp_path / "TWO").transfer
    assert [agreement.parameters for agreement in transfer.agreements] == [16_000_000, 64_000_000]
    assert np.allclose(transfer.extrapolated, [0.85, 0.3, 0.6], atol=0.1)


def test_runs_of_one_size_may_be_logged_bit_by_bit(fit, tmp_path):
    table = larger_table(tmp_path / "second.csv", np.array([0.9, 0.5, 0.7]))
    log_larger(fit, table, tmp_path / "0", base_parameters=1_000_000, target_parameters=64_000_000)
    header, *rows = read_csv(larger_table(tmp_path / "third.csv", np.array([0.85, 0.3, 0.6]), runs=24))
    rows = [[row[0], 64_000_000, *row[2:]] for row in rows]
    log_larger(tmp_path / "0", write_csv(tmp_path / "all.csv", header, rows), tmp_path / "at once")
    log_larger(tmp_path / "0", write_csv(tmp_path / "some.csv", header, rows[12:]), tmp_path / "1")
    log_larger(tmp_path / "1", write_csv(tmp_path / "more.csv", header, rows[:12]), tmp_path / "2")
    at_once, by_and_by = (StoredFit.load(tmp_path / name).transfer for name in ("at once", "2"))
    assert [agreement.pairs for agreement in by_and_by.agreements] == [16, 24]
    assert np.allclose(by_and_by.extrapolated, at_once.extrapolated)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: [[row[0], *row[2:]] for row in rows], "needs a column parameters"),
        (lambda rows: [row[:-1] for row in rows], "lacks the column bpb.papers"),
        (
            lambda rows: [*rows[:3], [*rows[3][:-1], "diverged"], *rows[4:]],
            r"row 3: bpb\.papers is 'diverged', not a number",
        ),
        (lambda rows: [*rows[:2], [*rows[2][:2], "0.9", *rows[2][3:]], *rows[3:]], r"row 2: its ratios sum to"),
        (lambda rows: rows[:4], "3 runs of 16000000 parameters are left out: 4 are needed"),
    ],
)
def test_a_wrong_table_of_larger_runs_is_refused_by_row(fit, tmp_path, change, message):
    path = larger_table(tmp_path / "larger.csv", np.ones(3))
    header, *rows = change(read_csv(path))
    write_csv(path, header, rows)
    with pytest.raises(USER_ERRORS, match=message):
        log_larger(fit, path, tmp_path / "NOW", base_parameters=1_000_000, target_parameters=64_000_000)
    assert not (tmp_path / "NOW").exists()


def test_sizes_must_be_known(fit, tmp_path):
    with pytest.raises(USER_ERRORS, match="give the parameters of its proxies and of the target"):
        log_larger(fit, larger_table(tmp_path / "larger.csv", np.ones(3)), tmp_path / "NOW")


def test_fit_takes_tables_or_runs_and_not_both(folder, tmp_path):
    with pytest.raises(USER_ERRORS, match="either --mixtures and --metrics, or --runs"):
        fit_tables(mixtures=folder / "ratios.csv", out=tmp_path / "FIT")


def test_limits_that_no_mixture_meets_are_refused_before_the_fit(folder, tmp_path):
    limits = {**LIMITS, "target_tokens": "8T"}
    (tmp_path / "limits.yaml").write_text(yaml.safe_dump(limits))
    with pytest.raises(USER_ERRORS, match="largest feasible target"):
        fit_tables(
            mixtures=folder / "ratios.csv", metrics=folder / "losses.csv", limits=tmp_path / "limits.yaml",
            out=tmp_path / "FIT",
        )  # fmt: skip
    assert not (tmp_path / "FIT").exists()


def subset(source: Path, target: Path, rows: slice, columns: list[str]) -> Path:
    header, *lines = read_csv(source)
    chosen = [header.index(name) for name in columns]
    return write_csv(target, columns, [[line[j] for j in chosen] for line in lines[rows]])


def test_public_runs_are_predicted_from_their_tables(shared_data, tmp_path):
    """64 of RegMix's runs, two of its metrics; the 448 others are asked for."""
    folder = shared_data / "mixing" / "regmix"
    sources = read_csv(folder / "train_mixture_1m.csv")[0]
    metrics = ["index", "metric/the_pile_pile_cc_val_loss", "metric/the_pile_github_val_loss"]
    fit_tables(
        mixtures=subset(folder / "train_mixture_1m.csv", tmp_path / "a.csv", slice(64), sources),
        metrics=subset(folder / "train_pile_loss_1m.csv", tmp_path / "b.csv", slice(64), metrics),
        out=tmp_path / "FIT",
    )
    rest = subset(folder / "train_mixture_1m.csv", tmp_path / "c.csv", slice(64, None), sources)
    predict_table(tmp_path / "FIT", rest, "index", tmp_path / "out.csv")
    predict_table(tmp_path / "FIT", rest, "index", tmp_path / "out.parquet")

    header, *rows = read_csv(tmp_path / "out.csv")
    assert header == metrics
    assert [row[0] for row in rows] == [row[0] for row in read_csv(rest)[1:]]
    assert pq.read_table(tmp_path / "out.parquet").to_pydict() == pyarrow.csv.read_csv(tmp_path / "out.csv").to_pydict()
    measured = read_csv(subset(folder / "train_pile_loss_1m.csv", tmp_path / "d.csv", slice(64, None), metrics))[1:]
    for column in (1, 2):
        ranks = [np.argsort(np.argsort([float(row[column]) for row in table])) for table in (rows, measured)]
        assert np.corrcoef(*ranks)[0, 1] > 0.95


def test_a_run_that_is_logged_twice_counts_once(fit, tmp_path):
    table = larger_table(tmp_path / "larger.csv", np.array([0.9, 0.5, 0.7]), runs=8)
    log_larger(fit, table, tmp_path / "ONE", base_parameters=1_000_000, target_parameters=64_000_000)
    with pytest.raises(USER_ERRORS, match="knows all of its runs already"):
        log_larger(tmp_path / "ONE", table, tmp_path / "TWO")
    header, *rows = read_csv(table)
    later = [[row[0], 32_000_000, *row[2:]] for row in rows]
    write_csv(table, header, [*rows, *later, *later[:2]])
    text = log_larger(tmp_path / "ONE", table, tmp_path / "TWO")
    assert "10 runs are known already" in text
    assert [a.pairs for a in StoredFit.load(tmp_path / "TWO").transfer.agreements] == [8, 8]


def test_the_verdict_is_of_the_largest_size_in_whatever_order_runs_are_logged(fit, tmp_path):
    header, *rows = read_csv(larger_table(tmp_path / "small.csv", np.array([0.9, 0.5, 0.7])))
    write_csv(tmp_path / "large.csv", header, [[row[0], 64_000_000, *row[2:]] for row in rows])
    log_larger(fit, tmp_path / "large.csv", tmp_path / "1", base_parameters=1_000_000, target_parameters=64_000_000)
    assert "as at 64M trunk" in log_larger(tmp_path / "1", tmp_path / "small.csv", tmp_path / "2")


def test_an_output_that_would_replace_an_input_or_has_no_place_is_refused_first(folder, fit, tmp_path):
    table, _ = other_table(tmp_path)
    before = table.read_bytes(), fit.read_bytes()
    for refused, message in [
        (lambda: predict_table(fit, table, "index", table), "is read by this command"),
        (lambda: solve_weights(fit, out=fit), "is read by this command"),
        (lambda: predict_table(fit, table, "index", tmp_path / "none" / "out.csv"), "there is no folder"),
        (lambda: change_sources(fit, folder / "limits.yaml", tmp_path), "is a folder"),
        (lambda: fit_tables(mixtures=folder / "ratios.csv", metrics=table, out=table), "is read by this command"),
    ]:
        with pytest.raises(USER_ERRORS, match=message):
            refused()
    assert (table.read_bytes(), fit.read_bytes()) == before


def test_a_removed_source_is_in_no_answer(folder, tmp_path):
    (tmp_path / "changes.yaml").write_text("removed: [code]")
    change_sources(folder / "UNLIMITED", tmp_path / "changes.yaml", tmp_path / "NOW")
    assert ratios_in(solve_weights(tmp_path / "NOW"))["code"] == 0
    with pytest.raises(USER_ERRORS, match=r"sources\.code: was removed"):
        solve_weights(tmp_path / "NOW", limits=folder / "limits.yaml")


def test_changed_sources_keep_the_fingerprints_of_the_others(folder, tmp_path):
    (tmp_path / "changes.yaml").write_text("split: {web: {news: 3, forums: 1}}")
    limits = yaml.safe_load(yaml.safe_dump(LIMITS))
    del limits["sources"]["web"], limits["sources"]["dialogue"]["fingerprint"]
    limits["sources"] |= {"news": {"tokens": "4M"}, "forums": {"tokens": "1.5M"}}
    (tmp_path / "limits.yaml").write_text(yaml.safe_dump(limits))
    change_sources(folder / "FIT", tmp_path / "changes.yaml", tmp_path / "NOW", tmp_path / "limits.yaml")
    target = StoredFit.load(tmp_path / "NOW").target
    assert target.sources["dialogue"].fingerprint == "sha256:d"
    assert "give --limits" in change_sources(folder / "FIT", tmp_path / "changes.yaml", tmp_path / "NOW")


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"a": {"members": ["web"]}, "b": {"members": ["web", "code"]}}, r"limits\.yaml: .*web may be a member once"),
        (
            {"a": {"members": ["web"], "lowest": 0.5, "highest": 0.1}},
            r"limits\.yaml: groups\.a: .*lowest 0\.5 is above",
        ),
    ],
)
def test_groups_that_contradict_each_other_are_refused_with_the_file(fit, tmp_path, groups, message):
    (tmp_path / "limits.yaml").write_text(yaml.safe_dump({**LIMITS, "groups": groups}))
    with pytest.raises(USER_ERRORS, match=message):
        solve_weights(fit, limits=tmp_path / "limits.yaml")


def test_numbers_and_names_of_yaml_are_what_they_look_like(fit, tmp_path):
    one = solve_weights(fit, weights_file(tmp_path, "prose: 0.001\ncode: 0.002"))
    assert solve_weights(fit, weights_file(tmp_path, "prose: 1e-3\ncode: 2e-3")) == one
    with pytest.raises(USER_ERRORS, match=r"weights\.yaml: no: unknown"):
        solve_weights(fit, weights_file(tmp_path, "no: 1"))


@pytest.mark.parametrize("name", ["", "__index_level_0__"])
def test_row_numbers_of_pandas_are_no_metric(folder, tmp_path, name):
    header, *rows = read_csv(folder / "losses.csv")
    write_csv(tmp_path / "losses.csv", [name, *header], [[i, *row] for i, row in enumerate(rows)])
    with pytest.raises(USER_ERRORS, match="of row numbers: take it out"):
        fit_tables(mixtures=folder / "ratios.csv", metrics=tmp_path / "losses.csv", out=tmp_path / "FIT")


def test_a_table_of_ids_alone_and_an_empty_id_are_refused(folder, tmp_path):
    header, *rows = read_csv(folder / "losses.csv")
    write_csv(tmp_path / "ids.csv", ["index"], [row[:1] for row in rows])
    write_csv(tmp_path / "gap.csv", header, [["", *rows[0][1:]], *rows[1:]])
    for table, message in (("ids.csv", "no column of a metric"), ("gap.csv", "row 1: has no id")):
        with pytest.raises(USER_ERRORS, match=message):
            fit_tables(mixtures=folder / "ratios.csv", metrics=tmp_path / table, out=tmp_path / "FIT")


def test_a_solution_for_programs_has_the_ratios_that_people_are_told(fit, tmp_path):
    weights = weights_file(tmp_path, "prose: 1")
    told = json.loads(solve_weights(fit, weights, as_json=True))
    ratios = {name: source["ratio"] for name, source in told["sources"].items()}
    assert sum(ratios.values()) == pytest.approx(1.0)
    assert ratios == pytest.approx(ratios_in(solve_weights(fit, weights)), abs=6e-4)
    assert told["objective"] == pytest.approx(told["metrics"]["bpb.prose"]["predicted"])
    assert told["gain"] == pytest.approx(told["natural_objective"] - told["objective"])


def test_how_far_a_fit_is_is_told(folder, tmp_path):
    fitted, changed = Told(), Told()
    fit_tables(mixtures=folder / "ratios.csv", metrics=folder / "losses.csv", out=tmp_path / "FIT", tick=fitted)
    (tmp_path / "changes.yaml").write_text("added: [new]\n")
    change_sources(tmp_path / "FIT", tmp_path / "changes.yaml", tmp_path / "NOW", tick=changed)
    assert fitted.is_whole()
    assert changed.is_whole()
