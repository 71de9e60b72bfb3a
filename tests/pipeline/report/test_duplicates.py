"""The section on duplicates: what was removed and why, how far it can be trusted, texts side by side."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lxml import etree

from pipeline.artifact import Artifact, ArtifactFolder, Part
from pipeline.ledger import Ledger
from pipeline.report.duplicates import duplicates_section, marked
from pipeline.report.facts import Facts
from pipeline.report.markup import rendered
from pipeline.run import Run
from tests.pipeline.report.runs import HOSTILE_TEXT

PAIR = {
    "id": "web/a@1",
    "text": "The old mill stood by the river.",
    "winner": "web/b@2",
    "winner_text": "The new mill stood by the river.",
    "similarity": 0.9126,
    "reason": "near_duplicate",
}
DEDUP: dict[str, Any] = {
    "documents": 2000,
    "removed": 400,
    "reasons": {"exact_duplicate": 100, "near_duplicate": 260, "same_url": 40},
    "linked": 700,
    "comparisons": 5000,
    "capped": 0,
    "similar_removed": 392,
    "audit": {"pairs": 1234, "recall": 0.987, "expected_recall": 0.985},
    "sources": {"wiki": [500, 10], "web": [1500, 390]},
    "languages": {"en": [1900, 400], "": [100, 0]},
    "alarms": [],
    "sizes": {"2": 200, "4": 50, "8": 3},
    "clusters": [
        {"winner": "web/w@0", "size": 7, "text": "Cookies are used.", "loser": "web/l@3", "loser_text": "Cookies used."}
    ],
    "pairs": [PAIR],
    "doubtful": [{**PAIR, "id": "web/c@5", "similarity": 0.8004}],
    "indexed": 0,
}


SEMANTIC = {
    "documents": 1000,
    "without_embedding": 12,
    "bad_embeddings": 3,
    "semantic_duplicates": 200,
    "dimensions": 384,
    "clusters": 32,
    "largest_cluster": 90,
    "largest_groups": [["web/w@0", 17]],
    "sources": {"web": [1000, 200]},
    "languages": {"en": [1000, 200]},
    "alarms": [],
    "audit": {"queries": 500, "queries_with_similar": 40, "queries_found": 38, "recall": 0.95},
}
LINES = {
    "documents": 300,
    "units": 9000,
    "repeated_units": 2,
    "to_cut": 80,
    "lines": [
        {"text": "Sign in to comment", "documents": 60, "domain": "example.org"},
        {"text": "All rights reserved", "documents": 20, "domain": None},
    ],
    "domains": [{"domain": "example.org", "documents": 70, "cut": 59}],
}
PASSAGES = {
    "documents": 300,
    "tokens": 10_000,
    "documents_repeated": 3,
    "spans": 4,
    "tokens_repeated": 500,
    "sources": {
        "web": {"documents": 300, "tokens": 10_000, "documents_repeated": 3, "spans": 4, "tokens_repeated": 500}
    },
    "largest_passages": [{"tokens": 180, "times": 2, "text": "Permission is hereby granted", "kept": "web/a@1"}],
}


def facts_of(folder: Path, kind: str, summary: Mapping[str, Any], **config: Any) -> Facts:
    """A run with one artifact that reports this."""
    run = Run(folder)
    part = Part("key", "summary", "data/key", (), Ledger(), summary)
    steps = ({"label": "unique", "stage": "dedup", "version": 1, "config": config, "side": {}},)
    artifacts = ArtifactFolder(folder, "unique.x")
    artifacts.seal(Artifact("unique.x", kind, "print", artifacts.folder, steps, {}, (part,)))
    (folder / "run.json").write_text(json.dumps({"name": "here", "artifacts": {"unique.x": "print"}}))
    return Facts(run)


def told(folder: Path, kind: str, summary: Mapping[str, Any], **config: Any) -> etree._Element:
    """The section on it."""
    return etree.fromstring(str(duplicates_section(facts_of(folder, kind, summary, **config))))


def text(node: etree._Element) -> str:
    return "".join(node.itertext()).replace("\u00a0", " ")


def rows(section: etree._Element, caption: str) -> list[list[str]]:
    (found,) = [table for table in section.iter("table") if text(table.find("caption")).startswith(caption)]
    return [[text(cell) for cell in row] for row in found.iter("tr")][1:]


def folds(section: etree._Element) -> dict[str, etree._Element]:
    return {text(fold.find("summary")): fold for fold in section.iter("details")}


def marks(section: etree._Element, fold: str) -> dict[str, list[str]]:
    (found,) = [fold_ for title, fold_ in folds(section).items() if title.startswith(fold)]
    return {name: [text(mark) for mark in found.iter(name)] for name in ("del", "ins")}


def test_what_was_removed_is_told_by_reason_source_and_language(tmp_path: Path) -> None:
    section = told(tmp_path, "duplicates", DEDUP, threshold=0.8)
    assert "removed400 (20 %)" in text(section)
    assert [row[:3] for row in rows(section, "What was removed, and why")] == [
        ["near_duplicate", "260", "65 %"],
        ["exact_duplicate", "100", "25 %"],
        ["same_url", "40", "10 %"],
    ]
    assert [row[:4] for row in rows(section, "Losses by source")] == [
        ["web", "1,500", "390", "26 %"],
        ["wiki", "500", "10", "2.0 %"],
    ]
    assert [row[:4] for row in rows(section, "Losses by language")] == [
        ["en", "1,900", "400", "21 %"],
        ["(not known)", "100", "0", "0 %"],
    ]


def test_languages_that_nobody_has_measured_have_no_table(tmp_path: Path) -> None:
    section = told(tmp_path, "duplicates", {**DEDUP, "languages": {"": [2000, 400]}}, threshold=0.8)
    assert "by language" not in text(section)


def test_an_alarm_is_a_failure_that_stands_first(tmp_path: Path) -> None:
    alarm = "source web would lose 1,300 of its 1,500 documents (87%)"
    section = told(tmp_path, "duplicates", {**DEDUP, "alarms": [alarm]}, threshold=0.8)
    (remark,) = [p for p in section.iter("p") if "failure" in p.get("class", "")]
    assert text(remark) == f"Alarm: {alarm}."
    assert remark.getnext().tag == "dl"


def test_estimated_recall_stands_beside_that_of_the_theory_with_the_number_of_pairs(tmp_path: Path) -> None:
    shown = text(told(tmp_path, "duplicates", DEDUP, threshold=0.8))
    assert "Recall is 98.7 %, estimated on 1,234 similar pairs" in shown
    assert "theory expects 98.5 %" in shown
    assert "Precision: 98.0 % of what was removed has a measured similarity of 0.8 or more" in shown


def test_without_a_sampled_pair_nothing_is_claimed_of_recall(tmp_path: Path) -> None:
    audit = {"pairs": 0, "recall": None, "expected_recall": None}
    shown = text(told(tmp_path, "duplicates", {**DEDUP, "audit": audit}, threshold=0.8))
    assert "nothing is said of what was missed" in shown
    assert "theory expects" not in shown


def test_documents_that_the_index_holds_by_id_count_neither_for_nor_against_precision(tmp_path: Path) -> None:
    indexed = {"indexed": 7000, "removed": 500, "reasons": {**DEDUP["reasons"], "already_indexed": 100}}
    shown = text(told(tmp_path, "duplicates", {**DEDUP, **indexed}, threshold=0.8))
    assert "with those of the index7,000" in shown
    assert "Precision: 98.0 %" in shown


def test_what_was_added_to_an_index_is_told(tmp_path: Path) -> None:
    section = told(tmp_path, "index", {"documents": 600, "generation": 3})
    assert "600 documents that stayed went into the index, as its generation 3." in text(section)


def test_clusters_are_counted_by_size(tmp_path: Path) -> None:
    section = told(tmp_path, "duplicates", DEDUP, threshold=0.8)
    assert [row[:2] for row in rows(section, "Sizes of clusters")] == [["2", "200"], ["3 to 4", "50"], ["5 to 8", "3"]]
    assert "clusters253" in text(section)


def test_sampled_and_doubtful_pairs_stand_side_by_side_with_their_similarity(tmp_path: Path) -> None:
    section = told(tmp_path, "duplicates", DEDUP, threshold=0.8)
    drawn = folds(section)["Pairs drawn at random 1"]
    doubtful = folds(section)["Least similar pairs that were removed: here the threshold decides 1"]
    assert "similarity 0.913, near_duplicate" in text(drawn)
    assert "similarity 0.800" in text(doubtful)
    sides = [[text(code) for code in article.iter("code")] for article in drawn.iter("article")]
    assert sides == [["web/a@1"], ["web/b@2"]]
    assert [text(pre) for pre in drawn.iter("pre")] == [PAIR["text"], PAIR["winner_text"]]


def test_where_no_pair_is_doubtful_none_is_announced(tmp_path: Path) -> None:
    section = told(tmp_path, "duplicates", {**DEDUP, "doubtful": []}, threshold=0.8)
    assert [title.split()[0] for title in folds(section)] == ["Pairs", "Largest"]


def test_the_largest_clusters_are_shown_with_one_that_goes_and_the_one_that_stays(tmp_path: Path) -> None:
    section = told(tmp_path, "duplicates", DEDUP, threshold=0.8)
    largest = folds(section)["Largest clusters, each with one of the documents that go 1"]
    assert "7 documents" in text(largest)
    assert [text(code) for code in largest.iter("code")] == ["web/l@3", "web/w@0"]
    assert marks(section, "Largest") == {"del": [], "ins": ["are"]}


def test_texts_of_documents_are_shown_as_text(tmp_path: Path) -> None:
    hostile = {**PAIR, "text": HOSTILE_TEXT[:300], "winner_text": "<b>bold</b>"}
    shown = str(duplicates_section(facts_of(tmp_path, "duplicates", {**DEDUP, "pairs": [hostile]}, threshold=0.8)))
    assert "&lt;b&gt;bold&lt;/b&gt;" in shown
    assert "<script" not in shown
    assert "\u202e" not in shown


def test_lists_of_winners_that_were_full_are_a_warning(tmp_path: Path) -> None:
    section = told(tmp_path, "duplicates", {**DEDUP, "capped": 17}, threshold=0.8)
    assert "17 entries" in text(next(p for p in section.iter("p") if "warning" in p.get("class", "")))


def test_dedup_that_removed_nothing_has_no_empty_tables(tmp_path: Path) -> None:
    nothing = {"removed": 0, "reasons": {}, "sizes": {}, "clusters": [], "pairs": [], "doubtful": [], "linked": 0}
    section = told(tmp_path, "duplicates", {**DEDUP, **nothing, "similar_removed": 0}, threshold=0.8)
    assert "removed0 (0 %)" in text(section)
    assert all(len(table.findall("tbody/tr")) for table in section.iter("table"))
    assert not folds(section)
    assert "Precision" not in text(section)


def test_dedup_of_nothing_says_so(tmp_path: Path) -> None:
    assert "There were no documents." in text(told(tmp_path, "duplicates", {"documents": 0, "alarms": []}))


def test_words_that_one_excerpt_has_alone_are_marked() -> None:
    gone, kept = marked("The old mill stood here.", "The new mill stood here.")
    assert str(rendered(gone)) == "The <del>old</del> mill stood here."
    assert str(rendered(kept)) == "The <ins>new</ins> mill stood here."


def test_in_a_script_without_spaces_characters_are_marked() -> None:
    gone, kept = marked("我们在河边看见旧磨坊", "我们在河边看见新磨坊")
    assert str(rendered(gone)) == "我们在河边看见<del>旧</del>磨坊"
    assert str(rendered(kept)) == "我们在河边看见<ins>新</ins>磨坊"


def test_what_the_cut_left_over_at_the_end_of_an_excerpt_is_not_marked() -> None:
    whole = "one two three four five six seven eight nine ten"
    gone, kept = marked(whole[:30], ("zero " + whole)[:30])
    assert str(rendered(gone)) == "one two three four five six se"
    assert str(rendered(kept)) == "<ins>zero</ins> one two three four five s"


def test_an_end_that_differs_is_marked() -> None:
    gone, kept = marked("See chapter 1", "See chapter 2")
    assert str(rendered([gone, "|", kept])) == "See chapter <del>1</del>|See chapter <ins>2</ins>"
    gone, kept = marked("See the chapter", "See the chapter and more")
    assert str(rendered(kept)) == "See the chapter <ins>and more</ins>"


def test_semantic_duplicates_have_losses_groups_and_an_estimate(tmp_path: Path) -> None:
    section = told(tmp_path, "duplicates", SEMANTIC, threshold=0.95)
    assert rows(section, "Largest groups") == [["web/w@0", "17"]]
    assert [row[:4] for row in rows(section, "Losses by source")] == [["web", "1,000", "200", "20 %"]]
    assert "of 40 with a similar one, 38 (95.0 %) have one in their own cluster" in text(section)


def test_semantic_dedup_without_similar_queries_claims_nothing(tmp_path: Path) -> None:
    audit = {"queries": 500, "queries_with_similar": 0, "queries_found": 0, "recall": None}
    section = told(tmp_path, "duplicates", {**SEMANTIC, "audit": audit}, threshold=0.95)
    assert "nothing is said of what was missed" in text(section)


def test_repeated_lines_are_told_with_the_documents_that_have_them(tmp_path: Path) -> None:
    section = told(tmp_path, "repeated_lines", LINES, unit="line")
    assert rows(section, "The lines that most documents have") == [
        ["Sign in to comment", "60", "example.org"],
        ["All rights reserved", "20", "all inputs"],
    ]
    assert rows(section, "Domains of which most is cut") == [["example.org", "70", "59"]]


def test_lines_counted_in_a_bloom_filter_tell_its_error_rate(tmp_path: Path) -> None:
    section = told(tmp_path, "repeated_lines", {**LINES, "error_rate": 0.001, "filter_bytes": 4096}, unit="line")
    assert "with a probability of 0.001 at most" in text(section)


def test_repeated_passages_are_told_by_source_with_the_longest(tmp_path: Path) -> None:
    section = told(tmp_path, "spans", PASSAGES, min_tokens=50)
    assert [row[:6] for row in rows(section, "Repeated passages by source")] == [
        ["web", "300", "3", "4", "500", "5.0 %"]
    ]
    assert rows(section, "The longest repeated passages") == [["Permission is hereby granted …", "180", "2", "web/a@1"]]
