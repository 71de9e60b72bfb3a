"""One part: its stages in a row, its ledger and its removals, its bytes."""

import hashlib
import json
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import progress
from pipeline.artifact import Artifact, ArtifactFolder, Part
from pipeline.errors import LedgerError, StageError, Stopped
from pipeline.locations.location import InputFile
from pipeline.progress import StopSign
from pipeline.stage import (
    Context,
    Global,
    Map,
    Outcome,
    Result,
    Source,
    Split,
    StageConfig,
    decide,
    documents,
    removal,
    with_columns,
)
from pipeline.task import BATCH_ROWS, PartSpec, StepSpec, run_part
from tests.stages.in_process import artifact_of, texts


class Lines(Source[StageConfig]):
    """One document a line; a blank line is a failed one; yields an empty batch at either end."""

    name = "lines"

    def splits(self) -> list[Split]:
        raise NotImplementedError

    def read(self, split: Split, source: str, context: Context) -> Iterator[Outcome]:
        yield Outcome(documents([]))
        for file in split.files:
            for i, line in enumerate(Path(file.location).read_text().split("\n")):
                row = {"id": f"{source}/{file.name}:{i}", "text": line, "source": source}
                if line:
                    yield Outcome(documents([row]), created={source: 1})
                else:
                    yield Outcome(documents([]), [removal(row, "failed", "blank", f"line {i}")], {source: 1})
        yield Outcome(documents([]))


class Long(Map[StageConfig]):
    """Keeps lines of more than one word."""

    name = "long"
    provides = ("long.words",)

    def process(self, batch: pa.Table) -> Outcome:
        assert batch.num_rows, "a stage is never given an empty batch"
        words = [len(text.split()) for text in batch["text"].to_pylist()]
        batch = with_columns(batch, {"long.words": pa.array(words, pa.int64())})
        return decide(batch, [None if n > 1 else ("dropped", "short", f"{n} words < 2") for n in words])


class NoSwearing(Map[StageConfig]):
    """Drops lines that say damn."""

    name = "no_swearing"

    def process(self, batch: pa.Table) -> Outcome:
        assert batch.num_rows, "a stage is never given an empty batch"
        swears = ["damn" in text for text in batch["text"].to_pylist()]
        return decide(batch, [("dropped", "swearing", "damn") if s else None for s in swears])


class ChangesItsColumns(Map[StageConfig]):
    """Measures only the documents of its first batch."""

    name = "changes_its_columns"

    def process(self, batch: pa.Table) -> Outcome:
        if "0" not in batch["id"].to_pylist():
            return Outcome(batch)
        return Outcome(with_columns(batch, {"first.seen": pa.array([True] * batch.num_rows)}))


class NotesItsSeed(Map[StageConfig]):
    """Puts the run's seed into the text."""

    name = "notes_its_seed"

    def setup(self, context: Context) -> None:
        self._seed = context.seed

    def process(self, batch: pa.Table) -> Outcome:
        seeds = pa.array([str(self._seed)] * batch.num_rows, pa.large_string())
        return Outcome(with_columns(batch, {"text": seeds}))


class MiscountsWhatItMade(Map[StageConfig]):
    """Returns a new document without reporting it."""

    name = "miscounts_what_it_made"

    def process(self, batch: pa.Table) -> Outcome:
        return Outcome(pa.concat_tables([batch, texts({"new": "text"})]))


class CountsVowels(Map[StageConfig]):
    """Notes the vowels of each source, as a stage that changes texts notes its changes."""

    name = "counts_vowels"

    def process(self, batch: pa.Table) -> Outcome:
        noted: dict[str, Counter[str]] = {}
        for source, text in zip(batch["source"].to_pylist(), batch["text"].to_pylist(), strict=True):
            noted.setdefault(source, Counter()).update(c for c in text if c in "aeiou")
        return Outcome(batch, noted=noted)


class StopsTheRun(Map[StageConfig]):
    """Has the run stopped, as its driver would, while the first batch is at work."""

    name = "stops_the_run"

    def setup(self, context: Context) -> None:
        assert context.shared is not None
        self._sign = StopSign(context.shared.parent / "stop")

    def process(self, batch: pa.Table) -> Outcome:
        self._sign.put_up()
        return Outcome(batch)


