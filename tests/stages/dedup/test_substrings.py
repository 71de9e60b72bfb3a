"""Long repeated substrings: found in phases, equal to looking at all windows, and cut out cleanly."""

import random
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.artifact import Artifact, File, Part, document_parts
from pipeline.ledger import Ledger
from pipeline.stage import Context, Outcome, Removal, documents
from stages.dedup.shingles import words
from stages.dedup.substrings.cutting import CutSubstrings, without
from stages.dedup.substrings.fingerprints import anchors, windows
from stages.dedup.substrings.occurrences import (
    ANCHOR_BYTES,
    WINDOW_BYTES,
    BestOccurrences,
    Occurrences,
    SharedAnchors,
)
from stages.dedup.substrings.options import CutConfig, RepeatedSpansConfig
from stages.dedup.substrings.reference import RankedText, repeated_words
from stages.dedup.substrings.stage import RepeatedSpans
from stages.text.utf8 import read_only
from tests.shuffle_runs import documents_artifact, run_shuffle
from tests.stages.in_process import rows_of, run_here, write_lines

SHORT = 10  # the least min_tokens


def passage(name: str, count: int) -> str:
    return " ".join(f"{name}{i}" for i in range(count))


def row(document: str, text: str | None, source: str = "web", **columns: Any) -> dict[str, Any]:
    return {"id": document, "text": text, "source": source, **columns}


def parts_of(rows: Sequence[dict[str, Any]], parts: int) -> list[pa.Table]:
    return [documents(rows[i::parts]) for i in range(parts)]


def found(folder: Path, inputs: Sequence[Sequence[pa.Table]], **options: Any) -> tuple[Artifact, list[Artifact]]:
    folder.mkdir(exist_ok=True, parents=True)
    artifacts = [documents_artifact(f"input-{i}", parts, folder) for i, parts in enumerate(inputs)]
    stage = RepeatedSpans(RepeatedSpansConfig(**{"min_tokens": SHORT, **options}))
    return run_shuffle(stage, {"documents": artifacts}, folder), artifacts


def outcomes(folder: Path, inputs: Sequence[Sequence[pa.Table]], **options: Any) -> list[Outcome]:
    cut_options = {name: options.pop(name) for name in CutConfig.model_fields if name in options}
    spans, artifacts = found(folder, inputs, **options)
    results = []
    for part in document_parts(artifacts):
        cut = CutSubstrings(CutConfig(**cut_options))
        slice_part = next(p for p in spans.parts if p.name == part.name)
        cut.setup(Context(seed=1, side={"spans": spans.folder / slice_part.folder}))
        results.append(cut.process(pa.parquet.read_table(part.path)))
    return results


def cut_texts(folder: Path, inputs: Sequence[Sequence[pa.Table]], **options: Any) -> dict[str, str]:
    """Texts by id, of the documents that are kept."""
    kept = [outcome.kept for outcome in outcomes(folder, inputs, **options)]
    return {d["id"]: d["text"] for table in kept for d in table.to_pylist()}


def endings(folder: Path, inputs: Sequence[Sequence[pa.Table]], **options: Any) -> dict[str, Removal]:
    return {r.id: r for outcome in outcomes(folder, inputs, **options) for r in outcome.removed}


LETTERS = st.lists(st.sampled_from("ab"), max_size=45).map(" ".join)
PASSAGES = st.lists(st.sampled_from([passage("x", 12), passage("y", 31), "a b a b", "c"]), max_size=5).map(" ".join)


@settings(max_examples=25)
@given(
    st.lists(st.tuples(LETTERS | PASSAGES, st.integers(0, 1), st.sampled_from([None, "d0", "d1"])), max_size=6),
    st.booleans(),
    st.integers(1, 2),
    st.randoms(),
)
def test_what_is_cut_is_what_looking_at_all_windows_finds(
    tmp_path_factory, drawn, within_document, parts, chance
) -> None:
    """Over small alphabets and planted passages; ranks by input and date, families by parent."""
    rows = [
        (source, row(f"d{i}", text, parent=parent, date=f"20{50 - i}-01-01"))
        for i, (text, source, parent) in enumerate(drawn)
    ]
    texts = [
        RankedText(r["id"], r["parent"] or r["id"], r["text"])
        for _, r in sorted(rows, key=lambda entry: entry[0])  # stable: the newest of an input first
    ]
    expected = repeated_words(texts, SHORT, within_document)
    chance.shuffle(rows)
    inputs = [parts_of([r for source, r in rows if source == number], parts) for number in range(2)]
    spans, _ = found(tmp_path_factory.mktemp("run"), inputs, within_document=within_document)
    cut = {d["id"]: d for path in spans.file_paths("spans.parquet") for d in pa.parquet.read_table(path).to_pylist()}
    whole = {text.id: text.text for text in texts}
    assert {i: sum(span["tokens"] for span in d["spans"]) for i, d in cut.items()} == {
        i: len(numbers) for i, numbers in expected.items()
    }
    for i, d in cut.items():
        its_words = words(whole[i])
        said = [word for span in d["spans"] for word in words(whole[i][span["start"] : span["end"]])]
        assert said == [its_words[number] for number in sorted(expected[i])]
        assert all(span["kept"] in whole for span in d["spans"])


