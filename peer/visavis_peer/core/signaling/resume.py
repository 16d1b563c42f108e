"""Where a signaling session stands, so that another connection can continue it (docs/protocol.md, "Resuming")."""

from __future__ import annotations

from dataclasses import dataclass

from visavis_shared.messages import ResumeOffer


@dataclass
class ResumeState:
    """The latest token, and how many messages have come since the ACK that began the count."""

    token: str | None = None
    """None while there is nothing to continue."""
    received: int = 0

    def begin(self, offer: ResumeOffer | None) -> None:
        """An ACK of JOIN or RESUME has come; None: this server keeps nobody."""
        self.token = None if offer is None else offer.token
        self.received = 0

    def refresh(self, offer: ResumeOffer) -> None:
        """The server has sent a new token in good time."""
        if self.token is not None:
            self.token = offer.token

    def count(self, messages: int) -> None:
        """So many messages have come in."""
        self.received += messages

    def forget(self) -> None:
        """The server does not continue the session."""
        self.token = None