class StopsItself(Global[StageConfig]):
    """Has the run stopped and then tells how far it is."""

    name = "stops_itself"
    produces = "things"

    def run(self, inputs: Mapping[str, Sequence[Artifact]], out: Path, context: Context) -> Result:
        StopSign(out.parents[3] / "stop").put_up()
        (out / "half").write_bytes(b"")
        context.progress(1, 2)
        raise AssertionError("went on")


class WritesNested(Global[StageConfig]):
    """Writes files in folders and leaves a checkpoint behind."""

    name = "writes_nested"
    produces = "things"

    def run(self, inputs: Mapping[str, Sequence[Artifact]], out: Path, context: Context) -> Result:
        (context.work / "checkpoint").write_text("half")
        (out / "b").mkdir()
        (out / "b" / "two.bin").write_bytes(b"two")
        (out / "a.bin").write_bytes(b"one")
        context.progress(3, 3)
        return Result({"files": 2})


def steps(*stages: type) -> tuple[StepSpec, ...]:
    return tuple(StepSpec(f"docs.{stage.name}", stage, StageConfig(), {}) for stage in stages)


LINES = "two words\nword\n\ndamn it all\nthree good words"


def read_part(tmp_path: Path, text: str = LINES, *maps: type, run: str = "run") -> tuple[Part, Path]:
    """Commit a part of one file through Lines and these maps; the part and its folder."""
    (tmp_path / "a.txt").write_text(text)
    split = Split((InputFile("a.txt", str(tmp_path / "a.txt")),))
    part = run_part(
        PartSpec(
            tmp_path / run,
            "docs",
            "key",
            "a.txt",
            steps(Lines, *maps),
            seed=1,
            split=split,
            source="web",
            stop=tmp_path / run / "stop",
        )
    )
    return part, tmp_path / run / "artifacts" / "docs" / part.folder


def map_part(tmp_path: Path, batch: pa.Table, *maps: type, seed: int = 1, key: str = "key") -> tuple[Part, Path]:
    """Commit a part made of an upstream part's documents."""
    (path,) = artifact_of(tmp_path / "upstream", f"docs-{key}", [batch]).file_paths("documents.parquet")
    part = run_part(PartSpec(tmp_path / "run", "docs", key, "docs/0", steps(*maps), seed=seed, documents=(path,)))
    return part, tmp_path / "run" / "artifacts" / "docs" / part.folder


def test_a_chain_of_source_and_maps_keeps_what_every_map_keeps(tmp_path: Path) -> None:
    _, folder = read_part(tmp_path, LINES, Long, NoSwearing)
    rows = pq.read_table(folder / "documents.parquet").to_pylist()
    assert [(row["id"], row["text"], row["long.words"]) for row in rows] == [
        ("web/a.txt:0", "two words", 2),
        ("web/a.txt:4", "three good words", 3),
    ]


def test_a_task_of_a_stopped_run_ends_between_batches_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LOOK_EVERY_S", 0.0)
    with pytest.raises(Stopped):
        read_part(tmp_path, LINES, StopsTheRun)
    assert not [p for p in (tmp_path / "run/artifacts").rglob("*") if p.is_file()]
    with pytest.raises(Stopped):  # nor does another one start
        read_part(tmp_path, LINES, Long)
    StopSign(tmp_path / "run/stop").take_down()
    part, _ = read_part(tmp_path, LINES, Long)
    assert part.ledger.last()["web"].kept == 3


def test_a_global_task_of_a_stopped_run_ends_at_its_next_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LOOK_EVERY_S", 0.0)
    upstream = artifact_of(tmp_path / "upstream", "docs", [texts({"a": "b"})])
    spec = PartSpec(
        tmp_path / "run",
        "docs",
        "key",
        "all",
        steps(StopsItself),
        seed=1,
        artifacts={"documents": [upstream]},
        stop=tmp_path / "run/stop",
    )
    with pytest.raises(Stopped):
        run_part(spec)
    assert not list((tmp_path / "run/artifacts").rglob("half"))


