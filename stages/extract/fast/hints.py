"""What class, id, role and itemprop say about an element, by words that sites have in common.

All words are found in one pass by an Aho-Corasick automaton (Aho and Corasick 1975, doi:10.1145/360825.360855) over a
folded form of the value: letters in lower case, any run of other characters as one space, a space before a capital
that follows a small letter and at both ends. So " ad " matches ``ad``, ``ad-slot`` and ``topAd`` but not ``header``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

BODY = 1  # the text of an article or post itself
AWAY = 2  # beside the main text: navigation, advertising, sharing, related pages
COMMENTS = 4  # what readers wrote below, and notices about cookies
HIDDEN = 8  # not shown, or only to screen readers
METADATA = 16  # author, date, tags, caption
VISIBLE = 32  # it says "hidden" about something else, such as a label

_WORDS = {
    BODY: """
        articlebody, article body*, article text*, article content*, story body*, story text*, story content*,
        post body*, post content*, post text*, entry content*, entry body*, entry text*, page content, body
        text*, bodytext*, articletext*, articlecontent*, storybody*, storytext*, entrytext*, postcontent*,
        postbody*, rich text*, richtext*, field name body*, content body*, content text*, text content, article
        main, blog content*, news text*, news content*, news body*, single content*, postarea, post entry*,
        markdown body*, mw parser output, theme content*, td post content*, body copy*, text body*
    """,
    AWAY: """
        ad, ads, advert*, adsense*, adbox*, advertising*, advertisement*, sponsor*, promo*, banner, sidebar*,
        side bar, widget, footer*, nav, navi, navbar*, navigation*, menu*, breadcrumb*, toolbar*, share*,
        sharing*, sharedaddy*, social*, facebook*, twitter*, follow us*, related*, recommend*, similar, more
        stories*, morelinks*, read more*, also read*, read next*, newsletter*, subscribe*, subscription,
        signup*, sign up*, login*, log in, popup*, modal*, overlay*, outbrain*, taboola*, most read*, most
        popular*, popular, trending*, teaser*, pagination*, paging, pager, prev, next, rating*, feedback*,
        disqus*, copyright*, author bio*, author box*, about author*, authorbox*, author info*, author
        description*, print, search, skip, noprint, no print, printhide, yarpp*, jp relatedposts, addtoany*,
        toc, tags, tag list*, taglist*, tagcloud*, meta footer*, post nav*, paywall*, contentinfo,
        complementary, navbox*, editsection*, edit section*, shopping*, cart
    """,
    COMMENTS: """
        comment, comments*, commentlist*, comment list*, respond, replies, disqus*, cookie*, consent, gdpr*,
        kommentar*, commentaires, remark*
    """,
    HIDDEN: """
        visually hidden*, visuallyhidden, sr only, screen reader*, screenreader*, invisible, offscreen
    """,
    VISIBLE: """
        label hidden*, label visually hidden*, label above*, label inline*
    """,
    METADATA: """
        byline*, author, dateline*, date, timestamp*, pubdate*, published, caption*, credit*, post meta*, entry
        meta*, article meta*, article info*, metadata, meta, post info*, tags*, categories, source, figcaption,
        kicker, breadcrumb*
    """,
}
"""Words and sequences of words, from class names that many sites share; with "*" also as the start of a longer word."""


def _folded(words: str) -> list[str]:
    """The words as the automaton meets them: " ad " for ad, " advert" for advert*."""
    singles = [" ".join(word.split()) for word in words.split(",")]
    return [f" {word[:-1]}" if word.endswith("*") else f" {word} " for word in singles]


WORDS = {bit: _folded(words) for bit, words in _WORDS.items()}

SYMBOLS = 28  # a to z, space, other letter


def _automaton(words: Mapping[int, Sequence[str]]) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int32]]:
    """Transitions (states x SYMBOLS) and the bits that each state reports."""
    children: list[dict[int, int]] = [{}]
    bits = [0]
    for bit, group in words.items():
        for word in group:
            state = 0
            for letter in word:
                symbol = 26 if letter == " " else ord(letter) - ord("a")
                if symbol not in children[state]:
                    children[state][symbol] = len(children)
                    children.append({})
                    bits.append(0)
                state = children[state][symbol]
            bits[state] |= bit
    transitions = np.zeros((len(children), SYMBOLS), np.int16)
    fall_back = [0] * len(children)
    waiting = deque([0])
    while waiting:
        state = waiting.popleft()
        bits[state] |= bits[fall_back[state]]
        for symbol in range(SYMBOLS):
            child = children[state].get(symbol)
            after_fall_back = transitions[fall_back[state], symbol] if state else 0
            if child is None:
                transitions[state, symbol] = after_fall_back
            else:
                transitions[state, symbol] = child
                fall_back[child] = int(after_fall_back)
                waiting.append(child)
    return transitions, np.array(bits, np.int32)


TRANSITIONS, REPORTS = _automaton(WORDS)