@settings(max_examples=200)
@given(st.lists(st.sampled_from("ab"), max_size=60), st.lists(st.sampled_from("ab"), max_size=60), st.integers(2, 14))
def test_equal_windows_have_anchors_of_equal_hash(first, second, min_words) -> None:
    """What winnowing promises: so windows whose anchors are not shared need not be looked at."""
    column = pa.array([" ".join(first), " ".join(second)], pa.large_string())
    salts, rows = np.zeros(2, np.uint64), np.arange(2)
    places = anchors(column, salts, min_words, rows).places
    its = windows(column, salts, min_words, rows, places)  # as if all were shared
    sizes = np.diff(its.ends, prepend=0)
    anchor_of: dict[tuple[str, ...], set[int]] = {}
    at = [(int(t), int(f) + i) for t, f, n in zip(its.text, its.first, sizes, strict=True) for i in range(n)]
    assert at == [(t, i) for t, text in enumerate((first, second)) for i in range(len(text) - min_words + 1)]
    by_window: dict[int, tuple[str, ...]] = {}
    for (text, word), anchor, window in zip(at, np.repeat(its.anchor, sizes), its.hashes, strict=True):
        said = tuple((first, second)[text][word : word + min_words])
        anchor_of.setdefault(said, set()).add(int(anchor))
        assert by_window.setdefault(int(window), said) == said
    assert all(len(hashes) == 1 for hashes in anchor_of.values())


def test_anchors_of_ordinary_text_are_two_in_a_reach(shared_data) -> None:
    rng = random.Random(1)
    text = " ".join(f"w{rng.randrange(10**6)}" for _ in range(100_000))
    count = len(anchors(pa.array([text], pa.large_string()), np.zeros(1, np.uint64), 50, np.zeros(1, np.int64)).hashes)
    assert count == pytest.approx(100_000 * 2 / 27, rel=0.03)


def test_anchors_of_one_word_repeated_are_few() -> None:
    column = pa.array(["a " * 10_000], pa.large_string())
    assert len(anchors(column, np.zeros(1, np.uint64), 50, np.zeros(1, np.int64)).hashes) <= 10_000 / 25


def test_a_passage_stays_in_the_input_named_first(tmp_path) -> None:
    said = passage("p", 12)
    web = row("a", f"Before. {said}. After.")
    paper = row("z", f"Other {said} words.")
    assert cut_texts(tmp_path / "1", [[documents([paper])], [documents([web])]])["a"] == "Before. After."
    kept = cut_texts(tmp_path / "2", [[documents([web])], [documents([paper])]])
    assert kept == {"a": web["text"], "z": "Other words."}


def test_of_one_input_the_newest_keeps_a_passage_and_dates_come_before_none(tmp_path) -> None:
    said = passage("p", 12)
    rows = [row("a", f"one {said}"), row("b", f"two {said}", date="2020"), row("c", f"three {said}", date="2021-05-01")]
    assert cut_texts(tmp_path / "1", [[documents(rows)]]) == {"a": "one", "b": "two", "c": rows[2]["text"]}
    oldest = cut_texts(tmp_path / "2", [[documents(rows)]], newest_first=False)
    assert oldest == {"a": "one", "b": rows[1]["text"], "c": "three"}


@pytest.mark.parametrize("count", [9, 10])
def test_passages_shorter_than_min_tokens_stay(tmp_path, count) -> None:
    rows = [row("a", f"one {passage('p', count)} end"), row("b", f"two {passage('p', count)} stop")]
    changed = [
        i for i, text in cut_texts(tmp_path, [[documents(rows)]]).items() if text not in [r["text"] for r in rows]
    ]
    assert len(changed) == (count == 10)


