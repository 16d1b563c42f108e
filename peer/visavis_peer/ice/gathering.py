"""Asking STUN servers from the sockets that will punch, and keeping their mappings alive."""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
from collections.abc import Callable, Sequence
from typing import Final

from aioice import stun

from visavis_peer.core.ice.candidates import is_never_a_peer, is_reachable_from
from visavis_peer.core.nat.destinations import Allowance
from visavis_peer.core.nat.observations import StunAnswer
from visavis_peer.ice.socket import IceSocket, ip_version
from visavis_shared.stun import Address, BindingResponse, NotStun, parse_binding_response

STUN_SCHEDULE: Final = (0.1, 0.2, 0.4, 0.8)
"""Seconds between Binding requests to a STUN server: an answer within 1.5 s of the first, or none."""
KEEP_MAPPING_INTERVAL: Final = 20.0
"""Seconds between Binding requests of an agent that waits for a peer: Linux forgets a mapping after 30."""

OnAnswer = Callable[[IceSocket, StunAnswer], None]


async def survey(
    sockets: Sequence[IceSocket], servers: Sequence[Address], on_answer: OnAnswer, allowance: Allowance
) -> None:
    """Ask all `servers` from every socket at once; done when each has answered or had its 1.5 s.

    A server that names another port and address is asked there too (RFC 5780 section 4.3). `allowance` is what may go
    to servers that have not answered: who names them may mean somebody else.
    """
    asking = (_ask(sock, server, on_answer, allowance, others=True) for sock, server in _queries(sockets, servers))
    await asyncio.gather(*asking)


async def keep_mappings(
    sockets: Sequence[IceSocket], servers: Sequence[Address], on_answer: OnAnswer, allowance: Allowance
) -> None:
    """Ask the servers again and again, so that no mapping is lost; ends only by cancellation."""
    for server in itertools.cycle(servers):
        await asyncio.sleep(KEEP_MAPPING_INTERVAL)
        await asyncio.gather(*(_ask(sock, one, on_answer, allowance) for sock, one in _queries(sockets, [server])))


def _queries(sockets: Sequence[IceSocket], servers: Sequence[Address]) -> list[tuple[IceSocket, Address]]:
    """Pair each socket with the servers of its address family."""
    return [
        (sock, server)
        for sock in sockets
        for server in servers
        if ip_version(server[0]) == ip_version(sock.local_candidate.host)
    ]


async def ask(sock: IceSocket, server: Address, may_send: Callable[[], bool] = lambda: True) -> BindingResponse | None:
    """Ask one STUN server; None when no answer comes within 1.5 s. `may_send` is asked before each packet."""
    request = stun.Message(message_method=stun.Method.BINDING, message_class=stun.Class.REQUEST)
    try:
        message = await sock.request(request, server, STUN_SCHEDULE, may_send=may_send)
        return parse_binding_response(bytes(message))
    except (stun.TransactionError, NotStun):
        return None


async def _ask(
    sock: IceSocket, server: Address, on_answer: OnAnswer, allowance: Allowance, *, others: bool = False
) -> None:
    loop = asyncio.get_running_loop()
    response = await ask(sock, server, lambda: allowance.may_send(server[0], loop.time()))
    if response is None:
        return
    allowance.on_answer(server[0])
    on_answer(sock, StunAnswer(server, response.mapped))
    if others and response.other is not None:
        other_ip, other_port = response.other
        further = {(server[0], other_port), (other_ip, server[1])} - {server}
        further = {each for each in further if ip_version(each[0]) == ip_version(server[0])}
        further = {each for each in further if is_server_of(each, server[0])}
        await asyncio.gather(*(_ask(sock, address, on_answer, allowance) for address in further))


def is_server_of(address: Address, teller: str) -> bool:
    """Whether the word of a server at the numeric address `teller` is enough to send to another one at `address`.

    Nobody is sent to the services of this machine or of its neighbours by a server that is not there itself; one at an
    address that is not known (empty) is not.
    """
    ip = ipaddress.ip_address(address[0])
    if ip.is_multicast or ip.is_unspecified or is_never_a_peer(ip):
        return False
    return is_reachable_from(address[0], [teller] if teller else [], loopback=True) and address[1] > 0
