"""Masking of private data."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, field_validator

from pipeline.filter import Filter
from pipeline.stage import EXCERPT_CHARACTERS, Context, StageConfig, with_columns
from stages.privacy.addresses import top_level_domains
from stages.privacy.masking import TYPES, Detector, PrivateType, Span, composed, masked
from stages.privacy.phones import ALL_REGIONS, usual_regions

COUNTS: Mapping[PrivateType, str] = {
    "email": "privacy.emails",
    "phone": "privacy.phones",
    "ip_address": "privacy.ip_addresses",
    "credit_card": "privacy.credit_cards",
    "iban": "privacy.ibans",
    "secret": "privacy.secrets",
}
"""Columns with the number of masks of a document."""

PLACEHOLDERS: Mapping[PrivateType, str] = {name: f"<{name.upper()}>" for name in TYPES}
"""<EMAIL>, <PHONE>, <IP_ADDRESS>, <CREDIT_CARD>, <IBAN>, <SECRET>."""

QUOTES = frozenset({"dedup_lines_cut.line"})  # columns in which other stages quote the text: masked as well
SPANS = "privacy.spans"
SPANS_TYPE = pa.list_(pa.struct([("type", pa.string()), *((name, pa.int32()) for name in Span._fields[1:])]))
"""Where the masks are: ``start`` and ``end`` of the placeholder in the text as it is now, ``original_start`` and
``original_end`` of what it stands for in the text as the stage received it; characters, ends exclusive."""

AUTO = "auto"


class PrivacyConfig(StageConfig):
    """Options of privacy."""

    types: tuple[PrivateType, ...] = TYPES
    """What to mask. Where two overlap, the first of secret, iban, credit_card, email, ip_address, phone is masked."""

    placeholders: dict[PrivateType, str] = Field(default_factory=lambda: dict(PLACEHOLDERS))
    """What stands in the text instead, by type; types that are left out keep theirs."""

    only_public_ips: bool = True
    """Leave addresses of private networks, of documentation and of no network alone (as the IANA registers say)."""

    regions: tuple[str, ...] = (AUTO,)
    """Regions (ISO 3166) whose phone numbers are known without a country's code. ``auto`` stands for the region of the
    page's country domain and those where its language is at home; none: only numbers that start with +."""

    strict: bool = True
    """False: e-mail and IPv4 addresses by their shape alone, exactly as datatrove's PIIFormatter does: it also masks
    version numbers, example.com and names of files, and misses addresses with accents and IPv6."""

    @field_validator("placeholders", mode="before")
    @classmethod
    def _complete(cls, values: Any) -> Any:
        return {**PLACEHOLDERS, **values} if isinstance(values, dict) else values

    @field_validator("placeholders")
    @classmethod
    def _never_join_words(cls, values: dict[PrivateType, str]) -> dict[PrivateType, str]:
        if empty := [name for name, placeholder in values.items() if not placeholder.strip()]:
            raise ValueError(f"the placeholder of {', '.join(empty)} is empty: the words around it would join")
        return values

    @field_validator("regions")
    @classmethod
    def _known(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        import phonenumbers

        if unknown := set(values) - {AUTO} - phonenumbers.SUPPORTED_REGIONS:
            raise ValueError(
                f"no region of phone numbers: {', '.join(sorted(unknown))} (ISO 3166, such as DE, or auto)"
            )
        return values


class Privacy(Filter[PrivacyConfig]):
    """Mask e-mail addresses, phone numbers, IP addresses, card numbers, IBANs and secrets.

    A filter without rules: it drops nothing, and masks what other filters of its chain have dropped as well.
    """

    name = "privacy"
    config_type = PrivacyConfig
    measures: ClassVar[Mapping[str, pa.DataType]] = {**dict.fromkeys(COUNTS.values(), pa.int32()), SPANS: SPANS_TYPE}

    def setup(self, context: Context) -> None:
        import phonenumbers  # noqa: F401  # here, so that the first document does not pay for it

        top_level_domains()
        self._detector = Detector(frozenset(self.config.types), self.config.only_public_ips, self.config.strict)

    def measure(self, batch: pa.Table) -> pa.Table:
        texts = batch["text"].cast(pa.large_string()).combine_chunks()
        changed = self._masked(texts, batch)
        spans = {row: row_spans for row, (_, row_spans) in changed.items()}
        if SPANS in batch.column_names:  # masked before: the documents' first text stays the original
            for row, earlier in enumerate(batch[SPANS].to_pylist()):
                if earlier:
                    spans[row] = composed([Span(**span) for span in earlier], spans.get(row, ()))
        columns = self._counts(spans, len(texts)) | {SPANS: _stored(spans, len(texts))}
        if changed:
            columns["text"] = _with_rows(texts, {row: text for row, (text, _) in changed.items()})
        for name in QUOTES.intersection(batch.column_names):
            quoted = batch[name].cast(pa.large_string()).combine_chunks()
            masks = {row: text for row, (text, _) in self._masked(pc.fill_null(quoted, ""), batch).items()}
            columns[name] = _with_rows(quoted, masks).cast(batch[name].type)
        return with_columns(batch, columns)

    def noted(self, batch: pa.Table, measured: pa.Table) -> Mapping[str, Mapping[str, int]]:
        """Masks by type, without those of an earlier masking."""
        totals: dict[str, Counter[str]] = defaultdict(Counter)
        for sign, table in ((1, measured), (-1, batch)):
            for column in COUNTS.values():
                if column in table.column_names:
                    for source, count in zip(table["source"].to_pylist(), table[column].to_pylist(), strict=True):
                        totals[source][f"{column.partition('.')[2]} masked"] += sign * (count or 0)
        return {source: +counts for source, counts in totals.items() if +counts}

    def _counts(self, spans: Mapping[int, Sequence[Span]], rows: int) -> dict[str, pa.Array]:
        """Masks by type and document; null where nobody looked and nothing is masked."""
        counts: dict[str, list[int | None]] = {
            name: [0 if kind in self.config.types else None] * rows for kind, name in COUNTS.items()
        }
        for row, row_spans in spans.items():
            for kind, count in Counter(span.type for span in row_spans).items():
                counts[COUNTS[kind]][row] = count
        return {name: pa.array(values, pa.int32()) for name, values in counts.items()}

    def redacted(self, excerpt: str, language: str | None = None, url: str | None = None) -> str:
        """The start of a text as it may be shown: masked, without an end that may be half of something private.

        Where neither language nor domain is known yet, numbers of all regions are masked.
        """
        usual = usual_regions(language, url) or ALL_REGIONS
        regions = [region for name in self.config.regions for region in (usual if name == AUTO else (name,))]
        texts = pa.array([excerpt], pa.large_string())
        found = masked(texts, self._detector, self.config.placeholders, lambda row: regions)
        shown = found[0][0] if found else excerpt
        return _without_cut_end(shown) if len(excerpt) >= EXCERPT_CHARACTERS else shown

    def _masked(self, texts: pa.Array, batch: pa.Table) -> dict[int, tuple[str, list[Span]]]:
        languages = batch["language"] if "language" in batch.column_names else None
        urls = batch["url"] if "url" in batch.column_names else None

        def regions(row: int) -> tuple[str, ...]:
            if AUTO not in self.config.regions:
                return self.config.regions
            usual = usual_regions(languages and languages[row].as_py(), urls and urls[row].as_py())
            return *(region for region in self.config.regions if region != AUTO), *usual

        return masked(texts, self._detector, self.config.placeholders, regions)


def _without_cut_end(excerpt: str) -> str:
    """Without the last word, which was cut, and the words with digits before it: groups of a number, most likely."""
    words = re.split(r"(\s+)", excerpt)[:-1]
    while words and (not words[-1].strip() or any(character.isdigit() for character in words[-1])):
        words.pop()
    return "".join(words)


def _stored(spans: Mapping[int, Sequence[Span]], rows: int) -> pa.Array:
    """One list a row, empty where nothing is masked."""
    lengths = np.zeros(rows + 1, np.int32)
    for row, row_spans in spans.items():
        lengths[row + 1] = len(row_spans)
    flat = [span._asdict() for row in sorted(spans) for span in spans[row]]
    return pa.ListArray.from_arrays(pa.array(lengths.cumsum(), pa.int32()), pa.array(flat, SPANS_TYPE.value_type))


def _with_rows(texts: pa.Array, replacements: Mapping[int, str]) -> pa.Array:
    """``texts`` with some rows replaced, without making Python strings of the others."""
    mask = np.zeros(len(texts), np.bool_)
    mask[list(replacements)] = True
    in_order = [replacements[row] for row in sorted(replacements)]
    return pc.replace_with_mask(texts, pa.array(mask), pa.array(in_order, pa.large_string()))
