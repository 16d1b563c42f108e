"""net.ice: consent that expires and comes back, and paths that move, over real sockets on loopback."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.support.conditions import until
from tests.support.ice_sides import LOOPBACK, LOOPBACK_2, Side, consent_of, introduce, linked, sides
from visavis_peer.core.ice import consent, selection


@pytest.fixture
def hasty_consent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consent, "INTERVAL", 0.02)
    monkeypatch.setattr(consent, "EXPIRY", 0.3)
    monkeypatch.setattr(consent, "SUSPECT_INTERVAL", 0.01)
    monkeypatch.setattr(consent, "SUSPECT_EXPIRY", 0.05)


@pytest.mark.usefixtures("hasty_consent")
async def test_consent_is_kept_fresh_and_lost_when_the_peer_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consent, "REVIVAL", 0.1)
    async with linked() as (left, right):
        began = consent_of(left).granted_at
        await until(lambda: consent_of(left).granted_at > began)
        await right.ice.close()
        await until(lambda: left.heard.lost)
        assert left.heard.lost == ["the peer no longer answers"]
        assert left.heard.consent == ["suspended"]


@pytest.mark.usefixtures("hasty_consent")
async def test_without_consent_nothing_is_sent_until_it_is_given_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consent, "REVIVAL_INTERVAL", 0.01)
    async with linked() as (left, right):
        inbox: list[bytes] = []
        right.ice.deliver_to(inbox.extend)
        answer = right.ice.stun_received
        monkeypatch.setattr(right.ice, "stun_received", lambda *_: None)
        await until(lambda: left.heard.consent == ["suspended"])
        left.ice.send_datagrams([b"\xf0while silent"])
        monkeypatch.setattr(right.ice, "stun_received", answer)
        await until(lambda: left.heard.consent == ["suspended", "resumed"])
        left.ice.send_datagrams([b"\xf0again"])
        await until(lambda: inbox)
        assert inbox == [b"\xf0again"]


async def test_a_suspected_peer_that_is_gone_is_noticed_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consent, "SUSPECT_INTERVAL", 0.01)
    monkeypatch.setattr(consent, "SUSPECT_EXPIRY", 0.05)
    async with linked() as (left, right):
        await right.ice.close()
        left.ice.suspect()
        await until(lambda: left.heard.consent == ["suspended"])


async def test_a_suspected_peer_that_answers_is_cleared() -> None:
    async with linked() as (left, _right):
        left.ice.suspect()
        assert consent_of(left).suspected_at is not None
        await until(lambda: consent_of(left).suspected_at is None)


class Nat:
    """Between a session and its peer: it maps an inner address to an outer one, which can be another any time."""

    def __init__(self, public: tuple[str, int]) -> None:
        self.public = public
        """Where everything from within is sent."""
        self.client: tuple[str, int] | None = None
        self.inner = self._socket()
        self.outer = [self._socket()]
        """The mappings so far; only the last one is alive."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self.inner, self._out)
        self._loop.add_reader(self.outer[-1], self._in)

    @staticmethod
    def _socket() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind(("127.0.0.1", 0))
        made.setblocking(False)
        return made

    @property
    def address(self) -> str:
        return "127.0.0.1:{1}".format(*self.outer[-1].getsockname())

    def candidate(self) -> str:
        return "1 1 udp 2130706431 {} {} typ host".format(*self.inner.getsockname())

    def rebind(self) -> None:
        self._loop.remove_reader(self.outer[-1])
        self.outer.append(self._socket())
        self._loop.add_reader(self.outer[-1], self._in)

    def _out(self) -> None:
        data, self.client = self.inner.recvfrom(65536)
        self.outer[-1].sendto(data, self.public)

    def _in(self) -> None:
        data = self.outer[-1].recv(65536)
        if self.client is not None:
            self.inner.sendto(data, self.client)

    def close(self) -> None:
        for each in (self.inner, self.outer[-1]):
            self._loop.remove_reader(each)
        for each in (self.inner, *self.outer):
            each.close()


@asynccontextmanager
async def behind_a_nat(*, controlling: bool) -> AsyncIterator[tuple[Side, Side, Nat]]:
    """A side behind a NAT and a side in public, linked; `controlling` is the role of the former."""
    async with sides() as (left, right):
        inside, outside = (left, right) if controlling else (right, left)
        nat = Nat(outside.ice.sockets[0].transport.get_extra_info("sockname"))
        try:
            inside.ice.add_candidate(nat.candidate())
            for side in (inside, outside):
                side.ice.add_candidate(None)
            async with asyncio.timeout(5):
                await asyncio.gather(inside.ice.check(), outside.ice.check())
            await until(lambda: outside.heard.paths)
            assert outside.heard.paths[-1].remote == nat.address
            yield inside, outside, nat
        finally:
            nat.close()


