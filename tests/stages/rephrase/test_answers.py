"""Answers of models, read as what the style asks for: remarks go, the text stays, half a pair or table is refused."""

import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.rephrase.answers import ParsedAnswer, QuestionAnswer, cleaned, rendered
from stages.rephrase.prompts import visible
from stages.rephrase.styles import read_styles
from tests.real_texts import real_texts

STYLES = read_styles()
PASSAGE = "The mill on the Elbe was built in 1891 by Anna Lindqvist. It ground 3,500 sacks of corn a year."
TEXT = "The mill on the Elbe dates from 1891.\n\nIt ground 3,500 sacks."
PAIRS = (QuestionAnswer("What is it?", "A mill."), QuestionAnswer("When was it built?", "In 1891."))
PAIRS_TEXT = "Question: What is it?\nAnswer: A mill.\n\nQuestion: When was it built?\nAnswer: In 1891."
TABLE = "| what | when |\n|---|---|\n| mill | 1891 |"


def text_of(answer: str, style: str = "clean", passage: str = PASSAGE) -> str:
    parsed = cleaned(answer, STYLES[style], passage)
    assert parsed.problem == ""
    return parsed.text


def problem_of(answer: str, style: str) -> str:
    return cleaned(answer, STYLES[style], PASSAGE).problem


# What stands around a text

PREAMBLES = [
    "Here is the repaired passage:\n\n",
    "Sure! Here's the cleaned text:\n\n",
    "Certainly! Below is the rewritten passage in German:\n",
    "**Repaired passage:** ",
    "**Repaired passage**\n\n",
    "## Cleaned Passage\n\n",
    "Certainly! ",
    "Okay, here is the rewritten version of the passage in encyclopaedic style:\n---\n",
    "Below is a neutral, encyclopedic rewrite of the passage about the mill:\n\n",
    "The following is the passage, rewritten in a neutral tone:\n\n",
    "I have repaired the passage below and removed the menus and advertisements.\n\n",
    "Based on the provided text, here is a rewritten version:\n",
    "Of course. Here is the text, repaired as requested.\n\n",
    "Here you go:\n\n",
    "Output:\n",
    "assistant\n",
    "Hier ist der überarbeitete Text:\n",
    "Gerne! Hier ist die bereinigte Fassung:\n\n",
    "Voici le texte réécrit :\n\n",
    "Aquí está el pasaje reescrito:\n",
    "Ecco il testo riscritto:\n",
    "Aqui está o texto reescrito:\n",
    "Hieronder volgt de herschreven tekst:\n",
    "Вот переписанный текст:\n",
    "以下是改写后的文本：\n\n",
    "以下は書き直した文章です。\n\n",
    "<think>The user wants a clean text. Here it is:</think>\n\n",
    "so I delete the menu.</think>\n",
    "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>",
    "[THINK]short[/THINK]",
    "=====0123456789abcdef=====\n",
    "<s>",
]
CLOSINGS = [
    "\n\nLet me know if you need any further changes!",
    "\n\nI hope this helps!",
    "\n\nFeel free to ask if you have any questions.",
    "\n\nWould you like me to rewrite it in another style?",
    "\n\nNote: I removed the navigation menu and fixed the spacing of the passage.",
    "\n\n---\n*Note: the passage was kept in its original language.*",
    "\n\n(This version keeps all facts and numbers of the passage.)",
    "\n\n[End of passage]",
    "\n\nLassen Sie mich wissen, wenn Sie weitere Fragen haben.",
    "\n=====0123456789abcdef=====",
    "\n\n---",
    "<|im_end|>",
]


@pytest.mark.parametrize("preamble", PREAMBLES)
@pytest.mark.parametrize("closing", ["", CLOSINGS[0]])
def test_what_a_model_says_before_the_text_is_taken_away(preamble: str, closing: str) -> None:
    assert text_of(preamble + TEXT + closing) == TEXT


@pytest.mark.parametrize("closing", CLOSINGS)
@pytest.mark.parametrize("preamble", ["", PREAMBLES[0]])
def test_what_a_model_says_behind_the_text_is_taken_away(preamble: str, closing: str) -> None:
    assert text_of(preamble + TEXT + closing) == TEXT


@pytest.mark.parametrize(
    "answer",
    [
        f"```\n{TEXT}\n```",
        f"```markdown\n{TEXT}\n```",
        f"~~~~ text\n{TEXT}\n~~~~",
        f'"{TEXT}"',
        f"“{TEXT}”",
        f"„{TEXT}“",
    ],
)
@pytest.mark.parametrize("preamble", ["", PREAMBLES[0]])
def test_code_fences_and_quotes_around_the_whole_are_taken_away(answer: str, preamble: str) -> None:
    assert text_of(preamble + answer) == TEXT


