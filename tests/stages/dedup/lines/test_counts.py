"""Which lines repeat: exact counts of documents by domain and over the corpus, and the Bloom filter."""

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from pipeline.artifact import Artifact
from pipeline.stage import documents
from stages.dedup.lines import bloom
from stages.dedup.lines.cuts import SLICE_FILE
from stages.dedup.lines.folding import folded
from stages.dedup.lines.options import LineCountsConfig
from stages.dedup.lines.repeats import LineCounts
from stages.dedup.lines.units import units_of
from tests.shuffle_runs import documents_artifact, run_shuffle

Rows = Sequence[Mapping[str, Any]]
LOW = {"per_domain": {"min_documents": 3, "min_share": 0.5}, "over_corpus": {"min_documents": 4, "min_characters": 12}}
CORPUS_ONLY = {"per_domain": None, "over_corpus": {"min_documents": 2, "min_characters": 4}}
BLOOM = {**CORPUS_ONLY, "keep_first": False, "counts": "bloom"}


def counted(folder: Path, inputs: Sequence[Sequence[pa.Table]], **options: Any) -> Artifact:
    """The counts of some inputs, each of several parts."""
    artifacts = [documents_artifact(f"input{i}", parts, folder) for i, parts in enumerate(inputs)]
    stage = LineCounts(LineCountsConfig.model_validate(options))
    return run_shuffle(stage, {"documents": artifacts}, folder)


def to_cut(repeats: Artifact, rows: Rows, config: LineCountsConfig) -> dict[str, set[str]]:
    """What is cut from each document, folded."""
    texts = {row["id"]: row["text"] for row in rows}
    found = {}
    for path in repeats.file_paths(SLICE_FILE):
        for row in pq.read_table(path).to_pylist():
            lines = texts[row["id"]].splitlines()
            hashes = units_of(pa.array(lines, pa.large_string()), config).hashes.tolist()
            assert row["units"] == sorted(row["units"])
            assert set(row["units"]) <= set(hashes)
            found[row["id"]] = {folded(a, True) for a, b in zip(lines, hashes, strict=True) if b in row["units"]}
    return found


def cut_of(folder: Path, rows: Rows, **options: Any) -> dict[str, set[str]]:
    return to_cut(counted(folder, [[documents(rows)]], **options), rows, LineCountsConfig.model_validate(options))


def page(number: int, *lines: str, site: str = "example.com", **columns: Any) -> dict[str, Any]:
    url = f"https://www.{site}/{number}" if site else None
    text = "\n".join([f"A text of its own, number {spelled(number)}.", *lines])
    return {"id": f"{site}/{number:04d}", "text": text, "source": "web", "url": url, **columns}


def spelled(number: int) -> str:
    return "".join(chr(ord("a") + int(digit)) for digit in str(number)) + "zzzz"


def test_a_line_of_a_domain_is_cut_from_all_but_the_earliest_of_its_documents(tmp_path: Path) -> None:
    dates = ["2024-05-03", "2021-01-01T10:00:00Z", None, "2023"]
    rows = [page(i, f"{i} Comments", date=dates[i]) for i in range(4)]
    assert cut_of(tmp_path, rows, **LOW) == {row["id"]: {"0comments"} for row in (rows[0], rows[2], rows[3])}


def test_a_line_counts_once_in_a_document(tmp_path: Path) -> None:
    rows = [page(0, *["Leave a comment"] * 5), page(1, "Leave a comment"), page(2)]
    assert cut_of(tmp_path, rows, **LOW) == {}


def test_a_line_must_reach_the_share_of_its_domain(tmp_path: Path) -> None:
    rows = [page(i, *["Read more here"] * (i < 3)) for i in range(6)]
    assert len(cut_of(tmp_path / "six", rows, **LOW)) == 2
    assert cut_of(tmp_path / "seven", [*rows, page(6)], **LOW) == {}


