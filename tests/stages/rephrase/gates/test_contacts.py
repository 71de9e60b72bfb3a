"""New ways to reach somebody."""

import pytest

from stages.rephrase.gates.contacts import new_contacts
from tests.stages.rephrase.gates.hard_gates import answer, context

SOURCE = (
    "Write to info@harrow-mill.co.uk or call (212) 664-7665. The plan is at https://www.harrow-mill.co.uk/plan/ and "
    "the "
    "editor is reached at <EMAIL>. Files: readme.md, setup.py."
)


@pytest.mark.parametrize(
    "text",
    [
        "Write to sales@harrow-mill.co.uk for the plan.",
        "The plan is at https://evil.test/plan now.",
        "See www.harrow-mall.co.uk for more.",
        "More at harrowmill.com today.",
        "Call (212) 664-7666 for the plan.",
        "Call +44 20 7946 0018 for the plan.",
        "The editor is reached at <PHONE> now.",
        "![logo](https://evil.test/x.png)",
    ],
)
def test_a_new_one_counts(text: str) -> None:
    assert new_contacts(SOURCE, answer(text), context()) == 1


@pytest.mark.parametrize(
    "text",
    [
        SOURCE,
        "The plan is at harrow-mill.co.uk/plan. Mail goes to INFO@harrow-mill.co.uk.",
        "Phone: 212 664 7665 or +1 212-664-7665.",
        "[the plan](http://harrow-mill.co.uk/plan)",
        "The editor is reached at <EMAIL>.",
        "It was built in 1768, has 4,300 visitors, and 1999-2003 were dry years with 12 345 678 litres.",
        "The end.It works with Node.js, e.g. version 3.2.1.4 of main.rs.",
    ],
)
def test_one_that_the_source_has_does_not_however_it_is_written(text: str) -> None:
    assert new_contacts(SOURCE, answer(text), context()) == 0
