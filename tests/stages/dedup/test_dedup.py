"""Which documents go, and for which other one."""

import itertools
import json
import math
import random
import re
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import StageError
from pipeline.stage import documents
from stages.dedup.shingles import jaccard, shingles, words
from tests.stages.dedup.documents import deduplicated, prose, similar_pair
from tests.stages.in_process import removed_from, rows_of, run_here, texts, write_lines

TEXT = " ".join(prose(random.Random(1), 60))


def edited(text: str, *positions: int) -> str:
    """The text with the words at these positions replaced; each takes up to five shingles away."""
    changed = text.split()
    for position in positions:
        changed[position] = f"edited{position}"
    return " ".join(changed)


def similarity(a: str, b: str) -> float:
    return jaccard(set(shingles(words(a), 5)), set(shingles(words(b), 5)))


def test_of_equal_documents_the_one_of_the_first_input_stays_then_the_smallest_id(tmp_path: Path) -> None:
    one = [texts({"z": TEXT, "y": TEXT})]
    two = [texts({"a": TEXT.upper()})]
    kept, removed, _ = deduplicated(tmp_path / "1", [one, two])
    assert kept == ["y"]
    assert {(r.id, r.reason, r.evidence) for r in removed.values()} == {
        ("z", "exact_duplicate", "similarity 1.000 to y"),
        ("a", "exact_duplicate", "similarity 1.000 to y"),
    }
    kept, _, _ = deduplicated(tmp_path / "2", [two, one])
    assert kept == ["a"]


def test_of_near_duplicates_the_one_of_the_first_input_stays(tmp_path: Path) -> None:
    near = edited(TEXT, 59)  # the last word is in one shingle: 55 of 57 in common
    kept, removed, summary = deduplicated(tmp_path, [[texts({"z": near})], [texts({"a": TEXT})]])
    assert kept == ["z"]
    assert (removed["a"].reason, removed["a"].evidence) == ("near_duplicate", f"similarity {55 / 57:.3f} to z")
    assert summary["reasons"] == {"near_duplicate": 1}


def test_candidates_below_the_threshold_stay(tmp_path: Path) -> None:
    """Bands alone would remove one of nearly each such pair: at 0.76 they meet with a probability of 0.81."""
    rng = random.Random(3)
    pairs = [similar_pair(rng, 0.76) for _ in range(40)]
    batch = texts({f"{i}{side}": text for i, pair in enumerate(pairs) for side, text in zip("ab", pair, strict=True)})
    kept, removed, summary = deduplicated(tmp_path, [[batch]])
    assert len(kept) == 80
    assert removed == {}
    assert summary["comparisons"] > 20


def test_a_chain_of_small_changes_does_not_swallow_distinct_documents(tmp_path: Path) -> None:
    """Each document is near its neighbours, yet the ends have nothing in common: what goes is near its winner."""
    long = prose(random.Random(5), 400)
    chain = {f"{i:02d}": " ".join(long[10 * i : 10 * i + 120]) for i in range(29)}
    neighbours = [similarity(a, b) for a, b in itertools.pairwise(chain.values())]
    assert min(neighbours) > 0.8
    assert similarity(chain["00"], chain["28"]) == 0
    kept, removed, _ = deduplicated(tmp_path, [[texts(chain)]])
    assert len(kept) > 5
    for loser, removal in removed.items():
        winner = re.fullmatch(r"similarity [\d.]+ to (\d+)", removal.evidence)[1]
        assert similarity(chain[loser], chain[winner]) >= 0.8
        assert winner in kept


def test_every_named_winner_is_there(tmp_path: Path) -> None:
    """c equals b, and b is near a: both go for a, since b is not there to stand for c."""
    batch = texts({"a": TEXT, "b": edited(TEXT, 59), "c": edited(TEXT, 59) + "!"})
    kept, removed, summary = deduplicated(tmp_path, [[batch]])
    assert kept == ["a"]
    assert {r.evidence for r in removed.values()} == {f"similarity {55 / 57:.3f} to a"}
    assert [(c["winner"], c["size"]) for c in summary["clusters"]] == [("a", 3)]


def test_documents_without_words_are_duplicates_of_equal_ones_only(tmp_path: Path) -> None:
    kept, removed, _ = deduplicated(tmp_path, [[texts({"a": "", "b": None, "c": "→ ↓", "d": "😀", "e": "word"})]])
    assert kept == ["a", "c", "d", "e"]
    assert removed["b"].reason == "exact_duplicate"


