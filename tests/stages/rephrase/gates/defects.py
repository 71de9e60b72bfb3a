"""Defects planted into sound answers, as models make them. Each planter takes its chance from a generator with a seed
and returns None where the text offers nothing to spoil."""

import re
from collections.abc import Sequence
from random import Random

NUMBER = re.compile(r"(?<![\w.,])\d+(?:[.,]\d+)*(?![\w])")
NAME = re.compile(r"(?<=[a-z,] )[A-Z][a-z]{2,}(?: [A-Z][a-z]{2,})*(?!\w)")
SENTENCE_END = re.compile(r"(?<=[.!?]) +|\n+")
GIVEN_NAMES = ("Elena", "Tobias", "Marisol", "Ingrid", "Rafael", "Yusuf", "Harriet", "Dmitri", "Noor", "Caspian")
SURNAMES = ("Varga", "Whitfield", "Okonkwo", "Lindqvist", "Marchetti", "Brandvold", "Castellane", "Hargreave", "Tanaka")
PLACES = ("Norrhaven", "Velmora", "Castelbruck", "Ardenford", "Lindstrom Institute", "Port Ellery", "Quillon Group")
INSERTIONS = (
    "It was first described by {person} in a report for the {place}.",
    "According to {person}, this has been known for some time.",
    "A similar case was studied at {place} by {person} and others.",
)


def sentences(text: str) -> list[str]:
    """The sentences of a text, roughly."""
    return [sentence for sentence in SENTENCE_END.split(text) if sentence.strip()]


def changed_numbers(text: str, source: str, rng: Random, share: float = 0.1) -> str | None:
    """A digit changed in this share of the numbers that the text has from its source, at least in one."""
    known = set(NUMBER.findall(source))
    found = [match for match in NUMBER.finditer(text) if match.group() in known]
    if not found:
        return None
    for match in sorted(rng.sample(found, max(1, round(share * len(found)))), key=lambda m: -m.start()):
        places = [i for i, c in enumerate(match.group()) if c.isdigit()]
        place = match.start() + rng.choice(places)
        digit = rng.choice([c for c in "123456789" if c != text[place]])
        text = text[:place] + digit + text[place + 1 :]
    return text


def replaced_names(text: str, rng: Random, share: float = 0.3) -> str | None:
    """This share of the names, at least one, wherever they stand, replaced by invented ones."""
    found = sorted({match.group() for match in NAME.finditer(text)})
    if not found:
        return None
    for name in rng.sample(found, max(1, round(share * len(found)))):
        text = re.sub(rf"\b{re.escape(name)}\b", invented_name(rng), text)
    return text


def inserted_names(text: str, rng: Random) -> str:
    """A sentence about somebody invented, between two others."""
    parts = sentences(text)
    about = rng.choice(INSERTIONS).format(person=invented_name(rng), place=rng.choice(PLACES))
    parts.insert(rng.randrange(len(parts)) + 1, about)
    return " ".join(parts)


def invented_name(rng: Random) -> str:
    """A person that the source does not know."""
    return f"{rng.choice(GIVEN_NAMES)} {rng.choice(SURNAMES)}"


def half_off_topic(text: str, other: str, rng: Random) -> str:
    """Half of a text and as much of another, in either order."""
    own, foreign = sentences(text), sentences(other)
    words = len(" ".join(own[: max(1, len(own) // 2)]).split())
    halves = [" ".join(own[: max(1, len(own) // 2)]), cut_to(" ".join(foreign), words)]
    return " ".join(halves if rng.random() < 0.5 else halves[::-1])


def broken_off(text: str, rng: Random) -> str | None:
    """A text that stops within a sentence."""
    words = text.split()
    inner = [
        i for i in range(len(words) // 3, len(words) - 1) if words[i - 1][-1:].isalnum() and words[i][:1].islower()
    ]
    if not inner:
        return None
    end = rng.choice(inner)
    return text[: _start_of_word(text, end)].rstrip()


def cut_to(text: str, words: int) -> str:
    """The first words of a text, to the end of a sentence if there is one near."""
    cut = " ".join(text.split()[:words])
    end = max(cut.rfind(". "), cut.rfind("? "))
    return cut[: end + 1] if end > len(cut) // 2 else cut + "."


def _start_of_word(text: str, number: int) -> int:
    return [match.start() for match in re.finditer(r"\S+", text)][number]


def faithful_cut(text: str, rng: Random, share: float = 0.6) -> str:
    """A text without some of its sentences: all that it says stands in the source."""
    parts = sentences(text)
    kept: Sequence[str] = [part for part in parts if rng.random() < share] or parts[:1]
    return " ".join(kept)
