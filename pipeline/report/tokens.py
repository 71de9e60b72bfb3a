"""Token shards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.artifact import Artifact
from pipeline.report.charts import share_bar
from pipeline.report.facts import Facts
from pipeline.report.markup import Markup, Node, cards, element, note, number, plural, rounded, section, size, table

LANGUAGES_SHOWN = 30


def tokens_section(facts: Facts) -> Markup | None:
    """Documents, tokens and bytes by source."""
    found = facts.of_kind("tokens")
    if not found:
        return None
    return section("tokens", "Tokens", [_tokens(artifact, facts) for artifact in found])


def _tokens(artifact: Artifact, facts: Facts) -> Node:
    sources = artifact.summary["sources"]
    total = sum(part["tokens"] for parts in sources.values() for part in parts.values())
    size_bytes = sum(part["bytes"] for parts in sources.values() for part in parts.values())
    rows = []
    for source, parts in sources.items():
        tokens = sum(part["tokens"] for part in parts.values())
        source_bytes = sum(part["bytes"] for part in parts.values())
        rows.append(
            (
                source,
                number(sum(part["documents"] for part in parts.values())),
                number(tokens),
                number(parts["train"]["tokens"]),
                f"{number(parts['held_out']['tokens'])} in {number(parts['held_out']['documents'])}",
                size(source_bytes),
                f"{source_bytes / tokens:.2f}" if tokens else "–",
                share_bar([(source, tokens, facts.sources.get(source, "s0"))], total, f"{source}: {number(tokens)}"),
            )
        )
    columns = (
        "source",
        "#documents",
        "#tokens",
        "#to train on",
        "#held out, documents",
        "#text",
        "#bytes/token",
        "~share",
    )
    few = [source for source, parts in sources.items() if parts["held_out"]["documents"] < 5]
    return [
        cards(
            [
                ("tokens", rounded(total)),
                ("vocabulary", number(artifact.summary["vocabulary"])),
                ("text", size(size_bytes)),
                ("bytes per token", f"{size_bytes / total:.2f}" if total else "–"),
            ]
        ),
        _taken_down(artifact),
        note(
            f"Fewer than five documents are held out for {', '.join(few)}: bits per byte there say little about the "
            "source as a whole.",
            kind="warning",
        )
        if few
        else None,
        table("Token shards by source", columns, rows),
        _fertility(artifact.summary["fertility"]),
    ]


def _taken_down(artifact: Artifact) -> Markup | None:
    gone = artifact.summary.get("taken_down")
    if not gone or not gone["documents"]:
        return None
    return note(
        f"{plural(gone['documents'], 'document')} of {number(gone['tokens'])} tokens have been taken down since these "
        "shards were made, and are not in this table; the ledger, and how the tokenizer fits, are as made."
    )


def _fertility(rows: Sequence[Mapping[str, Any]]) -> Node:
    """How well the tokenizer fits each source, each language, and each language of a source."""
    by_tokens = sorted(rows, key=lambda row: -row["tokens"])
    sources = [row for row in by_tokens if row["language"] is None]
    languages = [row for row in by_tokens if row["source"] is None]
    pairs = [row for row in by_tokens if row["source"] and row["language"]]
    explained = (
        "Tokens without the one at a document's end. Words are what stands between blanks, so that tokens a word say "
        "nothing of languages that set none. Unigram bits: what a model that knows how often each token occurs, and "
        "nothing else, needs for a byte of text; lower is better, and it can be compared between tokenizers."
    )
    return element(
        "details",
        element("summary", "How well the tokenizer fits: by source and language"),
        note(explained),
        _fertility_table("By source", sources),
        _fertility_table("By language", languages[:LANGUAGES_SHOWN]),
        note(f"{number(len(languages) - LANGUAGES_SHOWN)} more languages are in the artifact's manifest.")
        if len(languages) > LANGUAGES_SHOWN
        else None,
        _fertility_table("By source and language", pairs[:LANGUAGES_SHOWN]) if len(pairs) > len(sources) else None,
    )


def _fertility_table(caption: str, rows: Sequence[Mapping[str, Any]]) -> Markup:
    names = [", ".join(row[name] for name in ("source", "language") if row[name]) for row in rows]
    cells = [
        (
            name,
            number(row["documents"]),
            number(row["tokens"]),
            _ratio(row["tokens"], row["words"]),
            _ratio(row["bytes"], row["tokens"]),
            "–" if row["unigram_bits_per_byte"] is None else f"{row['unigram_bits_per_byte']:.3f}",
        )
        for name, row in zip(names, rows, strict=True)
    ]
    columns = ("", "#documents", "#tokens", "#tokens/word", "#bytes/token", "#unigram bits/byte")
    return table(caption, columns, cells)


def _ratio(part: float, whole: float) -> str:
    return f"{part / whole:.2f}" if whole else "–"
