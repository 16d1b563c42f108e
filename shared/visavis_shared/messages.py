"""Every message of the signaling protocol as a typed model; docs/protocol.md is their prose.

Names are exact, unknown members are ignored, every string is bounded and every type strict. The models are what a
client builds and reads; the server's routing reads only the `envelope` and never rebuilds an opaque payload.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Self, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from visavis_shared import limits
from visavis_shared.endpoints import parse_ip
from visavis_shared.errors import ErrorCode, RemoteProtocolError
from visavis_shared.ids import single_line
from visavis_shared.nat import NatReport
from visavis_shared.outcomes import Outcomes


class MessageType(StrEnum):
    """The `type` of a message."""

    JOIN = "JOIN"
    LEAVE = "LEAVE"
    DISCOVER = "DISCOVER"
    OFFER = "OFFER"
    ANSWER = "ANSWER"
    CANDIDATE = "CANDIDATE"
    KEEP_ALIVE = "KEEP_ALIVE"
    RESUME = "RESUME"
    ROOM = "ROOM"
    KICK = "KICK"
    PEER_JOINED = "PEER_JOINED"
    PEER_LEFT = "PEER_LEFT"
    PEER_LIST = "PEER_LIST"
    ERROR = "ERROR"
    ACK = "ACK"
    GOAWAY = "GOAWAY"
    NOTICE = "NOTICE"


def _ip_address(text: str) -> str:
    try:
        parse_ip(text)
    except ValueError:
        raise ValueError("must be an IPv4 or IPv6 address") from None
    if "%" in text:
        raise ValueError("must not carry a zone")
    return text


RoomId = Annotated[str, Field(min_length=1, max_length=limits.ROOM_ID_LENGTH), AfterValidator(single_line)]
"""1 to 128 characters, no control characters, no white space at the ends; case-sensitive."""
DisplayName = Annotated[str, Field(max_length=limits.DISPLAY_NAME_LENGTH), AfterValidator(single_line)]
"""Up to 64 characters, no control characters, no white space at the ends."""
PeerId = Annotated[str, Field(min_length=1, max_length=limits.PEER_ID_LENGTH)]
SessionId = Annotated[str, Field(min_length=1, max_length=limits.SESSION_ID_LENGTH), AfterValidator(single_line)]
RequestId = Annotated[str, Field(max_length=limits.REQUEST_ID_LENGTH)]
IpAddress = Annotated[str, Field(max_length=45), AfterValidator(_ip_address)]
Timestamp = Annotated[int, Field(ge=-limits.TIMESTAMP_MAX - 1, le=limits.TIMESTAMP_MAX)]
"""Milliseconds since the epoch."""


Instance = Annotated[str, Field(max_length=limits.SESSION_ID_LENGTH)]
"""Random id of a process."""
Fresh = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
"""16 random bytes that an agent's process has drawn at its start, in lower-case hexadecimal."""


class Model(BaseModel):
    """Shape shared by all models: frozen, strict, unknown members ignored."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", defer_build=True)


class Endpoint(Model):
    """A UDP transport address as a peer or a STUN server sees it."""

    ip: IpAddress
    port: Annotated[int, Field(ge=1, le=65535)]


# --- payloads ---------------------------------------------------------------------------------------------------------


class SelfDescription(Model):
    """What a peer tells its room about itself."""

    display_name: DisplayName | None = None
    endpoint: Endpoint | None = None
    show_seen: bool | None = None
    """Whether OFFER and ANSWER of this peer tell, as `seen`, the IP address that the server sees it by."""
    fresh: Fresh | None = None
    """What the members seal for this peer with, besides the room's secret (docs/link.md)."""


Token = Annotated[str, Field(max_length=limits.TOKEN_LENGTH)]


