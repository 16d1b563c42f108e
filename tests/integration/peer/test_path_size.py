"""net.ice.path_size: how large a datagram a pair carries, asked of a real peer."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from tests.support.ice_sides import LOOPBACK, Side, linked, sides
from visavis_peer.core.nat.addresses import LocalAddress
from visavis_peer.ice.socket import IceSocket
from visavis_shared.stun import looks_like_stun, parse

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere datagrams may be fragmented, so none is tried"
)

LOOPBACK_6 = LocalAddress("::1", "lo", 65535)


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A network that silently drops what has more than `limit` bytes; `sizes` are those of all STUN requests sent."""
    path: dict[str, Any] = {"limit": 65_535, "sizes": []}
    receive = IceSocket.datagrams_received

    def carry(self: IceSocket, datagrams: list[bytes], addr: tuple[Any, ...]) -> None:
        path["sizes"] += [len(each) for each in datagrams if looks_like_stun(each) and not parse(each).message_class]
        receive(self, [each for each in datagrams if len(each) <= path["limit"]], addr)

    monkeypatch.setattr(IceSocket, "datagrams_received", carry)
    return path


def selected(side: Side) -> IceSocket:
    (sock,) = side.ice.sockets
    return sock


@pytest.mark.parametrize(("address", "header"), [(LOOPBACK, 28), (LOOPBACK_6, 48)])
async def test_a_path_carries_jumbo_frames(narrow: dict[str, Any], address: LocalAddress, header: int) -> None:
    async with linked(address) as (left, right):
        for side in (left, right):
            narrow["sizes"].clear()
            assert await side.ice.find_datagram_size() == 9000 - header
            assert narrow["sizes"] == [9000 - header, 1500 - header, 1420 - header, 1200]


@pytest.mark.parametrize(("limit", "size"), [(8971, 1472), (1471, 1392), (1391, 1200), (1199, None)])
async def test_what_does_not_pass_is_found_out_in_a_round_trip_and_silence_in_a_second(
    narrow: dict[str, Any], limit: int, size: int | None
) -> None:
    async with linked() as (left, _):
        narrow["limit"] = limit
        narrow["sizes"].clear()
        assert await left.ice.find_datagram_size() == size
        assert narrow["sizes"] == [8972, 1472, 1392, 1200] * (1 if size else 2)
        assert not selected(left).exchanges


@pytest.mark.parametrize(
    ("refused", "asked"), [(8972, [1472, 1392, 1200]), (1472, [1392, 1200]), (1392, []), (1200, [])]
)
async def test_a_size_that_this_machine_refuses_is_not_asked_for(
    narrow: dict[str, Any], refused: int, asked: list[int]
) -> None:
    async with linked() as (left, _):
        selected(left).datagram_refused(refused)
        narrow["sizes"].clear()
        assert await left.ice.find_datagram_size() == max(asked, default=1200)
        assert narrow["sizes"] == asked


async def test_a_session_without_a_pair_has_nobody_to_ask() -> None:
    async with sides() as (left, _):
        assert await left.ice.find_datagram_size() is None
