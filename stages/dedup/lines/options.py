"""Options of the stages that find and cut repeated lines."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from pipeline.stage import Options, StageConfig

MAX_BLOOM_DOCUMENTS = 255  # counters of the Bloom filter hold no more


class OnDomain(Options):
    """When a line is the boilerplate of a registered domain (of example.co.uk, of each blog on blogspot.com)."""

    min_documents: int = Field(10, ge=2)
    """Documents of the domain that have the line."""

    min_share: float = Field(0.1, ge=0, le=1)
    """Share of the documents of the domain that have it."""

    min_characters: int = Field(8, ge=1)
    """Letters and digits that it has; shorter lines are left alone."""


class OverCorpus(Options):
    """When a line is boilerplate wherever it stands."""

    min_documents: int = Field(100, ge=2)
    """Documents of all inputs that have the line."""

    min_characters: int = Field(40, ge=1)
    """Letters and digits that it has; shorter ones ("What do you mean?") repeat in any prose."""


class UnitsConfig(StageConfig):
    """What is compared."""

    unit: Literal["line", "paragraph"] = "line"
    """What is counted and cut. A paragraph is a run of lines between blank lines."""

    ignore_numbers: bool = True
    """Numbers are all alike: "12 comments" is the same line as "3 comments". Case, accents, punctuation and white
    space never count."""

    sources: tuple[str, ...] = ()
    """Only documents of these sources are looked at; empty: all sources."""

    include_code: bool = False
    """Look at documents of the stage source_code too. Lines of code repeat for good reasons."""


class LineCountsConfig(UnitsConfig):
    """What is compared, and how often is too often."""

    per_domain: OnDomain | None = OnDomain()
    """A line is cut from the documents of a domain that repeats it; null: domains do not count."""

    over_corpus: OverCorpus | None = OverCorpus()
    """A line is cut from all documents if the whole corpus repeats it; null: it is not counted over the corpus."""

    keep_first: bool = True
    """The best document that has the line keeps it: that of the input named first, then the earliest date (to the day),
    then by a hash of the id. false: it is cut everywhere."""

    counts: Literal["exact", "bloom"] = "exact"
    """bloom: documents are counted in a Bloom filter with counters, with per_domain: null and keep_first: false. It
    takes less than half the disk and an eighth of the memory; a line below the limit is taken for one above it with a
    probability of error_rate at most, one above it is always found."""

    error_rate: float = Field(0.001, gt=0, lt=0.5)
    """Of the Bloom filter: share of the lines below the limit that may be cut by error."""

    task_memory_mb: int = Field(1000, ge=1)
    """Memory that the counts of one task may take."""

    not_identity: ClassVar[frozenset[str]] = frozenset({"task_memory_mb"})

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.per_domain is None and self.over_corpus is None:
            raise ValueError("per_domain and over_corpus are both null: nothing would be cut")
        if self.per_domain and self.over_corpus and self.over_corpus.min_characters < self.per_domain.min_characters:
            raise ValueError("over_corpus.min_characters is less than per_domain.min_characters: raise it")
        if self.counts == "bloom":
            if self.over_corpus is None or self.per_domain is not None or self.keep_first:
                raise ValueError(
                    "counts: bloom knows neither domains nor which document is best: "
                    "set per_domain: null and keep_first: false, and leave over_corpus on"
                )
            if self.over_corpus.min_documents > MAX_BLOOM_DOCUMENTS:
                raise ValueError(f"counts: bloom counts to {MAX_BLOOM_DOCUMENTS}: lower over_corpus.min_documents")
        return self

    def min_characters(self) -> int:
        """Of units that are counted at all."""
        rules = (self.per_domain, self.over_corpus)
        return min(rule.min_characters for rule in rules if rule is not None)

    def min_long(self) -> int:
        """Of units that are counted over the corpus."""
        return self.over_corpus.min_characters if self.over_corpus else 1 << 62