class RoomTerms(Model):
    """The rules of a room; absent ones stay as they are."""

    capacity: Annotated[int, Field(ge=0, le=100_000)] | None = None
    """Peers at most; 0 is the server's limit."""
    password: Annotated[str, Field(max_length=limits.PASSWORD_LENGTH)] | None = None
    """To a server: empty removes it. From a server: present and empty where there is one."""
    locked: bool | None = None
    """Whether nobody may join any more."""
    ttl: Annotated[float, Field(ge=0, le=limits.ROOM_TTL_MAX, strict=False)] | None = None
    """Seconds until the room is closed; 0 to a server: never."""


Reason = Annotated[str, Field(max_length=200), AfterValidator(single_line)]


class KickPayload(Model):
    """KICK."""

    ban: bool = False
    """Whether the peer may not come back."""
    reason: Reason | None = None


class Departure(StrEnum):
    """Why a member is in the room no longer."""

    LEFT = "left"
    """By LEAVE, by a JOIN of another room, or removed."""
    CLOSED = "closed"
    """Its connection was closed, by its own machine as far as the server can tell."""
    SILENT = "silent"
    """Nothing came from it for the stale timeout, or it read nothing: it may be asleep, or without a network."""


class ExpelledPayload(Model):
    """PEER_LEFT to the one who was removed from the room."""

    reason: Reason


class NoticePayload(Model):
    """NOTICE."""

    message: Annotated[str, Field(min_length=1, max_length=500), AfterValidator(single_line)]


class PrivateRoom(Model):
    """Which private room of a name is meant, in a JOIN."""

    password: Annotated[str, Field(min_length=1, max_length=limits.PASSWORD_LENGTH, repr=False)]


class JoinPayload(SelfDescription):
    """JOIN."""

    password: Annotated[str, Field(max_length=limits.PASSWORD_LENGTH)] | None = None
    create: RoomTerms | None = None
    """Makes a room with these rules that belongs to the sender; refused where the room exists."""
    private: PrivateRoom | None = None
    """Joins the private room of this name, or makes it: a room that is listed nowhere and belongs to nobody."""
    token: Token | None = None
    """What allows the join, where the server asks for it and the connection itself has shown none."""
    resume: bool | None = None
    """Whether the peer is to be kept for a while when its connection is lost."""

    @model_validator(mode="after")
    def _one_kind_of_room(self) -> Self:
        if self.private is not None and (self.create is not None or self.password is not None):
            raise ValueError("private goes with neither create nor password")
        return self


class KeepAlivePayload(Model):
    """KEEP_ALIVE of an agent that reports; a server that does not know it ignores it."""

    outcomes: Outcomes = ()
    """How its links have turned out since it last said so."""


ResumeToken = Annotated[str, Field(max_length=limits.TOKEN_LENGTH)]
"""What a client shows on a new connection to be the peer again that it was."""


class ResumePayload(SelfDescription):
    """RESUME of a client; a description given replaces the former one."""

    token: ResumeToken
    received: Annotated[int, Field(ge=0, le=limits.TIMESTAMP_MAX)]
    """Messages received since the last ACK with a resume token, that ACK not counted."""


class ResumeOffer(Model):
    """How a client can continue on another connection; each one replaces those before."""

    token: ResumeToken
    grace: float
    """Seconds for which the room is not told that the connection was lost."""


class GoAwayPayload(Model):
    """GOAWAY: the server is about to stop."""

    reconnect_after_ms: Annotated[int, Field(ge=0)]
    """Milliseconds after which the server closes this connection, different for each client."""


class PeerInfo(Model):
    """A member of a room, as PEER_LIST, PEER_JOINED and the ACK of JOIN show it."""

    peer_id: PeerId
    display_name: DisplayName | None = None
    endpoint: Endpoint | None = None
    fresh: Fresh | None = None
    joined_at: Timestamp
    """When the peer joined this room."""


class IceCredentials(Model):
    """User name fragment and password of an ICE agent (RFC 8445 section 5.3)."""

    ufrag: Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]{4,256}$")]
    pwd: Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]{22,256}$")]


CandidateLine = Annotated[str, Field(min_length=1, max_length=limits.CANDIDATE_LENGTH)]
"""A candidate in SDP form without `candidate:` (RFC 8839 section 5.1)."""
Candidates = Annotated[tuple[CandidateLine, ...], Field(max_length=limits.CANDIDATE_COUNT, strict=False)]


