"""A signaling server that is the adversary: nothing of its own ever reaches an application in a room with a secret."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest

from tests.support.adversary import AdversarialServer, Attack, Client, Letter, honest, withhold
from tests.support.conditions import until
from tests.support.forgery import MUTATION_COUNT, Forger, impostor_description
from tests.support.link_pair import association_of
from tests.support.watched import Watched, peering_of, watched
from visavis_peer import Link
from visavis_peer.commands.output import sentence
from visavis_peer.core.meeting import negotiation
from visavis_peer.events import Failure, Joined, LinkDown, LinkUp, PathChanged

pytestmark = pytest.mark.timeout(120)

SECRET: Final = bytes(range(16))


@pytest.fixture
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let rounds fail and begin again within a fraction of a second."""
    monkeypatch.setattr(negotiation, "ANSWER_TIMEOUT", 0.2)
    monkeypatch.setattr(negotiation, "OFFER_FALLBACK", 0.3)
    monkeypatch.setattr(negotiation, "ROUND_TIMEOUT", 0.3)
    monkeypatch.setattr(negotiation, "punch_delay", lambda failures: 0.05)


@asynccontextmanager
async def pair(server: AdversarialServer, **settings: Any) -> AsyncIterator[tuple[Watched, Watched]]:
    values = {"secret": SECRET} | settings
    async with watched(server, "ann", **values) as ann, watched(server, "bob", **values) as bob:
        yield ann, bob


def fingerprint(agent: Watched) -> str:
    return peering_of(agent.agent).links.identity.fingerprint


def partners(agent: Watched) -> list[str]:
    """Return the fingerprints of those at the other ends of an agent's links."""
    return [association_of(link).remote_fingerprint for link in agent.links]


async def assert_genuine(ann: Watched, bob: Watched) -> None:
    """Check that these two, and nobody else, are linked, and that nothing but their own bytes crosses."""
    await until(lambda: ann.links and bob.links)
    for own, other in ((ann, bob), (bob, ann)):
        assert partners(own) == [fingerprint(other)]
        assert own.links[0].authenticated
    await assert_carried(ann.links[0], bob.links[0])
    await assert_carried(bob.links[0], ann.links[0])


async def assert_carried(sender: Link, receiver: Link) -> None:
    """Check that the next thing the application gets is what the peer sends now."""
    _, writer = await sender.open_stream("test")
    writer.write(b"from " + sender.peer_id.encode())
    writer.write_eof()
    reader, _ = await receiver.accept_stream("test")
    assert await reader.read() == b"from " + sender.peer_id.encode()
    assert association_of(receiver).datagrams.waiting_count == 0


def assert_nothing_delivered(*agents: Watched) -> None:
    for each in agents:
        assert not each.links
        assert not each.of(LinkUp)


def forgeries(agent: Watched) -> list[Failure]:
    found = [failure for failure in agent.of(Failure) if failure.error == "authentication_failed"]
    assert not any(failure.authenticated for failure in found)
    return found


async def test_an_honest_postman_lets_a_room_with_a_secret_link_and_sees_nothing_of_it() -> None:
    async with AdversarialServer() as server, pair(server) as (ann, bob):
        await assert_genuine(ann, bob)
        seen = {name for letter in server.letters for name, value in letter.payload.items() if value}
        assert seen <= {"session_id", "endpoint", "initiator_id", "accepted", "sealed"}


@pytest.mark.usefixtures("impatience")
@pytest.mark.parametrize("seed", range(3))
async def test_of_thousands_of_forged_messages_none_makes_a_link_and_the_genuine_ones_still_do(seed: int) -> None:
    forger = Forger(seed, 250)
    async with AdversarialServer(forger) as server, pair(server) as (ann, bob):
        await until(lambda: forger.forged >= 3000, timeout=60)
        assert_nothing_delivered(ann, bob)
        assert len(forger.kinds) == MUTATION_COUNT
        server.attack = honest
        await assert_genuine(ann, bob)
        assert forgeries(ann)
        assert forgeries(bob)


@pytest.mark.parametrize("seed", range(2))
async def test_forged_messages_among_the_genuine_ones_make_no_other_link(seed: int) -> None:
    forger = Forger(seed, 20)
    async with AdversarialServer(lambda letter: [letter, *forger(letter)]) as server, pair(server) as (ann, bob):
        await assert_genuine(ann, bob)


