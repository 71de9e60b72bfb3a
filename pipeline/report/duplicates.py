"""Dedup: what goes and why, where it lies, how far the result can be trusted, and pairs of texts to judge it by."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any

from pipeline.artifact import Artifact
from pipeline.report.charts import share_bar
from pipeline.report.facts import Facts
from pipeline.report.markup import Markup, Node, cards, element, note, number, percent, plural, section, table
from pipeline.report.repeats import passages, repeated_lines

ALREADY_INDEXED = "already_indexed"  # reason of documents whose id an index of earlier runs holds
GROUPS_SHOWN = 20  # sources, languages: those that lose most

Summary = Mapping[str, Any]

_SPACELESS = "\u3040-\u30ff\u3400-\u9fff"  # kana and Han: scripts without spaces between words
_WORD = re.compile(rf"(?:[{_SPACELESS}]|[^\s{_SPACELESS}]+)\s*")


def duplicates_section(facts: Facts) -> Markup | None:
    """Duplicates, semantic duplicates, repeated lines and repeated passages, as far as the run looked for them."""
    made = [told for artifact in facts.artifacts.values() for told in _told(artifact)]
    return section("duplicates", "Duplicates", made) if made else None


def _told(artifact: Artifact) -> Iterator[Node]:
    known = {
        "duplicates": ("Equal and similar texts", _duplicates),
        "repeated_lines": ("Repeated lines", repeated_lines),
        "spans": ("Repeated passages", passages),
        "index": ("Added to the index", _index),
    }
    if artifact.kind not in known:
        return
    title, describe = known[artifact.kind]
    if "semantic_duplicates" in artifact.summary:
        title, describe = "Semantic duplicates", _semantic
    yield element("h3", title, element("small", f" {artifact.name.partition('.')[0]}"))
    if artifact.summary.get("documents"):
        yield describe(artifact)
    else:
        yield element("p", "There were no documents.")


def _duplicates(artifact: Artifact) -> Node:
    summary, config = artifact.summary, artifact.steps[0]["config"]
    documents, removed = summary["documents"], summary["removed"]
    return [
        [note(f"Alarm: {alarm}.", kind="failure") for alarm in summary["alarms"]],
        cards(
            [
                ("documents compared", number(documents)),
                *([("with those of the index", number(summary["indexed"]))] if summary["indexed"] else []),
                ("removed", f"{number(removed)} ({percent(removed / documents)})"),
                ("clusters", number(sum(summary["sizes"].values()))),
                ("similarity threshold", f"{config['threshold']:g}"),
            ]
        ),
        element(
            "p",
            f"{plural(summary['linked'], 'document')} shared a key with another; {number(summary['comparisons'])} "
            "comparisons of two texts decided which of them go.",
        ),
        element("p", f"{_recall(summary['audit'])} {_precision(summary, config['threshold'])}"),
        _capped(summary["capped"]),
        _reasons(summary) if removed else None,
        losses_tables(summary),
        _sizes(summary["sizes"]) if removed else None,
        _pairs(summary),
    ]


def _recall(audit: Summary) -> str:
    if not audit["pairs"]:
        return "The sample for an estimate of recall holds no similar pair, so nothing is said of what was missed."
    return (
        f"Recall is {percent(audit['recall'])}, estimated on {plural(audit['pairs'], 'similar pair')} of a sample that "
        f"the bands had no part in; theory expects {percent(audit['expected_recall'])} for pairs of these similarities."
    )


def _precision(summary: Summary, threshold: float) -> str:
    """Of what goes for its text or URL; documents that the index holds by their id have not been compared."""
    measured = summary["removed"] - summary["reasons"].get(ALREADY_INDEXED, 0)
    if not measured:
        return ""
    return (
        f"Precision: {percent(summary['similar_removed'] / measured)} of what was removed has a measured similarity of "
        f"{threshold:g} or more to the document that stays."
    )


def _capped(entries: int) -> Markup | None:
    if not entries:
        return None
    return note(
        "Some keys are shared by more distinct documents than each newcomer is compared with "
        f"({entries:,} entries of such a document were left out), so duplicates may have stayed. A longer n-gram or "
        "more rows to a band tell such documents apart.",
        kind="warning",
    )


def _reasons(summary: Summary) -> Markup:
    removed = summary["removed"]
    rows = [
        (
            element("code", reason),
            number(n),
            percent(n / removed),
            share_bar([(reason, n, "dropped")], removed, f"{reason}: {number(n)} of {number(removed)}"),
        )
        for reason, n in sorted(summary["reasons"].items(), key=lambda pair: (-pair[1], pair[0]))
    ]
    return table("What was removed, and why", ("reason", "#documents", "#share", "~share of all removed"), rows)


def losses_tables(summary: Summary) -> Node:
    """What each source and language loses, [documents, lost] by name; languages only where one is known."""
    is_language_known = any(summary["languages"])
    return [
        _losses("source", summary["sources"]),
        _losses("language", summary["languages"]) if is_language_known else None,
    ]


def _losses(kind: str, losses: Mapping[str, Sequence[int]]) -> Markup:
    by_share = sorted(losses.items(), key=lambda entry: (-entry[1][1] / max(1, entry[1][0]), entry[0]))
    rows = [
        (
            name or "(not known)",
            number(documents),
            number(lost),
            percent(lost / documents) if documents else "–",
            share_bar([(name, lost, "dropped")], documents, f"{name}: {number(lost)} of {number(documents)}"),
        )
        for name, (documents, lost) in by_share[:GROUPS_SHOWN]
    ]
    rest = len(losses) - len(rows)
    more = f"; {plural(rest, kind)} that lost less not shown" if rest > 0 else ""
    return table(f"Losses by {kind}{more}", (kind, "#documents", "#lost", "#share", f"~share of the {kind}"), rows)


def _sizes(sizes: Mapping[str, int]) -> Markup:
    """Clusters by size in powers of two: "4" counts those of 3 to 4 documents."""
    most = max(sizes.values(), default=0)
    rows = []
    for size, n in sizes.items():
        label = size if size == "2" else f"{int(size) // 2 + 1:,} to {int(size):,}"
        rows.append((label, number(n), share_bar([(label, n, "kept")], most, f"{label} documents: {number(n)}")))
    return table("Sizes of clusters, with the document that stays", ("documents", "#clusters", "~clusters"), rows)


def _pairs(summary: Summary) -> Node:
    doubtful = [_pair(pair) for pair in summary.get("doubtful", ())]
    drawn = [_pair(pair) for pair in summary["pairs"]]
    clusters = [
        compared(
            f"{number(cluster['size'])} documents",
            (cluster["loser"], cluster["loser_text"]),
            (cluster["winner"], cluster["text"]),
        )
        for cluster in summary["clusters"]
    ]
    if not (doubtful or drawn or clusters):
        return None
    return [
        element(
            "p",
            "Below, the beginnings of two texts stand side by side: of a document that goes, and of the one that stays "
            "for it. Words that only the one has are ",
            element("del", "struck through"),
            ", words that only the other has are ",
            element("ins", "underlined"),
            "; where nothing is marked, the texts differ further on or not at all.",
            class_="small",
        ),
        _fold("Least similar pairs that were removed: here the threshold decides", doubtful),
        _fold("Pairs drawn at random", drawn),
        _fold("Largest clusters, each with one of the documents that go", clusters),
    ]


def _fold(title: str, pairs: Sequence[Markup]) -> Markup | None:
    if not pairs:
        return None
    return element("details", element("summary", title, element("small", f" {len(pairs)}")), pairs, class_="pairs")


def _pair(pair: Summary) -> Markup:
    head = [f"similarity {pair['similarity']:.3f}, ", element("code", pair["reason"])]
    return compared(head, (pair["id"], pair["text"]), (pair["winner"], pair["winner_text"]))


def compared(head: Node, gone: tuple[str, str | None], kept: tuple[str, str | None]) -> Markup:
    """Two documents side by side, (id, excerpt), with the words in which they differ marked."""
    left, right = marked(gone[1] or "", kept[1] or "")
    return element(
        "div",
        element("p", head, class_="evidence"),
        side_by_side(("goes", gone[0], left), ("stays", kept[0], right)),
        class_="compared",
    )


def side_by_side(*texts: tuple[str, str, Node]) -> Markup:
    """Texts beside each other: of each its role, its document's id, and what to show of it."""
    articles = [
        element(
            "article",
            element("p", element("small", f"{role} "), element("code", document), class_="id"),
            element("pre", text, dir="auto"),
            class_="sample",
        )
        for role, document, text in texts
    ]
    return element("div", articles, class_="samples")