Fingerprint = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""SHA-256 in lower-case hexadecimal."""
Sealed = Annotated[str, Field(min_length=1, max_length=limits.SEALED_LENGTH, pattern=r"^[A-Za-z0-9+/]+={0,2}$")]
"""Nonce and ciphertext of a sealed JSON object, in base64 (docs/protocol.md)."""


LinkClaim = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
"""Proof, made for one session, that the sender holds one end of a link (docs/protocol.md)."""


LinkProtocol = Annotated[str, Field(max_length=limits.LINK_PROTOCOL_LENGTH, pattern=r"^[a-z0-9._/-]+$")]
"""Name of a protocol of links, for example `quic/1` (docs/link.md)."""


class IceDescription(Model):
    """What one side of a session tells the other about its ICE agent: our extension of OFFER and ANSWER."""

    ice: IceCredentials | None = None
    candidates: Candidates = ()
    """Those known when the message was written; later ones follow as CANDIDATE messages."""
    end_of_candidates: bool = False
    nat: NatReport | None = None
    instance: Instance | None = None
    """Random id of the sending agent's process: tells a peer that came back from a new one."""
    name: DisplayName | None = None
    """The sender's display name, where it is sealed: the one outside is the server's word."""
    fingerprint: Fingerprint | None = None
    """SHA-256 of the sending agent's certificate (DER)."""
    nonce: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None = None
    """Fresh random value of this session: only who has read it can prove itself over the link."""
    speaks: Annotated[tuple[LinkProtocol, ...], Field(max_length=limits.LINK_PROTOCOL_COUNT, strict=False)] = ()
    """The protocols of links that the sender speaks, best first; words that are not known are ignored."""
    patience: Annotated[float, Field(ge=0, le=limits.PATIENCE_MAX, strict=False)] | None = None
    """Seconds for which the sender keeps a link whose other side is silent; the smaller of both sides' counts."""
    sealed: Sealed | None = None
    """All other members but the seed's, sealed with the room's secret."""


class OfferPayload(IceDescription):
    """OFFER: asks the target for a link."""

    endpoint: Endpoint | None = None
    session_id: SessionId
    initiator_id: PeerId | None = None
    round: Annotated[int, Field(ge=0, le=1000)] = 0
    """Failed rounds of checks before this one: both sides vary what they do by it."""
    links: Annotated[tuple[LinkClaim, ...], Field(max_length=limits.LINK_COUNT, strict=False)] = ()
    """One for each link that the sender holds: this session may carry on one of them."""


class AnswerPayload(IceDescription):
    """ANSWER: accepts or refuses an OFFER."""

    endpoint: Endpoint | None = None
    session_id: SessionId
    accepted: bool
    ready: bool = False
    """Openers towards the offered candidates have been sent: checks may start."""
    reason: Annotated[str, Field(max_length=200)] | None = None
    """Why not, when `accepted` is false."""
    link: LinkClaim | None = None
    """For the link, one of those offered, that this session carries on; absent: it makes a new one."""


class CandidatePayload(Model):
    """CANDIDATE: one more candidate, the end of candidates, or readiness for the checks."""

    session_id: SessionId
    candidate: CandidateLine | None = None
    end_of_candidates: bool = False
    ready: bool = False
    """Openers have been sent towards every candidate received so far: checks may start."""
    nat: NatReport | None = None
    """What the sender has learnt of its NAT since its OFFER or ANSWER."""
    failed: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """Why the sender, whose OFFER it was, has given the session up."""
    sealed: Sealed | None = None
    """All other members, sealed."""


class IceServer(Model):
    """TURN servers and credentials for them, as WebRTC's RTCIceServer has them."""

    urls: Annotated[tuple[Annotated[str, Field(max_length=300)], ...], Field(min_length=1, max_length=8, strict=False)]
    """`turn:host[:port][?transport=udp|tcp]` (RFC 7065)."""
    username: Annotated[str, Field(max_length=256)]
    credential: Annotated[str, Field(max_length=256, repr=False)]
    ttl: Annotated[int, Field(ge=1)]
    """Seconds for which they may be used to allocate."""


