"""Documents with passages of evaluation sets, dropped or cut."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline.errors import InputError
from pipeline.stage import Context
from stages.decontaminate.stage import (
    Decontaminate,
    DecontaminateConfig,
    DecontaminateCut,
    DecontaminateCutConfig,
)
from tests.stages.in_process import removed_from, rows_of, run_here, texts, write_lines

QUESTION = "A farmer sells seven baskets of ripe plums at the market on every Saturday in autumn. How many is that?"
SHORT = "Which river flows through the old town of Prague?"
BEFORE = "The weather in the valley was mild that year and the harvest came early. " * 10
AFTER = "Nobody in the village could remember a summer with so little rain before. " * 10


@pytest.fixture
def questions(tmp_path) -> Path:
    rows = [
        {"question": "Too short?"},
        {"question": QUESTION, "answer": "7"},
        {"question": SHORT, "answer": "the Vltava"},
    ]
    return write_lines(tmp_path / "questions.jsonl", rows)


def ready(stage, config, files, **options):
    made = stage(config(files=(files,), **options))
    made.setup(Context(seed=1))
    return made


def dropping(documents, files, **options):
    stage = ready(Decontaminate, DecontaminateConfig, files, **options)
    return stage.process(texts({str(i): text for i, text in enumerate(documents)}))


def cutting(documents, files, **options):
    stage = ready(DecontaminateCut, DecontaminateCutConfig, files, **options)
    return stage.process(texts({str(i): text for i, text in enumerate(documents)}))


def test_a_document_with_thirteen_words_of_a_question_is_dropped_with_task_and_row(questions) -> None:
    part = " ".join(QUESTION.split()[:13])
    outcome = dropping([f"{BEFORE}{part.upper()}. {AFTER}", BEFORE], questions, match_overlap=None)
    [removed] = outcome.removed
    assert (removed.id, removed.verdict, removed.reason) == ("0", "dropped", "evaluation_passage")
    assert removed.evidence == "13 words in common >= 13: questions, row 1"
    assert outcome.kept["id"].to_pylist() == ["1"]


def test_twelve_words_are_not_enough_but_stay_on_record(questions) -> None:
    part = " ".join(QUESTION.split()[:12])
    kept = dropping([f"{BEFORE}{part}. {AFTER}"], questions).kept.to_pylist()[0]
    assert kept["decontaminate.longest_match"] == 12
    assert kept["decontaminate.overlap"] == pytest.approx(5 / 13)
    assert kept["decontaminate.task"] == "questions"
    [match] = kept["decontaminate.matches"]
    assert match | {"overlap": 0} == {
        "task": "questions", "row": 1, "start": len(BEFORE), "end": len(BEFORE) + len(part), "words": 12, "overlap": 0
    }  # fmt: skip


def test_a_question_of_fewer_than_thirteen_words_is_found_by_its_share(questions) -> None:
    [removed] = dropping([f"{BEFORE}{SHORT}{AFTER}"], questions).removed
    assert (removed.reason, removed.evidence) == ("evaluation_text", "1 of an evaluation text >= 0.7: questions, row 2")


def test_an_untouched_document_has_measures_too(questions) -> None:
    kept = dropping([BEFORE, None, ""], questions).kept.to_pylist()
    for row in kept:
        found = [row[name] for name in Decontaminate.measures]
        assert found == [0, 0.0, None, []]


def test_thresholds_are_decided_again_from_what_was_measured(questions) -> None:
    part = " ".join(QUESTION.split()[:12])
    strict = Decontaminate(DecontaminateConfig(files=(questions,), match_words=12))
    stage = ready(Decontaminate, DecontaminateConfig, questions)
    measured = stage.measure(texts({"a": part, "b": BEFORE})).drop_columns(["text"])
    assert [verdict and verdict[1] for verdict in strict.verdicts(measured)] == ["evaluation_passage", None]
    assert stage.verdicts(measured) == [None, None]


def test_a_passage_is_cut_with_its_surroundings_and_the_rest_stays(questions) -> None:
    document = f"{BEFORE}{QUESTION} {AFTER}"
    [row] = cutting([document], questions, margin_characters=100).kept.to_pylist()
    before, after = row["text"].split("\n\n")
    assert BEFORE.startswith(before)
    assert AFTER.strip().endswith(after)
    assert 60 <= len(BEFORE) - len(before) - 100 + 60 <= 160
    assert row["decontaminate_cut.cuts"] == 1
    assert row["decontaminate_cut.characters_left"] == len(row["text"])
    assert row["decontaminate_cut.characters_cut"] == len(document) - len(row["text"])
    [match] = row["decontaminate_cut.matches"]
    assert document[match["start"] : match["end"]] == QUESTION.rstrip("?")


def test_documents_without_a_leak_are_not_edited(questions) -> None:
    harmless = f"{BEFORE}{' '.join(QUESTION.split()[:12])}. {AFTER}"
    rows = cutting([BEFORE, harmless, f"{BEFORE}{QUESTION}{AFTER}", None], questions).kept.to_pylist()
    assert [rows[0]["text"], rows[1]["text"], rows[3]["text"]] == [BEFORE, harmless, None]
    assert [row["decontaminate_cut.cuts"] for row in rows] == [0, 0, 1, 0]
    assert rows[0]["decontaminate_cut.characters_left"] is None


def test_what_is_little_but_questions_is_dropped(questions) -> None:
    outcome = cutting([QUESTION, f"{BEFORE}{QUESTION}{AFTER}" * 4], questions, max_cuts=3)
    assert [(r.reason, r.evidence) for r in outcome.removed] == [
        ("nothing_left", "0 characters left < 200"),
        ("too_many_cuts", "4 cuts > 3"),
    ]


def test_the_content_of_the_files_is_identity_and_their_place_is_not(questions, tmp_path) -> None:
    ignored = tmp_path / "quotations.txt"
    ignored.write_text("a quotation")
    config = DecontaminateConfig(files=(questions,), ignore=(ignored,))
    identity = config.identity()
    json.dumps(identity)
    (tmp_path / "elsewhere").mkdir()
    copy = tmp_path / "elsewhere" / "questions.jsonl"
    copy.write_bytes(questions.read_bytes())
    assert config.model_copy(update={"files": (copy,)}).identity() == identity
    copy.write_bytes(questions.read_bytes() + b'{"question": "one more"}\n')
    assert config.model_copy(update={"files": (copy,)}).identity() != identity
    ignored.write_text("another quotation")
    assert config.identity() != identity


def test_a_user_is_told_what_is_and_what_is_not_looked_for(questions) -> None:
    assert Decontaminate(DecontaminateConfig(files=(questions,), max_rows_per_ngram=1)).note() == (
        "looks for 3 rows of 1 evaluation set; but not for rows with no text of 8 words that count: questions (1 of 3)"
    )
    rows = [{"q": f"Please choose the one best answer to this question about {word}"} for word in "abc"]
    stage = Decontaminate(DecontaminateConfig(files=(write_lines(questions, rows),), max_rows_per_ngram=2))
    note = stage.note()
    assert note is not None
    assert "ignores 3 n-grams that are in more than 2 rows or in 'ignore', such as \"please choose the one" in note


def test_nothing_to_look_for_is_an_error(tmp_path) -> None:
    files = write_lines(tmp_path / "short.jsonl", ["Too short?"])
    with pytest.raises(InputError, match=r"no text of the evaluation sets \(short\) has 8 words"):
        ready(Decontaminate, DecontaminateConfig, files)


def test_passages_to_ignore_must_be_text(questions, tmp_path) -> None:
    (tmp_path / "bad.txt").write_bytes(b"\xff\xff")
    with pytest.raises(InputError, match=r"bad\.txt"):
        ready(Decontaminate, DecontaminateConfig, questions, ignore=(tmp_path / "bad.txt",))


def test_a_document_full_of_questions_keeps_its_hundred_longest_matches(tmp_path) -> None:
    rows = [" ".join(f"{word}{i}" for word in "abcdefghi") + " x" * (i % 2) for i in range(150)]
    outcome = dropping(
        [" | ".join(rows)], write_lines(tmp_path / "many.jsonl", rows), match_words=None, match_overlap=None
    )
    matches = outcome.kept["decontaminate.matches"][0].as_py()
    assert len(matches) == 100
    assert [m["start"] for m in matches] == sorted(m["start"] for m in matches)
    assert sum(m["words"] == 10 for m in matches) == 75


def test_the_option_files_is_required() -> None:
    with pytest.raises(ValidationError, match="files"):
        DecontaminateConfig()


def test_in_a_recipe_the_ledger_and_the_removed_tell_task_and_row(questions, tmp_path) -> None:
    write_lines(tmp_path / "web.jsonl", [f"{BEFORE}{QUESTION}{AFTER}", BEFORE])
    clean = run_here(
        tmp_path,
        {
            "web": {"stage": "json_lines", "files": str(tmp_path / "web.jsonl")},
            "clean": {"stage": "stages.decontaminate.stage:Decontaminate", "from": "web", "files": str(questions)},
        },
    )["clean"]
    assert [row["text"] for row in rows_of(clean)] == [BEFORE]
    [removed] = removed_from(clean)
    assert removed["reason"] == "evaluation_passage"
    [match] = json.loads(removed["scores"])["decontaminate.matches"]
    assert (match["task"], match["row"], match["start"]) == ("questions", 1, len(BEFORE))
    assert any("looks for 3 rows" in note for note in clean.notes)
