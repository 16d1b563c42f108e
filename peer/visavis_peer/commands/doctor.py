"""`visavis doctor`: a report on this machine's network that can go into a bug report, and an attempt at one peer."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import getpass
import ipaddress
import platform
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Final
from urllib.parse import urlsplit

from visavis_peer.agent import Agent
from visavis_peer.commands.invites import HOW
from visavis_peer.commands.lines import Examined
from visavis_peer.commands.options import build_settings, find_invite, invite_settings, timeout_of
from visavis_peer.commands.output import describe_note, describe_path, is_of_nat, peer_label
from visavis_peer.commands.printer import Printer
from visavis_peer.commands.redaction import Redactor
from visavis_peer.core.nat import strategy
from visavis_peer.core.nat.addresses import AddressChoice
from visavis_peer.core.nat.forecast import IN_WORDS, conclusion, forecast
from visavis_peer.core.nat.silences import LIFETIME_MAX, SILENCES
from visavis_peer.errors import AgentError, PeerAbsent, UsageError
from visavis_peer.events import EndpointDiscovered, Event, Failure, LinkUp, Negotiating, PathChanged, RelayCause
from visavis_peer.nat.study import NatStudy
from visavis_peer.nat.stun_servers import StunServers
from visavis_peer.peers.spare import SessionPool
from visavis_peer.settings import AgentSettings
from visavis_peer.signaling.connection import SignalingClient
from visavis_peer.signaling.urls import chosen_proxy, websocket_url, without_login
from visavis_shared.ids import printable
from visavis_shared.invite import Invite
from visavis_shared.nat import NatReport

_NOBODY: Final = frozenset({"localhost", "nobody", "root", "visavis"})
"""Names of machines and users that tell nothing."""
VERDICT_TIMEOUT: Final = 20.0
"""Seconds from the link to a direct path, or to the reason why there is none: two rounds of probing."""


@dataclass
class _Report:
    """Lines for a person, and the same for a program."""

    lines: list[tuple[str, str]] = field(default_factory=list)
    members: dict[str, object] = field(default_factory=dict)
    error: AgentError | None = None
    """What ends the program in the end; the report is printed first."""

    def add(self, title: str, text: str) -> None:
        self.lines.append((title, text))


async def run(arguments: argparse.Namespace) -> int:
    """Examine, print, and end with the exit code of what failed, 0 if nothing did.

    Raises UsageError, or after the report SignalingUnreachable, PeerAbsent, NoPath, AuthenticationFailed or Refused.
    """
    invite = _invite(arguments)
    # everything that a person can have got wrong is said before the first packet goes out
    if not (arguments.stun or arguments.server or invite):
        raise UsageError("--server URL, --stun HOST[:PORT] or --with INVITE is required: there must be a server to ask")
    if arguments.lifetime is not None and not 1 <= arguments.lifetime <= LIFETIME_MAX:
        raise UsageError(f"--lifetime must be 1 to {LIFETIME_MAX} seconds")
    if invite is not None:
        settings = invite_settings(arguments, invite)
    else:  # a room is needed for settings alone: without an invite nobody is joined
        settings = build_settings(arguments, server=arguments.server or "", room="-", name=None)
    printer = Printer(as_json=arguments.json)
    redactor = Redactor()
    report = _Report()
    _describe_program(report)
    stun = StunServers.chosen(settings.stun)
    # with --stun alone there is no signaling server to examine, and none to offer others
    if settings.server:
        redactor.hide_host(urlsplit(websocket_url(settings.server)).hostname or "")
        proxy = chosen_proxy(settings.proxy)
        redactor.hide_host(proxy.host if proxy is not None else "")
        offered = await _examine_signaling(settings, timeout_of(arguments), report)
        stun = stun if stun.hosts else offered
    for host, _ in stun.hosts:
        redactor.hide_host(host)
    _hide_own_names(redactor)
    nat, found = await _examine_nat(settings, stun, report, longest=arguments.lifetime)
    _forecast(nat, report, inside=_is_inside(found.ip))
    # a peer is met only by who reaches the server: else the report would tell of the same fault twice
    if invite is not None and report.error is None:
        await _attempt(settings, timeout_of(arguments), nat, report)
    _print(report, None if arguments.show_addresses else redactor, printer)
    # the report comes first, for it says most when something has failed
    if report.error is not None:
        if not arguments.show_addresses:  # the last line goes where the report goes
            report.error.args = (redactor.scrub(str(report.error)),)
        raise report.error
    return 0


def _hide_own_names(redactor: Redactor) -> None:
    """Let nothing in the report name this machine or its user, whatever error or path it may stand in."""
    host = platform.node()
    with contextlib.suppress(OSError, KeyError, ImportError):  # nobody knows who this is
        user = getpass.getuser()
        if user not in _NOBODY:
            redactor.hide_user(user)
    for name in (host, host.partition(".")[0]):
        if name not in _NOBODY:
            redactor.hide_host(name)


def _invite(arguments: argparse.Namespace) -> Invite | None:
    if arguments.partner is None:
        return None
    try:
        invite = find_invite(arguments)
    except UsageError as error:
        raise UsageError(f"--with: {error}") from None
    if invite is None:
        raise UsageError(f"--with: an invite is required; {HOW}")
    return invite


def _describe_program(report: _Report) -> None:
    text = f"visavis {version('visavis')}, Python {platform.python_version()}, {platform.system()} {platform.release()}"
    report.add("program", f"{text} ({platform.machine()})")
    report.members["program"] = {
        "version": version("visavis"),
        "python": platform.python_version(),
        "system": platform.system(),
        "release": platform.release(),
        "machine": platform.machine(),
    }


async def _examine_signaling(settings: AgentSettings, timeout: float, report: _Report) -> StunServers:
    """Connect to the signaling server; return the STUN servers that it offers."""
    began = asyncio.get_running_loop().time()
    url, proxy = websocket_url(settings.server), chosen_proxy(settings.proxy)
    members: dict[str, object] = {"url": without_login(settings.server)}
    if proxy is not None:
        report.add("proxy", f"{proxy} leads to the server; UDP does not go through it")
        members["proxy"] = str(proxy)
    report.members["signaling"] = members
    try:
        async with SignalingClient(url, settings.token, proxy, timeout) as client:
            elapsed = (asyncio.get_running_loop().time() - began) * 1000
            stun, welcome = StunServers.offered(client), client.welcome
    except AgentError as error:
        members["error"] = str(error)
        report.add("signaling", f"unreachable: {printable(str(error))}")
        report.error = error
        return StunServers(())
    offered = welcome.relay.mode if welcome is not None and welcome.relay is not None else "never"
    server = printable(welcome.server or "") if welcome is not None else ""
    members |= {"connected_ms": round(elapsed, 1), "server": server, "relay": offered}
    report.add(
        "signaling",
        f"{printable(without_login(settings.server))} answers in {elapsed:.0f} ms ({server or 'it gives no name'})",
    )
    report.add("relay", {"never": "none offered", "auto": "offered", "only": "the only path allowed"}[offered])
    return stun


async def _examine_nat(
    settings: AgentSettings, stun: StunServers, report: _Report, *, longest: float | None
) -> tuple[NatReport, EndpointDiscovered]:
    """Survey the NAT as an agent does, from the sockets that would punch."""
    loop = asyncio.get_running_loop()
    pool = SessionPool(settings)
    try:
        servers = await stun.addresses()
        began = loop.time()
        session = await pool.start(servers)
        study = NatStudy(lambda _: None, probing=settings.probing == "auto")
        await study.first_endpoint(session)
        found = await study.complete(session)
        elapsed = (loop.time() - began) * 1000
        found = await study.hear_gateway(session)
        nat = found.nat
        if longest is not None and nat.nat:
            Printer(as_json=False, stream=sys.stderr).line(f"measuring lifetimes, {longest + 1:.0f} s …")
            await study.measure_lifetime(session, [each for each in SILENCES if each < longest] + [longest])
            nat = study.report(session)
        answered = {answer.server for answer in session.answers}
    finally:
        await pool.close()
    report.members["nat"] = nat.model_dump(mode="json")
    report.members["endpoint"] = {"ip": found.ip, "port": found.port, "local": found.local}
    report.members["survey_ms"] = round(elapsed, 1)
    count = f"{len(answered & set(servers))} of {len(servers)} servers answered; all took {elapsed:.0f} ms"
    report.add("STUN", count if servers else "there was no server to ask")
    if found.ip is not None:
        report.add("address", f"{found.local} is seen as {found.ip}:{found.port}")
    for title, text in _nat_lines(nat, inside=_is_inside(found.ip)):
        report.add(title, text)
    _interfaces(pool.choice, report)
    return nat, found


def _is_inside(ip: str | None) -> bool:
    """Whether the address that a STUN server has seen is of use only in the network that both are in."""
    return ip is not None and not ipaddress.ip_address(ip).is_global


def _nat_lines(nat: NatReport, *, inside: bool = False) -> list[tuple[str, str]]:
    """Return what is known of the NAT, a line each, and what is not with the reason."""
    if nat.udp is False:  # without an answer everything else is unknown for this one reason
        return [("UDP", "no STUN server answered: it seems blocked")]
    # without a NAT there are no mappings to speak of, but a firewall filters all the same
    if nat.nat is False:
        where = "none before the server, which is in the same network" if inside else "none: the address is public"
        lines = [("NAT", where), ("filtering", str(nat.filtering or ""))]
    else:
        allocation = str(nat.allocation or "")
        # the two that let ports be predicted, where there are any
        if nat.allocation_step is not None:
            allocation += f" by {nat.allocation_step}, {nat.foreign_rate or 0:.1f} a second by others"
        if nat.port_block is not None:
            allocation += f" of {nat.port_block[0]} to {nat.port_block[1]}"
        hairpinning = {None: "", True: "yes", False: "no"}[nat.hairpinning]
        lifetime = "" if nat.lifetime_s is None else f"at least {nat.lifetime_s:g} s"
        count = "" if nat.nat_count is None else f"at least {nat.nat_count}"
        lines = [
            ("mapping", str(nat.mapping or "")),
            ("filtering", str(nat.filtering or "")),
            ("ports", allocation),
            ("hairpinning", hairpinning),
            ("lifetime", lifetime),
            ("NATs", count),
        ]
    known = [(title, text) for title, text in lines if text]
    return known + [
        ("not known", describe_note(note)) for note in nat.notes if nat.nat is not False or not is_of_nat(note)
    ]


def _interfaces(choice: AddressChoice, report: _Report) -> None:
    for used in choice.used:
        report.add("interface", f"{printable(used.interface)} {used.ip}")
    for skipped in choice.skipped:
        report.add(
            "skipped",
            f"{printable(skipped.interface)}{f' {skipped.address}' if skipped.address else ''}: {skipped.reason}",
        )
    report.members["used"] = [{"interface": each.interface, "ip": each.ip} for each in choice.used]
    report.members["skipped"] = [
        {"interface": each.interface, "ip": each.address, "reason": each.reason} for each in choice.skipped
    ]


def _forecast(nat: NatReport, report: _Report, *, inside: bool) -> None:
    expected = None if inside and nat.nat is False else forecast(nat)
    for name, method in (expected or {}).items():
        report.add("forecast", f"to {name}: {IN_WORDS[method]}")
    concluded = conclusion(nat, inside=inside, unreachable=report.error is not None)
    report.add("conclusion", concluded)
    report.members["forecast"] = expected
    report.members["conclusion"] = concluded


async def _attempt(settings: AgentSettings, timeout: float, nat: NatReport, report: _Report) -> None:
    """Meet the peer, and say what was to be expected and what came of it."""
    agent = Agent(settings)
    events = agent.events()
    try:
        async with agent:
            async with asyncio.timeout(timeout):
                negotiating, up = await _meet(events)
            final = await _settle(events, up)
            remote = agent.remote_nat(up.peer_id) or negotiating.remote_nat or NatReport()
            plan = strategy.plan(nat, remote, negotiating.role == "offerer")
    except TimeoutError:
        report.error = PeerAbsent(f"no peer to link with within {timeout:g} s: the peer has to be in the room")
    except AgentError as error:
        report.error = error
    if report.error is not None:
        report.add("attempt", printable(str(report.error)))
        report.members["attempt"] = {"error": report.error.name, "message": str(report.error)}
        return
    who = "authenticated" if up.authenticated else "unauthenticated"
    report.add("peer", f"{peer_label(up.peer_id, up.name)}, {who}")
    for title, text in _nat_lines(remote):
        report.add(f"its {title}", text)
    report.add("expected", f"{IN_WORDS[plan.method]}: {plan.reason}")
    report.add("attempt", f"link up after {up.elapsed_ms:.0f} ms, {describe_path(up.path)}")
    if final is not up:
        report.add("then", f"after {final.elapsed_ms:.0f} ms {describe_path(final.path)}")
    report.members["attempt"] = {
        "peer_id": up.peer_id,
        "authenticated": up.authenticated,
        "remote_nat": remote.model_dump(mode="json"),
        "expected": plan.method,
        "reason": plan.reason,
        "linked_ms": round(up.elapsed_ms, 1),
        "path": final.path.path,
        "path_ms": round(final.elapsed_ms, 1),
        "path_kind": final.path.kind,
        "path_method": final.path.method,
        "path_reason": final.path.reason,
    }


async def _meet(events: AsyncIterator[Event]) -> tuple[Negotiating, LinkUp]:
    negotiating: dict[str, Negotiating] = {}
    async for event in events:
        match event:
            case Negotiating():
                negotiating[event.peer_id] = event
            case LinkUp() if event.peer_id in negotiating:
                return negotiating[event.peer_id], event
            case Failure(peer_id=str(), message=message):
                raise PeerAbsent(message)
            case _:
                pass
    raise PeerAbsent("the agent was closed")


async def _settle(events: AsyncIterator[Event], up: LinkUp) -> LinkUp | PathChanged:
    """Return the last word on the link's path: a direct one, or a relay with the reason."""
    final: LinkUp | PathChanged = up
    try:
        async with asyncio.timeout(VERDICT_TIMEOUT):
            while final.path.cause is RelayCause.NOT_YET:
                event = await anext(events)
                if isinstance(event, PathChanged) and event.peer_id == up.peer_id:
                    final = event
    except TimeoutError:
        pass
    return final


def _print(report: _Report, redactor: Redactor | None, printer: Printer) -> None:
    if printer.as_json:
        members = report.members if redactor is None else redactor.scrub_all(report.members)
        assert isinstance(members, dict)
        printer.record(Examined(redactor is not None), **members)
        return
    width = max(len(title) for title, _ in report.lines)
    for title, text in report.lines:
        printer.line(f"{title:{width}}  {text if redactor is None else redactor.scrub(text)}")
    if redactor is not None:
        printer.line("(addresses and host names are replaced; --show-addresses leaves them in)")