def test_domains_do_not_add_up_and_hosts_of_one_do(tmp_path: Path) -> None:
    two = [page(i, "About us all", site=site) for i, site in enumerate(["a.co.uk", "b.co.uk", "a.co.uk", "b.co.uk"])]
    assert cut_of(tmp_path / "two", two, **{**LOW, "over_corpus": None}) == {}
    one = [page(i, "About us all", site=site) for i, site in enumerate(["x.a.co.uk", "a.co.uk", "y.x.a.co.uk"])]
    assert len(cut_of(tmp_path / "one", one, **{**LOW, "over_corpus": None})) == 2


def test_a_line_over_the_corpus_needs_no_url_and_must_be_long(tmp_path: Path) -> None:
    rows = [page(i, "Accept all cookies", "Share this", site="") for i in range(5)]
    assert set(map(frozenset, cut_of(tmp_path, rows, **LOW).values())) == {frozenset({"acceptallcookies"})}


def test_the_document_of_the_input_named_first_keeps_its_line(tmp_path: Path) -> None:
    old, new = (
        [page(i, "Accept all cookies", site="", id=f"{date}/{i}", date=date) for i in range(3)]
        for date in ("1999-01-01", "2020-01-01")
    )
    repeats = counted(tmp_path, [[documents(new)], [documents(old)]], **LOW)
    cut = to_cut(repeats, [*old, *new], LineCountsConfig.model_validate(LOW))
    assert len(cut) == 5
    assert {row["id"] for row in old} < set(cut)


def test_without_keep_first_no_document_keeps_it(tmp_path: Path) -> None:
    rows = [page(i, "Leave a comment") for i in range(3)]
    assert len(cut_of(tmp_path, rows, **LOW, keep_first=False)) == 3


def test_documents_of_source_code_and_of_other_sources_are_neither_counted_nor_cut(tmp_path: Path) -> None:
    field = pa.field("source_code.lines", pa.int32())
    code = [{**page(i, "import everything"), "source_code.lines": 2} for i in range(5)]
    web = [page(i + 5, "import everything") for i in range(2)]
    folder = counted(tmp_path / "code", [[documents([*code, *web], [field])]], **LOW)
    assert to_cut(folder, [], LineCountsConfig()) == {}
    folder = counted(tmp_path / "asked", [[documents([*code, *web], [field])]], **LOW, include_code=True)
    assert len(to_cut(folder, [*code, *web], LineCountsConfig.model_validate(LOW))) == 6
    papers = [page(i + 7, "import everything", source="papers") for i in range(4)]
    assert set(cut_of(tmp_path / "papers", [*web, *papers], **LOW, sources=["papers"])) < {p["id"] for p in papers}


def test_paragraphs_are_counted_as_wholes(tmp_path: Path) -> None:
    texts = ["one line\nand another\n\nthe rest", "one line\nand another\n\nmore", "one line\n\nand another\n\nthird"]
    rows = [{"id": str(i), "text": text, "source": "web"} for i, text in enumerate(texts)]
    repeats = counted(tmp_path, [[documents(rows)]], **CORPUS_ONLY, unit="paragraph", keep_first=False)
    slices = [row for path in repeats.file_paths(SLICE_FILE) for row in pq.read_table(path).to_pylist()]
    assert [(row["id"], len(row["units"]), row["documents"]) for row in slices] == [("0", 1, [2]), ("1", 1, [2])]


def test_no_documents_and_empty_ones_give_a_summary(tmp_path: Path) -> None:
    assert counted(tmp_path / "none", [[]]).summary["documents"] == 0
    empty = [{"id": "a", "text": "", "source": "web"}, {"id": "b", "text": None, "source": "web"}]
    repeats = counted(tmp_path / "empty", [[documents(empty)]])
    assert (repeats.summary["documents"], repeats.summary["units"], repeats.summary["to_cut"]) == (2, 0, 0)


