"""A member of a room that wishes the others ill: it speaks the real protocol, and says in it what it likes."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from tests.support.ws_raw import Message, RawClient
from visavis_peer.core.meeting.sealing import NONCE_SIZE, NotAuthentic, RoomSeal, SessionSeal, Side, room_password
from visavis_shared.messages import Answer, AnswerPayload, CandidateMessage, CandidatePayload, Offer, OfferPayload

PATIENCE: Final = 15.0
"""Seconds for what an agent does at once: a busy machine takes its time."""
_KINDS: Final[dict[str, tuple[Any, Any]]] = {
    "OFFER": (Offer, OfferPayload),
    "ANSWER": (Answer, AnswerPayload),
    "CANDIDATE": (CandidateMessage, CandidatePayload),
}


def description(**members: Any) -> Message:
    """Return what OFFER and ANSWER need for a link, with addresses that lead nowhere."""
    whole: Message = {
        "ice": {"ufrag": "evil", "pwd": secrets.token_hex(16)},
        "candidates": ["1 1 udp 2130706431 127.0.0.1 9 typ host"],
        "fingerprint": secrets.token_hex(32),
        "nonce": secrets.token_hex(16),
        "speaks": ["quic/1"],
        "instance": secrets.token_hex(16),
    }
    return whole | members


class Member:
    """One connection in one room. What has come in is in `heard`, oldest first, opened where this member can."""

    def __init__(self, client: RawClient, room: str, secret: bytes | None) -> None:
        """Use `member`."""
        self.client = client
        self.heard: list[Message] = []
        self.fresh = secrets.token_hex(16)
        self.fresh_of: dict[str, str] = {}
        """By peer id."""
        self.names: dict[str, str] = {}
        """By peer id: those who are or were in the room."""
        self._room = room
        self._secret = secret or b""
        self._number = 0
        """Of the messages sealed by hand: growing, so that none is taken for a copy."""
        self._seal: RoomSeal | None = None
        if secret is not None:
            self._seal = RoomSeal(secret, room, secrets.token_bytes, self.fresh, self.fresh_of.get)
        self._news = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    @property
    def peer_id(self) -> str:
        """This member's own."""
        return self.client.peer_id

    def say(self, kind: str, target_id: str, **payload: Any) -> None:
        """Send OFFER, ANSWER or CANDIDATE in the clear."""
        self.client.send(type=kind, target_id=target_id, payload=payload)

    def say_sealed(self, kind: str, target_id: str, **payload: Any) -> None:
        """Send the same sealed with the room's secret."""
        assert self._seal is not None
        message, model = _KINDS[kind]
        sealed = self._seal.seal(message(target_id=target_id, payload=model.model_validate(payload)), self.peer_id)
        self.client.send_text(sealed.model_dump_json(exclude_none=True))

    async def hears(self, condition: Callable[[Message], bool]) -> Message:
        """Return the first message, past or to come, that fulfils a condition."""
        async with asyncio.timeout(PATIENCE):
            while True:
                self._news.clear()
                for message in self.heard:
                    if condition(message):
                        return message
                await self._news.wait()

    async def peer(self, name: str) -> str:
        """Return the id of the agent of that name, once it has offered and been refused: now it takes offers."""
        offer = await self.hears(lambda message: message["type"] == "OFFER" and self.names[message["peer_id"]] == name)
        peer_id: str = offer["peer_id"]
        say = self.say if self._seal is None else self.say_sealed
        say("ANSWER", peer_id, session_id=offer["payload"]["session_id"], accepted=False)
        return peer_id

    async def answer(self, target_id: str, session_id: str, **members: Any) -> Message:
        """Offer in the clear and return the ANSWER: whoever sends one lives."""
        self.say("OFFER", target_id, **description(session_id=session_id, **members))
        return await self.hears(
            lambda message: message["type"] == "ANSWER" and message["payload"]["session_id"] == session_id
        )

    async def close(self) -> None:
        """Leave without a word."""
        self._reading.cancel()
        await asyncio.wait([self._reading])
        self.client.abort()

    def say_sealed_raw(self, kind: str, target_id: str, payload: Message) -> None:
        """Send what no model allows, sealed as if it were one: by a key of its own, as the OFFER of a session has."""
        assert self._seal is not None
        session_id = str(payload.get("session_id", ""))[:32].strip() or "S1"
        own = Side(self.peer_id, self.fresh)
        peer = Side(target_id, self.fresh_of.get(target_id, ""))
        by_offerer = kind != "ANSWER"
        sides = (own, peer) if by_offerer else (peer, own)
        seal = SessionSeal(self._secret, self._room, session_id, *sides, "offerer" if by_offerer else "answerer")
        self._number += 1
        members = {"n": self._number, **payload}
        sealed = seal.seal(kind, members, secrets.token_bytes(NONCE_SIZE))
        self.say(kind, target_id, session_id=session_id, accepted=True, sealed=sealed)

    def _opened(self, message: Message) -> Message:
        """Return a message as it was before it was sealed, where it was."""
        if self._seal is None or message["type"] not in _KINDS:
            return message
        kind, _ = _KINDS[message["type"]]
        try:
            whole = self._seal.open(kind.model_validate(message), self.peer_id)
        except NotAuthentic:
            return message
        opened: Message = whole.model_dump(mode="json", exclude_none=True)
        return opened

    async def _read(self) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, TimeoutError):
            while True:
                message = self._opened(await self.client.receive())
                payload = message.get("payload") or {}
                listed = payload.get("peers", ())
                for info in [payload] if message["type"] == "PEER_JOINED" else listed:
                    self.names[info["peer_id"]] = info.get("display_name", "")
                    self.fresh_of[info["peer_id"]] = info.get("fresh", "")
                self.heard.append(message)
                self._news.set()


@asynccontextmanager
async def member(
    port: int, room: str = "r", name: str = "mallory", secret: bytes | None = None
) -> AsyncIterator[Member]:
    """Be in a room of the server on loopback until the end of the block."""
    client = await RawClient.connect(port)
    one = Member(client, room, secret)
    payload: Message = {"display_name": name, "fresh": one.fresh}
    if secret is not None:
        payload["private"] = {"password": room_password(secret, room)}
    try:
        client.send(type="JOIN", room_id=room, payload=payload, request_id="join")
        await one.hears(lambda message: message.get("request_id") == "join" and message["type"] == "ACK")
        yield one
    finally:
        await one.close()