def test_case_punctuation_and_whitespace_do_not_count(tmp_path) -> None:
    plain = "It was the best of times it was the worst of times"
    other = "IT WAS the\nbest of  times, it was the worst—of times"
    inputs = [[documents([row("a", plain)])], [documents([row("b", f"He wrote:\n\n“{other}!”\n\nThat is all.")])]]
    assert cut_texts(tmp_path, inputs)["b"] == "He wrote:\n\nThat is all."


def test_texts_of_composed_and_decomposed_characters_are_equal_and_cut_where_they_stand(tmp_path) -> None:
    said = "Là où l’été s’achève à Orléans, un élève de père inconnu"
    rows = [
        row("a", f"Déjà {said}"),
        row("b", unicodedata.normalize("NFD", f"Après l’été: {said}. Fin été."), date="2020"),
    ]
    kept = cut_texts(tmp_path, [[documents(rows)]], newest_first=True)
    assert kept["b"] == rows[1]["text"]
    assert kept["a"] == "Déjà"
    rows[0]["date"] = "2021"
    assert cut_texts(tmp_path / "2", [[documents(rows)]])["b"] == unicodedata.normalize("NFD", "Après l’été: Fin été.")


def test_a_document_keeps_the_first_of_its_own_repeats(tmp_path) -> None:
    said = passage("p", 12)
    text = f"Menu {said}.\n\nBody text.\n\n{said}.\n\nMore text."
    assert cut_texts(tmp_path / "1", [[documents([row("a", text)])]]) == {
        "a": f"Menu {said}.\n\nBody text.\n\nMore text."
    }
    assert cut_texts(tmp_path / "2", [[documents([row("a", text)])]], within_document=False) == {"a": text}


def test_one_word_over_and_over_leaves_one_passage(tmp_path) -> None:
    """Windows that overlap the first are not its repeats."""
    kept = cut_texts(tmp_path, [[documents([row("a", "la " * 100)])]])["a"]
    assert kept.split() == ["la"] * SHORT


def test_a_rephrasing_is_not_cut_against_its_parent_or_siblings_unless_asked(tmp_path) -> None:
    said = passage("p", 12)
    inputs = [
        [documents([row("parent", f"one {said}")])],
        [
            documents(
                [row("child", f"two {said}", parent="parent"), row("other child", f"three {said}", parent="parent")]
            )
        ],
        [documents([row("stranger", f"four {said}")])],
    ]
    assert cut_texts(tmp_path / "1", inputs) == {
        "parent": f"one {said}",
        "child": f"two {said}",
        "other child": f"three {said}",
        "stranger": "four",
    }
    asked = cut_texts(tmp_path / "2", inputs, parents=True)
    assert asked == {"parent": f"one {said}", "child": "two", "other child": "three", "stranger": "four"}


def test_a_parent_behind_its_rephrasing_is_cut_against_better_strangers_alone(tmp_path) -> None:
    said = passage("p", 12)
    rows = [
        row("child", f"one {said}", parent="parent", date="2025"),
        row("old stranger", f"two {said}", date="2020"),
        row("new stranger", f"three {said}", date="2024"),
        row("parent", f"four {said}", date="2022"),
        row("other child", f"five {said}", parent="parent", date="2024-12"),
    ]
    kept = cut_texts(tmp_path, [[documents(rows)]])
    assert kept == {
        "child": f"one {said}",
        "old stranger": "two",
        "new stranger": "three",
        "parent": "four",
        "other child": f"five {said}",
    }


def test_a_document_of_a_family_keeps_the_first_of_its_own_repeats(tmp_path) -> None:
    said = passage("p", 12)
    rows = [row("child", f"one {said}", parent="parent", date="2025"), row("parent", f"two {said} three {said}")]
    assert cut_texts(tmp_path, [[documents(rows)]]) == {"child": f"one {said}", "parent": f"two {said} three"}


def test_within_sources_only(tmp_path) -> None:
    said = passage("p", 12)
    rows = [
        row("a", f"one {said}", "web", date="2021"),
        row("b", f"two {said}", "web"),
        row("c", f"three {said}", "code"),
    ]
    kept = cut_texts(tmp_path, [[documents(rows)]], scope="source")
    assert kept == {"a": f"one {said}", "b": "two", "c": f"three {said}"}


def test_other_sources_are_neither_cut_nor_compared_with(tmp_path) -> None:
    said = passage("p", 12)
    rows = [
        row("a", f"one {said}", "code", date="2022"),
        row("b", f"two {said}", "web", date="2021"),
        row("c", f"three {said}", "web"),
        row("d", f"four {said}", "code"),
    ]
    kept = cut_texts(tmp_path, [[documents(rows)]], only=["web"])
    assert kept == {"a": f"one {said}", "b": f"two {said}", "c": "three", "d": f"four {said}"}


