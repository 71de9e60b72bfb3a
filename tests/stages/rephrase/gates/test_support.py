"""Whether an answer is about its source, in its own words, and complete."""

import pytest

from stages.rephrase.answers import ParsedAnswer
from stages.rephrase.gates import GateContext
from stages.rephrase.gates.copying import copied
from stages.rephrase.gates.length import ends_well, length_ratio
from stages.rephrase.gates.support import support, worst_support
from tests.stages.rephrase.gates.small_answers import pairs, score

RIVER = (
    "The river rises in the northern mountains and flows through three lakes. Salmon climb its waterfalls in autumn, "
    "and bears wait for them on the banks. Farmers downstream use the water for their orchards."
)
BANKING = (
    "Investors demanded higher interest from the central bank. Bond markets expected inflation, and traders sold "
    "currencies. Analysts blamed monetary policy for declining credit."
)


def test_support_is_the_share_of_content_words_that_stand_in_the_source() -> None:
    assert score(support, "Bears wait for salmon.", "Salmon fear bears") == pytest.approx(2 / 3)
    assert score(support, RIVER, BANKING) < 0.1


def test_inflected_words_are_supported() -> None:
    assert score(support, "The river crosses waterfalls northward.", "Rivers crossing a waterfall") == 1
    assert score(support, "Die Häuser wurden gebaut.", "Ein Haus, das gebaute Häusern gleicht", "de") >= 0.5


def test_words_of_any_text_do_not_count() -> None:
    assert score(support, RIVER, "It was also one of the first that they had there.") == 1


def test_scripts_without_spaces_are_compared_by_pairs_of_characters() -> None:
    assert score(support, "東京タワーは高い。", "東京タワー", "ja") == 1
    assert score(support, "東京タワーは高い。", "大阪城公園", "ja") == 0


def test_worst_support_finds_the_half_that_is_off_topic() -> None:
    half = f"{RIVER} {BANKING}"
    assert score(support, RIVER, half) > 0.4
    assert score(worst_support, RIVER, half) < 0.2
    assert score(worst_support, RIVER, RIVER) == 1


def test_copied_is_the_share_of_runs_of_eight_words() -> None:
    assert score(copied, RIVER, RIVER) == 1
    first = RIVER.partition(".")[0]
    told = f"{first}. Every autumn the fish go up and the bears are there already."
    assert score(copied, RIVER, told) == 5 / 17
    assert score(copied, RIVER, "Salmon climb.") == 0


@pytest.mark.parametrize(
    ("source", "answer", "ratio"),
    [("one two three four", "one two", 0.5), ("東京タワーは高い", "東京タワー", 5 / 8), ("", "two words", 2.0)],
)
def test_length_ratio_counts_words(source: str, answer: str, ratio: float) -> None:
    assert score(length_ratio, source, answer) == ratio


@pytest.mark.parametrize(
    "answer",
    [
        "The river rises in the mountains.",
        'They call it "the river."',
        "**Salmon climb its waterfalls.**",
        "- rivers\n- lakes and waterfalls",
        "| river | lake |\n|---|---|\n| a | b |",
        "$$ a = b $$",
        "河流从山上流下。",
        "The river\n\nNorthern lakes\nThe banks",
        "What uses the water: farmers downstream use the water for their orchards",
    ],
)
def test_an_answer_ends_well_at_the_end_of_a_sentence_a_list_or_the_source(answer: str) -> None:
    assert score(ends_well, RIVER, answer) == 1


@pytest.mark.parametrize(
    "answer", ["The river rises in the mountains and flows", "- Rivers rise.\n- Salmon climb the", "Salmon climb, and"]
)
def test_an_answer_that_breaks_off_does_not(answer: str) -> None:
    assert score(ends_well, RIVER, answer) == 0


def test_a_source_without_full_stops_tells_nothing_of_the_end() -> None:
    assert score(ends_well, "แม่น้ำไหลผ่านทะเลสาบ", "แม่น้ำไหล", "th") == 1


def test_of_questions_the_answers_are_judged() -> None:
    context = GateContext("questions", "questions", "stop", "en", "", "")
    answer = pairs(("Which animals climb waterfalls?", "Salmon"), ("Who waits?", "Bears"))
    assert support(RIVER, answer, context) == 1
    assert ends_well(RIVER, answer, context) == 1
    broken = pairs(("Who waits?", "Bears wait."), ("Why?", "They wait because in autumn the salmon climb up"))
    assert ends_well(RIVER, broken, context) == 0


def test_of_a_table_all_of_it_is_judged() -> None:
    context = GateContext("table_questions", "table", "stop", "en", "", "")
    answer = ParsedAnswer(f"| animal |\n|---|\n| {BANKING} |", pairs(("Who waits?", "Bears")).questions)
    assert support(RIVER, answer, context) < 0.5
