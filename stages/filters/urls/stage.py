"""Filter documents by their URL."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, field_validator, model_validator

from pipeline.errors import StageError
from pipeline.filter import Filter, Rule
from pipeline.stage import Context, Options, RecipePath, StageConfig, with_columns
from stages.filters.urls.addresses import address_of, datatrove_address, folders_above
from stages.filters.urls.block_lists import HashTable, Listed, Reader, Suffixes, hashed, indexed
from stages.filters.urls.kernels import worth_a_look
from stages.filters.urls.words import WordLists
from stages.intake.content import content_of
from stages.text.utf8 import bytes_and_offsets

ALLOW = "allow"
DATATROVE = "datatrove"
LIST_SEPARATOR = ", "
DATATROVE_LISTS = "url_filterblacklistsv0_3_0.tar.gz"
DATATROVE_WORDS = {
    "hard_words": "banned_words.txt",
    "soft_words": "soft_banned_words.txt",
    "substrings": "banned_subwords.txt",
}


class BlockList(Options):
    """A list of domains and URLs: one file, several, or a group of these options."""

    model_config = ConfigDict(json_schema_extra={"type": ["object", "string", "array"]})

    files: tuple[RecipePath, ...] = Field(min_length=1)
    """Text files of domains or URLs (one a line, hosts files, Adblock's ||domain^) or tar archives such as UT1's
    blacklists.tar.gz, each plain or compressed (gzip, bzip2, xz, zstd)."""

    categories: tuple[str, ...] = ()
    """Folders to use of a tar archive that has several."""

    expressions: bool = False
    """Use the regular expressions of these categories too. UT1's match far more than its lists."""

    url_prefixes: bool = False
    """A listed URL means what lies below it too, as squidGuard, for which UT1 is made, takes it."""

    @model_validator(mode="before")
    @classmethod
    def _files_alone(cls, values: Any) -> Any:
        return values if isinstance(values, dict) else {"files": values}


class Words(Options):
    """Words in the recipe (a list), or the name of a file with one a line, or both."""

    model_config = ConfigDict(json_schema_extra={"type": ["object", "string", "array"]})

    words: tuple[str, ...] = ()
    """The words themselves."""

    files: tuple[RecipePath, ...] = ()
    """Files with one word a line, plain or compressed; "#" at the start of a line makes it a comment."""

    @model_validator(mode="before")
    @classmethod
    def _words_or_file_alone(cls, values: Any) -> Any:
        if isinstance(values, str | Path):
            return {"files": (values,)}
        return {"words": values} if isinstance(values, list | tuple) else values


class UrlFilterConfig(StageConfig):
    """Lists, and how many words are too many."""

    lists: Mapping[str, BlockList] = Field(default_factory=dict)
    """Block lists by name. A listed domain means the hosts below it too."""

    record_only: tuple[str, ...] = ()
    """Names of block lists whose matches are recorded, but drop nothing."""

    allow: tuple[RecipePath, ...] = ()
    """Files in the same formats: what they list is kept, whatever else is said of it."""

    hard_words: Words = Words()
    """Words in URLs, between any characters that are neither letters nor digits."""

    soft_words: Words = Words()
    """Words that are suspicious only together."""

    substrings: Words = Words()
    """What to look for anywhere in the letters and digits of a URL, over separators too."""

    max_hard_words: int | None = Field(0, ge=0)
    """Different hard words that a URL may hold; null: any number."""

    max_soft_words: int | None = Field(1, ge=0)
    """Different soft words that a URL may hold (1: datatrove 0.10.1 drops at 2); null: any number."""

    max_substrings: int | None = Field(0, ge=0)
    """Different substrings of the list that a URL may hold; null: any number."""

    public_suffixes: Suffixes = "none"
    """Public suffixes that block lists may hold: none, private ones (blogspot.com), or all (co.uk, xxx)."""

    datatrove_lists: bool = False
    """Use the lists that come with datatrove too: 4.6 million domains (from UT1, mostly adult) and words for adult
    pages."""

    matching: Literal["standard", "datatrove"] = "standard"
    """datatrove: the decisions of datatrove's URLFilter, which compares URLs and entries as they are spelled."""

    @field_validator("record_only", mode="after")
    @classmethod
    def _sorted(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted(names))

    @model_validator(mode="after")
    def _names(self) -> Self:
        known = {*self.lists, *([DATATROVE] if self.datatrove_lists else [])}
        for name in self.lists:
            if name == ALLOW or LIST_SEPARATOR.strip() in name or (name == DATATROVE and self.datatrove_lists):
                raise ValueError(f"no list can have the name '{name}': choose another")
        if unknown := set(self.record_only) - known:
            raise ValueError(f"record_only: there is no list {', '.join(sorted(unknown))}")
        return self

    def identity(self) -> dict[str, Any]:
        """With the content of all files instead of their names, and what decides which entries are public suffixes."""
        return {**_with_digests(self.model_dump(mode="python")), "tldextract": importlib.metadata.version("tldextract")}

    def sources(self) -> dict[str, BlockList]:
        """All lists by name: the allow list first, datatrove's last."""
        sources = {ALLOW: BlockList(files=self.allow)} if self.allow else {}
        sources |= self.lists
        if self.datatrove_lists:
            sources[DATATROVE] = BlockList(files=(datatrove_asset(DATATROVE_LISTS),))
        return sources


def _with_digests(value: Any) -> Any:
    """Options ready for JSON, each path replaced by the digest of the file's content."""
    if isinstance(value, dict):
        return {key: _with_digests(entry) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        return [_with_digests(entry) for entry in value]
    if isinstance(value, Path):
        try:
            with open(value, "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise StageError(f"url_filter: cannot read the list {value}: {error.strerror}; correct its name") from error
    return value


def datatrove_asset(name: str) -> Path:
    """A file that comes with datatrove, found without importing it.

    Raises:
        StageError: this release of datatrove has no such file.
    """
    found = importlib.util.find_spec("datatrove")
    for folder in (found.submodule_search_locations or ()) if found else ():
        if (path := Path(folder) / "assets" / name).is_file():
            return path
    raise StageError(f"url_filter: datatrove is not installed, or comes without {name}: install datatrove 0.10.1")


class UrlFilter(Filter[UrlFilterConfig]):
    """Drop documents whose URL is on a block list, or holds listed words. Documents without URL are kept."""

    name = "url_filter"
    config_type = UrlFilterConfig
    requires = ("url",)
    measures: ClassVar[Mapping[str, pa.DataType]] = {
        "url_filter.allowed": pa.string(),  # the entry of the allow list; nothing else is measured then
        "url_filter.domain": pa.string(),  # the listed domain that the host is, or lies below
        "url_filter.domain_lists": pa.string(),  # names of the lists that hold it, or another one above the host
        "url_filter.url": pa.string(),  # the listed URL, without scheme
        "url_filter.url_lists": pa.string(),
        "url_filter.expression_lists": pa.string(),
        "url_filter.hard_words": pa.int32(),  # different ones
        "url_filter.soft_words": pa.int32(),
        "url_filter.substrings": pa.int32(),
        "url_filter.words": pa.string(),  # those found, of all three lists
    }
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("blocked_domain", "url_filter.domain_lists", "in", "record_only"),
        Rule("blocked_url", "url_filter.url_lists", "in", "record_only"),
        Rule("blocked_expression", "url_filter.expression_lists", "in", "record_only"),
        Rule("blocked_word", "url_filter.hard_words", ">", "max_hard_words"),
        Rule("too_many_soft_words", "url_filter.soft_words", ">", "max_soft_words"),
        Rule("blocked_substring", "url_filter.substrings", ">", "max_substrings"),
    )

    def note(self) -> str | None:
        return self._note

    @cached_property
    def _note(self) -> str | None:
        """Reads all lists: what is wrong with them is better said now than by the first task."""
        problems = {name: listed.problems() for name, listed in self._read_lists()}
        return "; ".join(f"list {name}: {problem}" for name, problem in problems.items() if problem) or None

    def _read_lists(self) -> Iterator[tuple[str, Listed]]:
        config = self.config
        for name, source in config.sources().items():
            suffixes: Suffixes = "all" if name == ALLOW else config.public_suffixes
            as_datatrove = config.matching == "datatrove"
            reader = Reader(f"url_filter, list {name}", source.categories, source.expressions, suffixes, as_datatrove)
            yield name, reader.read(source.files)

    def setup(self, context: Context) -> None:
        as_datatrove = self.config.matching == "datatrove"
        sources = self.config.sources()
        lists = dict(self._read_lists())
        self._lists = list(lists)
        self._with_prefixes = {number for number, name in enumerate(lists) if sources[name].url_prefixes}
        self._domains = HashTable([listed.domains for listed in lists.values()])
        self._urls = HashTable([listed.urls for listed in lists.values()])
        self._expressions = {n: listed.expressions for n, listed in enumerate(lists.values()) if listed.expressions}
        hard, soft, substrings = (self._listed_words(option) for option in DATATROVE_WORDS)
        self._words = WordLists(hard, soft, substrings, as_datatrove)
        self._word_index = indexed(hashed(sorted(self._words.hard | self._words.soft)))
        self._address = datatrove_address() if as_datatrove else address_of
        self._looks_at_all = as_datatrove or bool(self._expressions)

    def _listed_words(self, option: str) -> set[str]:
        chosen: Words = getattr(self.config, option)
        bundled = (datatrove_asset(DATATROVE_WORDS[option]),) if self.config.datatrove_lists else ()
        return set(chosen.words).union(*map(words_in, (*chosen.files, *bundled)))

    def measure(self, batch: pa.Table) -> pa.Table:
        """A kernel finds the URLs that may be listed; Python measures these, the others hold nothing."""
        urls = batch["url"]
        has_url = pc.fill_null(pc.greater(pc.binary_length(urls), 0), False).to_numpy(zero_copy_only=False)
        rows = np.flatnonzero(has_url if self._looks_at_all else self._worth_a_look(urls, has_url)).tolist()
        addresses = {row: self._address(urls[row].as_py()) for row in rows}
        domains = self._matches(self._domains, ((row, name) for row in rows for name in addresses[row].domains))
        pages = self._listed_pages({row: address.page for row, address in addresses.items()})
        expressions = self._with_expression({row: address.words for row, address in addresses.items()})
        measured = {
            row: self._measured(address.words, domains.get(row, {}), pages.get(row, {}), expressions.get(row, ()))
            for row, address in addresses.items()
        }
        columns = {}
        for name, type_ in self.measures.items():
            measure = name.removeprefix("url_filter.")
            values: list[Any] = [0 if self._word_sets.get(measure) else None] * batch.num_rows
            for row, found in measured.items():
                values[row] = found.get(measure)
            columns[name] = pa.array(values, type_, mask=~has_url)
        return with_columns(batch, columns)

    def _measured(
        self, text: str, domains: Mapping[int, str], pages: Mapping[int, str], expressions: Iterable[int]
    ) -> dict[str, str | int | None]:
        """The measures of one URL, from its entries by number of the list. What is allowed is measured no further."""
        for number in domains.keys() | pages.keys():
            if self._lists[number] == ALLOW:
                return {"allowed": domains.get(number) or pages[number]}
        words = self._words.found_in(text)
        counts = zip(self._word_sets.items(), words, strict=True)
        return {
            "domain": next(iter(domains.values()), None),
            "domain_lists": self._names(domains),
            "url": next(iter(pages.values()), None),
            "url_lists": self._names(pages),
            "expression_lists": self._names(expressions),
            # where no words are listed, none were looked for
            **{name: len(present) if listed else None for (name, listed), present in counts},
            "words": ", ".join(sorted(words.hard | words.soft | words.substrings)) or None,
        }

    @property
    def _word_sets(self) -> dict[str, frozenset[str]]:
        """Listed words by measure."""
        return {
            "hard_words": self._words.hard,
            "soft_words": self._words.soft,
            "substrings": self._words.substrings,
        }

    def _listed_pages(self, pages: Mapping[int, bytes]) -> dict[int, dict[int, str]]:
        matches = self._matches(self._urls, pages.items())
        if self._with_prefixes:
            folders = ((row, name) for row, page in pages.items() for name in folders_above(page))
            for row, entries in self._matches(self._urls, folders).items():
                below = {number: entry for number, entry in entries.items() if number in self._with_prefixes}
                matches[row] = below | matches.get(row, {})
        return matches

    def _worth_a_look(self, urls: pa.Array | pa.ChunkedArray, has_url: NDArray[np.bool_]) -> NDArray[np.bool_]:
        data, offsets = bytes_and_offsets(urls)
        look = has_url.copy()
        worth_a_look(
            data,
            offsets,
            self._domains.index,
            self._urls.index,
            self._word_index,
            self._words.automaton,
            look,
        )
        return look

    @staticmethod
    def _matches(table: HashTable, names: Iterable[tuple[int, str] | tuple[int, bytes]]) -> dict[int, dict[int, str]]:
        """For each row of which the table holds a name: by number of the list, the first name that it holds."""
        keys = list(names)
        matches: dict[int, dict[int, str]] = {}
        for place, number in table.found(hashed([name for _, name in keys])):
            row, name = keys[place]
            matches.setdefault(row, {}).setdefault(
                number, name if isinstance(name, str) else name.decode("utf-8", "replace")
            )
        return matches

    def _names(self, lists: Iterable[int]) -> str | None:
        return LIST_SEPARATOR.join(self._lists[number] for number in sorted(lists)) or None

    def _with_expression(self, texts: Mapping[int, str]) -> dict[int, list[int]]:
        """For each row, the numbers of the lists of which an expression fits; case does not count, as in squidGuard."""
        strings = pa.array(list(texts.values()), pa.string())
        rows = list(texts)
        matches: dict[int, list[int]] = {}
        for number, expressions in self._expressions.items():
            fits = np.zeros(len(rows), np.bool_)
            for expression in expressions:
                fits |= pc.match_substring_regex(strings, expression, ignore_case=True).to_numpy(zero_copy_only=False)
            for place in np.flatnonzero(fits).tolist():
                matches.setdefault(rows[place], []).append(number)
        return matches

    def limit(self, rule: Rule, measured: pa.Table) -> Any:
        """For lists, those of the recorded combinations of lists of which one drops."""
        if rule.drops != "in":
            return super().limit(rule, measured)
        recorded = pc.unique(measured[rule.measure]).drop_null().to_pylist()
        spared = frozenset(self.config.record_only)
        return tuple(names for names in recorded if not spared.issuperset(names.split(LIST_SEPARATOR)))

    def is_off(self, rule: Rule) -> bool:
        """Without record_only every list drops."""
        return rule.drops != "in" and super().is_off(rule)

    def threshold_of(self, rule: Rule) -> str:
        """For lists, which of them only record."""
        if rule.drops != "in":
            return super().threshold_of(rule)
        return f"on a list, except {', '.join(self.config.record_only) or 'none'} (record_only)"

    def evidence(self, rule: Rule, row: Mapping[str, Any], limit: Any) -> str:
        """The lists and their entry, or the words."""
        if rule.drops != "in":
            return f"{rule.shown(row[rule.measure], limit)} ({row['url_filter.words']})"
        entry = row.get(rule.measure.removesuffix("_lists"))
        return f"list {row[rule.measure]}" + (f": {entry}" if entry else "")


def words_in(path: Path) -> Iterator[str]:
    """The words of a file, one a line; what has neither letter nor digit is none.

    Raises:
        StageError: it cannot be read, or is no UTF-8.
    """
    try:
        with open(path, "rb") as file, content_of(file) as content:
            for line in content.read().decode("utf-8-sig").splitlines():
                if not line.startswith("#"):
                    yield line
    except (OSError, UnicodeDecodeError) as error:
        raise StageError(f"url_filter: the words in {path} cannot be read: {error}") from error
