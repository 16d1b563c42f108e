"""How a message on a failure ends that is not the last attempt."""

from __future__ import annotations

from typing import Final

_AGAIN: Final = " trying again"


def tried_again(reason: str, when: str = "") -> str:
    """Return a failure's reason and that it is tried again; a question ends by itself. `when` begins with a space."""
    return f"{reason}{'' if reason.endswith('?') else ';'}{_AGAIN}{when}"


def reason_alone(message: str) -> str:
    """Return the reason in such a message, or a message that holds nothing else as it is."""
    reason, again, _ = message.partition(_AGAIN)
    return reason.removesuffix(";") if again else message
