"""Secrets in code and configuration: tokens with a known shape, private keys, and values that are assigned to a key.

Shapes as their issuers publish them; a shape that words could have too must also look random.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator

from stages.privacy.addresses import Extent

_SHAPES = re.compile(
    r"(?P<strong>(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}"  # AWS access key id
    r"|gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}"  # GitHub
    r"|xox[abeoprs]-(?:[A-Za-z0-9]+-){1,5}[A-Za-z0-9]{10,}|xapp-[0-9]-[A-Z0-9]+-[0-9]+-[a-f0-9]{32,}"  # Slack
    r"|AIza[A-Za-z0-9_-]{35}|GOCSPX-[A-Za-z0-9_-]{28}|ya29\.[A-Za-z0-9_-]{40,}"  # Google
    r"|npm_[A-Za-z0-9]{36}|pypi-AgEI[A-Za-z0-9_-]{50,}"
    r"|SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{32,64}"  # SendGrid
    r"|dop_v1_[a-f0-9]{64}|shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}"  # DigitalOcean, Shopify
    r"|eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,})"  # JSON Web Token
    r"|gl(?:pat|ptt|dt|rt|cbt|soat)-[A-Za-z0-9_-]{20,}"  # GitLab
    r"|(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{16,}|whsec_[A-Za-z0-9+/]{24,}"  # Stripe
    r"|sk-(?:proj|svcacct|admin|ant-[a-z0-9]+|or-v1)-[A-Za-z0-9_-]{32,}|sk-[A-Za-z0-9]{32,}"  # OpenAI, Anthropic, ...
    r"|hf_[A-Za-z0-9]{34,}"  # Hugging Face
)
_PREFIX = re.compile(
    r"(?<![A-Za-z0-9])(?:A[KSBC][IC]A|gh[pousr]_|github_pat_|xox[abeoprs]-|xapp-|AIza|GOCSPX-|ya29\.|npm_|pypi-A|SG\.|"
    r"dop_v1_|shp[acs]|eyJ|gl[a-z]{2,4}-|[rs]k[_-]|whsec_|hf_)"
)
_SLACK_WEBHOOK = re.compile(r"hooks\.slack\.com/services/(T[A-Z0-9]{6,}/B[A-Z0-9]{6,}/[A-Za-z0-9]{18,})")
_KEY_WORD = r"(?:key|token|secret|passw(?:or)?d|pwd|auth)(?:_?(?:id|value|default|base64|v?[0-9]))?s?"
_NAME = re.compile(
    rf"(?i){_KEY_WORD}[\"'`]?\]?[ \t]{{0,4}}(?::=|=>|[:=])[ \t]{{0,4}}[bru]?[\"'`]?$"  # assigned
    rf"|--[a-z-]{{0,20}}{_KEY_WORD}[ =]$|\b(?:bearer|basic) $"  # on a command line, in an HTTP header
)
_PUBLIC = re.compile(r"(?i)hash|pub|verif|finger|digest|checksum|foreign|primary|sort|cache|author(?!iz)")
"""Names of keys that nobody hides."""
_VALUE = re.compile(r"[A-Za-z0-9_+/-]{16,200}={0,2}")
MIN_ENTROPY_BITS = 2.5
"""16 drawn hexadecimal digits measure less once in 1,000 times; characters of base 64 measure 3.2 and more."""
MIN_TURNS = 0.2
"""Share of places where small letter, capital and digit change: about half in drawn values, few in words."""


def tokens(text: str, start: int, end: int) -> Iterator[Extent]:
    """Secrets in or around a run of token characters."""
    shaped = [match.span() for match in _shaped(text, start, end)]
    if shaped:
        yield from shaped
        return
    webhook = _SLACK_WEBHOOK.search(text, max(0, start - 16), min(len(text), end + 64)) if end - start > 40 else None
    if webhook is not None:
        yield webhook.span(1)
        return
    before = text[max(0, start - 40) : start]
    name = _NAME.search(before)
    if name is None or _PUBLIC.search(before, _name_start(before, name.start())):
        return
    value = _VALUE.match(text, start)
    if value is not None and value.end() >= end and _ends_here(text, value.end()) and is_drawn(value.group()):
        yield value.span()


def _name_start(before: str, position: int) -> int:
    while position and (before[position - 1].isalnum() or before[position - 1] in "_-"):
        position -= 1
    return position


def _shaped(text: str, start: int, end: int) -> Iterator[re.Match[str]]:
    taken = 0
    for prefix in _PREFIX.finditer(text, max(0, start - 5), end):  # a shape has at most "ya29." before such a run
        match = _SHAPES.match(text, prefix.start()) if prefix.start() >= taken else None
        if match is None or text[match.end() : match.end() + 1].isalnum():
            continue
        is_secret = is_varied(match.group()) if match["strong"] else looks_random(match.group())
        if is_secret:
            taken = match.end()
            yield match


def _ends_here(text: str, end: int) -> bool:
    """Whether no call, attribute, index or word goes on: then it was a name in a program."""
    return text[end : end + 1] not in ("(", ".", "[", "_", "{", "$", "%") and not text[end : end + 1].isalnum()


def is_drawn(value: str) -> bool:
    """Whether an assigned value is a secret, not a name of the program: in these capitals change, digits hardly."""
    return looks_random(value) and _turns(re.sub("[A-Za-z]", "a", value)) >= 2


def looks_random(value: str) -> bool:
    """Whether a value was drawn and not written: letters and digits change places as in no word."""
    letters = re.sub("[^A-Za-z0-9]", "", value)
    return _turns(value) >= MIN_TURNS * len(letters) and is_varied(letters)


def _turns(value: str) -> int:
    """Neighbours of different kinds among the small letters, capitals and digits."""
    kinds = ["0" if c.isdigit() else "A" if c.isupper() else "a" for c in value if c.isalnum()]
    return sum(a != b for a, b in itertools.pairwise(kinds))


def is_varied(value: str) -> bool:
    """Whether it is no stand-in such as AKIAXXXXXXXXXXXXXXXX."""
    return entropy_bits(value) >= MIN_ENTROPY_BITS


def entropy_bits(value: str) -> float:
    """Shannon entropy of the characters' frequencies, in bits a character; 0 of nothing."""
    counts = Counter(value).values()
    return -sum(n / len(value) * math.log2(n / len(value)) for n in counts)