def test_nothing_to_remove_in_nothing(tmp_path: Path) -> None:
    kept, removed, summary = deduplicated(tmp_path, [[texts({"a": "one"})], [texts({"b": "another"})]])
    assert (kept, removed) == (["a", "b"], {})
    assert summary["documents"] == 2


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.randoms(use_true_random=False))
def test_the_result_does_not_depend_on_the_split_into_parts_or_their_order(
    tmp_path_factory: pytest.TempPathFactory, rng: random.Random
) -> None:
    by_id = {f"{family}{i}": edited(text, *range(i)) for family, text in FAMILIES.items() for i in range(6)}
    whole = deduplicated(tmp_path_factory.mktemp("whole"), [[texts(by_id)]])
    ids = list(by_id)
    rng.shuffle(ids)
    cuts = [0, *sorted(rng.sample(range(1, len(ids)), 3)), len(ids)]
    parts = [texts({i: by_id[i] for i in ids[a:b]}) for a, b in itertools.pairwise(cuts)]
    split = deduplicated(tmp_path_factory.mktemp("split"), [parts])
    assert sorted(split[0]) == sorted(whole[0])
    assert split[1] == whole[1]
    assert split[2] == whole[2]
    assert 0 < len(whole[1]) < len(by_id)


FAMILIES = {name: " ".join(prose(random.Random(name), 60)) for name in "pqr"}


def test_more_documents_of_one_band_key_than_are_compared_pairwise_are_still_found(tmp_path: Path) -> None:
    rng = random.Random(9)
    crowd = {f"{i:03d}": edited(TEXT, 59) + f" {' '.join(prose(rng, 1))}" for i in range(100)}
    kept, _, _ = deduplicated(tmp_path, [[texts(crowd)]])
    assert kept == ["000"]


