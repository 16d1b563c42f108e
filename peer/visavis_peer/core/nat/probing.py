"""Carrying out a plan: openers and probes on their schedule, answers, and the pair of addresses that comes of it.

    prober                                             opener
                      ◀── PROBE, low TTL, dies on the way: the filter is open
    PROBE ──▶ ... ──▶ one of them hits a mapping
                                                ◀──    ANSWER from the socket that was hit
    ANSWER, so that either side has heard the other ──▶
    whoever is controlling: SELECT                     both have the same pair

Named for the birthday paradox: 256 mappings among 64,512 ports are hit by one of 174 probes half the time. Prediction
runs on the same engine, with other targets.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, assert_never

from visavis_peer.core.nat.probes import Kind, Probe, Seal
from visavis_peer.core.nat.strategy import RATE, KnownPort, Plan, PortRange, Ports, Role
from visavis_shared.endpoints import format_address
from visavis_shared.errors import VisavisError
from visavis_shared.stun import Address

OPENER_INTERVAL: Final = 0.0001
"""Seconds between openers of one pass: 256 within 26 ms, 20 KB that the smallest router has room for."""
PASS_INTERVAL: Final = 1.0
"""Seconds between passes of openers: a lost one gets another chance, and no second sees more than 300 packets."""
CATCH_UP: Final = 0.02
"""Seconds of shots that a late timer makes up for at once; what is later delays all that follows."""
ANSWER_INTERVAL: Final = 0.1
"""Seconds between the transmissions of an ANSWER."""
ANSWER_COUNT: Final = 10
"""Transmissions of an ANSWER to one pair."""
SELECT_INTERVAL: Final = 0.05
"""Seconds between the transmissions of SELECT."""
SELECT_COUNT: Final = 5
"""Transmissions of SELECT: at 20 % loss all are lost three times in ten thousand."""
PAIR_COUNT: Final = 8
"""Pairs of addresses that are answered again: a block of ports gives two hits within a round trip."""


class AddressNotSeen(VisavisError):
    """The plan leads to an address that the signaling server has not seen the peer use: nothing is sent there."""

    def __init__(self, address: Address) -> None:
        super().__init__(f"the signaling server has not seen the peer use {format_address(address)}: it is not probed")


@dataclass(frozen=True, slots=True)
class Shot:
    """One packet of the schedule."""

    at: float
    """Seconds from the start."""
    socket: int
    """Which of the plan's sockets sends it, from 0."""
    destination: Address
    ttl: int | None
    """Hops; None: the system's default."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send `data` from the plan's socket number `socket`."""

    socket: int
    data: bytes
    destination: Address
    ttl: int | None


@dataclass(frozen=True, slots=True)
class PairFound:
    """Both sides have heard each other on this pair and agree on it: hand the socket to the ICE session."""

    socket: int
    remote: Address
    probe_count: int
    """Scheduled packets sent by this side."""
    elapsed: float
    """Seconds since the start."""


@dataclass(frozen=True, slots=True)
class NothingFound:
    """The time of the plan is over."""

    probe_count: int


Effect = Send | PairFound | NothingFound
Sample = Callable[[range, int], list[int]]
"""Draws so many different numbers in random order: the `sample` of a random.Random."""


def shots(plan: Plan, remote: Address, seen: Collection[str], sample: Sample) -> tuple[Shot, ...]:
    """Return the schedule of a plan, at most `plan.budget` shots within `plan.duration`.

    `remote` is the peer's server-reflexive address, `seen` the IP addresses that the signaling server has seen the
    peer use. Raises AddressNotSeen when `remote` is not among them, ValueError for a plan without a target.
    """
    if remote[0] not in seen:
        raise AddressNotSeen(remote)
    ports = _target_ports(plan, remote, sample)
    match plan.role:
        case Role.OPEN:
            schedule = _opening(plan, [(remote[0], port) for port in ports])
        case Role.PROBE:
            schedule = _probing(plan, [(remote[0], port) for port in ports])
        case Role.MEET:
            schedule = _meeting(plan, (remote[0], ports[0]))
        case Role.NONE:
            raise ValueError("this plan sends nothing")
        case role:
            assert_never(role)
    return tuple(schedule)[: plan.budget]


def _target_ports(plan: Plan, remote: Address, sample: Sample) -> list[int]:
    match plan.targets:
        case KnownPort():
            return [remote[1]]
        case Ports(ports) if ports:
            return list(ports)
        case PortRange(low, high):
            return sample(range(low, high + 1), min(plan.budget, high - low + 1))
        case _:
            raise ValueError("this plan has no target yet: plan again with the peer's next report")


def _opening(plan: Plan, destinations: Sequence[Address]) -> Iterator[Shot]:
    for number in range(int(plan.duration / PASS_INTERVAL)):
        for socket in range(plan.sockets):
            at = number * PASS_INTERVAL + socket * OPENER_INTERVAL
            yield Shot(at, socket, destinations[socket % len(destinations)], plan.ttl)


def _probing(plan: Plan, destinations: Sequence[Address]) -> Iterator[Shot]:
    """Go through the destinations again and again; a few of them are probed no faster than many."""
    for index in range(min(plan.budget, int(plan.duration * plan.rate))):
        yield Shot(index / plan.rate, 0, destinations[index % len(destinations)], None)