class MembersPayload(Model):
    """PEER_LIST and the ACK of JOIN: the members of a room in the order in which they joined, the asker included."""

    room_id: RoomId
    peers: Annotated[tuple[PeerInfo, ...], Field(strict=False)]
    ice_servers: Annotated[tuple[IceServer, ...], Field(max_length=8, strict=False)] = ()
    """For members, where the operator runs TURN servers."""
    resume: ResumeOffer | None = None
    """With the ACK of a JOIN that asked for it."""


class ResumedPayload(Model):
    """The ACK of RESUME; `room_id` and `peers` are absent for a peer in no room."""

    resumed: Literal[True]
    gap: bool
    """Whether events may be missing: then `peers` is all there is to know, else what was missed follows in order."""
    received: Annotated[int, Field(ge=0)] | None = None
    """Messages taken from this client since the ACK with the token that it has shown, that ACK's request not counted;
    absent where the server does not know."""
    resume: ResumeOffer
    room_id: RoomId | None = None
    peers: Annotated[tuple[PeerInfo, ...], Field(strict=False)] = ()


class StunServer(Model):
    """A STUN server that the signaling server offers."""

    host: Annotated[str, Field(max_length=253)] | None = None
    """Host name or address; absent: the host of the signaling server itself."""
    port: Annotated[int, Field(ge=1, le=65535)]


class ServerLimits(Model):
    """The bounds that a client of this server meets."""

    message_size: int
    room_id_length: int
    display_name_length: int
    room_capacity: int
    """Peers per room; 0 is unlimited."""
    stale_timeout: float
    """Seconds without any traffic after which the server closes a connection."""
    message_rate: float = 0.0
    """Messages per second that a client may send in the long run, ten seconds' worth at once; 0 is unlimited."""
    pair_rate: float = 0.0
    """OFFER, ANSWER and CANDIDATE per second that it may send to one other, likewise."""
    join_timeout: float = 0.0
    """Seconds in which it has to join a room; 0 for no limit."""


class RelayOffer(Model):
    """The server's relay, at `/relay` beside `/ws` unless it says where."""

    url: Annotated[str, Field(max_length=300)] | None = None
    """Its WebSocket URL, where it is reached by another one: `ws://` or `wss://`, host, port and path."""

    mode: Literal["auto", "only"]
    """`only` asks the agents to use no direct path."""
    token: Annotated[str, Field(min_length=1, max_length=256)]
    """To be shown by this client's relay connection; bound to its peer_id."""
    message_size: Annotated[int, Field(ge=1)]
    """Bytes of one message at most, the peer id before it included."""
    rate: Annotated[int, Field(ge=0)]
    """Bytes per second that a pair of addresses may send; 0 is unlimited."""
    volume: Annotated[int, Field(ge=0)]
    """Bytes that a pair of addresses may send in a day; 0 is unlimited."""


class WelcomePayload(Model):
    """The first ACK, sent by the server when a connection opens."""

    message: Literal["connected"]
    server: Annotated[str, Field(max_length=128)] | None = None
    """Name and version, for example `visavis/0.1.0`."""
    observed: Endpoint | None = None
    """The client's TCP address as the server sees it."""
    ping_interval: float | None = None
    """Seconds between the server's WebSocket pings."""
    limits: ServerLimits | None = None
    stun: Annotated[tuple[StunServer, ...], Field(max_length=16, strict=False)] = ()
    relay: RelayOffer | None = None
    """Absent where the operator offers none."""
    resume: ResumeOffer | None = None
    """Absent where the operator has set no grace."""
    private_rooms: bool = False
    """Whether JOIN knows `private`: a server that does not would make an open room of it."""
    instance: Instance | None = None
    """Random id of the server's process: an agent that meets one again after another is between several servers."""