def test_a_document_with_nothing_left_is_dropped_naming_what_keeps_it(tmp_path) -> None:
    inputs = [[documents([row("a", f"x {passage('p', 12)}")])], [documents([row("b", passage("p", 12))])]]
    (removal,) = endings(tmp_path, inputs).values()
    assert (removal.id, removal.reason) == ("b", "nothing_left")
    assert removal.evidence == "12 of 12 tokens repeated, 12 of them in a"


def test_drop_takes_documents_that_mostly_repeat_and_leaves_others_whole(tmp_path) -> None:
    said = passage("p", 12)
    inputs = [
        [documents([row("a", said)])],
        [documents([row("b", f"{said} {passage('q', 11)}"), row("c", f"{said} {passage('r', 12)}")])],
    ]
    (removal,) = endings(tmp_path / "1", inputs, action="drop").values()
    assert (removal.id, removal.reason) == ("b", "mostly_repeated")
    kept = cut_texts(tmp_path / "2", inputs, action="drop")
    assert kept == {"a": said, "c": f"{said} {passage('r', 12)}"}


def test_edits_are_noted_and_spans_say_what_was_cut_and_where_it_stays(tmp_path) -> None:
    said = passage("p", 12)
    text = f"Before {said}. After, {said} and {passage('q', 20)}!"
    inputs = [[documents([row("a", f"{said} {passage('q', 20)}")])], [documents([row("b", text)])]]
    first, second = outcomes(tmp_path, inputs)
    assert first.noted == {}
    assert second.noted == {"web": {"spans_cut": 3, "tokens_cut": 44, "documents_edited": 1}}
    assert first.kept["dedup_substrings.spans"].to_pylist() == [None]
    (spans,) = second.kept["dedup_substrings.spans"].to_pylist()
    assert [(text[s["start"] : s["end"]], s["tokens"], s["kept"]) for s in spans] == [
        (said, 12, "a"),
        (said, 12, "a"),
        (passage("q", 20), 20, "a"),
    ]
    assert second.kept["text"].to_pylist() == ["Before After, and"]


def test_passages_that_follow_each_other_are_one_cut(tmp_path) -> None:
    first, second = passage("p", 12), passage("q", 20)
    inputs = [[documents([row("a", f"{first} between {second}")])], [documents([row("b", f"x {first} {second} y")])]]
    _, outcome = outcomes(tmp_path, inputs)
    assert outcome.noted == {"web": {"spans_cut": 1, "tokens_cut": 32, "documents_edited": 1}}


def real_inputs(shared_data: Path) -> list[dict[str, Any]]:
    from tests.real_texts import real_texts

    sets = ("web_commoncrawl", "web_informal_webtext", "qa_stackexchange", "wikipedia_zh", "math_stacks_project_latex")
    chosen: dict[str, list[dict[str, Any]]] = {}
    for text in real_texts(shared_data, max_characters=8_000):
        if text.set in sets and len(its := chosen.setdefault(text.set, [])) < 120:
            its.append(row(text.id, text.text, text.set))
    return [r for name in sets for r in chosen[name]]


@pytest.fixture(scope="module")
def cut_in_one_part(shared_data, tmp_path_factory):
    rows = real_inputs(shared_data)
    spans, _ = found(tmp_path_factory.mktemp("one"), [[documents(rows)]], min_tokens=25)
    return rows, spans


def spans_by_id(spans: Artifact) -> dict[str, Any]:
    return {d["id"]: d for path in spans.file_paths("spans.parquet") for d in pa.parquet.read_table(path).to_pylist()}


@pytest.mark.parametrize(("parts", "task_memory_mb"), [(1, 64), (3, 1000), (16, 64)])
def test_real_texts_are_cut_alike_whatever_the_parts_and_their_order(
    cut_in_one_part, tmp_path, monkeypatch, parts, task_memory_mb
) -> None:
    rows, once = cut_in_one_part
    monkeypatch.setattr("stages.dedup.substrings.stage.WORDS_PER_STORED_BYTE", 100.0)  # many partitions
    monkeypatch.setattr("stages.dedup.substrings.stage.MAX_SLICE_PARTITIONS", 4)
    monkeypatch.setattr("stages.dedup.substrings.phases.BATCH_ROWS", 30)
    shuffled = random.Random(parts).sample(rows, len(rows))
    spans, _ = found(tmp_path, [parts_of(shuffled, parts)], min_tokens=25, task_memory_mb=task_memory_mb)
    assert len(spans_by_id(once)) > 30
    assert spans_by_id(spans) == spans_by_id(once)
    assert spans.summary == once.summary


