"""Sealing what OFFER, ANSWER and CANDIDATE carry, so that the signaling server is only a postman.

    key    = HKDF-SHA256(room secret, salt "visavis/1 sealing",
                         info = room, session, offerer, answerer, direction, receiver's fresh value)
    sealed = base64(nonce ‖ AES-256-GCM(key, nonce, JSON object, AAD = message type))

Every member but the seed's (session_id, endpoint, initiator_id, accepted) is inside. The ids that the server gave to
both agents are part of the key, so what is sealed for one pair, direction or session does not open in another;
the receiver's fresh value, which its process drew at its start, so that nothing opens in a later process; `n` counts
the messages of one direction, so none is taken twice or out of order.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pydantic import ValidationError

from visavis_peer.core.meeting.role import Role
from visavis_shared import limits
from visavis_shared.errors import VisavisError
from visavis_shared.messages import Answer, AnswerPayload, CandidateMessage, CandidatePayload, Offer, OfferPayload

NONCE_SIZE: Final = 12
"""Bytes of a random nonce; a key seals at most a few dozen messages (NIST SP 800-38D allows 2^32)."""
SESSION_COUNT: Final = 4096
"""Sessions whose keys are kept: more than an agent with 64 peers has in use at a time by far."""
TAKEN_COUNT: Final = 65_536
"""OFFERs remembered, so that none is taken twice, 100 bytes each: with one a second, those of 18 hours. They are void,
and forgotten, when this agent has another id."""
_SALT: Final = b"visavis/1 sealing"
_ROOM_SALT: Final = b"visavis/1 room"
_CLEAR: Final = frozenset({"session_id", "endpoint", "initiator_id", "accepted", "sealed"})
"""Members of the seed's document, which any server may read; `accepted` counts only as it stands inside."""
_PAYLOADS: Final[dict[str, type[OfferPayload] | type[AnswerPayload] | type[CandidatePayload]]] = {
    "OFFER": OfferPayload,
    "ANSWER": AnswerPayload,
    "CANDIDATE": CandidatePayload,
}

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

Directed = Offer | Answer | CandidateMessage


class NotAuthentic(VisavisError):
    """A message was not sealed with this room's secret for this session, or is a copy of one that was."""


class Repeated(NotAuthentic):
    """The message is a copy of one that was taken, or older than one: it says nothing about the peer."""


class NoFresh(VisavisError):
    """The room shows no fresh value of the peer: nothing can be sealed for it alone."""


class TooLong(VisavisError):
    """A message does not fit the protocol once it is sealed; the text says what a user can do."""

    def __init__(self, kind: str, size: int) -> None:
        super().__init__(
            f"its {kind} has {size} characters sealed, and {limits.SEALED_LENGTH} is the limit: "
            "use fewer addresses (--interface)"
        )


class Side(NamedTuple):
    """One of the two agents of a session, as the room shows it."""

    peer_id: str
    fresh: str


class SessionSeal:
    """The two keys of one session and where each direction stands."""

    def __init__(self, secret: bytes, room: str, session_id: str, offerer: Side, answerer: Side, role: Role) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        def key(direction: str, receiver: Side) -> AESGCM:
            said = [room, session_id, offerer.peer_id, answerer.peer_id, direction, receiver.fresh]
            return AESGCM(_derive(secret, _SALT, json.dumps(said).encode()))

        from_offerer, from_answerer = key("offerer", answerer), key("answerer", offerer)
        self._ours, self._theirs = (from_offerer, from_answerer) if role == "offerer" else (from_answerer, from_offerer)
        self._sent = 0
        self._taken = 0

    def seal(self, kind: str, members: dict[str, Any], nonce: bytes) -> str:
        """Return `members` (a JSON object) sealed; `nonce` is NONCE_SIZE fresh random bytes."""
        self._sent += 1
        text = json.dumps({"n": self._sent, **members}, separators=(",", ":")).encode()
        return base64.b64encode(nonce + self._ours.encrypt(nonce, text, kind.encode())).decode()

    def open(self, kind: str, sealed: str) -> dict[str, Any]:
        """Return the members that were sealed.

        Raises NotAuthentic.
        """
        from cryptography.exceptions import InvalidTag

        try:
            data = base64.b64decode(sealed, validate=True)
            text = self._theirs.decrypt(data[:NONCE_SIZE], data[NONCE_SIZE:], kind.encode())
        except (binascii.Error, ValueError, InvalidTag):
            raise NotAuthentic("it is not sealed with this room's secret for this session") from None
        members = _object(text)
        number = members.pop("n", None)
        if type(number) is not int:
            raise NotAuthentic("the sealed content is not a payload of this protocol")
        if number <= self._taken:
            raise Repeated("it is a copy of an earlier one")
        self._taken = number
        return members


def _object(text: bytes) -> dict[str, Any]:
    """Return the JSON object that a member of the room has sealed; knowing the secret keeps none from being wrong."""
    try:
        members = json.loads(text)
    except (ValueError, RecursionError):
        members = None
    if not isinstance(members, dict):
        raise NotAuthentic("the sealed content is not a payload of this protocol")
    return members


