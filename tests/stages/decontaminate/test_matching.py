"""Passages shared with evaluation texts, found by kernels and by plain Python."""

import json
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.decontaminate import matching, reference
from stages.decontaminate.evaluation import EvaluationText, evaluation_files, evaluation_texts
from stages.decontaminate.index import ngram_index
from stages.decontaminate.matching import Matcher
from stages.dedup.shingles import words

NGRAM = 8
FEW_WORDS = st.lists(st.sampled_from(["a", "b", "c", "1", "2", "é", "我"]), max_size=25).map(" ".join)


def lines(path: Path) -> list[dict]:
    with zstandard.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def evaluation(*texts: str) -> list[EvaluationText]:
    return [EvaluationText("task", row, text) for row, text in enumerate(texts)]


@pytest.fixture(scope="module")
def suite(shared_data):
    """All evaluation sets, and what finds them."""
    texts = list(evaluation_texts(evaluation_files([shared_data / "eval_tasks"]), (), NGRAM))
    return texts, Matcher(ngram_index(texts, NGRAM, 10))


@settings(max_examples=60)
@given(
    st.lists(FEW_WORDS, min_size=1, max_size=6, unique_by=lambda text: tuple(words(text))),
    st.lists(FEW_WORDS, max_size=3),
    st.lists(FEW_WORDS, max_size=1),
    st.integers(2, 4),
    st.sampled_from([1, 2, None]),
)
def test_kernels_find_what_plain_python_finds(texts, documents, ignored, size, max_rows) -> None:
    rows = [EvaluationText("task", row // 2, text) for row, text in enumerate(texts)]  # two texts a row
    documents = [*documents, " x ".join(texts)]
    found = Matcher(ngram_index(rows, size, max_rows, ignored)).matches(pa.array(documents, pa.large_string()))
    for number, document in enumerate(documents):
        here = found.text == number
        expected = reference.runs(rows, size, max_rows, ignored, document)
        assert sorted(zip(found.evaluation_text[here].tolist(), found.words[here].tolist(), strict=True)) == sorted(
            (text, length) for text, _, length, _ in expected
        )
        assert found.overlap[here].tolist() == pytest.approx([overlap for *_, overlap in expected])
        for text, start, end in zip(found.evaluation_text[here], found.start[here], found.end[here], strict=True):
            passage = " ".join(words(document[start:end]))
            assert f" {passage} " in f" {' '.join(words(texts[text]))} "


def disguised(text: str, chance: random.Random) -> str:
    """The same words in other case, with other punctuation and whitespace between them."""
    gaps = [" ", "  ", "\n", ", ", "! ", " — ", "\t", " …"]
    cases = [str.upper, str.lower, str.title, str]
    return "".join(chance.choice(cases)(word) + chance.choice(gaps) for word in text.split())


def test_planted_rows_are_found_with_task_row_and_span(suite, shared_data) -> None:
    """Real rows of every task in real documents: all found, and each span is what was planted and no more."""
    texts, matcher = suite
    index = matcher.index
    chance = random.Random(1)
    documents = [row["text"] for row in lines(shared_data / "text" / "web_commoncrawl.jsonl.zst")]
    once = {(text.task, text.text): text for text in reversed(texts)}.values()  # of equal texts, the first row's
    long = [text for text in once if sum(not word.isdigit() for word in words(text.text)) >= 13]
    by_task = {task: [text for text in long if text.task == task] for task in index.tasks}
    planted = [text for its_texts in by_task.values() for text in chance.sample(its_texts, min(40, len(its_texts)))]
    hosts, places, ends = [], [], []
    for text in planted:
        before, middle, after = (
            chance.choice(documents)[:2000],
            disguised(text.text, chance),
            chance.choice(documents),
        )
        hosts.append(f"{before}. {middle}. {after}")
        places.append(len(before))
        ends.append(len(before) + len(middle) + 2)
    found = matcher.matches(pa.array(hosts, pa.large_string()))
    numbers: dict[tuple[str, str], int] = {}
    for text in texts:
        numbers.setdefault((text.task, text.text), len(numbers))
    whole = 0
    for number, text in enumerate(planted):
        its_number = numbers[text.task, text.text]
        here = (found.text == number) & (found.evaluation_text == its_number)
        assert here.any(), text
        assert (index.tasks[index.task[its_number]], index.row[its_number]) == (text.task, text.row)
        assert (found.start[here] >= places[number]).all()
        assert (found.end[here] <= ends[number]).all()
        spans = [hosts[number][a:b] for a, b in zip(found.start[here], found.end[here], strict=True)]
        whole += any(words(span) == words(text.text) for span in spans)
        assert max(found.words[here]) >= 13 or max(found.overlap[here]) == 1
    assert len(planted) == 596
    assert whole >= 540  # the others come in pieces: within them are instructions of many rows, or numbers alone


def test_real_documents_share_next_to_nothing_with_evaluation_sets(suite, shared_data) -> None:
    """Untouched corpora: quotations (the First Amendment), near-duplicates of questions in GSM8K's training half."""
    _, matcher = suite
    leaks = {}
    for path in sorted((shared_data / "text").glob("*.jsonl.zst")):
        rows = lines(path)
        found = matcher.matches(pa.array([row["text"] for row in rows], pa.large_string())).only(13, 0.7)
        if len(found.text):
            leaks[path.name.partition(".")[0]] = (len(set(found.text.tolist())), len(rows))
    assert leaks == {"general_brown": (1, 253), "legal_us_code": (1, 2391), "math_gsm8k_train": (4, 3746)}


def test_an_evaluation_text_is_found_whole_in_itself(suite) -> None:
    texts, matcher = suite
    some = [text.text for text in texts[::29]]
    found = matcher.matches(pa.array(some, pa.large_string()))
    longest = np.zeros(len(some), np.float64)
    np.maximum.at(longest, found.text, found.overlap)
    looked_for = [len(words(text)) >= 13 and any(not word.isdigit() for word in words(text)) for text in some]
    assert longest[looked_for].min() == 1


def test_instructions_of_many_rows_do_not_count() -> None:
    instruction = "Answer the following multiple choice question with one letter only please"
    questions = [f"{instruction}: what is the {name} of the {name} river in winter" for name in "abcdefghijkl"]
    matcher = Matcher(ngram_index(evaluation(*questions), NGRAM, 10))
    assert len(matcher.matches(pa.array([instruction * 3])).text) == 0
    assert set(matcher.matches(pa.array([f"... {questions[3]} ..."])).evaluation_text.tolist()) == {3}
    assert matcher.index.ignored_ngrams == 7
    assert matcher.index.ignored_examples[0] == "answer the following multiple choice question with one"
    everything = Matcher(ngram_index(evaluation(*questions), NGRAM, None))
    assert len(everything.matches(pa.array([instruction])).text) == 12


def test_a_passage_that_many_rows_of_a_task_repeat_is_no_instruction() -> None:
    passage = "The river rises in the hills above the town and runs for ninety miles to the sea"
    texts = [EvaluationText("reading", row, text) for row in range(30) for text in (passage, f"What is {row}?")]
    matcher = Matcher(ngram_index(texts, NGRAM, 10))
    [found] = matcher.matches(pa.array([f"As we know: {passage.upper()}!"])).evaluation_text
    assert matcher.index.row[found] == 0


def test_passages_to_ignore_do_not_count() -> None:
    quotation = "Congress shall make no law respecting an establishment of religion"
    texts = evaluation(f"{quotation} is part of which amendment to the constitution of the United States")
    found = Matcher(ngram_index(texts, NGRAM, 10, [f"Famous: {quotation}."])).matches(
        pa.array([quotation, texts[0].text])
    )
    assert set(found.text.tolist()) == {1}


def test_numbers_alone_are_no_leak() -> None:
    matcher = Matcher(ngram_index(evaluation("assert f([1, 2, 3, 4, 5, 6, 7, 8, 9]) == [9, 8]"), NGRAM, 10))
    assert len(matcher.matches(pa.array(["1 2 3 4 5 6 7 8 9 9 8"])).text) == 0
    assert matcher.matches(pa.array(["f 1 2 3 4 5 6 7 8"])).words.tolist() == [8]


def test_a_row_is_known_to_be_looked_for_or_not() -> None:
    texts = [*evaluation("too short", "this one here is long enough to be looked for")]
    index = ngram_index(texts, NGRAM, 10)
    assert (index.rows, index.rows_not_looked_for) == ({"task": 2}, {"task": 1})


def test_more_matches_than_there_was_room_for_are_all_found(monkeypatch) -> None:
    monkeypatch.setattr(matching, "FIRST_ROOM", 1)
    texts = evaluation(*(" ".join(f"{word}{i}" for i in range(9)) for word in "abcdefg"))
    found = Matcher(ngram_index(texts, NGRAM, 10)).matches(pa.array([" | ".join(t.text for t in texts)] * 5))
    assert found.text.tolist() == [n for n in range(5) for _ in texts]
    assert set(found.overlap.tolist()) == {1.0}


def test_the_serial_numbers_of_documents_may_run_out() -> None:
    matcher = Matcher(ngram_index(evaluation("one question of so many words that it is looked for"), NGRAM, 10))
    documents = pa.array(["one question of so many words that it is looked for"] * 3)
    expected = matcher.matches(documents).overlap.tolist()
    matcher._serial = matching.MAX_SERIAL - 1
    assert matcher.matches(documents).overlap.tolist() == expected == [1.0] * 3


@pytest.mark.parametrize(
    "document",
    [
        *("", " \n", "word", "\x00\x01\x1b[0m" * 50, "שלום עולם " * 50, "我们在北京" * 50, "\u202e" * 50),
        *("a" * 10_000_000, "one two three four five six seven eight nine " * 220_000, "zero " * 2_000_000),
    ],
    ids=[
        "empty",
        "blank",
        "one word",
        "controls",
        "Hebrew",
        "Chinese",
        "marks",
        "one long word",
        "10 MB of it",
        "same",
    ],
)
def test_odd_documents_are_searched_like_others(document: str) -> None:
    texts = evaluation(
        "one two three four five six seven eight nine", "zero " * 3000 + "end", "שלום " * 9, "我们在北京" * 2
    )
    found = Matcher(ngram_index(texts, NGRAM, 10)).matches(pa.array([document], pa.large_string()))
    expected = {"one": 0, "zero": 1, "שלו": 2, "我们在": 3}
    sought = [number for start, number in expected.items() if document.startswith(start)]
    assert sorted(set(found.evaluation_text.tolist())) == (sought if "עולם" not in document else [])


def test_two_documents_in_a_batch_do_not_touch() -> None:
    matcher = Matcher(ngram_index(evaluation("one two three four five six seven eight"), NGRAM, 10))
    assert len(matcher.matches(pa.array(["one two three four", "five six seven eight"])).text) == 0


def test_two_chinese_characters_are_as_long_as_a_word() -> None:
    """Thirteen characters are a phrase: of encyclopedia pages, 7 % share so many with 500 others' texts."""
    passage = "尼罗河是非洲最长的河流流经十一个国家最后注入地中海"
    found = Matcher(ngram_index(evaluation(passage), NGRAM, 10)).matches(
        pa.array([passage, passage[:13], passage + "x"])
    )
    assert found.words.tolist() == [len(passage) // 2, 6, len(passage) // 2]
