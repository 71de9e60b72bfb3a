"""What extract_html's language gate saves and loses, over all real pages of ../shared/data.

    python -m tests.benchmarks.language_gate [ENGINE]

The reference is the language filter (min_score 0.65) on the text extracted without the gate. CPU seconds of one
process; the saving counts the parse and the gate as spent, and the main text of gated pages as saved.
"""

import sys
import time
from collections.abc import Iterable
from pathlib import Path

import fasttext

from stages.extract.decoding import decoded
from stages.extract.engines import ENGINES, storable
from stages.extract.html import LanguageGateConfig
from stages.extract.language_gate import LanguageGate
from stages.extract.pages import ExtractionOptions
from stages.filters.language import LanguageConfig
from tests.real_pages import RealPage, real_pages

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
WANTED = ("en", "de")


def measure(pages: Iterable[RealPage], engine_name: str) -> list[str]:
    """One line per wanted language."""
    options = ExtractionOptions(engine=engine_name)  # type: ignore[arg-type]
    engine = ENGINES[engine_name](options)
    gates = {language: LanguageGate(LanguageGateConfig(keep=(language,)).options()) for language in WANTED}
    model = fasttext.load_model(str(LanguageConfig().model_path()))
    gate_s, total_s = dict.fromkeys(WANTED, 0.0), 0.0
    saved_s = dict.fromkeys(WANTED, 0.0)
    kept, gated, wrong = (dict.fromkeys(WANTED, 0) for _ in range(3))
    count = 0
    for page in pages:
        count += 1
        html = decoded(page.html, None)
        endings = {}
        for language, gate in gates.items():
            started = time.process_time()
            endings[language] = gate.ending(html)
            gate_s[language] += time.process_time() - started
        started = time.process_time()
        tree = engine.parsed(html)
        text = ""
        if tree is not None:
            text = storable(engine.main_text(tree, page.url, engine.facts(tree, page.url))).strip()
        extraction_s = time.process_time() - started
        total_s += extraction_s
        labels, scores = model.predict(text.replace("\n", " "), k=1)
        for language in WANTED:
            is_kept = bool(text) and labels[0] == f"__label__{language}" and scores[0] >= 0.65
            kept[language] += is_kept
            if endings[language]:
                gated[language] += 1
                saved_s[language] += extraction_s
                wrong[language] += is_kept
                if is_kept:
                    print(f"  wrong: {page.set} {page.name}: {endings[language]}, {len(text)} characters")
    return [
        f"{engine_name} keep [{language}]: {count} pages, {kept[language]} kept after extraction; gated "
        f"{gated[language]} ({gated[language] / count:.1%}), wrong {wrong[language]} "
        f"({wrong[language] / max(1, gated[language]):.2%} of gated, {wrong[language] / max(1, kept[language]):.2%} of "
        f"kept); CPU {total_s:.1f} s without gate, {total_s + gate_s[language] - saved_s[language]:.1f} s with "
        f"({(saved_s[language] - gate_s[language]) / total_s:.1%} saved; the gate costs "
        f"{1e3 * gate_s[language] / count:.2f} ms a page)"
        for language in WANTED
    ]


if __name__ == "__main__":
    for line in measure(real_pages(DATA), sys.argv[1] if len(sys.argv) > 1 else "trafilatura"):
        print(line)