def corpus(rng: random.Random, count: int) -> list[dict[str, Any]]:
    """Pages of a few domains with lines of their own, of the domain, and of the web."""
    web = [f"a notice that half the web has {spelled(i)}" for i in range(5)]
    rows = []
    for i in range(count):
        site = rng.choice(["a.com", "b.blogspot.com", "c.blogspot.com", "d.org", "e.org", ""])
        own = [f"{site} menu {spelled(i)}" for i in range(6)]
        lines = [line for line in web + own if rng.random() < 0.4] + ["short"]
        date = rng.choice([None, "2020-01-01", f"20{rng.randrange(10, 24)}-0{rng.randrange(1, 9)}-11"])
        rows.append(page(i, *rng.sample(lines, len(lines)), site=site, date=date))
    return rows


def by_counter(rows: Rows) -> dict[str, set[str]]:
    """What LOW cuts, from plain counters; only ids and dates of the fixture decide who is first."""
    lines = {row["id"]: {folded(line, True) for line in row["text"].splitlines()} for row in rows}
    site = {row["id"]: row["id"].partition("/")[0] for row in rows}
    sizes = Counter(site.values())
    on_site, in_all = defaultdict(set), defaultdict(set)
    for document, own in lines.items():
        for line in own:
            if len(line) >= 12:
                in_all[line].add(document)
            if len(line) >= 8 and site[document]:
                on_site[line, site[document]].add(document)
    limits = {name: max(3, size * 0.5) for name, size in sizes.items()}
    groups = [having for having in in_all.values() if len(having) >= 4]
    groups += [having for (_, name), having in on_site.items() if len(having) >= limits[name]]
    names = [line for line, having in in_all.items() if len(having) >= 4]
    names += [line for (line, name), having in on_site.items() if len(having) >= limits[name]]
    cut: dict[str, set[str]] = defaultdict(set)
    for line, having in zip(names, groups, strict=True):
        for document in having:
            cut[document].add(line)
    return cut


def test_counts_are_those_of_a_counter(tmp_path: Path) -> None:
    rows = corpus(random.Random(1), 200)
    repeated = by_counter(rows)
    assert cut_of(tmp_path / "all", rows, **LOW, keep_first=False) == repeated
    cut = cut_of(tmp_path / "firsts", rows, **LOW)
    kept = Counter(line for document, lines in repeated.items() for line in lines - cut.get(document, set()))
    assert set(kept) == set().union(*repeated.values())
    assert all(count <= 5 for count in kept.values())  # the best document of each domain