async def test_what_stands_in_the_clear_beside_what_is_sealed_counts_for_nothing() -> None:
    source = random.Random(1)
    attack: Attack = lambda letter: [letter.with_payload(**impostor_description(source))]  # noqa: E731
    async with AdversarialServer(attack) as server, pair(server) as (ann, bob):
        await assert_genuine(ann, bob)


async def test_copies_of_genuine_messages_change_nothing() -> None:
    async with AdversarialServer(lambda letter: [letter] * 3) as server, pair(server) as (ann, bob):
        await assert_genuine(ann, bob)
        await server.deliver(server.letters * 20)
        await assert_carried(bob.links[0], ann.links[0])
        for each in (ann, bob):
            assert (len(each.links), each.of(LinkDown), forgeries(each)) == (1, [], [])


class Disorder:
    """Withholds, delays and doubles at random."""

    def __init__(self, seed: int) -> None:
        self.count = 0
        self._random = random.Random(seed)
        self._held: list[Letter] = []

    def __call__(self, letter: Letter) -> list[Letter]:
        self.count += 1
        self._held += [letter] * self._random.randint(0, 2)
        self._random.shuffle(self._held)
        keep = self._random.randint(0, 4)
        released, self._held = self._held[keep:], self._held[:keep]
        return released


@pytest.mark.usefixtures("impatience")
@pytest.mark.parametrize("seed", range(2))
async def test_messages_lost_doubled_and_out_of_order_make_no_other_link(seed: int) -> None:
    disorder = Disorder(seed)
    async with AdversarialServer(disorder) as server, pair(server) as (ann, bob):
        await until(lambda: disorder.count >= 40 or (ann.links and bob.links), timeout=60)
        server.attack = honest
        await until(lambda: ann.links and bob.links)
        for own, other in ((ann, bob), (bob, ann)):
            assert set(partners(own)) == {fingerprint(other)}
            assert not forgeries(own)


@pytest.mark.usefixtures("impatience")
async def test_messages_to_a_former_process_of_the_same_id_make_no_link_with_the_next() -> None:
    ids = ["aa" * 8, "bb" * 8, "bb" * 8]
    async with AdversarialServer(ids=ids) as server, watched(server, "ann", secret=SECRET) as ann:
        async with watched(server, "bob", secret=SECRET) as bob:
            await assert_genuine(ann, bob)
        await until(lambda: ann.of(LinkDown))
        to_former = [letter for letter in server.letters if letter.sender.name == "ann"]
        server.attack = withhold
        async with watched(server, "bob", secret=SECRET) as later:
            await until(lambda: later.of(Joined))
            new = server.client("bob")
            await server.deliver([Letter(letter.sender, new, letter.message) for letter in to_former] * 3)
            # the answer shows that the old OFFER was taken, sealed as it is for these very ids
            await until(lambda: [sent for sent in server.letters if sent.sender is new])
            answers = [sent for sent in server.letters if sent.sender is new]
            await server.deliver(answers * 3)
            server.attack = honest
            await until(lambda: later.links)
            assert partners(later) == [fingerprint(ann)]
            assert set(partners(ann)) == {fingerprint(bob), fingerprint(later)}


@pytest.mark.usefixtures("impatience")
async def test_an_agent_that_is_sent_its_own_messages_does_not_link_with_itself() -> None:
    async with AdversarialServer(ids=["aa" * 8, "bb" * 8]) as server, watched(server, "ann", secret=SECRET) as ann:
        fresh = server.client("ann").fresh
        await server.add_puppet("bob", "bb" * 8, fresh=fresh)
        await until(lambda: server.letters)
        own = [letter for letter in server.letters if letter.message["type"] == "OFFER"]
        former = own[0].sender
        await server.deliver([letter.reflected() for letter in own])
        # now ann is told that she herself is bb…, and that the author of her own OFFER to bb… is aa…
        server.clients.clear()
        await former.close()
        await until(lambda: len(ann.of(Joined)) == 2)
        again = server.client("ann")
        assert again.own_id == "bb" * 8
        puppet = await server.add_puppet("bob", "aa" * 8, fresh=fresh)
        await server.deliver([Letter(puppet, again, letter.message) for letter in own] * 3)
        sent = len(server.letters)
        await until(lambda: len(server.letters) > sent + 1)
        assert {letter.message["type"] for letter in server.letters} <= {"OFFER", "CANDIDATE"}
        assert_nothing_delivered(ann)


