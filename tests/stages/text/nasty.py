"""Texts for hypothesis that look like documents and are full of what goes wrong in them."""

from hypothesis import strategies as st

WORDS = [
    "the",
    "of",
    "a",
    "nother",
    "an",
    "other",
    "can",
    "not",
    "cannot",
    "U.S",
    "U.",
    "S.",
    "über",
    "naïve",
    "word",
    "x1",
]
SIGNS = [
    ".",
    "...",
    "…",
    "?",
    "!",
    '"',
    "'",
    "”",
    "»",
    "。",
    "؟",
    "#",
    "•",
    "-",
    "{",
    "}",
    ",",
    "(",
    ")",
    "—",
    "😀",
    "\u200b",
]
SPACES = [" ", " ", " ", "  ", "\n", "\n", "\n\n", "\n \n", "\t", "\r\n", "\r", "\x0b", "\x0c", "\x1c", "\x1f", "\x85"]
SPACES += ["\u00a0", "\u2028", "\u2029", "\u3000"]
PHRASES = [
    "[1]",
    "[]",
    "[٣]",
    "[edit]",
    "[citation needed]",
    "[[2]]",
    "[x]",
    "lorem ipsum",
    "Lorem Ipsum",
    "javaScript",
]
PHRASES += [
    "java[1]script",
    "Use of Cookies",
    "uses coo\u212aies",
    "privacy policy",
    "terms of use",
    "It is so. ",
    "x" * 40,
]
CHARACTERS = st.characters(codec="utf-8")

pieces = st.sampled_from(WORDS * 3 + SIGNS + SPACES * 4 + PHRASES) | CHARACTERS
lines = st.lists(pieces, max_size=12).map("".join)


@st.composite
def texts(draw: st.DrawFn) -> str:
    """Lines, of which some occur more than once."""
    some = draw(st.lists(lines, min_size=1, max_size=5))
    chosen = draw(st.lists(st.sampled_from(some), max_size=12))
    joints = draw(st.lists(st.sampled_from(SPACES), min_size=len(chosen), max_size=len(chosen)))
    return "".join(part for pair in zip(chosen, joints, strict=True) for part in pair)
