"""How a link of an agent turned out, in words from closed sets: what an operator counts.

Nothing in it tells who or where somebody is. A word that a reader does not know is `other`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from visavis_shared.nat.kind import NatKind

OUTCOME_COUNT: Final = 16
"""Outcomes of one message: below 2 KiB."""
WORD_LENGTH: Final = 32
"""Characters of a word at most."""


class OutcomePath(StrEnum):
    """What carries the link."""

    DIRECT = "direct"
    RELAY = "relay"
    FAILED = "failed"
    OTHER = "other"


class OutcomeReason(StrEnum):
    """Why not directly."""

    NONE = "none"
    """It is direct."""
    NO_PATH = "no_path"
    """No pair of candidates was valid."""
    PATH_LOST = "path_lost"
    """There was a direct path, and it works no longer."""
    RELAY_ONLY = "relay_only"
    """One side or the server allows nothing else."""
    NO_ANSWER = "no_answer"
    REFUSED = "refused"
    AUTHENTICATION_FAILED = "authentication_failed"
    OTHER = "other"


_E = TypeVar("_E", bound=StrEnum)


def _word(kind: type[_E]) -> BeforeValidator:
    def known(word: object) -> object:
        if not isinstance(word, str) or len(word) > WORD_LENGTH:
            return word  # refused as what it is
        try:
            return kind(word)
        except ValueError:
            return kind("other")

    return BeforeValidator(known)


class LinkOutcome(BaseModel):
    """One link, or one attempt at it."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    path: Annotated[OutcomePath, _word(OutcomePath)]
    reason: Annotated[OutcomeReason, _word(OutcomeReason)] = OutcomeReason.NONE
    nat: Annotated[NatKind, _word(NatKind)] = NatKind.UNKNOWN
    """What is before the sender."""
    remote_nat: Annotated[NatKind, _word(NatKind)] = NatKind.UNKNOWN
    """What is before its peer, as far as that one has said."""


Outcomes = Annotated[tuple[LinkOutcome, ...], Field(max_length=OUTCOME_COUNT, strict=False)]
