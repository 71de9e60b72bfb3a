"""Runs: text in one line without a wide gap, put together from the fragments of a page.

Lengths are points, y downwards; an em is the size of the text's font.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from stages.pdf.page import Fragment

WIDE_GAP_EM = 1.0
"""Words of justified text stand closer than this; the cells of a row and the columns of a page seldom do."""
NARROW_GAP_EM = 0.5
"""Words that do not follow each other in the file stand closer than this if they are of one line."""
BULLET_GAP_EM = 3.0
SPACE_EM = 0.15
"""A gap from which two fragments are two words: the narrowest spaces of justified text are 0.2 em, kerning 0.1."""
SCRIPT_SIZE = 0.86
"""Superscripts and subscripts are set in at most this share of the size of their line (TeX: 0.7, browsers: 0.83)."""
MIN_OVERLAP = 0.5
"""Share of the lower one's height that two fragments of one line have in common."""
MIN_SCRIPT_OVERLAP = 0.2

_SUPERSCRIPTS = str.maketrans("0123456789+-\u2212=()", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁼⁽⁾")
_SUPERSCRIPT = re.compile(r"[0-9+\-\u2212,]+")
_SPACES = re.compile(r"\s+")
_LEADERS = re.compile(r"(?:[.\u00b7\u2026]\s?){5,}")
"""Dots that lead the eye to the next cell."""
_NO_BULLETS = frozenset("-\u2013\u2014\u2212$€£¥%*+/|\u2713\u2717\u25cb\u25cf#&~")
"""Signs that cells of tables hold alone."""
_RIGHT_TO_LEFT = re.compile(r"[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
_LEFT_TO_RIGHT = re.compile(r"[A-Za-z\u00c0-\u058f\u0900-\u1fff\u2c00-\ufb17]")


class Run:
    """Fragments beside each other. Mutable while the layout is being found."""

    __slots__ = ("bold", "bottom", "characters", "core_bottom", "core_top", "font", "index", "is_row", "left", "math",
                 "right", "size", "text", "top")  # fmt: skip

    def __init__(self, fragment: Fragment, index: int) -> None:
        self.left, self.top = fragment.left, fragment.top
        self.right, self.bottom = fragment.right, fragment.bottom
        self.core_top, self.core_bottom = fragment.top, fragment.bottom  # without super- and subscripts
        self.text = fragment.text
        self.size = fragment.size
        self.font = fragment.font
        self.is_row = False  # a row of names and values, that goes on in no other
        self.index = index  # of the first fragment, in the order in which the file has them
        self.characters = len(fragment.text)
        self.bold = len(fragment.text) if fragment.is_bold else 0
        self.math = len(fragment.text) if is_math(fragment) else 0  # characters of formulas

    @property
    def middle(self) -> float:
        return (self.core_top + self.core_bottom) / 2

    @property
    def height(self) -> float:
        return self.core_bottom - self.core_top

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def is_upright(self) -> bool:
        """Text that stands on its side has a tall, narrow box."""
        return len(self.text) < 4 or self.bottom - self.top <= 2 * (self.right - self.left)

    def take(self, fragment: Fragment) -> None:
        """Put the fragment that follows at this run's end."""
        smaller = fragment.size <= SCRIPT_SIZE * self.size
        gap = fragment.left - self.right
        text, before = fragment.text, self.text.strip()
        raised = smaller and fragment.bottom < self.core_bottom - 0.15 * self.size
        if raised and _SUPERSCRIPT.fullmatch(text.strip()) and self.text[-1:].strip():
            self.text += text.strip().translate(_SUPERSCRIPTS) + (" " if text.endswith(" ") else "")
        else:
            spaced = gap > SPACE_EM * self.size and not self.text.endswith(" ") and not text.startswith(" ")
            self.text += f" {text}" if spaced else text
        if not smaller and fragment.size * SCRIPT_SIZE >= self.size and self.characters < len(text):
            # the run began with its superscript, the mark of a footnote, or with its bullet
            if self.core_bottom < fragment.bottom - 0.15 * fragment.size and _SUPERSCRIPT.fullmatch(before):
                self.text = before.translate(_SUPERSCRIPTS) + text
            self.size, self.font = fragment.size, fragment.font
            self.core_top, self.core_bottom = fragment.top, fragment.bottom
        elif not smaller:
            self.core_top = min(self.core_top, fragment.top)
            self.core_bottom = max(self.core_bottom, fragment.bottom)
        self._widen(fragment)
        self.characters += len(text)
        self.bold += len(text) if fragment.is_bold else 0
        self.math += len(text) if is_math(fragment) else 0

    def join(self, other: Run, space: bool) -> None:
        """Put a run that stands to the right at this run's end."""
        self.text = f"{self.text} {other.text}" if space else self.text + other.text
        if other.characters > self.characters:
            self.size, self.font = other.size, other.font
        self.core_top = min(self.core_top, other.core_top)
        self.core_bottom = max(self.core_bottom, other.core_bottom)
        self._widen(other)
        self.index = min(self.index, other.index)
        self.characters += other.characters
        self.bold += other.bold
        self.math += other.math

    def _widen(self, other: Fragment | Run) -> None:
        self.left, self.top = min(self.left, other.left), min(self.top, other.top)
        self.right, self.bottom = max(self.right, other.right), max(self.bottom, other.bottom)


_MATH_FONT = re.compile(r"CM(MI|SY|EX|BSY|MIB)|MSAM|MSBM|Math|Symbol|MT(MI|SY|EX)|RMTMI|txsy|rtxmi|pxsy", re.IGNORECASE)
_MATH_CHARACTER = re.compile(
    "[=<>+\u00b1\u00d7\u00f7\u2200-\u22ff\u2190-\u21ff\u27c0-\u2aff\u0370-\u03ff\ue000-\uf8ff]"
)


def is_math(fragment: Fragment) -> bool:
    """Whether a fragment is part of a formula, by its font (those of TeX and of word processors) or its characters."""
    if fragment.font and _MATH_FONT.search(fragment.font):
        return True
    text = fragment.text.strip()
    return 0 < len(text) <= 3 and _MATH_CHARACTER.search(text) is not None and not text[0].isalpha()


def runs_of(fragments: Sequence[Fragment], wide_gap_em: float = WIDE_GAP_EM) -> list[Run]:
    """Fragments that follow each other in a line without a wide gap, put together."""
    runs: list[Run] = []
    run: Run | None = None
    for index, fragment in enumerate(fragments):
        if not fragment.text.strip() or _LEADERS.fullmatch(fragment.text.strip()):
            continue
        if run is not None and _continues(run, fragment, wide_gap_em):
            run.take(fragment)
        else:
            run = Run(fragment, index)
            runs.append(run)
    for run in runs:
        run.text = _SPACES.sub(" ", _LEADERS.sub(" ... ", run.text)).strip()
        run.size = run.size or run.height or 1.0
    return runs


def _continues(run: Run, fragment: Fragment, wide_gap_em: float) -> bool:
    size = max(run.size, fragment.size, 1.0)
    gap = fragment.left - run.right
    if not -0.6 * size <= gap <= wide_gap_em * size or fragment.left < run.left:
        return False
    overlap = min(run.core_bottom, fragment.bottom) - max(run.core_top, fragment.top)
    lower = min(run.height, fragment.bottom - fragment.top)
    is_script = fragment.size <= SCRIPT_SIZE * run.size or run.size <= SCRIPT_SIZE * fragment.size
    return overlap >= (MIN_SCRIPT_OVERLAP if is_script else MIN_OVERLAP) * lower


def is_right_to_left(runs: Sequence[Run]) -> bool:
    """Whether most letters of a page are written from right to left."""
    text = "".join(run.text for run in runs[:500])
    return len(_RIGHT_TO_LEFT.findall(text)) > len(_LEFT_TO_RIGHT.findall(text))


def rows_of(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs at one height, from left to right; rows from top to bottom."""
    rows: list[list[Run]] = []
    middle = 0.0  # of the row that is being put together
    for run in sorted(runs, key=lambda run: (run.middle, run.left)):
        if rows and run.middle - middle <= 0.4 * min(run.height, rows[-1][0].height):
            rows[-1].append(run)
            middle += (run.middle - middle) / len(rows[-1])
        else:
            rows.append([run])
            middle = run.middle
    for row in rows:
        row.sort(key=lambda run: run.left)
    return [_without_narrow_gaps(row) for row in rows]


def _without_narrow_gaps(row: list[Run]) -> list[Run]:
    """Put words of one line together that do not follow each other in the file, and bullets before their text."""
    joined = [row[0]]
    for run in row[1:]:
        last = joined[-1]
        gap = run.left - last.right
        narrow = BULLET_GAP_EM if _is_bullet(last) else NARROW_GAP_EM
        if -0.3 * last.size <= gap < narrow * min(last.size, run.size):
            last.join(run, space=gap > SPACE_EM * last.size)
        else:
            joined.append(run)
    return joined


def _is_bullet(run: Run) -> bool:
    return len(run.text) == 1 and not run.text.isalnum() and run.text not in _NO_BULLETS
