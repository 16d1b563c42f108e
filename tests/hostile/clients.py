"""Clients of a real server from whatever address they like, by a proxy that the server trusts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, Self

from tests.support.server_running import ServerProcess, server_process
from tests.support.ws_raw import BINARY, TEXT, TIMEOUT, Message, RawClient, upgrade_request

TRUSTED: Final = ("--trusted-proxy", "127.0.0.1", "--cleanup-interval", "0.2")


class Clients:
    """Whoever connects to one server; all are gone at the end."""

    def __init__(self, server: ServerProcess, stack: AsyncExitStack) -> None:
        """Use `clients`."""
        self.server = server
        self._stack = stack

    async def connect(self, address: str) -> Signaling:
        """Connect to the signaling of the server, as from an address."""
        client = await Signaling.open(self.server.port)
        self._stack.callback(client.abort)
        client.write(upgrade_request(X_Forwarded_For=address))
        await client.read_response()
        client.address = address
        client.welcome = await client.receive()
        client.peer_id = client.welcome["peer_id"]
        return client

    async def joined(self, address: str, room: str = "r", **payload: Any) -> Signaling:
        """Connect and join a room, in which nobody says anything yet."""
        client = await self.connect(address)
        client.joined = await client.request(type="JOIN", room_id=room, payload=payload)
        assert client.joined["type"] == "ACK", client.joined
        return client

    async def relay(self, client: Signaling) -> Relayed:
        """Open the relay connection of a client, as from its address."""
        relayed = await Relayed.open(self.server.port)
        self._stack.callback(relayed.abort)
        token = client.welcome["payload"]["relay"]["token"]
        relayed.write(upgrade_request("/relay", Authorization=f"Bearer {token}", X_Forwarded_For=client.address))
        assert " 101 " in await relayed.read_response(), relayed.response
        return relayed


class Signaling(RawClient):
    """A signaling connection and what it was told."""

    address: str = ""
    welcome: Message
    joined: Message

    @property
    def token(self) -> str:
        """The resume token that its JOIN has brought."""
        return str(self.joined["payload"]["resume"]["token"])

    async def hears(self, kind: str, **members: Any) -> Message:
        """Return the next message of a type with these members; those before it are left out."""
        while True:
            message = await self.receive()
            if message["type"] == kind and members.items() <= message.items():
                return message

    async def hears_one(self, *request_ids: str) -> Message:
        """Return the next message that answers one of these requests."""
        while True:
            message = await self.receive()
            if message.get("request_id") in request_ids:
                return message

    async def resumes(self, token: str, received: int = 0) -> Message:
        """Show a token and return the answer."""
        self.send(type="RESUME", payload={"token": token, "received": received}, request_id="resume")
        while True:
            message = await self.receive()
            if message.get("request_id") == "resume":
                return message


class Relayed(RawClient):
    """A relay connection, read all the time: what has come is counted."""

    @classmethod
    async def open(cls, port: int, host: str = "127.0.0.1") -> Self:
        """See RawClient."""
        client = await super().open(port, host)
        client.count = client.size = 0
        client.refusals = []
        return client

    count: int
    """Messages of peers."""
    size: int
    """Bytes of these, ids aside."""
    refusals: list[Message]

    def put(self, target_id: str, size: int) -> None:
        """Send so many bytes to a peer."""
        self.send_frame(BINARY, bytes.fromhex(target_id) + bytes(size))

    async def settle(self) -> None:
        """Take what has come by now: a pong comes behind everything."""
        self.send_frame(0x9, b"barrier")
        async with asyncio.timeout(TIMEOUT):
            while True:
                frame = await self.read_frame()
                if frame.opcode == BINARY:
                    self.count += 1
                    self.size += len(frame.payload) - 8
                elif frame.opcode == TEXT:
                    self.refusals.append(json.loads(frame.payload))
                elif (frame.opcode, frame.payload) == (0xA, b"barrier"):
                    return

    def codes(self) -> list[tuple[str, str]]:
        """Return code and first word of the details of each refusal."""
        return [(each["payload"]["code"], each["payload"]["details"]) for each in self.refusals]


async def introduce(offerer: Signaling, answerer: Signaling, *, accepted: bool = True) -> None:
    """Exchange OFFER and ANSWER; both have been forwarded when this returns."""
    offerer.send(type="OFFER", target_id=answerer.peer_id, payload={"session_id": "s"})
    await answerer.hears("OFFER")
    payload = {"session_id": "s", "accepted": accepted}
    answerer.send(type="ANSWER", target_id=offerer.peer_id, payload=payload)
    await offerer.hears("ANSWER")


@asynccontextmanager
async def clients(*arguments: str) -> AsyncIterator[Clients]:
    """Run a server that trusts what its clients say of their addresses."""
    async with server_process(*TRUSTED, *arguments) as server, AsyncExitStack() as stack:
        yield Clients(server, stack)
