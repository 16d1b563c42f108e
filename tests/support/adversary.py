"""A signaling server that is the adversary: it reads, changes, withholds and invents whatever it passes on.

It speaks the protocol as far as agents need it. Every directed message goes through `attack`, every message of its
relay through `relay_attack`; `sees` decides who is shown to whom; with `false_ids` each client is told ids of others
that they do not have.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Final, Self

from aiohttp import WSMsgType, web

from visavis_shared.ids import PEER_ID_BYTES

Message = dict[str, Any]
DIRECTED: Final = ("OFFER", "ANSWER", "CANDIDATE")


class Client:
    """One connection of an agent."""

    def __init__(self, socket: web.WebSocketResponse | None, own_id: str) -> None:
        """Without a `socket` it is a puppet: a member whom nobody has seen."""
        self.socket = socket
        self.own_id = own_id
        """The id that it is told to have."""
        self.name = ""
        self.fresh: str | None = None
        self.room = ""
        self.joined_at = 0
        self.relay: web.WebSocketResponse | None = None
        self._ids: dict[str, Client] = {}
        """By the ids that it is told for others."""

    def id_of(self, other: Client, *, false: bool = False) -> str:
        """Return by which id this client knows `other`: with `false` one that only this client is told."""
        for peer_id, client in self._ids.items():
            if client is other:
                return peer_id
        peer_id = secrets.token_hex(PEER_ID_BYTES) if false else other.own_id
        self._ids[peer_id] = other
        return peer_id

    def tell(self, peer_id: str, other: Client) -> None:
        """Let this client know `other` by `peer_id`."""
        self._ids[peer_id] = other

    def by_id(self, peer_id: str) -> Client | None:
        """Return whom this client means."""
        return self._ids.get(peer_id)

    async def send(self, message: Message) -> None:
        """Send a message of the server; what comes too late is lost."""
        if self.socket is not None and not self.socket.closed:
            with contextlib.suppress(ConnectionError):
                await self.socket.send_str(json.dumps({"timestamp": _now(), **message}))

    async def close(self) -> None:
        """Drop the client's connections."""
        for socket in (self.socket, self.relay):
            if socket is not None:
                await socket.close()


@dataclass(frozen=True)
class Letter:
    """A directed message on its way; `message` is as the sender wrote it, but for a `peer_id` that an attack sets."""

    sender: Client
    target: Client
    message: Message

    @property
    def payload(self) -> Message:
        """The payload, as `with_payload` changes it."""
        payload: Message = self.message["payload"]
        return payload

    def with_payload(self, **members: Any) -> Letter:
        """Return a letter with other members of the payload; those given as None are left out."""
        payload = {name: value for name, value in (self.payload | members).items() if value is not None}
        return replace(self, message=self.message | {"payload": payload})

    def reflected(self) -> Letter:
        """Return the letter as it comes back to its sender, as if from the target."""
        return Letter(self.target, self.sender, self.message)


@dataclass(frozen=True)
class Parcel:
    """A message of the relay on its way."""

    sender: Client
    target: Client
    body: bytes


Attack = Callable[[Letter], Iterable[Letter]]
RelayAttack = Callable[[Parcel], Iterable[Parcel]]


def honest(letter: Letter) -> list[Letter]:
    """Deliver what was sent: the attack of a server that is none."""
    return [letter]


def withhold(_: Letter) -> list[Letter]:
    """Deliver nothing."""
    return []


