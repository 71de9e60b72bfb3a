"""What the gates of rephrasing catch and reject, and what they cost.

    python -m tests.benchmarks.rephrase_gates

Defects are planted into faithful cuts of real texts of ten genres, and into paraphrases by people; see
tests/stages/rephrase/gates/calibration.py. Costs are CPU seconds of one process, for a source of SOURCE_WORDS words and
an answer of its sentences, each text for the first time.
"""

import sys
import time
from pathlib import Path
from random import Random

from stages.rephrase.answers import ParsedAnswer
from stages.rephrase.gates import GATES
from tests.real_texts import real_texts
from tests.stages.rephrase.gates import defects
from tests.stages.rephrase.gates.calibration import (
    FORM,
    Share,
    Sound,
    bounds,
    caught,
    faithful_cuts,
    foreign_texts,
    human_paraphrases,
    planters,
    rejected,
    revised_abstracts,
)
from tests.stages.rephrase.gates.small_answers import ENGLISH

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
CUTS_PER_GENRE = 30
SOURCE_WORDS = 500
TIMED_TEXTS = 100


def main() -> None:
    cuts = faithful_cuts(DATA, CUTS_PER_GENRE, Random(1))
    sets = {"faithful cuts": cuts, "paraphrases by people": human_paraphrases(DATA)}
    sets["revised abstracts"] = revised_abstracts(DATA)
    limits = {name: bounds("encyclopaedic", without=frozenset() if "people" in name else FORM) for name in sets}
    plants = planters([case.source for case in cuts], foreign_texts(DATA))
    sound: dict[str, list[Sound]] = {}
    print("| | " + " | ".join(sets) + " |\n|---|" + "---|" * len(sets))
    falsely = {name: rejected(cases, limits[name]) for name, cases in sets.items()}
    print("| rejected as they are | " + " | ".join(shown(Share(len(falsely[n]), len(sets[n]))) for n in sets) + " |")
    for name, cases in sets.items():
        out = {case for case, *_ in falsely[name]}
        sound[name] = [case for case in cases if case.name not in out]
    for kind, plant in plants.items():
        rng = Random(2)
        shares = [caught(sound[name], limits[name], plant, rng) for name in sets]
        print(f"| {kind} | " + " | ".join(map(shown, shares)) + " |")
    for name, failures in falsely.items():
        print(f"\n{name}:", *(f"{case}: {reason}, {evidence}" for case, reason, evidence in failures[:40]), sep="\n  ")
    costs()


def shown(share: Share) -> str:
    return f"{float(share):.1%} of {share.cases}"


def costs() -> None:
    """Milliseconds of each gate for a text."""
    texts = [t.text for t in real_texts(DATA, english_only=True, max_characters=8000) if t.set != "math_gsm8k_train"]
    sources = [defects.cut_to(t, SOURCE_WORDS) for t in texts if len(t.split()) >= SOURCE_WORDS][:: len(texts) // 500]
    sources = sources[: TIMED_TEXTS + 10]
    rng = Random(3)
    answers = [ParsedAnswer(defects.faithful_cut(source, rng, 0.9)) for source in sources]
    seconds = dict.fromkeys((gate.name for gate in GATES), 0.0)
    for i, (source, answer) in enumerate(zip(sources, answers, strict=True)):
        for gate in GATES:
            start = time.process_time()
            gate.measure(source, answer, ENGLISH)
            seconds[gate.name] += (time.process_time() - start) * (i >= 10)  # the first ones load models and word lists
    timed = len(sources) - 10
    print(f"\nms of CPU for {SOURCE_WORDS} words, {timed} texts")
    for name, total in sorted(seconds.items(), key=lambda entry: -entry[1]):
        print(f"  {name:24} {1e3 * total / timed:.2f}")
    print(f"  {'all':24} {1e3 * sum(seconds.values()) / timed:.2f}")


if __name__ == "__main__":
    sys.exit(main())
