"""The bounds of the styles against planted defects, faithful cuts of real texts and paraphrases by people.

`python -m tests.benchmarks.rephrase_gates` prints the table for more texts.
"""

from pathlib import Path
from random import Random

import pytest

from tests.stages.rephrase.gates import defects
from tests.stages.rephrase.gates.calibration import (
    FORM,
    Sound,
    bounds,
    caught,
    faithful_cuts,
    foreign_texts,
    human_paraphrases,
    planters,
    rejected,
    rejection,
)

LEAST_CAUGHT = 0.95
MOST_FALSE_REJECTIONS = 0.02
CUTS_PER_GENRE = 5

BRIDGE = (
    "The old bridge over the Tamar was designed by Ines Calder and opened in 1887. It is 412 metres long and carried "
    "both the railway and the road to Plymouth until 1961, when a second bridge was finished beside it. Its nine iron "
    "arches rest on granite from the quarries at Dartmoor. Engineers inspect the rivets every two years, because salt "
    "in the wind of the estuary corrodes them. In 2004 the trust that owns the bridge replaced 3,100 of them by hand."
)
REWRITTEN = (
    "Ines Calder designed the old Tamar bridge, which was opened in 1887. The structure has a length of 412 metres and "
    "rests on nine arches of iron standing on Dartmoor granite. Until a second bridge was completed beside it in 1961, "
    "road and railway traffic to Plymouth both used it. The salty wind of the estuary corrodes its rivets, so they are "
    "inspected by engineers every two years; the owning trust replaced 3,100 of them by hand in 2004."
)


def test_a_faithful_paraphrase_passes() -> None:
    assert rejection(Sound("bridge", BRIDGE, REWRITTEN), REWRITTEN, bounds("encyclopaedic")) is None


@pytest.mark.parametrize(
    ("said", "instead", "gates"),
    [
        ("1887", "1878", {"changed_numbers"}),
        ("3,100", "3,700", {"changed_numbers"}),
        ("Ines Calder", "Oskar Lindqvist", {"changed_entities", "unsupported_entities"}),
        ("replaced 3,100 of them by hand in 2004.", "replaced 3,100 of", {"ends_well"}),
        (
            "The salty wind of the estuary corrodes its rivets, so they are inspected by engineers every two years; "
            "the owning trust replaced 3,100 of them by hand in 2004.",
            "Investors demanded higher interest from the central bank. Bond markets expected inflation, traders sold "
            "currencies, and analysts blamed monetary policy for declining credit and weak exports.",
            {"support", "worst_support"},
        ),
    ],
)
def test_a_defect_in_it_is_named(said: str, instead: str, gates: set[str]) -> None:
    assert said in REWRITTEN
    failure = rejection(Sound("bridge", BRIDGE, REWRITTEN), REWRITTEN.replace(said, instead), bounds("encyclopaedic"))
    assert failure is not None
    assert failure[0] in gates


@pytest.fixture(scope="module")
def cuts(shared_data: Path) -> list[Sound]:
    return faithful_cuts(shared_data, CUTS_PER_GENRE, Random(17))


def test_paraphrases_by_people_pass(shared_data: Path) -> None:
    cases = human_paraphrases(shared_data)
    assert rejected(cases, bounds("encyclopaedic"))[: int(MOST_FALSE_REJECTIONS * len(cases)) + 1] == []


def test_faithful_cuts_pass(cuts: list[Sound]) -> None:
    found = rejected(cuts, bounds("encyclopaedic", without=FORM))
    assert len(found) <= MOST_FALSE_REJECTIONS * len(cuts), found


def test_copies_pass_as_clean_texts(cuts: list[Sound]) -> None:
    copies = [Sound(case.name, case.source, case.source) for case in cuts]
    assert rejected(copies, bounds("clean")) == []


@pytest.mark.parametrize("kind", planters([], []))
def test_defects_planted_into_faithful_cuts_are_caught(kind: str, shared_data: Path, cuts: list[Sound]) -> None:
    limits = bounds("encyclopaedic", without=FORM)
    plant = planters([case.source for case in cuts], foreign_texts(shared_data))[kind]
    share = caught(cuts, limits, plant, Random(23))
    assert share.cases >= 20
    assert float(share) >= LEAST_CAUGHT, share


@pytest.mark.parametrize("kind", planters([], []))
def test_defects_planted_into_paraphrases_by_people_are_caught(kind: str, shared_data: Path, cuts: list[Sound]) -> None:
    cases = human_paraphrases(shared_data)
    plant = planters([case.source for case in cuts], foreign_texts(shared_data))[kind]
    share = caught(cases, bounds("encyclopaedic"), plant, Random(29))
    # A number that the student added has no counterpart in the source: two of the 13 texts with numbers have only such.
    assert share.rejected >= min(share.cases - 2, LEAST_CAUGHT * share.cases), share


def test_planters_change_texts_and_stay_the_same_for_a_seed() -> None:
    for plant in (defects.replaced_names, defects.inserted_names, defects.broken_off):
        spoilt = plant(REWRITTEN, Random(1))
        assert spoilt not in (None, REWRITTEN)
        assert spoilt == plant(REWRITTEN, Random(1))
    numbers = defects.changed_numbers(REWRITTEN, BRIDGE, Random(1))
    assert numbers is not None
    assert sum(a != b for a, b in zip(numbers, REWRITTEN, strict=True)) == 1