class AdversarialServer:
    """Listens on a free port of loopback while it is open."""

    def __init__(
        self,
        attack: Attack = honest,
        *,
        relay_attack: Callable[[Parcel], Iterable[Parcel]] | None = None,
        sees: Callable[[Client, Client], bool] = lambda _, __: True,
        false_ids: bool = False,
        ids: Iterable[str] = (),
    ) -> None:
        """Without `relay_attack` no relay is offered; `ids` go to the first clients."""
        self.attack = attack
        self.relay_attack = relay_attack
        self.sees = sees
        self.clients: list[Client] = []
        self.letters: list[Letter] = []
        """Every directed message that a client has sent."""
        self.delivered = 0
        """Directed messages that were delivered."""
        self.port = 0
        self._false_ids = false_ids
        self._ids = list(ids)
        self._tokens: dict[str, Client] = {}
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/ws", self._signaling)
        app.router.add_get("/relay", self._relaying)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in list(self.clients):
            await client.close()
        assert self._runner is not None
        await self._runner.cleanup()

    def client(self, name: str) -> Client:
        """Return the latest client of this name."""
        return [client for client in self.clients if client.name == name][-1]

    async def add_puppet(self, name: str, peer_id: str, room: str = "r", fresh: str | None = None) -> Client:
        """Tell the clients of a member that does not exist; what is sent to it is in `letters`."""
        puppet = Client(None, peer_id)
        puppet.name, puppet.room, puppet.joined_at = name, room, _now()
        puppet.fresh = fresh or secrets.token_hex(16)
        self.clients.append(puppet)
        for other in self.clients:
            if other is not puppet:
                await self.announce(puppet, other)
        return puppet

    async def deliver(self, letters: Iterable[Letter]) -> None:
        """Hand letters to their targets."""
        for letter in letters:
            self.delivered += 1
            from_id = letter.target.id_of(letter.sender, false=self._false_ids)
            message = {"peer_id": from_id, **letter.message, "target_id": letter.target.own_id}
            await letter.target.send(message)

    # --- signaling ----------------------------------------------------------------------------------------------------

    async def _signaling(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(max_msg_size=1 << 20)
        await socket.prepare(request)
        client = Client(socket, self._ids.pop(0) if self._ids else secrets.token_hex(PEER_ID_BYTES))
        await client.send({"type": "ACK", "peer_id": client.own_id, "payload": self._welcome(client)})
        async for frame in socket:
            if frame.type is WSMsgType.TEXT:
                await self._receive(client, json.loads(frame.data))
        await self._leave(client)
        return socket

    def _welcome(self, client: Client) -> Message:
        payload: Message = {"message": "connected", "private_rooms": True}
        if self.relay_attack is not None:
            token = secrets.token_hex(16)
            self._tokens[token] = client
            payload["relay"] = {"mode": "auto", "token": token, "message_size": 65_536, "rate": 0, "volume": 0}
        return payload

    async def _receive(self, client: Client, message: Message) -> None:
        match message["type"]:
            case "JOIN":
                await self._join(client, message)
            case "LEAVE":
                await self._leave(client)
            case kind if kind in DIRECTED:
                target = client.by_id(message.pop("target_id"))
                if target is not None:
                    message.pop("peer_id", None)
                    letter = Letter(client, target, message)
                    self.letters.append(letter)
                    await self.deliver(self.attack(letter))
            case _:
                pass

    async def _join(self, client: Client, message: Message) -> None:
        client.name, client.room, client.joined_at = message["payload"]["display_name"], message["room_id"], _now()
        client.fresh = message["payload"].get("fresh")
        others = [other for other in self.clients if other.room == client.room and self._are_shown(client, other)]
        self.clients.append(client)
        members = [self._info(client, other) for other in (*others, client)]
        payload = {"room_id": client.room, "peers": members}
        ack = {"type": "ACK", "peer_id": client.own_id, "room_id": client.room, "payload": payload}
        await client.send(ack | {"request_id": message.get("request_id")})
        for other in others:
            await self.announce(client, other)

    async def announce(self, newcomer: Client, to: Client) -> None:
        """Tell a client of another one."""
        info = self._info(to, newcomer)
        await to.send({"type": "PEER_JOINED", "peer_id": info["peer_id"], "room_id": to.room, "payload": info})

    async def _leave(self, client: Client) -> None:
        if client not in self.clients:
            return
        self.clients.remove(client)
        for other in self.clients:
            if other.room == client.room and self._are_shown(client, other):
                peer_id = other.id_of(client, false=self._false_ids)
                await other.send({"type": "PEER_LEFT", "peer_id": peer_id, "room_id": other.room})

    def _are_shown(self, one: Client, other: Client) -> bool:
        return self.sees(one, other) and self.sees(other, one)

    def _info(self, reader: Client, member: Client) -> Message:
        peer_id = reader.own_id if reader is member else reader.id_of(member, false=self._false_ids)
        info = {"peer_id": peer_id, "display_name": member.name, "joined_at": member.joined_at}
        return info if member.fresh is None else info | {"fresh": member.fresh}

    # --- relay --------------------------------------------------------------------------------------------------------

    async def _relaying(self, request: web.Request) -> web.StreamResponse:
        client = self._tokens[request.headers["Authorization"].removeprefix("Bearer ")]
        socket = web.WebSocketResponse(max_msg_size=1 << 20)
        await socket.prepare(request)
        client.relay = socket
        async for frame in socket:
            if frame.type is WSMsgType.BINARY:
                target = client.by_id(frame.data[:PEER_ID_BYTES].hex())
                if target is not None and self.relay_attack is not None:
                    await self.carry(self.relay_attack(Parcel(client, target, frame.data[PEER_ID_BYTES:])))
        return socket

    async def carry(self, parcels: Iterable[Parcel]) -> None:
        """Hand parcels to their targets, as far as those have a relay connection."""
        for parcel in parcels:
            if parcel.target.relay is not None and not parcel.target.relay.closed:
                from_id = bytes.fromhex(parcel.target.id_of(parcel.sender, false=self._false_ids))
                await parcel.target.relay.send_bytes(from_id + parcel.body)


def _now() -> int:
    return int(time.time() * 1000)