@pytest.mark.parametrize(
    "text",
    [
        "Here is what the rivers of Europe have in common: they flow.\n\nAll of them.",
        "Here are three rivers:\nElbe, Rhine, Danube.",
        "Of course the mill was old. It was built in 1891.",
        "Sure enough, the mill burned down.\n\nNobody was hurt.",
        "Note the height of the wheel: 3 m.",
        "The mill stopped in 1930.\n\nPlease note that the museum is closed on Mondays.",
        "The passage from the Elbe to the sea takes three days:\none for each lock.",
        "Summary of the expedition to the source of the Nile:\nThey went south.",
        "Extracting the output gap: a Bayesian approach\n\nWe use data of 1990.",
        "```python\nprint('mill')\n```",
        "```\nfirst\n```\ntext between\n```\nlast\n```",
        '"One," she said, "and two."',
        "I have seen the mill.\n\nI hope to see it again.",
        "Q: What is it?\nA: A mill.",
        "It was cold.\n\nI hope this winter brings less snow to the valleys than the last one did.",
        "It was old.\n\nThe text of the summary was carved in stone above both gates of the castle.",
    ],
)
def test_a_text_that_merely_begins_or_ends_like_a_remark_stays(text: str) -> None:
    assert text_of(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "Here is the rewritten passage:\n\nIt is about a mill.",
        "Sure!\nIt was.",
        "It was so.\n\nLet me know if you need anything else!",
        "```\ncode\n```",
        '"A saying."',
        "---\ntitle\n---",
        "<s>struck out</s>",
        "Model\n\nThe wheel is modelled as a disc.",
        "Assistant\n\nThe mill employed one.",
    ],
)
def test_what_the_passage_itself_says_stays(text: str) -> None:
    assert text_of(text, passage=f"{text}\n\nMore follows.") == text
    assert text_of(text, passage=text) == text


def test_words_that_the_passage_begins_with_are_no_talk_about_the_task() -> None:
    passage = "This passage, rewritten by monks, is all that is left of the requested book."
    text = "The rewritten passage is given below:\nIn the beginning."
    assert text_of(text) == "In the beginning."
    assert text_of(text, passage=passage) == text


@pytest.mark.parametrize("answer", ["<think>It begins with", "[THINK] and so on", "<think>a</think><think>b"])
def test_reasoning_without_an_end_is_no_answer(answer: str) -> None:
    assert cleaned(answer, STYLES["clean"], PASSAGE) == ParsedAnswer("", problem="unfinished_reasoning")


@pytest.mark.parametrize("answer", ["", " \n", "<think>nothing to say</think>\n", "```\n\n```", "\u200b", "</s>"])
def test_nothing_is_no_answer(answer: str) -> None:
    assert cleaned(answer, STYLES["clean"], PASSAGE).problem == "empty"


def test_characters_are_in_normal_form_and_can_be_seen() -> None:
    assert text_of("cafe\u0301 \u202eof\u202c the\u200b mill\r\nby the river\x07") == "café of the mill\nby the river"


def texts_as_cleaned(shared_data: Path, every: int) -> Iterator[str]:
    """Starts of real documents, in normal form and without what cannot be seen."""
    for number, document in enumerate(real_texts(shared_data, max_characters=6000)):
        if number % every == 0 and document.text:
            yield unicodedata.normalize("NFC", visible(document.text)).strip()


def test_real_texts_repeated_word_for_word_stay_whole(shared_data: Path) -> None:
    for text in texts_as_cleaned(shared_data, every=25):
        assert text_of(text, passage=text) == text


def test_real_texts_stay_whole_even_if_the_passage_has_none_of_their_words(shared_data: Path) -> None:
    texts = [text.strip("-=_ \n") for text in texts_as_cleaned(shared_data, every=25)]  # rules at the ends are remarks
    is_changed = [text_of(text) != text for text in texts]
    assert sum(is_changed) <= 0.002 * len(is_changed)


def test_remarks_around_real_texts_are_taken_away(shared_data: Path) -> None:
    for text in texts_as_cleaned(shared_data, every=600):
        for preamble in PREAMBLES[:4]:
            for closing in CLOSINGS[:3]:
                assert text_of(preamble + text + closing, passage=text) == text


# Lists


