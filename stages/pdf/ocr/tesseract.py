"""The program Tesseract, for scripts that the bundled models lack. Optional: it and its languages must be installed."""

from __future__ import annotations

import csv
import io
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.errors import MachineError

AUTOMATIC = "3"
"""Page segmentation mode: columns and lines are found, orientation is not (it is found by box shapes: of 16 pages,
Tesseract told 5 wrong)."""


@dataclass(frozen=True, slots=True)
class TesseractLine:
    """Pixels, y downwards."""

    left: float
    top: float
    right: float
    bottom: float
    text: str
    weight: float  # confidences (0 to 1) of its characters, spaces excepted, added up
    characters: int  # spaces excepted


class Tesseract:
    def __init__(self, languages: Sequence[str] = ("eng",)) -> None:
        """Looks for the program.

        Args:
            languages: as Tesseract names them: eng, rus, ara, hin, kor.

        Raises:
            MachineError: it, or one of the languages, is not installed.
        """
        program = shutil.which("tesseract")
        if program is None:
            raise MachineError(
                "engine: tesseract needs the program: apt-get install tesseract-ocr (or engine: rapidocr)"
            )
        self._program, self._languages = program, "+".join(languages)
        listed = subprocess.run([program, "--list-langs"], capture_output=True, text=True, check=True)
        missing = [name for name in languages if name not in (listed.stdout + listed.stderr).split()]
        if missing:
            packages = " ".join(f"tesseract-ocr-{name.lower().replace('_', '-')}" for name in missing)
            raise MachineError(f"Tesseract lacks the languages {', '.join(missing)}: apt-get install {packages}")

    def lines(self, picture: np.ndarray, dpi: float) -> list[TesseractLine]:
        """The lines of an upright (height, width, 3) blue-green-red picture.

        Raises:
            MachineError: the program failed.
        """
        import cv2

        command = [
            self._program,
            "stdin",
            "stdout",
            "-l",
            self._languages,
            "--psm",
            AUTOMATIC,
            "--dpi",
            str(round(dpi)),
        ]
        result = subprocess.run(
            [*command, "tsv"],
            input=cv2.imencode(".png", picture)[1].tobytes(),
            capture_output=True,
            check=False,
            env={**os.environ, "OMP_THREAD_LIMIT": "1"},
        )
        if result.returncode:
            raise MachineError(
                f"Tesseract failed ({result.returncode}): {result.stderr.decode(errors='replace')[-300:]}"
            )
        return lines_of(result.stdout.decode())


def lines_of(table: str) -> list[TesseractLine]:
    """Of Tesseract's table: a header, then tab-separated rows; level 5 are words, confidence is of 100."""
    lines: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for row in csv.DictReader(io.StringIO(table), delimiter="\t", quoting=csv.QUOTE_NONE):
        if row["level"] == "5" and row["text"].strip():
            place = (row["page_num"], row["block_num"], row["par_num"], row["line_num"])
            lines.setdefault(place, []).append(row)
    return [_line(words) for words in lines.values()]


def _line(words: Sequence[dict[str, str]]) -> TesseractLine:
    return TesseractLine(
        left=min(float(w["left"]) for w in words),
        top=min(float(w["top"]) for w in words),
        right=max(float(w["left"]) + float(w["width"]) for w in words),
        bottom=max(float(w["top"]) + float(w["height"]) for w in words),
        text=" ".join(w["text"] for w in words),
        weight=sum(max(0.0, float(w["conf"])) / 100 * len(w["text"]) for w in words),
        characters=sum(len(w["text"]) for w in words),
    )
