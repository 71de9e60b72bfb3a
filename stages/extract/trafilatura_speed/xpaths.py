"""XPath expressions over class, id and the like as one memoised walk of the tree.

trafilatura finds page furniture by expressions such as ``.//*[self::div or self::p][re:test(@class, 'nav|share')]``.
lxml evaluates each of them by calling back into Python for every test of every element: 40 % of an extraction. Yet a
test looks at one attribute, and pages repeat their attribute values. So the expressions are read here, as strings,
into boolean expressions over *tests*; each test has a bit; an attribute value is looked up in a table that holds the
bits of the tests it passes; and the union of an element's bits, with its tag, decides. The tables are filled on
demand by the very same comparisons, so the result is lxml's by construction. An expression outside the subset below
raises UnsupportedXPathError, and is left to lxml.

    expression  path | path ...             path   .//step, //step, //step//name[@attribute], (path)[1]
    step        name or *, [condition]...   condition: or, and, not(), self::name, @name, @name='text',
                                            contains(), starts-with(), re:test() of @name, @name|@name or
                                            translate(@name, ...), child='text', .//name
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

MAX_VALUES = 20_000
"""Attribute values remembered per attribute name (a few MB at most); a full table starts anew."""

MAX_VALUE_CHARACTERS = 400
"""Longer values (data in attributes) are tested each time instead of being remembered."""

Element = Any  # lxml is untyped


class UnsupportedXPathError(ValueError):
    """The expression uses something that this module does not know."""


# ---------------------------------------------------------------- boolean expressions


@dataclass(frozen=True)
class IsTag:
    """``self::name``."""

    name: str


@dataclass(frozen=True)
class Passes:
    """A test of an attribute's value; of several attributes, the one that comes first in the source counts."""

    names: frozenset[str]
    kind: Literal["exists", "equals", "contains", "starts-with", "re:test"]
    wanted: str = ""
    flags: str = ""
    translated: tuple[str, str] = ("", "")  # characters that are replaced before the test, and by what

    def matcher(self) -> Callable[[str], object]:
        """The test as a function of the value, true or false as an object."""
        wanted = self.wanted
        if self.kind == "contains":
            test: Callable[[str], object] = lambda value: wanted in value  # noqa: E731
        elif self.kind == "starts-with":
            test = lambda value: value.startswith(wanted)  # noqa: E731
        else:
            test = re.compile(wanted, re.IGNORECASE if "i" in self.flags else 0).search
        if self.translated == ("", ""):
            return test
        table = str.maketrans(*self.translated)
        return lambda value: test(value.translate(table))

    def pattern(self) -> str:
        """A regular expression that finds something in every value that passes."""
        if self.kind == "re:test":
            return f"(?i:{self.wanted})" if "i" in self.flags else f"(?:{self.wanted})"
        wanted = re.escape(self.wanted)
        for old, new in zip(*self.translated, strict=True):
            wanted = wanted.replace(new, f"[{old}{new}]")
        return wanted


@dataclass(frozen=True)
class Holds:
    """Whether there is a descendant (``.//name``), or a child with a certain text (``name='text'``)."""

    name: str
    child_text: str | None


@dataclass(frozen=True)
class Not:
    """``not(operand)``."""

    operand: Condition


@dataclass(frozen=True)
class Every:
    """``and``, and predicates that follow each other."""

    operands: tuple[Condition, ...]


@dataclass(frozen=True)
class Any_:  # noqa: N801 (Any is taken)
    """``or``."""

    operands: tuple[Condition, ...]


Condition = IsTag | Passes | Holds | Not | Every | Any_


@dataclass(frozen=True)
class Path:
    """One alternative of an expression."""

    condition: Condition
    absolute: bool  # from the root of the document, root included
    then: tuple[str, str] | None  # not the element itself, but its descendants of this tag with this attribute
    first: bool  # only the first in the document is asked for


def holds(condition: Condition, known: Callable[[IsTag | Passes | Holds], bool]) -> bool:
    """The value of a condition where ``known`` gives that of its leaves."""
    match condition:
        case Not(operand):
            return not holds(operand, known)
        case Every(operands):
            return all(holds(operand, known) for operand in operands)
        case Any_(operands):
            return any(holds(operand, known) for operand in operands)
        case _:
            return known(condition)


def leaves(condition: Condition) -> Iterator[IsTag | Passes | Holds]:
    """The tests that a condition is made of."""
    match condition:
        case Not(operand):
            yield from leaves(operand)
        case Every(operands) | Any_(operands):
            for operand in operands:
                yield from leaves(operand)
        case _:
            yield condition


