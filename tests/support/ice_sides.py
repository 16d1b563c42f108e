"""Two ICE sessions on loopback, and what they tell their shells."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from visavis_peer.core.ice.consent import Consent
from visavis_peer.core.nat.addresses import LocalAddress
from visavis_peer.events import PathInfo
from visavis_peer.ice import IceCallbacks, IceSession

LOOPBACK = LocalAddress("127.0.0.1", "lo", 65535)
LOOPBACK_2 = LocalAddress("127.0.0.2", "lo", 65534)


@dataclass
class Heard:
    """What a session told its shell."""

    candidates: list[str] = field(default_factory=list)
    gathered: int = 0
    checks: int = 0
    paths: list[PathInfo] = field(default_factory=list)
    consent: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def _gathered(self) -> None:
        self.gathered += 1

    def _checked(self) -> None:
        self.checks += 1

    def callbacks(self) -> IceCallbacks:
        return IceCallbacks(
            candidate=self.candidates.append,
            gathered=self._gathered,
            check_received=self._checked,
            valid=self.paths.append,
            suspended=lambda: self.consent.append("suspended"),
            resumed=lambda: self.consent.append("resumed"),
            lost=self.lost.append,
        )


@dataclass
class Side:
    ice: IceSession
    heard: Heard


@asynccontextmanager
async def sides(*addresses: LocalAddress, known: tuple[bool, bool] = (True, True)) -> AsyncIterator[tuple[Side, Side]]:
    """Two bound sessions that know each other's credentials if they are `known`, not yet their candidates."""
    pair = []
    for _ in range(2):
        side = Side(IceSession(), Heard())
        side.ice.attach(side.heard.callbacks())
        assert await side.ice.bind(addresses or (LOOPBACK,)) == []
        pair.append(side)
    left, right = pair
    left.ice.set_role(controlling=True)
    right.ice.set_role(controlling=False)
    for side, other, knows in ((left, right, known[0]), (right, left, known[1])):
        if knows:
            side.ice.set_remote(other.ice.credentials)
    try:
        yield left, right
    finally:
        for side in pair:
            await side.ice.close()


def introduce(side: Side, other: Side) -> None:
    for candidate in other.ice.candidates:
        side.ice.add_candidate(candidate)
    side.ice.add_candidate(None)


@asynccontextmanager
async def linked(*addresses: LocalAddress) -> AsyncIterator[tuple[Side, Side]]:
    async with sides(*addresses) as (left, right):
        introduce(left, right)
        introduce(right, left)
        async with asyncio.timeout(5):
            await asyncio.gather(left.ice.check(), right.ice.check())
        yield left, right


def consent_of(side: Side) -> Consent:
    assert side.ice.agent.consent is not None
    return side.ice.agent.consent
