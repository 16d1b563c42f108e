"""What the core asks its shell to do, in the imperative. Effects of one session are carried out in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from visavis_peer.core.meeting.role import Role
from visavis_shared.messages import AnswerPayload, IceDescription, OfferPayload
from visavis_shared.nat import NatReport

FailureKind = Literal["no_path", "no_answer", "refused", "authentication_failed"]
UNTRUSTED_OFFER: Final = "the OFFER could not be authenticated"
"""Reason in the ANSWER to an OFFER that does not open: somebody has changed it, or the secrets differ."""


UNTRUSTED_ANSWER: Final = "the ANSWER could not be authenticated"
"""The same of an ANSWER, in a CANDIDATE to who sent it."""


class SessionKey(NamedTuple):
    """What a session goes by: whoever offers chooses its id, so that it says nothing without the peer."""

    peer_id: str
    session_id: str


@dataclass(frozen=True, slots=True)
class _OfSession:
    """An effect that concerns one session."""

    session_id: str
    peer_id: str

    @property
    def key(self) -> SessionKey:
        """What the session goes by."""
        return SessionKey(self.peer_id, self.session_id)


@dataclass(frozen=True, slots=True)
class StartSession(_OfSession):
    """Take an ICE agent for this session; every later effect of the session concerns it."""

    role: Role
    round: int
    """Failed rounds before this one, as both sides count them."""


@dataclass(frozen=True, slots=True)
class SendOffer(_OfSession):
    """Send the OFFER with what the ICE agent has gathered."""

    round: int


@dataclass(frozen=True, slots=True)
class SendAnswer(_OfSession):
    """Send the ANSWER; openers have been sent, so it also says READY."""


@dataclass(frozen=True, slots=True)
class SendRefusal(_OfSession):
    """Send an ANSWER that does not accept."""

    reason: str
    speaks: tuple[str, ...] = ()
    """The protocols of links that this side speaks, where it is for want of a common one."""


@dataclass(frozen=True, slots=True)
class SendReady(_OfSession):
    """Tell the peer that openers have been sent: its checks may start."""


@dataclass(frozen=True, slots=True)
class SetRemote(_OfSession):
    """Give the ICE agent the peer's credentials and candidates."""

    description: IceDescription


@dataclass(frozen=True, slots=True)
class Introduce(_OfSession):
    """OFFER or ANSWER of the peer is here: make the link to it, or carry on the one there is."""

    description: OfferPayload | AnswerPayload

    @property
    def instance(self) -> str:
        """The remote agent's process, or its peer id where it does not say."""
        return self.description.instance or self.peer_id


@dataclass(frozen=True, slots=True)
class AddCandidate(_OfSession):
    """Give the ICE agent one more candidate of the peer, or with None the end of them."""

    candidate: str | None


@dataclass(frozen=True, slots=True)
class UpdateNat(_OfSession):
    """The peer has learnt more of its NAT."""

    nat: NatReport


@dataclass(frozen=True, slots=True)
class OpenHoles(_OfSession):
    """Send low-TTL openers to every remote candidate known, and to each later one as it comes."""


@dataclass(frozen=True, slots=True)
class StartChecks(_OfSession):
    """Begin the connectivity checks."""


@dataclass(frozen=True, slots=True)
class UseSession(_OfSession):
    """A pair is valid: the link to this peer now rides on this session; close the session it rode on before."""


@dataclass(frozen=True, slots=True)
class DropSession(_OfSession):
    """Close the ICE agent of this session."""


@dataclass(frozen=True, slots=True)
class SuspectSession(_OfSession):
    """The peer has left the room: ask over the link whether it still listens."""


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