def possible_tags(condition: Condition) -> frozenset[str] | None:
    """Tags outside of which the condition is false; None if it may hold for any."""
    match condition:
        case IsTag(name):
            return frozenset({name})
        case Every(operands):
            sets = [tags for operand in operands if (tags := possible_tags(operand)) is not None]
            return frozenset.intersection(*sets) if sets else None
        case Any_(operands):
            alternatives = [possible_tags(operand) for operand in operands]
            return None if None in alternatives else frozenset().union(*(tags for tags in alternatives if tags))
        case _:
            return None


# ---------------------------------------------------------------- reading XPath

_TOKEN = re.compile(
    r"""\s*(?: (?P<text>'[^']*'|"[^"]*")
             | (?P<name>[A-Za-z_][\w.-]*(?::(?!:)[A-Za-z_][\w.-]*)?)
             | (?P<symbol>\.//|//|::|[@*()\[\]|=,1]) )""",
    re.VERBOSE,
)


class _Reader:
    """Recursive descent over the tokens of one expression."""

    def __init__(self, expression: str) -> None:
        self.expression = expression.strip()
        self.tokens: list[str] = []
        at = 0
        while at < len(self.expression):
            token = _TOKEN.match(self.expression, at)
            if token is None:
                raise UnsupportedXPathError(f"{self.expression[at : at + 20]!r} in {self.expression}")
            self.tokens.append(token[0].strip())
            at = token.end()
        self.tokens.append("")
        self.at = 0

    def next(self) -> str:
        self.at += 1
        return self.tokens[self.at - 1]

    def ahead(self, *tokens: str) -> bool:
        return tuple(self.tokens[self.at : self.at + len(tokens)]) == tokens

    def skip(self, *tokens: str) -> bool:
        """Step over these tokens if they come next."""
        if self.ahead(*tokens):
            self.at += len(tokens)
            return True
        return False

    def expect(self, token: str) -> None:
        if not self.skip(token):
            raise UnsupportedXPathError(f"{self.tokens[self.at]!r} instead of {token!r} in {self.expression}")

    def text(self) -> str:
        token = self.next()
        if token[:1] not in ("'", '"'):
            raise UnsupportedXPathError(f"{token!r} instead of a text in {self.expression}")
        return token[1:-1]

    def name(self) -> str:
        token = self.next()
        if not re.match(r"[A-Za-z_]", token):
            raise UnsupportedXPathError(f"{token!r} instead of a name in {self.expression}")
        return token

    def paths(self) -> list[Path]:
        paths = [self.path()]
        while self.skip("|"):
            paths.append(self.path())
        self.expect("")
        if len({path.then for path in paths}) > 1 or (
            len(paths) > 1 and not all(path.first for path in paths) and any(path.first for path in paths)
        ):
            raise UnsupportedXPathError(f"alternatives that differ in their last step: {self.expression}")
        return paths

    def path(self) -> Path:
        bracketed = self.skip("(")
        absolute = self.skip("//")
        if not absolute:
            self.expect(".//")
        conditions, first = self.step()
        then = None
        if self.skip("//"):
            name = self.name()
            self.expect("[")
            self.expect("@")
            then = (name, self.name())
            self.expect("]")
        if bracketed:
            self.expect(")")
            first = self.skip("[", "1", "]") or first
        return Path(Every(tuple(conditions)), absolute, then, first)

    def step(self) -> tuple[list[Condition], bool]:
        conditions: list[Condition] = [] if self.skip("*") else [IsTag(self.name())]
        first = False
        while not first and self.ahead("["):
            if self.skip("[", "1", "]"):
                # first among its siblings: the first match of all is the first match of its siblings, too
                first = True
            else:
                self.expect("[")
                conditions.append(self.either())
                self.expect("]")
        return conditions, first

    def either(self) -> Condition:
        operands = [self.both()]
        while self.skip("or"):
            operands.append(self.both())
        return operands[0] if len(operands) == 1 else Any_(tuple(operands))

    def both(self) -> Condition:
        operands = [self.leaf()]
        while self.skip("and"):
            operands.append(self.leaf())
        return operands[0] if len(operands) == 1 else Every(tuple(operands))

    def leaf(self) -> Condition:
        if self.skip("self", "::"):
            return IsTag(self.name())
        if self.skip(".//"):
            return Holds(self.name(), None)
        if self.skip("("):
            inner = self.either()
            self.expect(")")
            return inner
        if self.skip("not", "("):
            inner = self.either()
            self.expect(")")
            return Not(inner)
        for function in ("contains", "starts-with", "re:test"):
            if self.skip(function, "("):
                return self.call(function)
        if self.ahead("@"):
            names, _ = self.value()
            return Passes(names, "equals", self.text()) if self.skip("=") else Passes(names, "exists")
        name = self.name()
        self.expect("=")
        return Holds(name, self.text())

    def call(self, function: Literal["contains", "starts-with", "re:test"]) -> Condition:
        names, translated = self.value()
        self.expect(",")
        wanted = self.text()
        flags = self.text() if self.skip(",") else ""
        self.expect(")")
        passes = Passes(names, function, wanted, flags, translated)
        if passes.matcher()(""):  # what XPath would test for an element without the attribute
            raise UnsupportedXPathError(f"true without the attribute: {self.expression}")
        return passes

    def value(self) -> tuple[frozenset[str], tuple[str, str]]:
        """``@name``, ``@name|@name`` or ``translate(@name, 'from', 'to')``: names, and the characters to replace."""
        if self.skip("translate", "("):
            names, _ = self.value()
            self.expect(",")
            old = self.text()
            self.expect(",")
            new = self.text()
            self.expect(")")
            if len(old) != len(new):
                raise UnsupportedXPathError(f"translate() that removes characters: {self.expression}")
            return names, (old, new)
        self.expect("@")
        found = {self.name()}
        while self.skip("|", "@"):
            found.add(self.name())
        if len(found) > 1 and self.ahead("="):
            raise UnsupportedXPathError(f"comparison of several attributes: {self.expression}")
        return frozenset(found), ("", "")


