"""A relay in the middle that ends both sides' QUIC connections on itself, with whatever proof it has."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from typing import Final

from tests.support.adversary import AdversarialServer, Client, Parcel
from visavis_peer.events import PathInfo
from visavis_peer.link import control
from visavis_peer.link.association import Association, LinkCallbacks
from visavis_peer.link.identity import Identity, Introduction
from visavis_peer.link.quic import SecureConnection

_LENGTH: Final = struct.Struct("!H")
_RELAY: Final = PathInfo("relay", "server", "", "middle", None)
POISON: Final = b"of the adversary's own"


class StolenCertificate(Identity):
    """Shows another agent's certificate, which is public, without having its key."""

    def __init__(self, owner: Identity) -> None:
        super().__init__()
        self.certificate, self.fingerprint = owner.certificate, owner.fingerprint


class Unproven(SecureConnection):
    """An offerer that passes over its proof and begins to talk."""

    def send_control(self, frame: control.ControlFrame) -> None:
        if not isinstance(frame, control.Hello):
            super().send_control(frame)


class Interloper:
    """The relay attack: answers the offerer as if it were the answerer, and offers to the answerer."""

    def __init__(self, server: AdversarialServer, identity: Identity, *, proves: bool = True) -> None:
        """`identity` is what it shows to the answerer; without `proves` it shows nothing."""
        self.poisoned = 0
        """Sides to which it has said something of its own."""
        self._server = server
        self._identity = identity
        self._proves = proves
        self._links: dict[Client, Association] = {}
        self._sending: set[asyncio.Task[None]] = set()
        self.offerer_fingerprint = "0" * 64
        self.answerer_fingerprint = "0" * 64
        """What both agents have told each other under seal: the adversary is given it for nothing."""

    def __call__(self, parcel: Parcel) -> list[Parcel]:
        if not self._links:
            self._come_between()
        self._links[parcel.sender].receive(unpack(parcel.body), "relay")
        return []

    async def close(self) -> None:
        for link in self._links.values():
            link.close("the adversary gives up")
        if self._sending:
            await asyncio.wait(self._sending)

    def _come_between(self) -> None:
        offer = [letter for letter in self._server.letters if letter.message["type"] == "OFFER"][-1]
        offerer, answerer = offer.sender, offer.target
        introduction = Introduction(
            offer.payload["session_id"], self.offerer_fingerprint, self.answerer_fingerprint, "0" * 32, "0" * 32
        )
        kind = SecureConnection if self._proves else Unproven
        self._links = {
            offerer: self._link(SecureConnection(self._identity, introduction, is_offerer=False), answerer, offerer),
            answerer: self._link(kind(self._identity, introduction, is_offerer=True), offerer, answerer),
        }
        self._links[answerer].start()

    def _link(self, connection: SecureConnection, sender: Client, target: Client) -> Association:
        def send(datagrams: Sequence[bytes]) -> None:
            task = asyncio.create_task(self._server.carry([Parcel(sender, target, pack(datagrams))]))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

        def poison() -> None:
            # a side that thinks it is through says everything at once
            self.poisoned += 1
            link.send_datagram(POISON)
            task = asyncio.create_task(_open_and_write(link))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

        callbacks = LinkCallbacks(
            up=poison,
            path_changed=lambda: None,
            down=lambda _: None,
            relay=send,
            relay_room=lambda: 1 << 30,
            suspended=lambda: None,
            resumed=lambda _: None,
            narrow=lambda _: None,
        )
        link = Association(target.own_id, None, connection, callbacks, sealed=False)
        link.set_relay(_RELAY)
        return link


async def _open_and_write(link: Association) -> None:
    _, writer = await link.streams.open("test")
    writer.write(POISON)


def pack(datagrams: Sequence[bytes]) -> bytes:
    """Return the body of a message of the relay."""
    return b"".join(_LENGTH.pack(len(datagram)) + datagram for datagram in datagrams)


def unpack(body: bytes) -> list[bytes]:
    """Return the datagrams in the body of a message of the relay."""
    datagrams = []
    while body:
        (size,) = _LENGTH.unpack_from(body)
        datagrams.append(body[_LENGTH.size : _LENGTH.size + size])
        body = body[_LENGTH.size + size :]
    return datagrams
