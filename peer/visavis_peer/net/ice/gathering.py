"""Asking STUN servers from the sockets that will punch: candidates, mapping behaviour, and mappings kept alive."""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
from collections.abc import Callable, Sequence
from typing import Final

from aioice import stun
from aioice.candidate import Candidate, candidate_foundation, candidate_priority

from visavis_peer.core.discovery import StunAnswer
from visavis_peer.net.ice.socket import IceSocket, ip_version
from visavis_shared.stun import Address, NotStun, parse_binding_response

STUN_SCHEDULE: Final = (0.1, 0.2, 0.4, 0.8)
"""Seconds between Binding requests to a STUN server: an answer within 1.5 s of the first, or none."""
KEEP_MAPPING_INTERVAL: Final = 20.0
"""Seconds between Binding requests of an agent that waits for a peer: Linux forgets a mapping after 30."""

OnAnswer = Callable[[IceSocket, StunAnswer], None]


def host_candidate(address: Address, preference: int) -> Candidate:
    """Return the host candidate of a socket; `preference` is ICE's local preference, 0 to 65535."""
    return Candidate(
        foundation=candidate_foundation("host", "udp", address[0]),
        component=1,
        transport="udp",
        priority=candidate_priority(1, "host", preference),
        host=address[0],
        port=address[1],
        type="host",
    )


def server_reflexive_candidate(base: Candidate, mapped: Address) -> Candidate:
    """Return the server-reflexive candidate of the host candidate `base` (RFC 8445 section 5.1.1.2)."""
    return Candidate(
        foundation=candidate_foundation("srflx", "udp", base.host),
        component=1,
        transport="udp",
        priority=candidate_priority(1, "srflx", (base.priority >> 8) & 0xFFFF),
        host=mapped[0],
        port=mapped[1],
        type="srflx",
        related_address=base.host,
        related_port=base.port,
    )


async def survey(sockets: Sequence[IceSocket], servers: Sequence[Address], on_answer: OnAnswer) -> None:
    """Ask all `servers` from every socket at once; done when each has answered or had its 1.5 s.

    A server that names another port and address is asked there too (RFC 5780 section 4.3).
    """
    await asyncio.gather(*(_ask(sock, server, on_answer, others=True) for sock, server in _queries(sockets, servers)))


async def keep_mappings(sockets: Sequence[IceSocket], servers: Sequence[Address], on_answer: OnAnswer) -> None:
    """Ask the servers again and again, so that no mapping is lost; ends only by cancellation."""
    for server in itertools.cycle(servers):
        await asyncio.sleep(KEEP_MAPPING_INTERVAL)
        await asyncio.gather(*(_ask(sock, one, on_answer) for sock, one in _queries(sockets, [server])))


def _queries(sockets: Sequence[IceSocket], servers: Sequence[Address]) -> list[tuple[IceSocket, Address]]:
    """Pair each socket with the servers of its address family."""
    return [
        (sock, server)
        for sock in sockets
        for server in servers
        if ip_version(server[0]) == ip_version(sock.local_candidate.host)
    ]


async def _ask(sock: IceSocket, server: Address, on_answer: OnAnswer, *, others: bool = False) -> None:
    request = stun.Message(message_method=stun.Method.BINDING, message_class=stun.Class.REQUEST)
    try:
        message, _ = await sock.request(request, server, schedule=STUN_SCHEDULE)
        response = parse_binding_response(bytes(message))
    except (stun.TransactionError, NotStun):
        return
    on_answer(sock, StunAnswer(server, response.mapped))
    if others and response.other is not None:
        other_ip, other_port = response.other
        further = {(server[0], other_port), (other_ip, server[1])} - {server}
        await asyncio.gather(*(_ask(sock, address, on_answer) for address in further if _may_ask(address, server)))


def _may_ask(address: Address, server: Address) -> bool:
    """Whether a STUN server's word is enough to send to `address`: a unicast one of its own family."""
    ip = ipaddress.ip_address(address[0])
    return ip.version == ip_version(server[0]) and not (ip.is_multicast or ip.is_unspecified) and address[1] > 0