def test_two_documents_of_one_id_are_refused_by_name(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        write_lines(tmp_path / folder / "x.jsonl", [f"a text in {folder}"])
    artifacts = {name: {"stage": "json_lines", "files": f"{name}/x.jsonl", "source": "web"} for name in "ab"}
    with pytest.raises(StageError, match=r"two documents have the id 'web/x\.jsonl@0"):
        run_here(tmp_path, {**artifacts, "unique": {"stage": "dedup", "from": ["a", "b"]}})


def test_a_recipe_removes_duplicates_over_all_its_inputs_and_parts(tmp_path: Path) -> None:
    other = " ".join(prose(random.Random(2), 60))
    write_lines(tmp_path / "web" / "1.jsonl", [TEXT, "a short text"])
    write_lines(tmp_path / "web" / "2.jsonl", [TEXT.title(), other])
    write_lines(tmp_path / "papers" / "1.jsonl", [edited(TEXT, 59)])
    sealed = run_here(
        tmp_path,
        {
            "web": {"stage": "json_lines", "files": "web/*.jsonl"},
            "papers": {"stage": "json_lines", "files": "papers"},
            "unique": {"stage": "dedup", "from": ["papers", "web"]},
        },
    )
    assert [row["text"] for row in rows_of(sealed["unique"])] == [edited(TEXT, 59), "a short text", other]
    assert {r["reason"] for r in removed_from(sealed["unique"])} == {"near_duplicate"}
    assert {s: c.dropped.total() for s, c in sealed["unique"].ledger.last().items()} == {"papers": 0, "web": 2}


def test_of_two_editions_of_german_laws_near_duplicates_are_found_as_often_as_theory_says(
    tmp_path: Path, shared_data: Path
) -> None:
    with pa.CompressedInputStream(
        pa.OSFile(str(shared_data / "dedup" / "german_laws_2012_vs_2022.jsonl.zst")), "zstd"
    ) as stream:
        rows = [json.loads(line) for line in stream.read().splitlines()]
    sets = {row["id"]: set(shingles(words(row["text"]), 5)) for row in rows}
    laws = defaultdict(list)
    for row in rows:
        laws[row["cluster"]].append(row)
    true, stated = {}, []
    for law, (a, b) in laws.items():
        true[law] = jaccard(sets[a["id"]], sets[b["id"]])
        stated.append(abs(true[law] - a["word5gram_jaccard_to_other"]))
    assert statistics.median(stated) < 0.005  # as the data's publisher counts words
    kept, removed, _ = deduplicated(tmp_path, [[texts({row["id"]: row["text"] for row in rows})]])
    near = [law for law, s in true.items() if s >= 0.8]
    assert len(near) > 200
    found = sum(any(row["id"] in removed for row in laws[law]) for law in near)
    probabilities = [1 - (1 - true[law] ** 8) ** 14 for law in near]
    tolerance = 4 * math.sqrt(sum(p * (1 - p) for p in probabilities)) + 0.5
    assert abs(found - sum(probabilities)) <= tolerance
    for removal in removed.values():
        winner = removal.evidence.rpartition(" to ")[2]
        assert winner in kept
        assert jaccard(sets[removal.id], sets[winner]) >= 0.8


def alarm(folder: Path, **options: Any) -> Any:
    write_lines(folder / "docs" / "1.jsonl", [*[TEXT] * 120, " ".join(prose(random.Random(2), 60))])
    docs = {"stage": "json_lines", "files": "docs"}
    return run_here(folder, {"docs": docs, "unique": {"stage": "dedup", "from": "docs", **options}})


def test_a_source_that_would_lose_too_much_stops_the_run_before_anything_is_removed(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"source docs would lose 119 of its 121 documents \(98%\)"):
        alarm(tmp_path)
    sealed = alarm(tmp_path, alarm="warn")  # what was found out is kept
    assert len(rows_of(sealed["unique"])) == 2


def test_an_alarm_stops_a_run_that_an_earlier_one_was_only_warned_of(tmp_path: Path) -> None:
    alarm(tmp_path, alarm="warn")
    with pytest.raises(StageError, match="would lose 119"):
        alarm(tmp_path)


def test_a_lower_max_loss_counts_for_what_is_there_already(tmp_path: Path) -> None:
    alarm(tmp_path, max_loss=1)
    with pytest.raises(StageError, match=r"more than max_loss 0\.5"):
        alarm(tmp_path, max_loss=0.5)


def test_without_fuzzy_equal_texts_alone_go(tmp_path: Path) -> None:
    batch = texts({"a": TEXT, "b": edited(TEXT, 59), "c": TEXT.upper()})
    kept, removed, _ = deduplicated(tmp_path, [[batch]], fuzzy=False)
    assert kept == ["a", "b"]
    assert removed["c"].reason == "exact_duplicate"


def test_which_of_two_stays_is_told_by_source_then_date(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "source": "web", "text": TEXT, "date": "2026-01-02"},
        {"id": "b", "source": "web", "text": TEXT, "date": "2026-01-01"},
        {"id": "c", "source": "papers", "text": TEXT},
    ]
    assert deduplicated(tmp_path / "1", [[documents(rows)]])[0] == ["a"]
    assert deduplicated(tmp_path / "2", [[documents(rows)]], prefer={"date": "oldest"})[0] == ["b"]
    assert deduplicated(tmp_path / "3", [[documents(rows)]], prefer={"sources": ("papers",)})[0] == ["c"]


def test_a_rephrasing_is_no_duplicate_of_its_parent_unless_asked(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "source": "web", "text": TEXT},
        {"id": "b", "source": "answers", "text": TEXT, "parent": "a"},
        {"id": "c", "source": "answers", "text": TEXT},
    ]
    assert deduplicated(tmp_path / "1", [[documents(rows)]])[0] == ["a", "b"]
    assert deduplicated(tmp_path / "2", [[documents(rows)]], parents=True)[0] == ["a"]


@pytest.mark.parametrize("parts", [1, 3, 16])
def test_the_result_does_not_depend_on_parts_order_or_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: int
) -> None:
    rng = random.Random(parts)
    by_id = {f"{family}{i}": edited(text, *range(50, 50 + i)) for family, text in FAMILIES.items() for i in range(8)}
    whole = deduplicated(tmp_path / "whole", [[texts(dict(sorted(by_id.items())))]])
    ids = list(by_id)
    rng.shuffle(ids)
    split = [texts({i: by_id[i] for i in ids[first::parts]}) for first in range(parts)]
    monkeypatch.setattr("stages.dedup.duplicates.stage.partitions_for", lambda size_bytes, memory_bytes: 4)
    divided = deduplicated(tmp_path / "divided", [split])
    assert sorted(divided[0]) == sorted(whole[0])
    assert divided[1:] == whole[1:]
    assert 0 < len(whole[1]) < len(by_id)