class RoomSeal:
    """Seals and opens the directed messages of one agent in one room with a secret."""

    def __init__(
        self,
        secret: bytes,
        room: str,
        entropy: Callable[[int], bytes],
        fresh: str,
        fresh_of: Callable[[str], str | None],
    ) -> None:
        """`entropy` returns that many random bytes.

        `fresh` is what the room shows of this agent, `fresh_of` returns what it shows of another, None for nothing.
        """
        self._fresh = fresh
        self._fresh_of = fresh_of
        self._taken: OrderedDict[tuple[str, str], None] = OrderedDict()
        """Session and peer id of the OFFERs that were opened."""
        self._taken_as = ""
        """By which id of this agent."""
        self._secret = secret
        self._room = room
        self._entropy = entropy
        self._sessions: OrderedDict[tuple[str, str], SessionSeal] = OrderedDict()
        """By session_id and peer_id; the oldest make way."""

    def seal(self, message: Directed, own_id: str) -> Directed:
        """Return `message` (to `target_id`) with its payload sealed.

        Raises NoFresh, or TooLong: no agent's own candidates come near that, for they are numeric and at most 32.
        """
        payload = message.payload
        peer_id = message.target_id
        key = (payload.session_id, peer_id)
        known = self._sessions.get(key)
        if isinstance(message, Offer):
            known = self._session(payload.session_id, own_id, peer_id, "offerer")
            self._keep(key, known)
        elif known is None:  # the refusal of an OFFER that did not open
            known = self._session(payload.session_id, own_id, peer_id, "answerer")
        members = payload.model_dump(mode="json", exclude_none=True, exclude=set(_CLEAR) - {"accepted"})
        sealed = known.seal(message.type, members, self._entropy(NONCE_SIZE))
        if len(sealed) > limits.SEALED_LENGTH:
            raise TooLong(message.type, len(sealed))
        kept = {name: value for name, value in payload if name in _CLEAR and value is not None}
        return message.model_copy(update={"payload": type(payload)(**kept | {"sealed": sealed})})

    def open(self, message: Directed, own_id: str) -> Directed:
        """Return `message` (from `peer_id`) as it was before it was sealed.

        Raises NotAuthentic.
        """
        payload, peer_id = message.payload, message.peer_id or ""
        if payload.sealed is None:
            raise NotAuthentic("it is not sealed, but this room has a secret")
        key = (payload.session_id, peer_id)
        known = self._sessions.get(key)
        if isinstance(message, Offer):
            if known is not None or (key in self._taken and self._taken_as == own_id):
                raise Repeated("it is a copy of an earlier one")
            try:
                known = self._session(payload.session_id, own_id, peer_id, "answerer")
            except NoFresh as error:
                raise NotAuthentic(str(error)) from None
        elif known is None:
            raise NotAuthentic("it belongs to no session of this agent")
        members = known.open(message.type, payload.sealed)
        if isinstance(message, Offer):
            self._keep(key, known)
            self._remember(key, own_id)
        kept = payload.model_dump(mode="json", include={"session_id", "endpoint"}, exclude_none=True)
        try:
            opened = _PAYLOADS[message.type].model_validate_json(json.dumps(members | kept))
        except (ValidationError, RecursionError):
            raise NotAuthentic("the sealed content is not a payload of this protocol") from None
        return message.model_copy(update={"payload": opened})

    def _session(self, session_id: str, own_id: str, peer_id: str, role: Role) -> SessionSeal:
        theirs = self._fresh_of(peer_id)
        if theirs is None:
            raise NoFresh("the room lists no fresh value for it: it runs an older version, or is not in the room")
        own, peer = Side(own_id, self._fresh), Side(peer_id, theirs)
        offerer, answerer = (own, peer) if role == "offerer" else (peer, own)
        return SessionSeal(self._secret, self._room, session_id, offerer, answerer, role)

    def _remember(self, key: tuple[str, str], own_id: str) -> None:
        """Note that an OFFER was taken; those to a former id of this agent open no more."""
        if own_id != self._taken_as:
            self._taken.clear()
            self._taken_as = own_id
        self._taken[key] = None
        if len(self._taken) > TAKEN_COUNT:
            self._taken.popitem(last=False)

    def _keep(self, key: tuple[str, str], seal: SessionSeal) -> None:
        self._sessions[key] = seal
        if len(self._sessions) > SESSION_COUNT:
            self._sessions.popitem(last=False)


def room_password(secret: bytes, room: str) -> str:
    """Return the password of the private room in which those meet who know `secret`.

    It tells the server nothing of the secret, which is SECRET_SIZE random bytes (visavis_shared/invite.py).
    """
    return base64.urlsafe_b64encode(_derive(secret, _ROOM_SALT, room.encode())).rstrip(b"=").decode()


def _derive(secret: bytes, salt: bytes, info: bytes) -> bytes:
    """Return the first 32 bytes of HKDF-SHA256 (RFC 5869 sections 2.2 and 2.3: one block).

    Not by the library, whose 9 MiB an agent that is alone in its room has no use for.
    """
    return hmac.digest(hmac.digest(salt, secret, "sha256"), info + b"\x01", "sha256")
