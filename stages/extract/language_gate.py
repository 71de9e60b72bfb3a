"""Is a page likely enough to be in a wanted language that extracting its text is worth while?

The page's quick text (all of it, menus too) is scored by the model that the language filter uses after extraction. The
margin is wide: the gate asks only whether the wanted languages together are very unlikely.
"""

from __future__ import annotations

from stages.extract.pages import Ending, LanguageGateOptions

QUICK_CHARACTERS = 6_000
"""Length of the quick text. On 831 real pages 6,000 and 20,000 characters decided alike, at half the cost; with
3,000 pages were wrongly dropped for their menus."""

MIN_CHARACTERS = 200
"""Of a shorter quick text (a page whose content a script loads, or that is an image) the language is not judged."""


class LanguageGate:
    """The gate with its model. Load it in the process that extracts."""

    def __init__(self, options: LanguageGateOptions) -> None:
        import fasttext

        self._options = options
        self._wanted = {f"__label__{language}" for language in options.keep}
        self._model = fasttext.load_model(str(options.model))

    def ending(self, quick_text: str) -> Ending | None:
        """None if the page may pass; else why not."""
        if len(quick_text) < MIN_CHARACTERS:
            return None
        labels, scores = self._model.predict(_line(quick_text), k=-1)
        wanted = sum(float(score) for label, score in zip(labels, scores, strict=True) if label in self._wanted)
        if wanted >= self._options.below:
            return None
        first = f"{labels[0].removeprefix('__label__')} {min(float(scores[0]), 1):.2f}"
        evidence = f"p({' or '.join(self._options.keep)}) {wanted:.3f} < {self._options.below:g}; the page is {first}"
        return "dropped", "language_gate", evidence

    def judged(self, gated: Ending, text: str) -> Ending:
        """What the gate did to an audited page: ``text`` was extracted all the same.

        ``language_gate_wrong`` is a loss: the language filter would have kept the text.
        """
        verdict, _, evidence = gated
        if not text:
            return verdict, "language_gate_right", f"no main text; {evidence}"
        labels, scores = self._model.predict(_line(text), k=1)
        is_wrong = labels[0] in self._wanted and scores[0] >= self._options.min_score
        found = f"{labels[0].removeprefix('__label__')} {min(float(scores[0]), 1):.2f} in {len(text)} characters"
        reason = "language_gate_wrong" if is_wrong else "language_gate_right"
        return verdict, reason, f"main text: {found}; {evidence}"


def _line(text: str) -> str:
    return text.replace("\n", " ")  # fastText reads one line; the same replacement as in the language filter