class ErrorPayload(Model):
    """ERROR."""

    code: Annotated[ErrorCode, Field(strict=False)]
    message: str
    details: str | None = None
    """The field or the value at fault."""


# --- messages ---------------------------------------------------------------------------------------------------------


class _Message(Model):
    timestamp: Timestamp | None = None
    request_id: RequestId | None = None


class _ClientMessage(_Message):
    """The server overwrites a client's `peer_id` and `timestamp`."""

    peer_id: str | None = None


class Join(_ClientMessage):
    """Join a room, leaving the one before."""

    type: Literal["JOIN"] = "JOIN"
    room_id: RoomId
    payload: JoinPayload | None = None


class Leave(_ClientMessage):
    """Leave the current room."""

    type: Literal["LEAVE"] = "LEAVE"


class Discover(_ClientMessage):
    """List the members of a room, by default the current one."""

    type: Literal["DISCOVER"] = "DISCOVER"
    room_id: RoomId | None = None


class KeepAlive(_ClientMessage):
    """Show that the connection lives."""

    type: Literal["KEEP_ALIVE"] = "KEEP_ALIVE"
    payload: KeepAlivePayload | None = None


class Resume(_ClientMessage):
    """Continue, on a new connection, as the peer that another connection was."""

    type: Literal["RESUME"] = "RESUME"
    payload: ResumePayload


class GovernRoom(_ClientMessage):
    """Change the rules of the current room; of its owner, or with a token that says so."""

    type: Literal["ROOM"] = "ROOM"
    payload: RoomTerms


class _Directed(_ClientMessage):
    target_id: PeerId


class Kick(_Directed):
    """Put a member out of the current room; of its owner, or with a token that says so."""

    type: Literal["KICK"] = "KICK"
    payload: KickPayload | None = None


class _Introduction(_Directed):
    seen: Annotated[str, Field(max_length=45)] | None = None
    """From the server: the IP address by which it sees the sender, who has asked for that; a client says it in vain."""


class Offer(_Introduction):
    """Sent to a peer of the same room; forwarded with the sender as `peer_id`."""

    type: Literal["OFFER"] = "OFFER"
    payload: OfferPayload


class Answer(_Introduction):
    """Answers an OFFER."""

    type: Literal["ANSWER"] = "ANSWER"
    payload: AnswerPayload


class CandidateMessage(_Directed):
    """Carries a candidate of a session."""

    type: Literal["CANDIDATE"] = "CANDIDATE"
    payload: CandidatePayload


class PeerJoined(_Message):
    """A peer has joined the room."""

    type: Literal["PEER_JOINED"] = "PEER_JOINED"
    peer_id: PeerId
    room_id: RoomId
    payload: PeerInfo
    seq: int | None = None
    """Number of this event in the room, one more than the event before it."""


class PeerLeft(_Message):
    """A peer has left the room or lost its connection."""

    type: Literal["PEER_LEFT"] = "PEER_LEFT"
    peer_id: PeerId
    room_id: RoomId
    payload: ExpelledPayload | None = None
    """Only to the peer itself, when it was removed."""
    cause: Annotated[Departure, Field(strict=False)] | None = None
    """To those who remain: why."""
    seq: int | None = None


class PeerList(_Message):
    """Answers DISCOVER."""

    type: Literal["PEER_LIST"] = "PEER_LIST"
    peer_id: PeerId
    room_id: RoomId
    payload: MembersPayload
    seq: int | None = None
    """Number of the last event of the room that this list includes."""


class Ack(_Message):
    """Answers JOIN (payload: members), LEAVE, KEEP_ALIVE (no payload), and welcomes a new connection."""

    type: Literal["ACK"] = "ACK"
    peer_id: PeerId
    room_id: RoomId | None = None
    payload: dict[str, Any] | None = None
    seq: int | None = None
    """With the ACK of JOIN: number of the last event of the room that its list includes."""


class ErrorMessage(_Message):
    """A request was refused; the connection stays."""

    type: Literal["ERROR"] = "ERROR"
    payload: ErrorPayload