_COMMON_EXAMPLES = frozenset({"pass", "password", "passwd", "pwd", "secret", "token"})
_PASSWORD_IN_URL = re.compile(r"[a-z][a-z0-9+.-]{1,20}://[^\s/:@<>\"']{0,64}:([^\s/:@<>\"'${}]{3,64})$")


def password_in_url(text: str, at: int) -> Extent | None:
    """The password of ``scheme://user:password@host`` around the @ at ``at``."""
    start = max(0, at - 160)
    if text.find("://", start, at) < 0:
        return None
    match = _PASSWORD_IN_URL.search(text[start:at])
    if match is None or match.group(1).lower() in _COMMON_EXAMPLES:
        return None
    return start + match.start(1), start + match.end(1)


_KEY_BEGIN = re.compile(r"-----BEGIN (?:[A-Z0-9]{1,20} ){0,4}PRIVATE KEY(?: BLOCK)?-----")
_KEY_HEADERS = re.compile(r"(?:(?:\\r)?(?:\\n)?\s{0,8}[A-Z][A-Za-z-]{1,20}: [^\n\\\"]{1,120})*+")
_LINE_END = r"(?:\\[nr]|[\s\"',>#*|\\])*+"  # as in a file, a string of a program, a quotation, a table
_KEY_BODY = re.compile(rf"(?:{_LINE_END}[A-Za-z0-9/+=]{{16,}}+)*+(?:{_LINE_END}[A-Za-z0-9/+=]{{2,15}})?+")
_KEY_END = re.compile(rf"{_LINE_END}-----END (?:[A-Z0-9]{{1,20}} ){{0,4}}PRIVATE KEY(?: BLOCK)?-----")
MIN_KEY_CHARACTERS = 40  # of an Ed25519 key; a BEGIN line with less below it is documentation or a program


def key_block(text: str, start: int) -> Extent | None:
    """The private key (PEM, RFC 7468; OpenPGP) from its BEGIN line to its END line, or as far as the key goes."""
    begin = _KEY_BEGIN.match(text, start)
    if begin is None:
        return None
    headers = _KEY_HEADERS.match(text, begin.end())
    assert headers is not None
    body = _KEY_BODY.match(text, headers.end())
    assert body is not None
    if len(body.group()) < MIN_KEY_CHARACTERS:
        return None
    ending = _KEY_END.match(text, body.end())
    return start, (ending or body).end()