def marked(gone: str, kept: str) -> tuple[list[Node], list[Node]]:
    """Both excerpts, with the words that only ``gone`` has as del, and those that only ``kept`` has as ins.

    Excerpts of equal length were cut there, so what one of them has left over at its end says nothing and stays plain.
    """
    left, right = _WORD.findall(gone), _WORD.findall(kept)
    matcher = SequenceMatcher(None, [w.rstrip() for w in left], [w.rstrip() for w in right], autojunk=False)
    said: tuple[list[Node], list[Node]] = ([], [])
    for change, begin, end, other_begin, other_end in matcher.get_opcodes():
        here, there = "".join(left[begin:end]), "".join(right[other_begin:other_end])
        is_end = end == len(left) and other_end == len(right)
        is_left_over = is_end and len(gone) == len(kept) and (here.startswith(there) or there.startswith(here))
        is_plain = change == "equal" or is_left_over
        said[0].append(here if is_plain else _mark("del", here))
        said[1].append(there if is_plain else _mark("ins", there))
    return said


def _mark(name: str, text: str) -> Node:
    words = text.rstrip()
    return [element(name, words), text[len(words) :]] if words else None


def _index(artifact: Artifact) -> Node:
    summary = artifact.summary
    added = plural(summary["documents"], "document")
    return element("p", f"{added} that stayed went into the index, as its generation {summary['generation']}.")


