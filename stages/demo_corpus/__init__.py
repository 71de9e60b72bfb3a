"""Demo input: real text from the Python installation and its packages, made without any download."""

from stages.demo_corpus.build import CorpusSummary, build

__all__ = ["CorpusSummary", "build"]