def test_real_texts_are_cut_as_looking_at_all_windows_says(cut_in_one_part) -> None:
    rows, spans = cut_in_one_part
    cut = spans_by_id(spans)
    # of one input and without dates, the documents are ranked by a hash of their ids
    import xxhash

    texts = [
        RankedText(r["id"], r["id"], r["text"]) for r in sorted(rows, key=lambda r: xxhash.xxh3_64_intdigest(r["id"]))
    ]
    expected = repeated_words(texts, 25)
    assert {i: sum(s["tokens"] for s in d["spans"]) for i, d in cut.items()} == {i: len(n) for i, n in expected.items()}


def test_the_summary_tells_sources_and_largest_passages(tmp_path) -> None:
    long, often = passage("long", 30), passage("often", 12)
    web = [row(f"web {i}", f"{i} {often}") for i in range(5)] + [row("copy", f"Start {long} end")]
    spans, _ = found(tmp_path, [[documents([row("a", long, "books")])], parts_of(web, 2)])
    summary = spans.summary
    assert (summary["documents"], summary["tokens"], summary["tokens_repeated"]) == (7, 30 + 5 * 13 + 32, 30 + 48)
    assert summary["sources"]["web"] == {
        "documents": 6,
        "tokens": 5 * 13 + 32,
        "documents_repeated": 5,
        "spans": 5,
        "tokens_repeated": 78,
    }
    assert summary["sources"]["books"]["tokens_repeated"] == 0
    second, first = summary["largest_passages"]
    assert (first["text"], first["tokens"], first["times"]) == (often, 12, 4)
    assert (second["text"], second["tokens"], second["times"], second["kept"]) == (long, 30, 1, "a")


def test_a_recipe_names_it_like_any_other_stage(tmp_path) -> None:
    """Through the graph, commits and ledger; and again, from what is there."""
    said = passage("p", 60)
    files = {
        name: write_lines(tmp_path / f"{name}.jsonl", [f"{name}{i} {said} {i}{name}" for i in range(4)])
        for name in ("books", "web")
    }
    recipe = {name: {"stage": "json_lines", "files": str(path)} for name, path in files.items()}
    recipe["unique"] = {"stage": "dedup_substrings", "from": ["books", "web"]}
    sealed = run_here(tmp_path, recipe)
    whole = [d for d in rows_of(sealed["unique"]) if said in d["text"]]
    assert len(whole) == 1
    assert whole[0]["source"] == "books"
    assert sorted(d["text"] for d in rows_of(sealed["unique"]) if d["source"] == "web") == [
        f"web{i} {i}web" for i in range(4)
    ]
    (counts,) = sealed["unique"].ledger.steps.values()
    assert counts["web"].noted == {"spans_cut": 4, "tokens_cut": 240, "documents_edited": 4}
    assert sealed["unique.spans"].summary["sources"]["web"]["tokens_repeated"] == 240
    assert run_here(tmp_path, recipe)["unique"].digest == sealed["unique"].digest


def test_nothing_to_look_at(tmp_path) -> None:
    spans, _ = found(tmp_path / "1", [[]])
    assert spans.summary["tokens"] == 0
    empty = documents([row("a", None), row("b", ""), row("c", "...")])
    assert cut_texts(tmp_path / "2", [[empty]]) == {"a": None, "b": "", "c": "..."}


def occurrences(anchor: Sequence[int], document: Sequence[int], hashes: Sequence[Sequence[int]]) -> Occurrences:
    """Groups of windows, of documents of one rank but for their numbers."""
    whole = np.array([window for group in hashes for window in group], np.uint64)
    return Occurrences(
        read_only(np.array(anchor, np.uint64)),
        read_only(np.zeros(len(anchor), np.uint64)),
        read_only(np.array(document, np.uint64)),
        read_only(np.array(document, np.uint64)),
        read_only(np.zeros(len(anchor), np.int32)),
        read_only(np.cumsum([0, *map(len, hashes)]).astype(np.int32)),
        read_only(whole),
    )


