"""Asking STUN servers from the sockets that will punch, and keeping their mappings alive."""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
from collections.abc import Callable, Sequence
from typing import Final

from aioice import stun

from visavis_peer.core.discovery import StunAnswer
from visavis_peer.net.ice.candidates import is_never_a_peer, is_reachable_from
from visavis_peer.net.ice.socket import IceSocket, ip_version
from visavis_shared.stun import Address, BindingResponse, NotStun, parse_binding_response

STUN_SCHEDULE: Final = (0.1, 0.2, 0.4, 0.8)
"""Seconds between Binding requests to a STUN server: an answer within 1.5 s of the first, or none."""
KEEP_MAPPING_INTERVAL: Final = 20.0
"""Seconds between Binding requests of an agent that waits for a peer: Linux forgets a mapping after 30."""

OnAnswer = Callable[[IceSocket, StunAnswer], None]


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


async def ask(sock: IceSocket, server: Address) -> BindingResponse | None:
    """Ask one STUN server; None when no answer comes within 1.5 s."""
    request = stun.Message(message_method=stun.Method.BINDING, message_class=stun.Class.REQUEST)
    try:
        message, _ = await sock.request(request, server, schedule=STUN_SCHEDULE)
        return parse_binding_response(bytes(message))
    except (stun.TransactionError, NotStun):
        return None


async def _ask(sock: IceSocket, server: Address, on_answer: OnAnswer, *, others: bool = False) -> None:
    response = await ask(sock, server)
    if response is None:
        return
    on_answer(sock, StunAnswer(server, response.mapped))
    if others and response.other is not None:
        other_ip, other_port = response.other
        further = {(server[0], other_port), (other_ip, server[1])} - {server}
        await asyncio.gather(*(_ask(sock, address, on_answer) for address in further if _may_ask(address, server)))


def _may_ask(address: Address, server: Address) -> bool:
    """Whether a STUN server's word is enough to send to `address`: a unicast one of its own family.

    Nobody is sent to the services of this machine or of its neighbours by a server that is not there itself.
    """
    ip = ipaddress.ip_address(address[0])
    if ip.version != ip_version(server[0]) or ip.is_multicast or ip.is_unspecified or is_never_a_peer(ip):
        return False
    return is_reachable_from(address[0], [server[0]], loopback=True) and address[1] > 0