@pytest.fixture
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consent, "SILENCE", 0.05)
    monkeypatch.setattr(consent, "SILENT_ROUND_TRIPS", 0)
    monkeypatch.setattr(consent, "CHECK_SPACING", 0.01)
    monkeypatch.setattr(consent, "SUSPECT_INTERVAL", 0.02)


@pytest.mark.usefixtures("impatience")
@pytest.mark.parametrize("controlling", [True, False])
async def test_a_nat_that_forgets_its_mapping_heals_by_the_first_check_from_within(controlling: bool) -> None:
    async with behind_a_nat(controlling=controlling) as (inside, outside, nat):
        inbox: list[bytes] = []
        inside.ice.deliver_to(inbox.extend)
        for count in range(1, 4):
            nat.rebind()
            inside.ice.suspect()  # as its link does when nothing comes back
            await until(lambda: outside.heard.paths[-1].remote == nat.address)
            outside.ice.send_datagrams([b"\xf0after %d" % count])
            await until(lambda count=count: len(inbox) == count)  # type: ignore[misc]
        assert outside.heard.consent == []
        assert len(inside.heard.paths) == 1


@pytest.mark.usefixtures("impatience")
async def test_a_nat_that_rebinds_after_consent_has_expired_resumes_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consent, "SUSPECT_EXPIRY", 0.06)
    async with behind_a_nat(controlling=False) as (inside, outside, nat):
        nat.rebind()
        outside.ice.suspect()
        await until(lambda: outside.heard.consent == ["suspended"])
        inside.ice.suspect()
        await until(lambda: outside.heard.consent == ["suspended", "resumed"])
        assert outside.heard.paths[-1].remote == nat.address


@pytest.mark.usefixtures("impatience")
async def test_mappings_that_are_gone_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "REVIVAL", 0.1)
    monkeypatch.setattr(consent, "INTERVAL", 0.02)
    async with behind_a_nat(controlling=True) as (_, outside, nat):
        for _ in range(3):
            nat.rebind()
            await until(lambda: outside.heard.paths[-1].remote == nat.address)
        await until(lambda: len(outside.ice.remote_candidates) == 1)


@pytest.mark.usefixtures("impatience")
async def test_a_silent_pair_makes_way_and_takes_its_place_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consent, "INTERVAL", 0.05)
    async with linked(LOOPBACK, LOOPBACK_2) as (left, right):
        await until(lambda: left.heard.paths[-1].local.startswith("127.0.0.1:"))
        await until(lambda: right.heard.paths[-1].local.startswith("127.0.0.1:"))
        cut = [True]
        for side in (left, right):
            first = side.ice.sockets[0]
            deliver = first.datagrams_received
            monkeypatch.setattr(first, "datagrams_received", lambda *args, deliver=deliver: cut[0] or deliver(*args))
        await until(lambda: left.heard.paths[-1].local.startswith("127.0.0.2:"))
        await until(lambda: right.heard.paths[-1].local == left.heard.paths[-1].remote)
        assert left.heard.consent == right.heard.consent == []
        cut[0] = False
        await until(lambda: left.heard.paths[-1].local.startswith("127.0.0.1:"))
        await until(lambda: right.heard.paths[-1].local == left.heard.paths[-1].remote)


async def test_a_better_candidate_is_still_checked_when_a_pair_is_valid() -> None:
    """With trickle it may come late: a relayed pair can be valid before a STUN server has answered."""
    async with sides(LOOPBACK, LOOPBACK_2) as (left, right):
        better, worse = right.ice.candidates
        left.ice.add_candidate(worse)
        async with asyncio.timeout(5):
            await asyncio.gather(left.ice.check(), right.ice.check())
        await until(lambda: left.heard.paths[-1].local.startswith("127.0.0.1:"))
        assert left.heard.paths[-1].remote.startswith("127.0.0.2:")
        left.ice.add_candidate(better)
        await until(lambda: left.heard.paths[-1].remote.startswith("127.0.0.1:"))
        await until(lambda: right.heard.paths[-1].local == left.heard.paths[-1].remote)


@pytest.mark.usefixtures("impatience")
async def test_a_pair_of_lower_priority_is_checked_once_the_selected_one_is_silent() -> None:
    async with sides(LOOPBACK, LOOPBACK_2) as (left, right):
        better, worse = right.ice.candidates
        left.ice.add_candidate(better)
        async with asyncio.timeout(5):
            await asyncio.gather(left.ice.check(), right.ice.check())
        await until(lambda: left.heard.paths[-1].local.startswith("127.0.0.1:"))
        left.ice.add_candidate(worse)
        right.ice.sockets[0].transport.abort()
        await until(lambda: left.heard.paths[-1].remote.startswith("127.0.0.2:"))


async def test_a_peer_that_names_no_candidate_is_found_by_its_checks() -> None:
    async with sides() as (left, right):
        left.ice.add_candidate(None)
        introduce(right, left)
        async with asyncio.timeout(5):
            await asyncio.gather(left.ice.check(), right.ice.check())
        assert left.heard.paths[0].kind == "host-prflx"