@pytest.mark.parametrize(
    "answer",
    [
        "- It is a mill.\n- It is old.",
        "* It is a mill.\n* It is old.",
        "1. It is a mill.\n2. It is old.",
        "(1) It is a mill.\n(2) It is old.",
        "• It is a mill.\n\n• It is old.",
        "- It is\n  a mill.\n- It is old.",
        "Here are the facts:\n\n- It is a mill.\n- It is old.\n\nLet me know if you need more.",
        "The mill:\n- It is a mill.\n- It is old.",
        "# Notes\n\n**History**\n- It is a mill.\n## Age\n- It is old.",
        "1、It is a mill.\n2、It is old.",
        "1．It is a mill.\n2．It is old.",
        "1.It is a mill.\n2.It is old.",
        "-It is a mill.\n-It is old.",
        "— It is a mill.\n— It is old.",
    ],
)
def test_a_list_is_one_point_a_line(answer: str) -> None:
    assert text_of(answer, "knowledge_list") == "- It is a mill.\n- It is old."


@pytest.mark.parametrize(
    "answer", ["It is a mill.", "- It is a mill.", "- one\nand so on\n- two", "A mill.\n- one\n- two"]
)
def test_other_text_is_no_list(answer: str) -> None:
    assert problem_of(answer, "knowledge_list") == "not_a_list"


# Questions and answers

SHAPES = [
    "Question: {} Answer: {}\n",
    "问：{}答：{}\n",
    "Question (what):\n{}\nAnswer: {}\n",
    "Question 1 (what): {}\nCorrect answer: {}\n",
    "Question: {}\nAnswer: {}\n\n",
    "Question: {}\n\nAnswer: {}\n",
    "**Question:** {}\n**Answer:** {}\n\n",
    "**Question**: {}\n**Answer**: {}\n\n",
    "**Question: {}**\nAnswer: {}\n",
    "- Question: {} Answer: {}\n",
    "Question: {} **Answer:** {}\n",
    "QUESTION: {}\nANSWER: {}\n---\n",
    "Question 1: {}\nAnswer 1: {}\n---\n",
    "1. Question: {}\n   Answer: {}\n",
    "### Question 1\n{}\n### Answer\n{}\n\n",
    "Question 1\n{}\nAnswer 1\n{}\n",
    "Q1: {}\nA1: {}\n",
    "Q: {}\n\nA: {}\n\n",
    "**Q:** {}\n**A:** {}\n",
    "**Q1. {}**\nA1. {}\n",
    "1. **{}**\n   {}\n",
    "1. {}\n{}\n",
    "### {}\n{}\n\n",
    "### 2. {}\n\n{}\n\n",
    "**{}**\n\n{}\n\n",
    "**{}**\nAnswer: {}\n",
    "## General\n\n**Question:** {}\n**Answer:** {}\n\n",
    "Frage: {}\nAntwort: {}\n",
    "Pregunta: {}\nRespuesta: {}\n",
    "Вопрос: {}\nОтвет: {}\n",
    "問題：{}\n答え：{}\n",
    "问题：{}\n答案：{}\n",
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("lead", ["", "# FAQ\n\n", "Here are the questions and answers:\n\n"])
def test_pairs_are_read_in_many_shapes_and_written_in_one(shape: str, lead: str) -> None:
    parsed = cleaned(lead + "".join(shape.format(*pair) for pair in PAIRS), STYLES["faq"], PASSAGE)
    assert parsed == ParsedAnswer(PAIRS_TEXT, PAIRS)
    assert rendered(parsed, STYLES["faq"]) == PAIRS_TEXT


def test_answers_may_have_several_paragraphs_and_questions_choices() -> None:
    answer = "Question: Which?\nA) Elbe\nB) Rhine\nAnswer: A) Elbe.\n\nIt is north.\n- wide\n- deep"
    parsed = cleaned(answer, STYLES["questions"], PASSAGE)
    assert parsed.questions == (
        QuestionAnswer("Which?\nA) Elbe\nB) Rhine", "A) Elbe.\n\nIt is north.\n- wide\n- deep"),
    )


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("The mill was built in 1891.", "no_questions"),
        ("Question: When?\nAnswer: In 1891.", "no_questions"),  # of an FAQ there are two at least
        ("Question: When?\nAnswer: In 1891.\nQuestion: Where?", "question_without_answer"),
        ("Question: When?\nAnswer:\nQuestion: Where?\nAnswer: Here.", "question_without_answer"),
        ("Question: When?\nQuestion: Where?\nAnswer: Here.", "question_without_answer"),
        ("Question: When?\nAnswer: In 1891.\nAnswer: In 1892.", "question_without_answer"),
        ("The mill. " * 20 + "\n" + PAIRS_TEXT, "text_beside_questions"),
    ],
)
def test_what_are_not_pairs_is_refused(answer: str, problem: str) -> None:
    assert problem_of(answer, "faq") == problem


