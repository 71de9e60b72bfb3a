"""Accuracy, speed and memory of OCR on born-digital pages made into pictures, whose text is known.

    python -m tests.benchmarks.pdf_ocr [--pages N] [--runtime openvino|onnxruntime] [--blur 1.0] [--noise 12]

Pages: of each group of documents of class text_layer in ../shared/data/pdf, the first page among ten with 150 words and
more of ordinary English prose: 85 % of its words are letters only, 30 % of those are among the 100 commonest ones, and
its text layer is all of what it shows (pictures cover at most a tenth) and sound (less than half a percent of the words
have over 20 letters, or a digit between letters: spaces and ligatures that the layer has lost).

Each is drawn at 150 dpi, clean, and then degraded: turned by 1.2 degrees, blurred (Gaussian, standard deviation in
pixels), noise added (Gaussian, of 255 levels), and compressed as JPEG of quality 35. OCR sees that picture scaled to
whatever resolution it asks for.

Word F1 is that of two multisets of words, without their order: NFKC, case folded, words are the longest runs of letters
and digits, so that a hyphen parts words in both. Tesseract reads the same pictures if its program is installed.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import shutil
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

from stages.pdf.ocr.engine import OcrEngine
from stages.pdf.ocr.models import Runtime
from stages.pdf.ocr.reader import PageReader

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "pdf"
DPI = 150
COMMON_WORDS = """
    the of and to in a is that for it as was with be by on not he his but at are this have from or had an they which
    one you were all her she there would their we him been has when who will no more if out so up said what its
    about than into them can only other time new some could these two may first then do any like my now over such
    our man me even most made after also did many off before must well back through years where much your way down
    should because long each just state those people too
"""
COMMON = frozenset(COMMON_WORDS.split())


def words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", text).casefold())


@dataclass(frozen=True)
class Sample:
    name: str
    truth: list[str]
    width: float  # points
    height: float
    picture: np.ndarray


def is_prose(page: Any, truth: list[str]) -> bool:
    """By the rules above."""
    letters = [word for word in truth if word.isalpha()]
    if len(truth) < 150 or len(letters) < 0.85 * len(truth) or sum(w in COMMON for w in letters) < 0.3 * len(letters):
        return False
    broken = sum(len(word) > 20 or re.search(r"[^\W\d]\d[^\W\d]", word) is not None for word in truth)
    covered = 0.0
    for picture in page.get_objects(filter=[pdfium_c.FPDF_PAGEOBJ_IMAGE]):
        left, bottom, right, top = picture.get_bounds()
        covered += (right - left) * (top - bottom)
    return broken < 0.005 * len(truth) and covered <= 0.1 * page.get_width() * page.get_height()


def samples(limit: int) -> Iterator[Sample]:
    seen: set[str] = set()
    for row in (DATA / "manifest.jsonl").read_text().splitlines():
        entry = json.loads(row)
        if entry["text_class"] != "text_layer" or entry["group"] in seen or len(seen) == limit:
            continue
        document = pdfium.PdfDocument(DATA / entry["file"])
        for number in range(min(10, len(document))):
            page = document[number]
            truth = words(page.get_textpage().get_text_bounded())
            if is_prose(page, truth):
                seen.add(entry["group"])
                picture = page.render(scale=DPI / 72).to_numpy()[:, :, :3].copy()
                yield Sample(f"{entry['file']} {number + 1}", truth, *page.get_size(), picture)
                break
        document.close()


def degraded(picture: np.ndarray, blur: float, noise: float) -> np.ndarray:
    height, width = picture.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 1.2, 1)
    turned = cv2.warpAffine(picture, turn, (width, height), flags=cv2.INTER_CUBIC, borderValue=(255, 255, 255))
    blurred = cv2.GaussianBlur(turned, (0, 0), blur)
    noisy = blurred + np.random.default_rng(0).normal(0, noise, picture.shape)
    encoded = cv2.imencode(".jpg", np.clip(noisy, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 35])[1]
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR))


def scaled(picture: np.ndarray) -> Callable[[float], np.ndarray]:
    def render(dpi: float) -> np.ndarray:
        scale = dpi / DPI
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(picture, None, fx=scale, fy=scale, interpolation=how))

    return render


def scores(truth: list[str], read: list[str]) -> tuple[float, float, float]:
    """F1, precision, recall."""
    common = (Counter(truth) & Counter(read)).total()
    precision, recall = common / max(1, len(read)), common / len(truth)
    return 2 * common / (len(read) + len(truth)), precision, recall


def cpu_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=1000)
    parser.add_argument("--runtime", choices=["openvino", "onnxruntime"])
    parser.add_argument("--blur", type=float, default=1.0)
    parser.add_argument("--noise", type=float, default=12.0)
    options = parser.parse_args()
    runtime: Runtime | None = options.runtime
    readers = {"rapidocr": PageReader(engine="rapidocr", runtime=runtime)}
    if shutil.which("tesseract"):
        readers["tesseract"] = PageReader(engine="tesseract")
    else:
        print("Tesseract is not installed: not measured")
    print(f"runtime {runtime or OcrEngine().runtime}, blur {options.blur}, noise {options.noise}")
    measured: dict[tuple[str, str], list[tuple[float, float, float, float]]] = {}
    for sample in samples(options.pages):
        for name, reader in readers.items():
            shown = []
            bad = degraded(sample.picture, options.blur, options.noise)
            for kind, picture in (("clean", sample.picture), ("degraded", bad)):
                start = cpu_seconds()
                page = reader.read(scaled(picture), sample.width, sample.height)
                seconds = cpu_seconds() - start
                read = words("\n".join(fragment.text for fragment in page.fragments))
                result = (*scores(sample.truth, read), seconds)
                measured.setdefault((name, kind), []).append(result)
                shown.append(f"{kind} F1 {result[0]:.3f} recall {result[2]:.3f} {seconds:.2f} s")
            print(f"{name:10} {sample.name:50.50} {len(sample.truth):5} words  {'   '.join(shown)}", flush=True)
    for (name, kind), rows in measured.items():
        table = np.array(rows)
        f1, precision, recall, seconds = table.mean(axis=0)
        print(
            f"{name} {kind}: {len(rows)} pages, word F1 {f1:.4f} (precision {precision:.4f}, recall {recall:.4f}), "
            f"worst page's recall {table[:, 2].min():.3f}, CPU s a page {seconds:.2f} (most {table[:, 3].max():.2f})"
        )
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
