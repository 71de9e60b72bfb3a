"""The lists of phrases that gates look for."""

import pytest

from stages.rephrase.gates.phrases import pattern, patterns
from tests.stages.rephrase.gates.injected_pages import BENIGN_PAGES, INJECTED_PAGES

LISTS = ("refusal", "meta_talk", "sure_command", "likely_command", "form_of_command", "report", "unanswered", "verdict")
TEXTS = [page.text.lower() for page in (*INJECTED_PAGES, *BENIGN_PAGES)]


@pytest.mark.parametrize("name", LISTS)
def test_a_list_as_one_expression_finds_what_its_entries_find(name: str) -> None:
    for text in TEXTS:
        assert bool(pattern(name).search(text)) == any(entry.search(text) for entry in patterns(name))


@pytest.mark.parametrize("name", LISTS)
def test_no_entry_finds_nothing_at_all(name: str) -> None:
    """Such an entry would be found everywhere."""
    assert [entry.pattern for entry in patterns(name) if entry.search("")] == []