@pytest.mark.usefixtures("impatience")
async def test_agents_that_are_told_different_ids_do_not_link() -> None:
    async with AdversarialServer(false_ids=True) as server, pair(server) as (ann, bob):
        await until(lambda: forgeries(ann) and forgeries(bob) and len(server.letters) >= 20, timeout=30)
        assert_nothing_delivered(ann, bob)


async def test_two_agents_that_pass_for_one_do_not_share_a_link() -> None:
    twins = ("bob", "cleo")

    def to_both(letter: Letter) -> list[Letter]:
        if letter.sender.name in twins:
            return [letter]
        return [Letter(letter.sender, client, letter.message) for client in server.clients if client.name in twins]

    ids = ["aa" * 8, "bb" * 8, "bb" * 8]
    apart = lambda one, other: not {one.name, other.name} <= set(twins)  # noqa: E731
    async with (
        AdversarialServer(to_both, sees=apart, ids=ids) as server,
        watched(server, "bob", secret=SECRET) as bob,
        watched(server, "cleo", secret=SECRET) as cleo,
        watched(server, "ann", secret=SECRET) as ann,
    ):
        await until(lambda: ann.links and (bob.links or cleo.links))
        assert set(partners(ann)) <= {fingerprint(bob), fingerprint(cleo)}
        assert set(partners(bob) + partners(cleo)) == {fingerprint(ann)}
        (genuine,) = [each.links[0] for each in (bob, cleo) if fingerprint(each) in partners(ann)]
        await assert_carried(ann.links[0], genuine)


def strangers_apart(one: Client, other: Client) -> bool:
    """Show ann and bob only the adversary's agents, which bear the other's name."""
    return {one.name, other.name} in ({"ann", "Bob"}, {"bob", "Ann"}) or one is other


@asynccontextmanager
async def interposed(server: AdversarialServer, secret: bytes | None) -> AsyncIterator[list[Watched]]:
    """Run ann and bob, and between them two agents that the adversary runs itself, with the secret that it has."""
    async with (
        watched(server, "ann", secret=SECRET if secret else None) as ann,
        watched(server, "bob", secret=SECRET if secret else None) as bob,
        watched(server, "Bob", secret=secret) as to_ann,
        watched(server, "Ann", secret=secret) as to_bob,
    ):
        yield [ann, bob, to_ann, to_bob]


@pytest.mark.usefixtures("impatience")
@pytest.mark.parametrize("secret", [bytes(16), SECRET[:15] + b"\0"], ids=["guessed", "nearly right"])
async def test_agents_of_the_adversary_in_the_middle_get_no_link_without_the_secret(secret: bytes) -> None:
    async with AdversarialServer(sees=strangers_apart) as server, interposed(server, secret) as agents:
        await until(lambda: all(forgeries(each) for each in agents), timeout=30)
        assert_nothing_delivered(*agents)


@pytest.mark.usefixtures("impatience")
async def test_an_agent_of_the_adversary_that_seals_nothing_gets_no_link() -> None:
    async with (
        AdversarialServer(sees=strangers_apart) as server,
        watched(server, "ann", secret=SECRET) as ann,
        watched(server, "Bob") as to_ann,
    ):
        await until(lambda: forgeries(ann) and to_ann.of(Failure), timeout=30)
        assert_nothing_delivered(ann, to_ann)


@pytest.mark.parametrize(("kind", "name"), [("ANSWER", "ann"), ("OFFER", "bob")])
async def test_even_without_a_secret_a_certificate_that_was_not_announced_makes_no_link(kind: str, name: str) -> None:
    def swap(letter: Letter) -> list[Letter]:
        return [letter.with_payload(fingerprint="0" * 64) if letter.message["type"] == kind else letter]

    async with AdversarialServer(swap) as server, pair(server, secret=None) as agents:
        (deceived,) = [each for each in agents if each.agent.settings.name == name]
        await until(lambda: forgeries(deceived))
        assert_nothing_delivered(deceived)


async def test_without_a_secret_the_adversary_gets_in_between_and_everything_says_unauthenticated() -> None:
    async with AdversarialServer(sees=strangers_apart) as server, interposed(server, None) as agents:
        await until(lambda: all(each.links for each in agents))
        ann, bob, to_ann, to_bob = agents
        await assert_carried(ann.links[0], to_ann.links[0])
        await assert_carried(to_bob.links[0], bob.links[0])
        for each in (ann, bob):
            assert not each.links[0].authenticated
            told = [*each.of(LinkUp), *each.of(PathChanged)]
            assert told
            for event in told:
                assert not event.authenticated
                assert "unauthenticated" in sentence(event)
