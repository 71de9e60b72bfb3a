"""Repeated lines as a recipe names them: counting, then cutting."""

from __future__ import annotations

from pipeline.stage import Composite, Expansion
from stages.dedup.lines.cut import LinesCutConfig
from stages.dedup.lines.options import LineCountsConfig


class DedupLines(Composite[LinesCutConfig]):
    """Cut lines or paragraphs that many documents of a domain, or of all inputs, have."""

    name = "dedup_lines"
    config_type = LinesCutConfig

    def expand(self, inputs: tuple[str, ...]) -> list[Expansion]:
        options = self.config.model_dump(mode="json")
        counted = {name: options[name] for name in LineCountsConfig.model_fields}
        return [
            Expansion(".repeats", "dedup_line_counts", counted, inputs),
            Expansion("", "dedup_lines_cut", options, inputs, side={"repeats": ".repeats"}),
        ]
