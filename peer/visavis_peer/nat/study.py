"""What an agent learns of itself: its public endpoint and the NAT before it, on the sockets that will punch."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from visavis_peer.core.nat.observations import FilteringProbe, Survey, nat_report
from visavis_peer.events import EndpointDiscovered
from visavis_peer.ice import IceSession
from visavis_peer.nat.filtering import probe_filtering
from visavis_peer.nat.lifetime import measure_silences
from visavis_peer.nat.survey import survey_nat
from visavis_shared.endpoints import format_address
from visavis_shared.messages import Endpoint
from visavis_shared.nat import NatReport

STUN_WAIT: Final = 0.5
"""Seconds that anybody waits for the first STUN answer: round trips are shorter, and blocked UDP brings none."""
SURVEY_WAIT: Final = 3.5
"""Seconds for the whole survey: two rounds of STUN_SCHEDULE, since a second port is asked after the first answers."""

GATEWAY_WAIT: Final = 15.0
"""Seconds for a gateway to give a port, by three protocols one after the other (host/portmap.py, host/upnp.py)."""


class NatStudy:
    """The NAT as far as it is known; one study for each set of STUN servers."""

    def __init__(self, on_change: Callable[[EndpointDiscovered], None], *, probing: bool) -> None:
        """`probing` tells whether this agent takes part in prediction and birthday probing."""
        self._on_change = on_change
        self._probing = probing
        self._survey = Survey(probing=probing)
        self._probe: FilteringProbe | None = None
        self._probed = False
        self._last: EndpointDiscovered | None = None

    async def first_endpoint(self, session: IceSession) -> Endpoint | None:
        """Return the public endpoint of a session that has begun to gather, if it is known within STUN_WAIT."""
        either = [asyncio.ensure_future(event.wait()) for event in (session.answered, session.gathered)]
        try:
            await asyncio.wait(either, timeout=STUN_WAIT, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiter in either:
                waiter.cancel()
        self._tell(session)
        return public_endpoint(session)

    async def complete(self, session: IceSession) -> EndpointDiscovered:
        """Learn the filtering behaviour, wait for the whole survey, and return what is known then."""
        self._survey = Survey(probing=self._probing)  # of another network, perhaps
        if session.answered_from is not None:
            local = session.answered_from.local_candidate.host
            self._probe, self._survey = await asyncio.gather(
                probe_filtering(local, session.answers[0].server), survey_nat(session, probing=self._probing)
            )
        self._probed = True
        self._tell(session)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SURVEY_WAIT):
                await session.gathered.wait()
        return self._tell(session)

    async def hear_gateway(self, session: IceSession) -> EndpointDiscovered:
        """Wait until the gateway has given ports or has been given up, GATEWAY_WAIT at most, and tell what is new."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GATEWAY_WAIT):
                await session.ports_settled()
        return self._tell(session)

    async def measure_lifetime(self, session: IceSession, silences: Sequence[float]) -> None:
        """Find out which of `silences`, in seconds, a mapping survives; nothing where no server has answered."""
        if session.answered_from is not None:
            local = session.answered_from.local_candidate.host
            found = await measure_silences(local, session.answers[0].server, silences)
            self._survey = replace(self._survey, silences=found)

    def report(self, session: IceSession) -> NatReport:
        """Return what is known of the NAT from `session` and the filtering probe."""
        base = _base(session)
        survey = replace(self._survey, gateway_external=session.gateway_external, gateway_note=session.gateway_note)
        return nat_report(
            base,
            session.answers,
            self._probe,
            complete=session.gathered.is_set(),
            asked=session.asked,
            probed=self._probed,
            survey=survey,
        )

    def _tell(self, session: IceSession) -> EndpointDiscovered:
        endpoint, base = public_endpoint(session), _base(session)
        found = EndpointDiscovered(
            ip=endpoint.ip if endpoint else None,
            port=endpoint.port if endpoint else None,
            local=format_address(base) if base else None,
            nat=self.report(session),
        )
        if found != self._last:
            self._last = found
            self._on_change(found)
        return found


def public_endpoint(session: IceSession) -> Endpoint | None:
    """Return the mapped address that a STUN server saw first, if any has answered."""
    if not session.answers:
        return None
    ip, port = session.answers[0].mapped
    return Endpoint(ip=ip, port=port)


def _base(session: IceSession) -> tuple[str, int] | None:
    if session.answered_from is None:
        return None
    candidate = session.answered_from.local_candidate
    return candidate.host, candidate.port
