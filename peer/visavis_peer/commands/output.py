"""Events as members of a JSON object, and as sentences for a person with untrusted text escaped."""

from __future__ import annotations

from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING, Any, Final, assert_never

from visavis_peer.events import (
    EndpointDiscovered,
    Event,
    Failure,
    Joined,
    LinkDown,
    LinkResumed,
    LinkSuspended,
    LinkUp,
    Negotiating,
    Notice,
    PathChanged,
    PathInfo,
    PeerJoined,
    PeerLeft,
    Ready,
)
from visavis_shared.ids import printable
from visavis_shared.nat import NatReport

if TYPE_CHECKING:
    from visavis_peer.link.link import Link

NAMES: Final[dict[type[Event], str]] = {
    Ready: "ready",
    EndpointDiscovered: "endpoint",
    Joined: "joined",
    PeerJoined: "peer_joined",
    PeerLeft: "peer_left",
    Notice: "notice",
    Negotiating: "negotiating",
    LinkUp: "link_up",
    PathChanged: "path",
    LinkSuspended: "link_suspended",
    LinkResumed: "link_resumed",
    LinkDown: "link_down",
    Failure: "error",
}
"""What JSON lines call the events."""


_SUBJECTS: Final = {
    "mapping": "whether it uses a different port for every destination",
    "filtering": "whose packets it lets in",
    "allocation": "how it chooses ports",
    "hairpinning": "whether its outer address can be reached from inside",
    "lifetime": "how long it keeps a silent mapping",
    "number of NATs": "whether there is another NAT beyond it",
    "poisonable": "whether a packet that comes too early changes its port",
}
"""What the notes of a NAT report (core.discovery) are about."""


_NOTHING: Final = "nothing is known about the NAT"


def members(event: Event) -> dict[str, Any]:
    """Return the members of an event's JSON object, the path's ones among them."""
    found: dict[str, Any] = {}
    for name in event.__slots__:
        value = getattr(event, name)
        if isinstance(value, PathInfo):
            found |= asdict(value)
        elif isinstance(value, NatReport):
            found[name] = value.model_dump(mode="json")
        else:
            found[name] = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
    return found


def sentence(event: Event) -> str:
    """Return what a person wants to know of `event`, in one line."""
    match event:
        case Ready(server, peer_id):
            return f"connected to {printable(server)} as {peer_id}"
        case EndpointDiscovered(ip, port, local, nat):
            if ip is None:  # no STUN server has answered, and the report says why
                return f"public endpoint unknown: {describe_nat(nat)}"
            return f"public endpoint {ip}:{port} (local {local}): {describe_nat(nat)}"
        case Joined(room, _, peers):
            return f"in room {printable(room)} with {_count(peers, 'other peer')}"
        case PeerJoined(peer_id, name):
            return f"{qualified_label(peer_id, name, event.authenticated)} is here"
        case PeerLeft(peer_id, name):
            return f"{qualified_label(peer_id, name, event.authenticated)} has left the room"
        case Notice(message):
            return f"the signaling server says: {printable(message)}"
        case Negotiating():
            return _negotiating(event)
        case LinkUp(peer_id, name, path, elapsed):
            how = f"link to {peer_label(peer_id, name)} up in {elapsed:.0f} ms"
            proved = _authentication(event.authenticated) + _key(event.fingerprint)
            return f"{how}: {describe_path(path)}{_round_trip(path)}, {proved}"
        case PathChanged(peer_id, name, path, elapsed):
            # to fall back takes no time that anybody has measured; to find a direct path does
            verb = "uses" if path.path == "relay" else f"moved after {elapsed:.0f} ms to"
            how = f"link to {peer_label(peer_id, name)} {verb}: {describe_path(path)}{_round_trip(path)}"
            return f"{how}, {_authentication(event.authenticated)}"
        case LinkSuspended(peer_id, name, patience):
            return f"{peer_label(peer_id, name)} is silent: the link waits for it for up to {patience:.0f} s"
        case LinkResumed(peer_id, name, path, silence):
            back = f"{peer_label(peer_id, name)} is back after {silence / 1000:.0f} s of silence"
            return f"{back}, and the link goes on: {describe_path(path)}"
        case LinkDown(peer_id, name, reason):
            return f"link to {qualified_label(peer_id, name, event.authenticated)} down: {printable(reason)}"
        case Failure(_, _, peer_id, name):
            # without a peer it is the agent's own
            whom = f"{qualified_label(peer_id, name, event.authenticated)}: " if peer_id else ""
            return f"{whom}{plainly(event)}"
        case _:
            assert_never(event)


