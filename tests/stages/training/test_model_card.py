"""The README of an exported model."""

from types import SimpleNamespace
from typing import Any, cast

import yaml
from markdown_it import MarkdownIt

from mixes.mix_file import MixFile
from stages.training.model_card import model_card

SOURCES = {
    "web": {"train": {"tokens": 4_000, "documents": 40}},
    "a|b <i>": {"train": {"tokens": 500, "documents": 5}},
    "unused": {"train": {"tokens": 900, "documents": 9}},
}


def card() -> str:
    evidence = SimpleNamespace(runs=32, gain=0.125, gain_interval=(0.1, 0.15))
    mix: Any = SimpleNamespace(
        sources={name: SimpleNamespace(fingerprint=f"print of {i}") for i, name in enumerate(SOURCES)},
        evidence=evidence,
        confirmation=[SimpleNamespace(size="nano", verdict="the mix beats the natural mix")],
    )
    shares = {"web": 0.75, "a|b <i>": 0.25, "unused": 0.0}
    training = {"size": "demo", "tokens": 8_000}
    return model_card("demo, optimal mix", shares, cast("MixFile", mix), SOURCES, training, {"bpb.web": 1.25})


def tables() -> list[list[list[str]]]:
    """Cells of each row of each table, as Markdown shows them."""
    found: list[list[list[str]]] = []
    is_cell = False
    for token in MarkdownIt("commonmark").enable("table").parse(card().split("---\n", 2)[2]):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type == "inline" and is_cell:
            found[-1][-1].append("".join(child.content for child in token.children or ()))
        is_cell = token.type in ("th_open", "td_open")
    return found


def test_front_matter_is_yaml_that_hubs_read() -> None:
    front = yaml.safe_load(card().split("---\n")[1])
    assert (front["library_name"], front["pipeline_tag"]) == ("transformers", "text-generation")


def test_each_source_that_was_trained_on_has_its_tokens_and_epochs() -> None:
    rows = {row[0]: row[1:] for row in tables()[1]}
    assert rows["web"] == ["75.00%", "6,000", "4,000", "1.50", "40", "print of 0"]
    assert rows["a|b <i>"] == ["25.00%", "2,000", "500", "4.00", "5", "print of 1"]  # shown as it is named
    assert "unused" not in rows


def test_the_card_tells_why_and_how_good() -> None:
    text = card()
    assert "Predicted by 32 proxies" in text
    assert "0.1250 (0.1000 to 0.1500" in text
    assert "- Checked at size nano: the mix beats the natural mix." in text
    assert tables()[2][1] == ["bpb.web", "1.2500"]
