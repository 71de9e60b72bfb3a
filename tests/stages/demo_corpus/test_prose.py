"""How docstrings are read: layout in, blocks out."""

import inspect

from hypothesis import given
from hypothesis import strategies as st

from stages.demo_corpus.prose import Block, blocks_of, reproducible


def read(docstring: str) -> list[Block]:
    return list(blocks_of(inspect.cleandoc(docstring)))


def test_wrapped_lines_become_one_paragraph() -> None:
    assert read(
        """
        Return the sum
        of two numbers.

        Nothing else.
        """
    ) == [Block("paragraph", "Return the sum of two numbers."), Block("paragraph", "Nothing else.")]


def test_numpy_sections_become_headings_terms_and_definitions() -> None:
    assert read(
        """
        Parameters
        ----------
        a : int
            First number,
            not negative.
        b : int
            Second number.
        """
    ) == [
        Block("heading", "Parameters"),
        Block("term", "a : int"),
        Block("definition", "First number, not negative."),
        Block("term", "b : int"),
        Block("definition", "Second number."),
    ]


def test_an_indented_rest_belongs_to_the_definition_before() -> None:
    assert read("a : int\n    First.\n\n    .. versionadded:: 1.2\nb : int\n    Second.") == [
        Block("term", "a : int"),
        Block("definition", "First."),
        Block("definition", "Added in version 1.2"),
        Block("term", "b : int"),
        Block("definition", "Second."),
    ]


def test_prompts_and_text_after_a_double_colon_are_code_with_their_lines() -> None:
    assert read(
        """
        For example:
        >>> 1 + 1
        2

        Or::

            if x:
                y()
        """
    ) == [
        Block("paragraph", "For example:"),
        Block("code", ">>> 1 + 1\n2"),
        Block("paragraph", "Or::"),
        Block("code", "if x:\n    y()"),
    ]


def test_bullets_keep_their_continuation_lines() -> None:
    assert read("- one\n  and a half\n- two") == [Block("bullet", "one and a half"), Block("bullet", "two")]


def test_roles_are_removed() -> None:
    assert read("See :func:`~os.walk` now.") == [Block("paragraph", "See os.walk now.")]


def test_what_differs_in_each_run_is_removed() -> None:
    assert reproducible("an <object object at 0x7f00dead>.") == "an <object object>."
    drawn = ">>> f()\n3\n>>> sample()\narray([1.5,\n       2.5])  # may vary\n>>> g()\n4"
    assert reproducible(drawn) == ">>> f()\n3\n>>> sample()\n>>> g()\n4"


words = st.text(alphabet="abcdefgh", min_size=1, max_size=8)
lines = st.lists(st.lists(words, min_size=1, max_size=6), min_size=1, max_size=8)


@given(lines, st.lists(st.sampled_from(["", "    ", "\n"]), min_size=8, max_size=8))
def test_no_word_is_lost_whatever_the_layout(given_lines: list[list[str]], starts: list[str]) -> None:
    docstring = "\n".join(start + " ".join(line) for start, line in zip(starts, given_lines, strict=False))
    read_words = [word for block in blocks_of(docstring) for word in block.text.split()]
    assert read_words == [word for line in given_lines for word in line]