@pytest.mark.parametrize("options", [LOW, {**LOW, "keep_first": False}, CORPUS_ONLY, BLOOM])
def test_the_result_does_not_depend_on_parts_or_their_order_or_partitions(
    tmp_path: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(2)
    rows = corpus(rng, 160)
    config = LineCountsConfig.model_validate(options)
    whole = counted(tmp_path / "whole", [[documents(rows)]], **options)
    expected = to_cut(whole, rows, config)
    assert expected
    for parts in (3, 16):
        shuffled = rng.sample(rows, len(rows))
        tables = [documents(shuffled[i::parts]) for i in range(parts)]
        with monkeypatch.context() as context:
            context.setattr("stages.dedup.lines.repeats.partitions_for", lambda *_: 2 if options is BLOOM else 8)
            context.setattr("stages.dedup.lines.cuts.MAX_SLICE_GROUPS", 5)
            split = counted(tmp_path / str(parts), [tables], **options)
        assert to_cut(split, rows, config) == expected
        if options is not BLOOM:  # which knows no best document to take samples from
            assert split.summary == whole.summary


def test_equal_input_gives_equal_bytes(tmp_path: Path) -> None:
    rows = corpus(random.Random(3), 50)
    digests = [counted(tmp_path / str(i), [[documents(rows)]], **LOW).digest for i in range(2)]
    assert digests[0] == digests[1]


def test_the_summary_shows_the_most_repeated_lines_and_domains(tmp_path: Path) -> None:
    rows = [page(i, "Leave a Comment!") for i in range(5)] + [page(i, "★ Read More ★", site="b.org") for i in range(4)]
    summary = counted(tmp_path, [[documents(rows)]], **LOW).summary
    assert summary["lines"] == [
        {"text": "Leave a Comment!", "documents": 5, "domain": None},
        {"text": "Leave a Comment!", "documents": 5, "domain": "example.com"},
        {"text": "★ Read More ★", "documents": 4, "domain": "b.org"},
    ]
    assert summary["domains"] == [
        {"domain": "example.com", "documents": 5, "cut": 4},
        {"domain": "b.org", "documents": 4, "cut": 3},
    ]
    assert (summary["documents"], summary["units"], summary["repeated_units"], summary["to_cut"]) == (9, 18, 3, 7)


def test_the_bloom_filter_misses_no_line_and_errs_no_more_often_than_it_says(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    units = rng.integers(1, 1 << 63, 60_000).astype(np.uint64) << np.uint64(1)
    once, twice = units[:50_000], units[50_000:]
    for error_rate in (0.1, 0.01, 0.001):
        measures = bloom.filter_for(len(once) + 2 * len(twice), error_rate, 0)
        assert measures.error_rate <= error_rate
        counters = np.zeros(measures.size_bytes, np.uint8)
        where = (counters, 0, measures.segment_bits, measures.segment_bytes, measures.probes)
        for batch in (once, twice, twice):
            bloom.add_units(batch, *where)
        assert bloom.counts_of(twice, *where).min() >= 2
        errors = int((bloom.counts_of(once, *where) >= 2).sum())
        expected = measures.error_rate * len(once)
        assert errors <= expected + 4 * expected**0.5
        assert errors >= expected / 4 or error_rate < 0.01


def test_the_bloom_filter_finds_what_exact_counts_find(tmp_path: Path) -> None:
    rows = corpus(random.Random(5), 200)
    exact = cut_of(tmp_path / "exact", rows, **CORPUS_ONLY, keep_first=False)
    found = cut_of(tmp_path / "bloom", rows, **BLOOM)
    assert all(exact[document] <= found[document] for document in exact)
    extra = sum(len(lines - exact.get(document, set())) for document, lines in found.items())
    assert extra <= 2


def test_counts_do_not_pass_the_end_of_a_counter() -> None:
    measures = bloom.filter_for(100, 0.01, 0)
    counters = np.zeros(measures.size_bytes, np.uint8)
    where = (counters, 0, measures.segment_bits, measures.segment_bytes, measures.probes)
    bloom.add_units(np.full(1000, 12345 << 20, np.uint64), *where)
    assert bloom.counts_of(np.array([12345 << 20], np.uint64), *where).tolist() == [255]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"per_domain": None, "over_corpus": None}, "nothing would be cut"),
        ({"counts": "bloom"}, "keep_first: false"),
        ({**BLOOM, "over_corpus": {"min_documents": 256}}, "counts to 255"),
        ({"over_corpus": {"min_characters": 2}}, "raise it"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        LineCountsConfig.model_validate(options)


def test_memory_follows_the_option_and_not_the_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables of counts are the only memory that grows with the number of lines."""
    from stages.dedup.lines import tally

    largest = []
    make = tally.Tally._make
    monkeypatch.setattr(tally.Tally, "_make", lambda self, slots: (largest.append(slots), make(self, slots))[1])
    rng = random.Random(6)
    words = [f"w{rng.randrange(10**9):x}".translate(str.maketrans("0123456789", "ghijklmnop")) for _ in range(5000)]
    lines = [" ".join(rng.choices(words, k=8)) for _ in range(60_000)]
    tables = [
        documents([{"id": f"{part}/{i}", "text": "\n".join(lines[at : at + 20]), "source": "web"} for i, at in rows])
        for part in range(4)
        for rows in [list(enumerate(range(part * 15_000, (part + 1) * 15_000, 20)))]
    ]
    counted(tmp_path, [tables], per_domain=None, over_corpus={"min_documents": 2}, task_memory_mb=2)
    assert len(largest) > 4
    assert max(largest) * tally.SLOT_BYTES * 1.5 <= 2 << 20