def test_the_ledger_and_the_removals_tell_the_same_story(tmp_path: Path) -> None:
    part, folder = read_part(tmp_path, LINES, Long, NoSwearing)
    assert part.ledger.to_json() == {
        "docs.lines": {"web": {"in": 0, "created": 5, "kept": 4, "dropped": {}, "failed": {"blank": 1}}},
        "docs.long": {"web": {"in": 4, "created": 0, "kept": 3, "dropped": {"short": 1}, "failed": {}}},
        "docs.no_swearing": {"web": {"in": 3, "created": 0, "kept": 2, "dropped": {"swearing": 1}, "failed": {}}},
    }
    removed = pq.read_table(folder / "removed.parquet").to_pylist()
    assert [(r["step"], r["verdict"], r["reason"], r["id"]) for r in removed] == [
        ("docs.long", "dropped", "short", "web/a.txt:1"),
        ("docs.lines", "failed", "blank", "web/a.txt:2"),
        ("docs.no_swearing", "dropped", "swearing", "web/a.txt:3"),
    ]
    counted = Counter((r["step"], r["source"], r["verdict"], r["reason"]) for r in removed)
    for step, sources in part.ledger.steps.items():
        for source, counts in sources.items():
            for verdict, reasons in (("dropped", counts.dropped), ("failed", counts.failed)):
                for reason, n in reasons.items():
                    assert counted.pop((step, source, verdict, reason)) == n
    assert not counted


def test_what_a_stage_notes_is_summed_in_the_ledger_by_source(tmp_path: Path) -> None:
    part, _ = read_part(tmp_path, "banana\nkiwi", CountsVowels)
    assert part.ledger.steps["docs.counts_vowels"]["web"].noted == {"a": 3, "i": 2}
    stored = ArtifactFolder(tmp_path / "run", "docs").committed(["key"])["key"]
    assert stored.ledger.last()["web"].noted == {"a": 3, "i": 2}


def test_a_removal_carries_what_was_measured_of_the_document_so_far(tmp_path: Path) -> None:
    _, folder = read_part(tmp_path, LINES, Long, NoSwearing)
    removed = {r["reason"]: r for r in pq.read_table(folder / "removed.parquet").to_pylist()}
    assert json.loads(removed["swearing"]["scores"]) == {"long.words": 3}
    assert removed["swearing"]["excerpt"] == "damn it all"
    assert removed["short"]["evidence"] == "1 words < 2"


def test_a_part_of_which_nothing_is_left_is_committed_without_documents(tmp_path: Path) -> None:
    part, folder = read_part(tmp_path, "word\nword\n", Long, NoSwearing)
    assert [(f.path, f.rows) for f in part.files] == [("removed.parquet", 3)]
    assert [p.name for p in folder.iterdir()] == ["removed.parquet"]
    assert part.ledger.last() == {}


def test_file_records_are_true(tmp_path: Path) -> None:
    part, folder = read_part(tmp_path, LINES, Long)
    assert {f.path for f in part.files} == {"documents.parquet", "removed.parquet"}
    for file in part.files:
        content = (folder / file.path).read_bytes()
        assert (file.size_bytes, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())
        assert file.rows == pq.read_metadata(folder / file.path).num_rows


def test_the_same_input_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    first, one = read_part(tmp_path, LINES, Long, NoSwearing, run="first run")
    second, two = read_part(tmp_path, LINES, Long, NoSwearing, run="second run")
    assert first.digest == second.digest
    for name in ("documents.parquet", "removed.parquet"):
        assert (one / name).read_bytes() == (two / name).read_bytes()


def test_a_map_sees_all_documents_of_its_part_in_order(tmp_path: Path) -> None:
    n = 2 * BATCH_ROWS + 1
    part, folder = map_part(tmp_path, texts({str(i): f"document {i}" for i in range(n)}), Long)
    assert pq.read_table(folder / "documents.parquet")["id"].to_pylist() == [str(i) for i in range(n)]
    assert part.ledger.steps["docs.long"]["web"].received == n


