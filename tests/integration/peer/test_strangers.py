"""Whoever is not the peer: its datagrams, STUN messages and handshakes reach no application."""

from __future__ import annotations

import asyncio
import random
import secrets
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest
from aioice import stun

from tests.integration.peer.test_adversary import assert_carried, assert_genuine, assert_nothing_delivered, pair
from tests.integration.peer.test_interloper import JUNK
from tests.support.adversary import AdversarialServer, Letter
from tests.support.conditions import until
from tests.support.watched import Watched
from visavis_peer.events import LinkDown, Negotiating
from visavis_peer.link.identity import Identity, Introduction
from visavis_peer.link.quic import SecureConnection

pytestmark = pytest.mark.timeout(60)

Address = tuple[str, int]
GUESSED: Final = b"g" * 22
"""A password that a stranger takes for that of an ICE agent."""


@contextmanager
def stranger() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        yield sock


def addresses(*agents: Watched) -> set[Address]:
    """Return the IPv4 addresses that the agents' sessions have told each other."""
    lines = [line.split() for agent in agents for event in agent.of(Negotiating) for line in event.local_candidates]
    return {(line[4], int(line[5])) for line in lines if ":" not in line[4]}


def handshake(claimed_fingerprint: str) -> list[bytes]:
    """Return the first flight of a QUIC client that wants to link."""
    introduction = Introduction(
        secrets.token_hex(16), claimed_fingerprint, claimed_fingerprint, secrets.token_hex(16), secrets.token_hex(16)
    )
    connection = SecureConnection(Identity(), introduction, is_offerer=True)
    connection.start(time.monotonic())
    return connection.take_datagrams(time.monotonic())


def forged_stun(source: random.Random, names: Iterable[str]) -> list[bytes]:
    """Return STUN messages that only who knows the ICE password could make valid."""
    messages = []
    for name in (*names, "nobody:nowhere"):
        for message_class in stun.Class:
            message = stun.Message(
                message_method=stun.Method.BINDING,
                message_class=message_class,
                transaction_id=source.randbytes(12),
            )
            message.attributes["USERNAME"] = name
            message.attributes["PRIORITY"] = 2_130_706_431
            message.attributes["ICE-CONTROLLING"] = source.getrandbits(64)
            message.attributes["USE-CANDIDATE"] = None
            message.attributes["XOR-MAPPED-ADDRESS"] = ("203.0.113.9", 9)
            messages.append(bytes(message))
            message.add_message_integrity(GUESSED)
            messages.append(bytes(message))
    return [*messages, *(message[:-3] for message in messages), *(message + b"tail" for message in messages)]


def user_names(letters: list[Letter]) -> set[str]:
    """Return the user names that the agents' checks go by: known to whoever has seen OFFER and ANSWER."""
    fragments = {letter.payload["ice"]["ufrag"] for letter in letters if "ice" in letter.payload}
    return {f"{one}:{other}" for one in fragments for other in fragments}


async def pour(sock: socket.socket, datagrams: list[bytes], targets: set[Address]) -> None:
    """Send everything everywhere, at the pace at which the agents' sockets are read."""
    for datagram in datagrams:
        for target in targets:
            sock.sendto(datagram, target)
        await asyncio.sleep(0)


def answers(sock: socket.socket) -> list[bytes]:
    """Return what has come back so far."""
    received = []
    while True:
        try:
            received.append(sock.recv(2048))
        except BlockingIOError:
            return received


SETTINGS: Final[dict[str, Any]] = {"secret": None, "relay": "never"}
"""Without a secret the user name fragments can be read off the messages: the stranger knows more."""


async def test_strangers_reach_nobody_through_the_sockets_of_a_link() -> None:
    source = random.Random(5)
    async with AdversarialServer() as server, pair(server, relay="never") as (ann, bob):
        await assert_genuine(ann, bob)
        with stranger() as sock:
            datagrams = [make(source) for make in JUNK.values() for _ in range(100)] + handshake("0" * 64)
            await pour(sock, datagrams, addresses(ann, bob))
            await assert_carried(ann.links[0], bob.links[0])
            assert answers(sock) == []
        assert (len(ann.links), len(bob.links), ann.of(LinkDown), bob.of(LinkDown)) == (1, 1, [], [])


async def test_forged_stun_changes_no_path_and_is_never_taken_for_the_peers() -> None:
    source = random.Random(6)
    async with AdversarialServer() as server, pair(server, **SETTINGS) as (ann, bob):
        await until(lambda: ann.links and bob.links)
        await until(lambda: ann.links[0].path.path == bob.links[0].path.path == "direct")
        before = ann.links[0].path, bob.links[0].path
        with stranger() as sock:
            forged = forged_stun(source, user_names(server.letters))
            await pour(sock, forged, addresses(ann, bob))
            await pour(sock, [*handshake("0" * 64), b"\x41 to the application"], addresses(ann, bob))
            await assert_carried(bob.links[0], ann.links[0])
            assert {stun.parse_message(answer).message_class for answer in answers(sock)} <= {stun.Class.ERROR}
        assert (ann.links[0].path, bob.links[0].path) == before
        assert (len(ann.links), len(bob.links)) == (1, 1)


async def test_strangers_get_no_link_while_one_is_being_made() -> None:
    source = random.Random(7)

    def cut_answers(letter: Letter) -> list[Letter]:
        return [] if letter.message["type"] == "ANSWER" else [letter]

    async with AdversarialServer(cut_answers) as server, pair(server, **SETTINGS) as (ann, bob):
        # bob has answered and checks; ann, who never hears of it, is silent
        await until(lambda: bob.of(Negotiating))
        with stranger() as sock:
            names = user_names(server.letters)
            for _ in range(5):
                junk = [make(source) for make in JUNK.values() for _ in range(20)]
                await pour(sock, junk + forged_stun(source, names) + handshake("0" * 64), addresses(bob))
            assert_nothing_delivered(ann, bob)