def plainly(failure: Failure) -> str:
    """Return what a failure means for a person, who can do something about most of them."""
    message = printable(failure.message)
    if failure.error != "authentication_failed":
        return message.removeprefix("refused: refused: ")
    if "not sealed, but" in message:
        return "somebody without the room's secret is trying to link"
    if "sealed with this room's secret" in message or "OFFER cannot be trusted" in message:
        return "its messages cannot be trusted: somebody on the way changed them, or they were meant for another peer"
    return message.removeprefix("authentication failed: ")


def peer_label(peer_id: str, name: str | None) -> str:
    """Return how a peer is called in a sentence."""
    return f"{printable(name)} ({printable(peer_id)})" if name else printable(peer_id)


def linked_label(link: Link) -> str:
    """Return how the peer of a link is called in a sentence: nobody takes it for more than it has proved."""
    return qualified_label(link.peer_id, link.name, link.authenticated)


def qualified_label(peer_id: str, name: str | None, authenticated: bool) -> str:
    """Return how a peer is called in a sentence, and that it is not authenticated where it is not."""
    return f"{peer_label(peer_id, name)}{'' if authenticated else ' (unauthenticated)'}"


def describe_path(path: PathInfo) -> str:
    """Return a path in words."""
    reason = f" ({printable(path.reason)})" if path.reason else ""
    if not path.local:
        return f"through the server's relay at {path.remote}{reason}"
    how = f", found by {path.method}" if path.method else ""
    return f"{path.path} {path.kind}, {path.local} to {path.remote}{how}{reason}"


def describe_nat(nat: NatReport) -> str:
    """Return a NAT report in one line; what is unknown is said to be."""
    known, *unknown = nat_lines(nat)
    return ", ".join(([known] if known else []) + [f"not known: {each}" for each in unknown]) or _NOTHING


def nat_lines(nat: NatReport) -> list[str]:
    """Return what is known of a NAT, empty for nothing, and what is not, each with its reason."""
    if nat.udp is False:
        return ["UDP seems blocked, no STUN server answered"]
    parts = []
    if nat.nat is False:
        parts.append("no NAT")
    if nat.mapping:
        parts.append(f"{nat.mapping} mapping")
    if nat.filtering:
        parts.append(f"{nat.filtering} filtering")
    if nat.nat and nat.port_preserved is not None:
        parts.append("port preserved" if nat.port_preserved else "port changed")
    unknown = [describe_note(note) for note in nat.notes if nat.nat is not False or not is_of_nat(note)]
    return [", ".join(parts), *unknown]


def describe_note(note: str) -> str:
    """Return in words what a note of a NAT report says is not known, and why."""
    subject, _, reason = note.partition(": ")
    return f"{_SUBJECTS[subject]} ({printable(reason)})" if subject in _SUBJECTS and reason else printable(note)


def is_of_nat(note: str) -> bool:
    """Whether a note tells of what there is only with a NAT, so that without one nothing is unknown."""
    return note.partition(":")[0] in _SUBJECTS.keys() - {"filtering"}


def _negotiating(event: Negotiating) -> str:
    ours, theirs = len(event.local_candidates), len(event.remote_candidates)
    remote = f"; before it: {describe_nat(event.remote_nat)}" if event.remote_nat else ""
    who = qualified_label(event.peer_id, event.name, event.authenticated)
    return f"checking paths to {who} as {event.role}: {_count(ours, 'candidate')} here, {theirs} there{remote}"


def _round_trip(path: PathInfo) -> str:
    return "" if path.rtt_ms is None else f", round trip {path.rtt_ms:.1f} ms"


def _key(fingerprint: str | None) -> str:
    return "" if fingerprint is None else f", key {fingerprint}"


def _authentication(authenticated: bool) -> str:
    return "authenticated" if authenticated else "unauthenticated"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
