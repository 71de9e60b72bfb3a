"""Keeping the best share of scored documents, by cutoffs that were found over all parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import pyarrow as pa

from pipeline.filter import Filter, Rule
from pipeline.stage import Context
from stages.filters.quality.cutoffs import CUTOFFS_FILE, Cutoffs, CutoffsConfig, TopShareConfig, cutoffs_of
from stages.filters.quality.model_score import ModelThresholdConfig, QualityModelScore
from stages.filters.quality.score import ScoreQuality, ThresholdConfig

C = TypeVar("C", bound=TopShareConfig)


class _KeepTop(Filter[C]):
    """Drops documents below the cutoff of their source and language. Measures nothing: the scores are there."""

    limits_by = ("source", "language")

    def setup(self, context: Context) -> None:
        self.load_limits(context, lambda: ())

    def load_limits(self, context: Context, documents: Callable[[], Iterable[pa.Table]]) -> None:
        """Load the cutoffs, or find those of another share among the scores of all documents."""
        score = next(rule.measure for rule in self.rules if rule.option == "top_share")
        self._cutoffs = Cutoffs.read(context.side["cutoffs"] / CUTOFFS_FILE, self.config)
        if self._cutoffs is None:
            if self.config.top_share is None:
                return
            config = CutoffsConfig(top_share=self.config.top_share, per=self.config.per, score=score)
            self._cutoffs = Cutoffs(config.per, cutoffs_of(documents, config))

    def measure(self, batch: pa.Table) -> pa.Table:
        return batch

    def limit(self, rule: Rule, measured: pa.Table) -> Any:
        """The options' values, and for ``top_share`` the cutoff of each row's source and language."""
        if rule.option != "top_share" or self._cutoffs is None:
            return super().limit(rule, measured)
        return self._cutoffs.of(measured)

    def threshold_of(self, rule: Rule) -> str:
        """A share is no score."""
        share = self.config.top_share
        if rule.option != "top_share" or share is None:
            return super().threshold_of(rule)
        return f"{rule.named()} is not in the best share of {share} (top_share)"

    def evidence(self, rule: Rule, row: Mapping[str, Any], limit: Any) -> str:
        """With more digits than elsewhere: cutoffs lie where documents are dense."""
        if rule.option != "top_share":
            return super().evidence(rule, row, limit)
        return f"{row[rule.measure]:.8g} {rule.unit} < {limit:.8g}"


class QualityKeepConfig(ThresholdConfig, TopShareConfig):
    """Options of quality_keep; ``top_share`` and ``per`` are those that the cutoffs were found by."""


class QualityKeep(_KeepTop[QualityKeepConfig]):
    """Keep the best share of the documents that quality_score scored."""

    name = "quality_keep"
    config_type = QualityKeepConfig
    requires = ScoreQuality.provides
    measures = ScoreQuality.measures
    rules = (*ScoreQuality.rules, Rule("below_top_share", "quality.score", "<", "top_share", "score"))


class QualityModelKeepConfig(ModelThresholdConfig, TopShareConfig):
    """Options of quality_model_keep; ``top_share`` and ``per`` are those that the cutoffs were found by."""


class QualityModelKeep(_KeepTop[QualityModelKeepConfig]):
    """Keep the best share of the documents that quality_model_score scored."""

    name = "quality_model_keep"
    config_type = QualityModelKeepConfig
    requires = QualityModelScore.provides
    measures = QualityModelScore.measures
    rules = (*QualityModelScore.rules, Rule("below_top_share", "quality_model.score", "<", "top_share", "score"))