def test_a_pair_that_was_dropped_is_not_in_the_document() -> None:
    parsed = cleaned(PAIRS_TEXT, STYLES["faq"], PASSAGE)
    assert rendered(ParsedAnswer(parsed.text, parsed.questions[1:]), STYLES["faq"]) == PAIRS_TEXT.split("\n\n")[1]


# Tables


@pytest.mark.parametrize(
    "answer",
    [
        f"{TABLE}\n\n{PAIRS_TEXT}",
        f"Here is the table:\n\n{TABLE}\n\n{PAIRS_TEXT}",
        f"{TABLE}\n\n---\n\n### Questions\n\n{PAIRS_TEXT}",
        f"{TABLE}\n\nHere are the questions:\n\n{PAIRS_TEXT}",
        f"{TABLE}\n\n1. **What is it?**\n A mill.\n2. **When was it built?**\n In 1891.",
    ],
)
def test_a_table_stands_before_its_questions(answer: str) -> None:
    parsed = cleaned(answer, STYLES["table_questions"], PASSAGE)
    assert parsed == ParsedAnswer(f"{TABLE}\n\n{PAIRS_TEXT}", PAIRS)
    assert rendered(parsed, STYLES["table_questions"]) == parsed.text


def test_without_its_questions_the_table_is_left() -> None:
    parsed = cleaned(f"Mills\n\n{TABLE}\n\n{PAIRS_TEXT}", STYLES["table_questions"], PASSAGE)
    assert rendered(ParsedAnswer(parsed.text, ()), STYLES["table_questions"]) == f"Mills\n\n{TABLE}"


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (PAIRS_TEXT, "no_table"),
        (f"what | when\n{PAIRS_TEXT}", "no_table"),
        (f"| what | when |\n| mill | 1891 |\n| gate | 1892 |\n\n{PAIRS_TEXT}", "no_table"),
        (f"| what | when |\n|---|---|\n\n{PAIRS_TEXT}", "no_table"),
        (f"{TABLE}\n| gate |\n\n{PAIRS_TEXT}", "uneven_table"),
        (f"{TABLE}\n| gate | 1892 | 1893 |\n\n{PAIRS_TEXT}", "uneven_table"),
        (TABLE, "no_questions"),
        (f"{TABLE}\n\nQuestion: When?", "question_without_answer"),
    ],
)
def test_what_is_no_table_with_questions_is_refused(answer: str, problem: str) -> None:
    assert problem_of(answer, "table_questions") == problem


def test_a_column_border_within_a_cell_is_written_with_a_backslash() -> None:
    table = "| what | when |\n|:--|--:|\n| mill \\| gate | |"
    assert text_of(f"{table}\n\n{PAIRS_TEXT}", "table_questions") == f"{table}\n\n{PAIRS_TEXT}"


def test_a_remark_within_a_question_is_part_of_it() -> None:
    answer = "Question: Repaired passage:** Question: What is it?\nAnswer: A mill."
    parsed = cleaned(answer, STYLES["questions"], PASSAGE)
    assert cleaned(parsed.text, STYLES["questions"], PASSAGE) == parsed
    assert len(parsed.questions) == 1


fragments = st.sampled_from(
    [
        *PREAMBLES,
        *CLOSINGS,
        *(shape.format(*pair) for shape in SHAPES for pair in PAIRS),
        *(
            "- point\n",
            "1. point\n",
            TABLE,
            "| a |\n",
            "```\n",
            '"',
            "\n\n",
            "\n",
            "**",
            "---\n",
            "Answer: ",
            "Question: ",
            ":",
        ),
        TEXT,
        "It grinds. ",
    ]
)
answers = st.lists(st.one_of(fragments, st.text(max_size=8)), max_size=7).map("".join)


@pytest.mark.parametrize("style", ["clean", "knowledge_list", "questions", "faq", "table_questions"])
@given(answers, st.one_of(st.just(PASSAGE), answers))
def test_cleaning_what_is_clean_changes_nothing(style: str, answer: str, passage: str) -> None:
    once = cleaned(answer, STYLES[style], passage)
    if not once.problem:
        assert cleaned(once.text, STYLES[style], passage) == once
        assert cleaned(rendered(once, STYLES[style]), STYLES[style], passage) == once
