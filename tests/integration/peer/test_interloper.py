"""An adversarial relay: it may lose, repeat, change and invent datagrams, and end QUIC on itself, all in vain."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import pytest

from tests.integration.peer.test_adversary import (
    assert_carried,
    assert_genuine,
    assert_nothing_delivered,
    forgeries,
    pair,
)
from tests.support.adversary import AdversarialServer, Parcel
from tests.support.conditions import until
from tests.support.interloper import Interloper, StolenCertificate, pack, unpack
from tests.support.link_pair import association_of
from tests.support.watched import Watched, peering_of
from visavis_peer.core.link import liveness
from visavis_peer.events import LinkDown
from visavis_peer.ice import IceSession
from visavis_peer.link.identity import Identity

pytestmark = pytest.mark.timeout(60)

SIZE: Final = 300_000


def identity(agent: Watched) -> Identity:
    return peering_of(agent.agent).links.identity


def carry(parcel: Parcel) -> list[Parcel]:
    return [parcel]


async def test_an_honest_relay_carries_a_link() -> None:
    async with AdversarialServer(relay_attack=carry) as server, pair(server, relay="only") as (ann, bob):
        await assert_genuine(ann, bob)
        assert ann.links[0].path.path == "relay"


@pytest.mark.parametrize("proof", ["its own certificate", "the offerer's certificate without the key", "no proof"])
async def test_a_relay_that_ends_quic_on_itself_is_found_out_by_both(
    proof: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "HANDSHAKE_TIMEOUT", 1.0)
    interloper: Interloper | None = None

    def attack(parcel: Parcel) -> list[Parcel]:
        nonlocal interloper
        if interloper is None:
            shown = StolenCertificate(identity(ann)) if proof.startswith("the offerer") else Identity()
            interloper = Interloper(server, shown, proves=proof != "no proof")
            interloper.offerer_fingerprint = identity(ann).fingerprint
            interloper.answerer_fingerprint = identity(bob).fingerprint
        return interloper(parcel)

    async with AdversarialServer(relay_attack=attack) as server, pair(server, relay="only") as (ann, bob):
        await until(lambda: forgeries(ann))
        assert "certificate is not the one" in forgeries(ann)[0].message
        assert "closed by the peer" not in forgeries(ann)[0].message
        if proof != "no proof":
            await until(lambda: forgeries(bob))
            assert "could not prove itself" in forgeries(bob)[0].message
        else:
            (link,) = peering_of(bob.agent).links.of_peer(ann.agent.peer_id)
            await until(lambda: link.closed_reason)
            assert link.datagrams.waiting_count == 0
        assert_nothing_delivered(ann, bob)
        assert interloper is not None
        assert interloper.poisoned == 1
        await interloper.close()


class Vandal:
    """Loses, repeats, reorders, changes and invents datagrams of the relay."""

    def __init__(self, seed: int) -> None:
        self.harmed = 0
        self._random = random.Random(seed)
        self._kept: list[Parcel] = []

    def __call__(self, parcel: Parcel) -> list[Parcel]:
        datagrams: list[bytes] = []
        for datagram in unpack(parcel.body):
            datagrams += self._harm(datagram) if self._random.random() < 0.1 else [datagram]
        if self._random.random() < 0.1:
            self._random.shuffle(datagrams)
        changed = replace(parcel, body=pack(datagrams))
        self._kept = [*self._kept, changed][-50:]
        again = [self._random.choice(self._kept)] if self._random.random() < 0.1 else []
        turned = [Parcel(parcel.target, parcel.sender, parcel.body)] if self._random.random() < 0.05 else []
        return [changed, *again, *turned]

    def _harm(self, datagram: bytes) -> list[bytes]:
        self.harmed += 1
        match self._random.randrange(5):
            case 0:
                return []
            case 1:
                return [datagram, datagram]
            case 2:
                changed = bytearray(datagram)
                changed[self._random.randrange(len(changed))] ^= 1 << self._random.randrange(8)
                return [bytes(changed), datagram]
            case 3:
                return [datagram[: self._random.randrange(len(datagram))], datagram]
            case _:
                return [datagram, datagram[:1] + self._random.randbytes(len(datagram) - 1)]


@pytest.mark.parametrize("seed", range(3))
async def test_a_transfer_over_a_relay_that_destroys_and_invents_is_exact(seed: int) -> None:
    vandal = Vandal(seed)
    data = random.Random(seed).randbytes(SIZE)
    async with AdversarialServer(relay_attack=carry) as server, pair(server, relay="only") as (ann, bob):
        await until(lambda: ann.links and bob.links)
        server.relay_attack = vandal
        _, writer = await ann.links[0].open_stream("test")
        reader, _ = await bob.links[0].accept_stream("test")
        writer.write(data)
        writer.write_eof()
        assert await reader.read() == data
        assert vandal.harmed
        assert not ann.of(LinkDown)


async def test_a_handshake_over_a_relay_that_destroys_and_invents_is_with_the_peer_or_with_nobody() -> None:
    async with AdversarialServer(relay_attack=Vandal(1)) as server, pair(server, relay="only") as (ann, bob):
        await assert_genuine(ann, bob)


Junk = Callable[[random.Random], bytes]
JUNK: Final[dict[str, Junk]] = {
    "noise": lambda source: source.randbytes(source.randint(1, 1400)),
    "short header": lambda source: b"\x40" + source.randbytes(source.randint(20, 1199)),
    "initial": lambda source: b"\xc3\0\0\0\1\x08" + source.randbytes(1194),
    "version negotiation": lambda source: b"\x80\0\0\0\0\x08" + source.randbytes(40),
    "retry": lambda source: b"\xf0\0\0\0\1\x08" + source.randbytes(60),
    "one byte": lambda _: b"\x41",
}


@pytest.mark.parametrize("kind", JUNK)
async def test_junk_on_the_path_itself_does_a_link_no_harm(kind: str) -> None:
    source = random.Random(3)
    async with AdversarialServer() as server, pair(server) as (ann, bob):
        await assert_genuine(ann, bob)
        for end in (ann, bob):
            direct = association_of(end.links[0]).direct
            assert isinstance(direct, IceSession)
            for _ in range(50):
                direct.send_datagrams([JUNK[kind](source) for _ in range(5)])
                await asyncio.sleep(0)
        await assert_carried(ann.links[0], bob.links[0])
        await assert_carried(bob.links[0], ann.links[0])
        assert (len(ann.links), len(bob.links), ann.of(LinkDown), bob.of(LinkDown)) == (1, 1, [], [])
