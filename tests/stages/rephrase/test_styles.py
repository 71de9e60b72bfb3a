"""Styles as data: the file that comes with the stage, and what is told about a user's own."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from stages.rephrase.styles import Bound, Style, read_styles

STYLE: dict[str, Any] = {
    "format": "text",
    "chunk_tokens": 500,
    "output_ratio": 1.5,
    "reminder": "Write it now.",
    "templates": ["Make a poem.", "Write verses in {language}.", "Turn it into rhymes."],
}


def styles_file(folder: Path, **fields: Any) -> Path:
    """A file with one style, "haiku"; a field that is None is left out."""
    style = {name: value for name, value in (STYLE | fields).items() if value is not None}
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({"gates": {"support": {"min": 0.6}}, "styles": {"haiku": style}}))
    return path


def haiku(folder: Path, **fields: Any) -> Style:
    return read_styles(styles_file(folder, **fields))["haiku"]


def test_the_styles_that_come_with_the_stage() -> None:
    styles = read_styles()
    assert list(styles) == [
        "clean",
        "encyclopaedic",
        "distilled",
        "knowledge_list",
        "questions",
        "faq",
        "table_questions",
        "tutorial",
        "mathematics",
    ]
    assert all(len(style.templates) >= 3 for style in styles.values())
    assert all("{language}" in template for style in styles.values() for template in style.templates)
    assert len({style.fingerprint for style in styles.values()}) == len(styles)


def test_templates_of_a_style_share_few_runs_of_words() -> None:
    """Variants that say the same in the same words would not vary what models write."""
    for style in read_styles().values():
        runs = [{tuple(words[i : i + 5]) for i in range(len(words) - 4)} for words in map(str.split, style.templates)]
        for i, one in enumerate(runs):
            for other in runs[i + 1 :]:
                assert len(one & other) <= 0.1 * min(len(one), len(other)), style.name


def test_gates_of_the_file_hold_for_a_style_that_names_no_bound_of_its_own(tmp_path: Path) -> None:
    assert haiku(tmp_path).gates == {"support": Bound(min=0.6)}
    more = haiku(tmp_path, gates={"copied": {"max": 0.2}})
    assert more.gates == {"support": Bound(min=0.6), "copied": Bound(max=0.2)}
    assert haiku(tmp_path, gates={"support": {"max": 0.9}}).gates == {"support": Bound(max=0.9)}
    assert haiku(tmp_path, gates={"support": None}).gates == {"support": Bound()}


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"templates": ["Make a poem!", "Write verses in {language}.", "Turn it into rhymes."]},
        {"reminder": "Write it."},
        {"format": "list"},
        {"chunk_tokens": 501},
        {"overlap_tokens": 1},
        {"output_ratio": 1.6},
        {"append_to_source": True},
        {"failed_passage": "keep"},
        {"gates": {"support": {"min": 0.7}}},
    ],
)
def test_what_changes_an_answer_or_a_decision_changes_the_fingerprint(tmp_path: Path, change: dict[str, Any]) -> None:
    assert haiku(tmp_path, **change).fingerprint != haiku(tmp_path).fingerprint


@pytest.mark.parametrize("change", [{"tiers": ["low"]}, {"tokens": [10, 20]}, {"needs": "numbers"}])
def test_which_documents_it_suits_does_not(tmp_path: Path, change: dict[str, Any]) -> None:
    assert haiku(tmp_path, **change).fingerprint == haiku(tmp_path).fingerprint


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"format": "sonnet"}, "field 'format': Input should be 'text', 'list'"),
        ({"format": None}, "field 'format': Field required"),
        ({"templates": ["one", "two"]}, "field 'templates': .*at least 3"),
        ({"templates": ["a b", "A  b", "c"]}, "field 'templates': two templates are equal"),
        ({"templates": ["a", "b", "c {tone}"]}, r"field 'templates': a template has the slot \{tone\}; there is only"),
        ({"templates": ["a", "b", " "]}, "field 'templates': a template is empty"),
        ({"reminder": "two\nlines"}, "field 'reminder': it is one line"),
        ({"tiers": ["middle"]}, "field 'tiers.0': Input should be 'low', 'medium' or 'high'"),
        ({"tokens": [9, 3]}, "tokens: no document has at least 9 and at most 3"),
        ({"chunk_tokens": 0}, "field 'chunk_tokens'"),
        ({"overlap_tokens": 251}, "overlap_tokens: 251 is over half of chunk_tokens, 500"),
        ({"output_ratio": -1}, "field 'output_ratio'"),
        ({"gates": {"support": {"min": 2, "max": 1}}}, "field 'gates.support': nothing is at least 2 and at most 1"),
        ({"gates": {"support": 0.5}}, "field 'gates.support'"),
        ({"gates": [1]}, "field 'gates'"),
        ({"gates": {"suport": {"min": 0.5}}}, "field 'gates': there is no gate 'suport'.*support"),
        ({"instruction": "old"}, "field 'instruction': Extra inputs"),
    ],
)
def test_what_is_wrong_with_a_style_is_told_with_file_style_and_field(
    tmp_path: Path, change: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ValueError, match=rf"mine\.yaml: style 'haiku'.*{problem}"):
        haiku(tmp_path, **change)


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"(?s)field 'format'.*\n.*field 'reminder'"):
        haiku(tmp_path, format="sonnet", reminder="a\nb")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "must hold styles by name under the key 'styles'"),
        ("- a list\n", "must hold styles"),
        ("styles: {}\n", "must hold styles"),
        ("styles: [", "not valid YAML"),
        ("\x00", "not valid YAML"),
        ("styles: {a: 3}\n", "style 'a'"),
        ("styles: {a: {}}\nstyle: {}\n", "unknown key 'style'"),
        ("styles: {a: {}}\ngates: 3\n", "'gates' must hold bounds"),
        ("styles: {a: {}}\ngates: {suport: {min: 1}}\n", "'gates': there is no gate 'suport'"),
        ("styles:\n  a: {}\n  b: {}\n  a: {}\n", "'a' comes twice"),
        ("styles: {Upper: {}}\n", "style 'Upper', field 'name'"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, content: str, problem: str) -> None:
    (tmp_path / "mine.yaml").write_text(content)
    with pytest.raises(ValueError, match=rf"mine\.yaml: [\s\S]*{problem}"):
        read_styles(tmp_path / "mine.yaml")


def test_an_answer_may_be_longer_than_its_passage_by_the_styles_ratio(tmp_path: Path) -> None:
    style = haiku(tmp_path, output_ratio=1.5)
    assert style.max_answer_tokens(1000) == 1564
    assert style.max_answer_tokens(0) == 64
