"""Which protocol of links two agents use: each names in OFFER and ANSWER what it speaks, best first (RFC 7301's way).

A word is a family and a number, for example `quic/1`; words that this side does not know it ignores. They are sealed
with the rest of OFFER and ANSWER where there is a secret, so that no server talks two agents into an older one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

SPOKEN: Final = ("quic/1",)
"""What this side speaks, best first; docs/link.md is all of quic/1."""
_SHOWN: Final = 2
"""Words of the peer that are told to a user, so that what is said fits into an ANSWER."""


def common(theirs: Sequence[str]) -> str | None:
    """Return the best protocol of this side that the peer speaks as well, or None."""
    return next((word for word in SPOKEN if word in theirs), None)


def mismatch(theirs: Sequence[str]) -> str:
    """Return in words why there is no common protocol, and which side is to be updated."""
    what = ", ".join(theirs[:_SHOWN]) or "no protocol of links by name"
    return f"it speaks {what}, this side {', '.join(SPOKEN)}: {_remedy(theirs)}"


def refusal(theirs: Sequence[str]) -> str:
    """Return the same for the other side, which may be too old to say it in its own words."""
    what = ", ".join(theirs[:_SHOWN]) or "no protocol of links"
    return f"the OFFER names {what}, and {', '.join(SPOKEN)} is spoken here: update the older of the two sides"


def _remedy(theirs: Sequence[str]) -> str:
    newest = _newest(SPOKEN)
    known = {family: number for family, number in _newest(theirs).items() if family in newest}
    if any(number > newest[family] for family, number in known.items()):
        return "update visavis on this machine"
    if known or not theirs:
        return "update visavis on the other machine"
    return "update visavis on the machine where it is older"


def _newest(words: Sequence[str]) -> dict[str, int]:
    """Return the greatest number of each family; words of another form are of none."""
    numbers: dict[str, int] = {}
    for family, _, number in (word.partition("/") for word in words):
        if number.isdecimal():
            numbers[family] = max(int(number), numbers.get(family, 0))
    return numbers