def test_a_stage_that_changes_its_columns_between_batches_is_refused_by_column(tmp_path: Path) -> None:
    batch = texts({str(i): "text" for i in range(BATCH_ROWS + 1)})
    with pytest.raises(StageError, match=r"different columns: .*first\.seen"):
        map_part(tmp_path, batch, ChangesItsColumns)
    assert list((tmp_path / "run/artifacts/docs/data").iterdir()) == []
    assert not (tmp_path / "run/artifacts/docs/commits").exists()


def test_a_stage_that_makes_documents_in_secret_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="returned 1 new ones where it reports 0 created"):
        map_part(tmp_path, texts({"a": "text"}), MiscountsWhatItMade)


def test_a_stage_is_made_anew_for_another_seed(tmp_path: Path) -> None:
    for seed in (1, 2):
        _, folder = map_part(tmp_path, texts({"a": "text"}), NotesItsSeed, seed=seed, key=f"seed-{seed}")
        assert pq.read_table(folder / "documents.parquet")["text"].to_pylist() == [str(seed)]


def test_an_interrupt_just_behind_the_commit_leaves_the_committed_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = ArtifactFolder.commit

    def interrupted(self: ArtifactFolder, part: Part) -> Part:
        commit(self, part)
        raise KeyboardInterrupt

    monkeypatch.setattr(ArtifactFolder, "commit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        read_part(tmp_path, LINES, Long)
    part = ArtifactFolder(tmp_path / "run", "docs").committed(["key"])["key"]
    for file in part.files:
        assert (tmp_path / "run/artifacts/docs" / part.folder / file.path).stat().st_size == file.size_bytes


def test_a_global_stage_commits_its_files_and_loses_its_checkpoints(tmp_path: Path) -> None:
    upstream = artifact_of(tmp_path / "run", "upstream", [texts({"a": "text"})])
    spec = PartSpec(
        tmp_path / "run", "docs", "key", "all", steps(WritesNested), seed=1, artifacts={"documents": [upstream]}
    )
    part = run_part(spec)
    assert [f.path for f in part.files] == ["a.bin", "b/two.bin"]
    assert part.summary == {"files": 2}
    assert not (tmp_path / "run/artifacts/docs/work/key").exists()
    assert (tmp_path / "run/progress/docs/key.json").read_text() == "[3, 3]"


class TakesUpTwoAhead(Map[StageConfig]):
    """Looks at a batch once two more are there; leaves the last unanswered if a text says so."""

    name = "takes_up_two_ahead"

    def process(self, batch: pa.Table) -> Outcome:
        raise NotImplementedError

    def stream(self, batches: Iterator[pa.Table]) -> Iterator[Outcome]:
        waiting: deque[pa.Table] = deque()
        for batch in batches:
            waiting.append(batch)
            if len(waiting) == 3:
                yield self._outcome(waiting)
        while waiting:
            if waiting[0]["text"].to_pylist() == ["forget me"]:
                return
            yield self._outcome(waiting)

    def _outcome(self, waiting: deque[pa.Table]) -> Outcome:
        ahead = len(waiting) - 1
        batch = waiting.popleft()
        texts = [f"{text} ({ahead} ahead)" for text in batch["text"].to_pylist()]
        return decide(
            with_columns(batch, {"text": pa.array(texts, pa.large_string())}),
            [("dropped", "d", "") if text.startswith("d") else None for text in texts],
        )


def test_a_map_may_take_up_batches_before_it_is_done_with_those_ahead(tmp_path: Path) -> None:
    part, folder = read_part(tmp_path, "a b\nc\nd e\nf g\nh i", TakesUpTwoAhead, NoSwearing)
    assert part.ledger.steps["docs.takes_up_two_ahead"]["web"].dropped == {"d": 1}
    kept = pq.read_table(folder / "documents.parquet")["text"].to_pylist()
    assert kept == ["a b (2 ahead)", "c (2 ahead)", "f g (1 ahead)", "h i (0 ahead)"]


def test_batches_without_an_outcome_fail_the_part(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="takes_up_two_ahead gave no outcome for 1 batches"):
        read_part(tmp_path, "a b\nforget me", TakesUpTwoAhead)
