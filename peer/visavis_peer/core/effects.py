"""What the core asks its shell to do, in the imperative. Effects of one session are carried out in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from visavis_shared.messages import AnswerPayload, IceDescription, OfferPayload
from visavis_shared.nat import NatReport

Role = Literal["offerer", "answerer"]
"""The offerer is the controlling ICE agent (RFC 8445 section 6.1.1)."""
FailureKind = Literal["no_path", "no_answer", "refused", "authentication_failed"]
UNTRUSTED_OFFER: Final = "the OFFER could not be authenticated"
"""Reason in the ANSWER to an OFFER that does not open: somebody has changed it, or the secrets differ."""


UNTRUSTED_ANSWER: Final = "the ANSWER could not be authenticated"
"""The same of an ANSWER, in a CANDIDATE to who sent it."""


@dataclass(frozen=True, slots=True)
class StartSession:
    """Take an ICE agent for this session; every later effect of the session concerns it."""

    session_id: str
    peer_id: str
    role: Role
    round: int
    """Failed rounds before this one, as both sides count them."""


@dataclass(frozen=True, slots=True)
class SendOffer:
    """Send the OFFER with what the ICE agent has gathered."""

    session_id: str
    peer_id: str
    round: int


@dataclass(frozen=True, slots=True)
class SendAnswer:
    """Send the ANSWER; openers have been sent, so it also says READY."""

    session_id: str
    peer_id: str


@dataclass(frozen=True, slots=True)
class SendRefusal:
    """Send an ANSWER that does not accept."""

    session_id: str
    peer_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class SendReady:
    """Tell the peer that openers have been sent: its checks may start."""

    session_id: str
    peer_id: str


@dataclass(frozen=True, slots=True)
class SetRemote:
    """Give the ICE agent the peer's credentials and candidates."""

    session_id: str
    description: IceDescription


@dataclass(frozen=True, slots=True)
class Introduce:
    """OFFER or ANSWER of the peer is here: make the link to it, or carry on the one there is."""

    session_id: str
    peer_id: str
    description: OfferPayload | AnswerPayload

    @property
    def instance(self) -> str:
        """The remote agent's process, or its peer id where it does not say."""
        return self.description.instance or self.peer_id


@dataclass(frozen=True, slots=True)
class AddCandidate:
    """Give the ICE agent one more candidate of the peer, or with None the end of them."""

    session_id: str
    candidate: str | None


@dataclass(frozen=True, slots=True)
class UpdateNat:
    """The peer has learnt more of its NAT."""

    session_id: str
    nat: NatReport


@dataclass(frozen=True, slots=True)
class OpenHoles:
    """Send low-TTL openers to every remote candidate known, and to each later one as it comes."""

    session_id: str


@dataclass(frozen=True, slots=True)
class StartChecks:
    """Begin the connectivity checks."""

    session_id: str


@dataclass(frozen=True, slots=True)
class UseSession:
    """A pair is valid: the link to this peer now rides on this session; close the session it rode on before."""

    session_id: str
    peer_id: str


@dataclass(frozen=True, slots=True)
class DropSession:
    """Close the ICE agent of this session."""

    session_id: str


@dataclass(frozen=True, slots=True)
class SuspectSession:
    """The peer has left the room: ask over the link whether it still listens."""

    session_id: str


@dataclass(frozen=True, slots=True)
class ReportFailure:
    """Tell the user why there is no link to this peer and when the next attempt is."""

    peer_id: str
    error: FailureKind
    reason: str
    """For `no_answer` and `refused`; for `no_path` the shell explains from both NAT reports."""
    remote_nat: NatReport | None
    retry_in: float | None
    """Seconds."""


Effect = (
    StartSession
    | SendOffer
    | SendAnswer
    | SendRefusal
    | SendReady
    | SetRemote
    | Introduce
    | AddCandidate
    | UpdateNat
    | OpenHoles
    | StartChecks
    | UseSession
    | DropSession
    | SuspectSession
    | ReportFailure
)