def _semantic(artifact: Artifact) -> Node:
    summary, config = artifact.summary, artifact.steps[0]["config"]
    documents, removed = summary["documents"], summary["semantic_duplicates"]
    groups = [(element("code", winner), number(size)) for winner, size in summary["largest_groups"]]
    return [
        [note(f"Alarm: {alarm}.", kind="failure") for alarm in summary["alarms"]],
        cards(
            [
                ("documents compared", number(documents)),
                ("removed", f"{number(removed)} ({percent(removed / documents)})"),
                ("without embedding", number(summary["without_embedding"])),
                ("unusable embeddings", number(summary["bad_embeddings"])),
                ("cosine threshold", f"{config['threshold']:g}"),
            ]
        ),
        element(
            "p",
            f"Embeddings of {summary['dimensions']:,} dimensions were compared within "
            f"{plural(summary['clusters'], 'cluster')}, the largest of "
            f"{plural(summary['largest_cluster'], 'document')}. {_semantic_recall(summary['audit'])}",
        ),
        losses_tables(summary),
        table("Largest groups", ("the document that stays", "#documents in the group"), groups) if groups else None,
    ]


def _semantic_recall(audit: Summary) -> str:
    if not audit["queries_with_similar"]:
        return "No document of the sample has a similar one, so nothing is said of what was missed."
    return (
        f"Recall, estimated on {plural(audit['queries'], 'document')} that were compared with all others: of "
        f"{audit['queries_with_similar']:,} with a similar one, {audit['queries_found']:,} "
        f"({percent(audit['recall'])}) have one in their own cluster."
    )