class ResumeRefresh(_Message):
    """A new resume token, sent before the last one expires."""

    type: Literal["RESUME"] = "RESUME"
    payload: ResumeOffer


class GoAway(_Message):
    """The server is about to stop, and closes this connection with 1012."""

    type: Literal["GOAWAY"] = "GOAWAY"
    payload: GoAwayPayload


class Notice(_Message):
    """Something the operator wants everybody to know."""

    type: Literal["NOTICE"] = "NOTICE"
    payload: NoticePayload


ClientMessage = Annotated[
    Join | Leave | Discover | KeepAlive | Resume | GovernRoom | Kick | Offer | Answer | CandidateMessage,
    Field(discriminator="type"),
]
"""What a client sends."""
ServerMessage = Annotated[
    PeerJoined
    | PeerLeft
    | PeerList
    | Ack
    | ErrorMessage
    | ResumeRefresh
    | GoAway
    | Notice
    | Offer
    | Answer
    | CandidateMessage,
    Field(discriminator="type"),
]
"""What a client receives."""

_DEFERRED: Final = ConfigDict(defer_build=True)
SERVER_MESSAGE: Final[TypeAdapter[ServerMessage]] = TypeAdapter(ServerMessage, config=_DEFERRED)
_ROOM_ID: Final[TypeAdapter[str]] = TypeAdapter(RoomId, config=_DEFERRED)

_M = TypeVar("_M", bound=BaseModel)


def encode(message: Model) -> bytes:
    """Return `message` as one line of JSON in UTF-8, members that are `None` left out."""
    return message.model_dump_json(exclude_none=True).encode()


def decode_server_message(data: bytes | str) -> ServerMessage:
    """Read a message of the server.

    Raises RemoteProtocolError (INVALID_MESSAGE, the field in `details`).
    """
    model = _by_type(data)
    try:
        return SERVER_MESSAGE.validate_json(data) if model is None else model.model_validate_json(data)
    except ValidationError as error:
        raise _refusal(error) from None


_SERVER_TYPES: Final[dict[str, type[ServerMessage]]] = {
    model.model_fields["type"].default: model for model in get_args(get_args(ServerMessage)[0])
}
_TYPE: Final = re.compile(r'\{"type":"([A-Z_]+)"')
_HEAD_SIZE: Final = 40
"""Bytes at the beginning of a message in which its type is looked for: our server writes it first."""


def _by_type(data: bytes | str) -> type[ServerMessage] | None:
    """Return the model of a message whose type stands at its beginning, None for any other.

    An agent that is alone gets few kinds of messages: what reads the others is made when it must be.
    """
    text = data if isinstance(data, str) else data[:_HEAD_SIZE].decode("ascii", "replace")
    found = _TYPE.match(text)
    return None if found is None else _SERVER_TYPES.get(found[1])


def decode_payload(model: type[_M], data: bytes) -> _M:
    """Read the payload `data` (JSON) as `model`.

    Raises RemoteProtocolError (INVALID_MESSAGE, the field in `details` as `payload.…`).
    """
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        raise _refusal(error, prefix=("payload",)) from None


def check_room_id(text: str) -> str:
    """Return `text` when it may name a room.

    Raises RemoteProtocolError (INVALID_MESSAGE, `room_id` in `details`).
    """
    try:
        return _ROOM_ID.validate_python(text)
    except ValidationError as error:
        raise _refusal(error, prefix=("room_id",)) from None


def _refusal(error: ValidationError, prefix: tuple[str, ...] = ()) -> RemoteProtocolError:
    """Name the first field at fault and the reason, without echoing the value."""
    first = error.errors(include_url=False, include_input=False)[0]
    location = ".".join(str(part) for part in (*prefix, *first["loc"]) if part not in MessageType.__members__)
    reason = first["msg"].removeprefix("Value error, ")
    message = "invalid JSON" if first["type"] == "json_invalid" else "invalid message"
    return RemoteProtocolError(ErrorCode.INVALID_MESSAGE, message, f"{location or 'message'}: {reason}")
