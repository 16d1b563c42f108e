"""`visavis discover`: this machine's public endpoint and the NAT before it."""

from __future__ import annotations

import argparse
import asyncio

from visavis_peer.commands.lines import Discovered
from visavis_peer.commands.options import build_settings, timeout_of
from visavis_peer.commands.output import nat_lines
from visavis_peer.commands.printer import Printer
from visavis_peer.core.nat.addresses import AddressChoice
from visavis_peer.errors import NoPath, UsageError
from visavis_peer.events import EndpointDiscovered
from visavis_peer.ice import IceSession
from visavis_peer.nat.pystun import SecondOpinion, classify
from visavis_peer.nat.study import NatStudy
from visavis_peer.nat.stun_servers import StunServers
from visavis_peer.peers.spare import SessionPool
from visavis_peer.signaling.connection import SignalingClient
from visavis_peer.signaling.urls import chosen_proxy, websocket_url
from visavis_shared.endpoints import format_address
from visavis_shared.ids import printable


async def run(arguments: argparse.Namespace) -> int:
    """Survey and print.

    Raises UsageError without a STUN server to ask, SignalingUnreachable, or NoPath when no STUN server answers.
    """
    if not (arguments.stun or arguments.server):
        raise UsageError("--stun HOST[:PORT] or --server URL is required: there must be a STUN server to ask")
    settings = build_settings(arguments, server=arguments.server or "", room="-", name=None)
    timeout = timeout_of(arguments)
    give_up_at = asyncio.get_running_loop().time() + timeout
    stun = StunServers.chosen(settings.stun)
    if not stun.hosts:
        url, proxy = websocket_url(settings.server), chosen_proxy(settings.proxy)
        async with SignalingClient(url, settings.token, proxy, timeout) as client:
            stun = StunServers.offered(client)
        if not stun.hosts:
            raise UsageError("the server offers no STUN server: name one with --stun HOST[:PORT]")
    pool = SessionPool(settings)
    printer = Printer(as_json=arguments.json)
    try:
        async with asyncio.timeout_at(give_up_at):
            servers = await stun.addresses()
            if not servers:
                raise NoPath(f"no STUN server can be asked: none of these can be reached: {_named(stun)}")
            session = await pool.start(servers)
            study = NatStudy(lambda _: None, probing=True)
            await study.first_endpoint(session)
            found = await study.complete(session)
            opinion = await _second_opinion(session) if arguments.classify else None
    except TimeoutError:
        raise NoPath(f"the STUN servers did not all answer within {timeout:g} s: UDP may be blocked") from None
    finally:
        await pool.close()
    _print(found, session, pool.choice, opinion, printer)
    if not found.nat.udp:
        raise NoPath(f"no STUN server answered (asked: {_named(stun)}): UDP may be blocked")
    return 0


def _named(stun: StunServers) -> str:
    return ", ".join(f"{printable(host)}:{port}" for host, port in stun.hosts)


async def _second_opinion(session: IceSession) -> SecondOpinion:
    base = session.answered_from
    if base is None or ":" in base.local_candidate.host:
        return SecondOpinion(None, "not asked: needs an IPv4 address and a STUN server that answers")
    return await classify(base.local_candidate.host, session.answers[0].server)


def _print(
    found: EndpointDiscovered,
    session: IceSession,
    choice: AddressChoice,
    opinion: SecondOpinion | None,
    printer: Printer,
) -> None:
    if printer.as_json:  # everything, for a program leaves out for itself what it does not need
        printer.event(found)
        lines = Discovered(
            answers=[{"server": list(answer.server), "mapped": list(answer.mapped)} for answer in session.answers],
            used=[{"interface": used.interface, "ip": used.ip} for used in choice.used],
            skipped=[
                {"interface": skipped.interface, "ip": skipped.address, "reason": skipped.reason}
                for skipped in choice.skipped
            ],
            second_opinion=None if opinion is None else {"verdict": opinion.verdict, "note": opinion.note},
        )
        printer.record(lines)
        return
    endpoint = f"{found.ip}:{found.port} (local {found.local})" if found.ip else "unknown"
    printer.line(f"public endpoint  {endpoint}")
    known, *unknown = nat_lines(found.nat)
    printer.line(f"NAT              {known or 'nothing is known about it'}")
    for each in unknown:
        printer.line(f"not known        {each}")
    asked = [f"{format_address(answer.server)} saw {format_address(answer.mapped)}" for answer in session.answers]
    # a server that was asked from several sockets has often seen the same
    for each in dict.fromkeys(asked):
        printer.line(f"asked            {each}")
    for used in choice.used:
        printer.line(f"interface used   {printable(used.interface)} {used.ip}")
    for skipped in choice.skipped:
        address = f" {skipped.address}" if skipped.address else ""
        printer.line(f"skipped          {printable(skipped.interface)}{address}: {skipped.reason}")
    if opinion is not None:  # asked for by --classify
        printer.line(f"second opinion   {opinion.verdict or 'none'} ({printable(opinion.note)})")