def read_xpath(expression: str) -> list[Path]:
    """The alternatives of an XPath expression.

    Raises:
        UnsupportedXPathError: it goes beyond the subset of this module.
    """
    return _Reader(expression).paths()


# ---------------------------------------------------------------- walking


class _Column(dict[str, int]):
    """The bits of each value of one attribute, worked out when a value is first seen."""

    def __init__(self, tests: Sequence[tuple[int, Passes]]) -> None:
        super().__init__()
        # of ``@id|@class`` the first in the source counts: seen once, its bits are closed to the others
        self.closes = sum(bit for bit, passes in tests if len(passes.names) > 1)
        self._always = sum(bit for bit, passes in tests if passes.kind == "exists")
        self._equals = {passes.wanted: bit for bit, passes in tests if passes.kind == "equals"}
        self._matchers = [(bit, passes.matcher()) for bit, passes in tests if passes.kind not in ("exists", "equals")]
        # most values pass no test: one search for all of them says so
        patterns = [passes.pattern() for _, passes in tests if passes.kind not in ("exists", "equals")]
        self._may_match = re.compile("|".join(patterns)).search

    def __missing__(self, value: str) -> int:
        bits = self._always | self._equals.get(value, 0)
        if self._matchers and self._may_match(value):
            for bit, matches in self._matchers:
                if matches(value):
                    bits |= bit
        if len(value) <= MAX_VALUE_CHARACTERS:
            if len(self) >= MAX_VALUES:
                self.clear()
            self[value] = bits
        return bits