def _meeting(plan: Plan, destination: Address) -> Iterator[Shot]:
    """Open every mapping by a packet that does not arrive, then send through all of them."""
    for index in range(min(plan.budget, int(plan.duration * plan.rate))):
        yield Shot(index / plan.rate, index % plan.sockets, destination, plan.ttl if index < plan.sockets else None)


@dataclass(slots=True)
class _Pair:
    """A pair on which the peer was heard."""

    socket: int
    remote: Address
    sequence: int
    next_at: float
    left: int
    """Transmissions of ANSWER, or of SELECT once it is selected, that are left."""


class Probing:
    """One round of one side. Call `handle_timer` at `next_timer`, and `receive_datagram` for what comes in."""

    def __init__(self, schedule: Sequence[Shot], duration: float, seal: Seal, *, controlling: bool, now: float) -> None:
        self._shots = schedule
        self._seal = seal
        self._controlling = controlling
        self._hosts = {shot.destination[0] for shot in schedule}
        self._started_at = now
        self._origin = now
        self._expires_at = now + duration
        self._next_shot = 0
        self._pairs: dict[tuple[int, Address], _Pair] = {}
        self._selected: _Pair | None = None
        self._over = False

    def __repr__(self) -> str:
        state = "over" if self._over else "selected" if self._selected else "probing"
        return f"<Probing {state}, {self._next_shot} of {len(self._shots)} sent, {len(self._pairs)} pairs>"

    def next_timer(self) -> float | None:
        """Return when `handle_timer` wants to be called; None once nothing is left to do."""
        if self._over:
            return None
        times = [pair.next_at for pair in self._transmitting()]
        if self._selected is None:
            if self._next_shot < len(self._shots):
                times.append(self._origin + self._shots[self._next_shot].at)
            times.append(self._expires_at)
        return min(times, default=None)

    def handle_timer(self, now: float) -> list[Effect]:
        """Send what is due. A timer that comes late delays the rest of the schedule: the rate is never exceeded."""
        if self._over:
            return []
        effects: list[Effect] = []
        if self._selected is None:
            if now >= self._expires_at:
                self._over = True
                return [NothingFound(self._next_shot)]
            effects.extend(self._due_shots(now))
        effects.extend(self._transmit(pair, now) for pair in self._transmitting() if now >= pair.next_at)
        return effects

    def receive_datagram(self, socket: int, data: bytes, source: Address, now: float) -> list[Effect]:
        """Take a datagram from the plan's socket number `socket`; what the peer has not signed changes nothing.

        Safe to call at any time, also when the round is over.
        """
        probe = self._seal.decode(data)
        if probe is None or source[0] not in self._hosts or self._over:
            return []
        if self._selected is not None:
            return self._repeat(socket, source, now)
        match probe.kind:
            case Kind.PROBE:
                return self._answer(socket, source, probe.sequence, now)
            case Kind.ANSWER if self._controlling:
                return self._select(socket, source, probe.sequence, now)
            case Kind.ANSWER:
                return self._answer(socket, source, probe.sequence, now)
            case Kind.SELECT:
                return [] if self._controlling else self._select(socket, source, probe.sequence, now)
            case _:
                assert_never(probe.kind)

    def _due_shots(self, now: float) -> Iterator[Send]:
        while self._next_shot < len(self._shots):
            shot = self._shots[self._next_shot]
            due = self._origin + shot.at
            if now < due:
                return
            self._origin += max(0.0, now - due - CATCH_UP)
            data = self._seal.encode(Probe(Kind.PROBE, self._next_shot))
            self._next_shot += 1
            yield Send(shot.socket, data, shot.destination, shot.ttl)

    def _transmitting(self) -> list[_Pair]:
        """Return the pairs on which something is still to be sent."""
        pairs = self._pairs.values() if self._selected is None else (self._selected,)
        return [pair for pair in pairs if pair.left]

    def _transmit(self, pair: _Pair, now: float) -> Send:
        kind, interval = (Kind.ANSWER, ANSWER_INTERVAL) if self._selected is None else (Kind.SELECT, SELECT_INTERVAL)
        pair.left -= 1
        pair.next_at = now + interval
        self._origin += 1 / RATE  # an answer takes the place of a scheduled packet
        return Send(pair.socket, self._seal.encode(Probe(kind, pair.sequence)), pair.remote, None)

    def _answer(self, socket: int, source: Address, sequence: int, now: float) -> list[Effect]:
        """Answer at once; again and again on the first pairs, once on those that have no room beside them."""
        key = (socket, source)
        if key in self._pairs:
            return []
        pair = _Pair(socket, source, sequence, now, ANSWER_COUNT)
        if len(self._pairs) < PAIR_COUNT:
            self._pairs[key] = pair
        return [self._transmit(pair, now)]

    def _select(self, socket: int, source: Address, sequence: int, now: float) -> list[Effect]:
        self._selected = pair = _Pair(socket, source, sequence, now, SELECT_COUNT if self._controlling else 0)
        self._pairs.clear()
        found = PairFound(socket, source, self._next_shot, now - self._started_at)
        return [self._transmit(pair, now), found] if self._controlling else [found]

    def _repeat(self, socket: int, source: Address, now: float) -> list[Effect]:
        """The peer has not heard SELECT: say it again, as long as there are transmissions left."""
        pair = self._selected
        if pair is None or (pair.socket, pair.remote) != (socket, source) or not pair.left:
            return []
        return [self._transmit(pair, now)]