def test_windows_of_one_hash_are_equal_only_if_their_anchors_are() -> None:
    best = BestOccurrences(SHORT, True)
    file = occurrences([7, 8, 7], [1, 2, 3], [[5], [5], [5]])
    best.add(0, file)
    assert best.runs(file).group.tolist() == [2]


def test_memory_does_not_grow_with_the_occurrences_of_a_passage() -> None:
    """Boilerplate of a whole corpus is one entry a window, and its anchor one."""

    def filled(files: int) -> tuple[int, int]:
        best, shared = BestOccurrences(50, True), SharedAnchors()
        for file in range(files):
            shared.add(read_only(np.full(1000, 7, np.uint64)))
            best.add(file, occurrences([7] * 1000, range(1000 * file, 1000 * file + 1000), [range(13)] * 1000))
        return best.size_bytes, shared.size_bytes

    assert filled(50) == filled(1)


@pytest.mark.parametrize("count", [1_000, 2_049, 50_000])
def test_tables_take_no_more_memory_than_partitions_are_planned_for(count) -> None:
    hashes = np.random.default_rng(1).integers(2**64, size=count, dtype=np.uint64)
    shared, best = SharedAnchors(), BestOccurrences(50, True)
    shared.add(read_only(hashes))
    best.add(0, occurrences([7], [1], [hashes.tolist()]))
    assert shared.size_bytes <= ANCHOR_BYTES * max(count, 1024)
    assert best.size_bytes <= WINDOW_BYTES * max(count, 1024)


def test_more_text_is_divided_into_more_partitions_of_the_memory_given(tmp_path) -> None:
    stage = RepeatedSpans(RepeatedSpansConfig(task_memory_mb=1000))
    files = (File("documents.parquet", 500 << 30, "digest", 10**8),)
    artifact = Artifact("web", "documents", "f", tmp_path, (), {}, (Part("key", "part", "data", files, Ledger()),))
    (task,) = stage.plan({"documents": [artifact]}, [])
    anchors_of_a_partition = (500 << 30) / 13.5 / task.arguments["partitions"]
    assert 0.25e9 < anchors_of_a_partition * ANCHOR_BYTES <= 0.5e9


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("One. [Two.] Three.", "One. Three."),
        ("One [two] three", "One three"),
        ("One (two [three] four) five", "One (two four) five"),
        ('One. "[Two three]!" Four.', "One. Four."),
        ("One.\n\n[Two.]\n\nThree.", "One.\n\nThree."),
        ("One.\n\nTwo. [Three.\n\nFour.] Five.", "One.\n\nTwo.\n\nFive."),
        ("one\n[two]\nthree", "one\nthree"),
        ("one\r\n\r\n[two]\r\n\r\nthree", "one\n\nthree"),
        ("[One.] Two.", "Two."),
        ("One. [Two.]\n", "One."),
        ("One. [Two]. [Three]; four", "One. four"),
        ("well-[known words]-ending", "well- ending"),
        ("你好世界。[我们今天去。]他们来", "你好世界。他们来"),
        ("你好。(我们[今天]去)他们", "你好。(我们去)他们"),
        ("[All]", ""),
        ("ab[cd]ef", "ab ef"),
    ],
)
def test_a_cut_takes_its_punctuation_along_and_joins_what_is_left(text, left) -> None:
    plain, spans, start = "", [], 0
    for character in text:
        if character == "[":
            start = len(plain)
        elif character == "]":
            spans.append((start, len(plain)))
        else:
            plain += character
    assert without(plain, spans) == left


@given(st.text(st.sampled_from('ab .,\n("世'), max_size=40), st.data())
def test_a_cut_takes_no_word_that_stays(text, data) -> None:
    """Whatever is cut, the words outside are left as they were, in their order."""
    import regex

    from stages.dedup.shingles import WORD

    places = [match.span() for match in regex.finditer(WORD, text)]
    chosen = data.draw(st.lists(st.booleans(), min_size=len(places), max_size=len(places)))
    spans: list[tuple[int, int]] = []
    last = False
    for (start, end), is_cut in zip(places, chosen, strict=True):
        if is_cut and last:
            spans[-1] = spans[-1][0], end
        elif is_cut:
            spans.append((start, end))
        last = is_cut
    stay = [text[start:end] for (start, end), is_cut in zip(places, chosen, strict=True) if not is_cut]
    assert WORD.findall(without(text, spans)) == stay


def test_a_rule_of_marks_on_the_line_before_stays_whole() -> None:
    text = "Intro.\n***\nPASSAGE\n\nNext."
    assert without(text, [(11, 18)]) == "Intro.\n***\n\nNext."