class Walk:
    """Several XPath expressions answered by one walk of a tree."""

    def __init__(self, xpaths: Sequence[Any]) -> None:
        """``xpaths`` are compiled lxml.etree.XPath objects.

        Raises:
            UnsupportedXPathError: one of them goes beyond the subset of this module.
        """
        self.xpaths = list(xpaths)
        self._paths = [read_xpath(xpath.path) for xpath in xpaths]
        conditions = [path.condition for paths in self._paths for path in paths]
        found = dict.fromkeys(leaf for condition in conditions for leaf in leaves(condition))
        tests = [leaf for leaf in found if isinstance(leaf, Passes)]
        self._bit = {passes: 1 << i for i, passes in enumerate(tests)}
        self._columns = {
            name: _Column([(bit, passes) for passes, bit in self._bit.items() if name in passes.names])
            for name in sorted(frozenset().union(*(passes.names for passes in tests)))
        }
        tags = possible_tags(Any_(tuple(conditions)))
        self._tags = ("*",) if tags is None else tuple(sorted(tags))
        self._named = {leaf.name for leaf in found if isinstance(leaf, IsTag)}
        self._held = {leaf.name for leaf in found if isinstance(leaf, Holds)}
        self._absolute = [any(path.absolute for path in paths) for paths in self._paths]
        # by the names in _held that the tree has at all: how to decide
        self._deciders = {frozenset[str](): _Decider(self._paths, self._bit, frozenset(), self._named)}

    def __call__(self, tree: Element) -> list[list[Element]]:
        """For each expression, the elements that it selects, in document order.

        Expressions that end in ``[1]`` select one element at most.
        """
        if any(self._absolute) and tree.getparent() is not None:
            return [xpath(tree) for xpath in self.xpaths]
        found: list[list[Element]] = [[] for _ in self.xpaths]
        for index, element in self._matches(tree):
            found[index].append(element)
        return [self._stepped(paths, elements) for paths, elements in zip(self._paths, found, strict=True)]

    def first(self, tree: Element) -> list[Element]:
        """The first element that any of the expressions selects, or nothing."""
        return [element for _, element in zip(range(1), (element for _, element in self._matches(tree)), strict=False)]

    @staticmethod
    def _stepped(paths: list[Path], elements: list[Element]) -> list[Element]:
        if any(path.first for path in paths):
            return elements[:1]
        then = paths[0].then
        if then is None:
            return elements
        tag, attribute = then
        # an element inside of another one has nothing to add: the outer one comes first and has it all
        descendants = (inner for element in elements for inner in element.iterdescendants(tag))
        return [element for element in dict.fromkeys(descendants) if element.get(attribute) is not None]

    def _matches(self, tree: Element) -> Iterator[tuple[int, Element]]:
        """Number of the expression and element, in document order; steps behind the first are not yet taken."""
        decider = self._decider(tree)
        verdicts, bare_tags = decider, decider.bare_tags
        columns = self._columns
        if any(self._absolute):
            for index, certain in verdicts[tree.tag, self._bits(tree)]:
                if self._absolute[index] and (certain or self._really(index, tree)):
                    yield index, tree
        for element in tree.iterdescendants(*self._tags):
            bits = closed = 0
            for name, value in element.items():
                column = columns.get(name)
                if column is not None:
                    bits |= column[value] & ~closed
                    closed |= column.closes
            if bits or (bare_tags and element.tag in bare_tags):
                for index, certain in verdicts[element.tag, bits]:
                    if certain or self._really(index, element):
                        yield index, element

    def _bits(self, element: Element) -> int:
        bits = closed = 0
        for name, value in element.items():
            if name in self._columns:
                bits |= self._columns[name][value] & ~closed
                closed |= self._columns[name].closes
        return bits

    def _decider(self, tree: Element) -> _Decider:
        present = frozenset(name for name in self._held if next(tree.iter(name), None) is not None)
        if present not in self._deciders:
            self._deciders[present] = _Decider(self._paths, self._bit, present, self._named)
        return self._deciders[present]

    def _really(self, index: int, element: Element) -> bool:
        """Decide where it takes a look at the elements inside."""
        bits = self._bits(element)

        def known(leaf: IsTag | Passes | Holds) -> bool:
            match leaf:
                case IsTag(name):
                    return bool(element.tag == name)
                case Passes():
                    return bool(bits & self._bit[leaf])
                case Holds(name, None):
                    return element.find(f".//{name}") is not None
                case Holds(name, text):
                    return any("".join(child.itertext()) == text for child in element.iterchildren(name))

        return any(holds(path.condition, known) for path in self._paths[index])


class _Decider(dict[tuple[str, int], tuple[tuple[int, bool], ...]]):
    """From tag and bits to the expressions that hold, each with whether that is certain."""

    def __init__(
        self, paths: list[list[Path]], bit: dict[Passes, int], present: frozenset[str], named: set[str]
    ) -> None:
        super().__init__()
        self._bit = bit
        self._conditions = [Any_(tuple(path.condition for path in alternatives)) for alternatives in paths]
        # what an element may or may not hold, of that which the tree has at all
        self._unknown = [
            [leaf for leaf in leaves(condition) if isinstance(leaf, Holds) and leaf.name in present]
            for condition in self._conditions
        ]
        self.bare_tags = frozenset(tag for tag in named if self[tag, 0])
        """Tags whose elements may be selected whatever their attributes."""
        if self["", 0]:
            raise UnsupportedXPathError("elements of any tag without attributes")

    def __missing__(self, key: tuple[str, int]) -> tuple[tuple[int, bool], ...]:
        tag, bits = key
        found = []
        for index, (condition, unknown) in enumerate(zip(self._conditions, self._unknown, strict=True)):
            outcomes = {
                holds(condition, self._known(tag, bits, dict(zip(unknown, guess, strict=True))))
                for guess in product((False, True), repeat=len(unknown))
            }
            if True in outcomes:
                found.append((index, False not in outcomes))
        if len(self) >= MAX_VALUES:
            self.clear()
        self[key] = tuple(found)
        return self[key]

    def _known(self, tag: str, bits: int, guessed: dict[Holds, bool]) -> Callable[[IsTag | Passes | Holds], bool]:
        def known(leaf: IsTag | Passes | Holds) -> bool:
            match leaf:
                case IsTag(name):
                    return name == tag
                case Passes():
                    return bool(bits & self._bit[leaf])
                case _:
                    return guessed.get(leaf, False)

        return known
