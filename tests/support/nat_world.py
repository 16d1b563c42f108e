"""Two hosts behind ideal NATs with real port numbers, a path with delay and loss between them, and a model clock."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import assert_never

from visavis_peer.core.nat.probing import Effect, NothingFound, PairFound, Probing, Send
from visavis_shared.nat import Allocation, Filtering, Mapping, NatBehaviour
from visavis_shared.stun import Address

HOPS_TO_PEER = 10
"""A packet with a smaller TTL does not reach the other NAT."""


@dataclass
class ModelNat:
    """One host's NAT by RFC 4787; internal endpoints are socket numbers."""

    host: str
    behaviour: NatBehaviour
    rng: random.Random
    ports: range = range(1024, 65536)
    """Where random ports are drawn from."""
    step: int = 1
    next_port: int = 20000
    mappings: dict[tuple[int, str, int], int] = field(default_factory=dict)
    owners: dict[int, int] = field(default_factory=dict)
    contacted: dict[int, set[Address]] = field(default_factory=dict)

    def allocate(self) -> int:
        """Take the port of a new mapping, this host's or another's."""
        if self.behaviour.allocation is Allocation.SEQUENTIAL:
            port = self.next_port
            self.next_port = (self.next_port + self.step - 1024) % 64512 + 1024
            return port
        while True:
            port = self.rng.choice(self.ports)
            if port not in self.owners:
                return port

    def outbound(self, socket: int, destination: Address) -> Address:
        """Send a packet from a socket; return where the world sees it come from."""
        match self.behaviour.mapping:
            case Mapping.ENDPOINT_INDEPENDENT:
                key = (socket, "", 0)
            case Mapping.ADDRESS_DEPENDENT:
                key = (socket, destination[0], 0)
            case Mapping.ADDRESS_AND_PORT_DEPENDENT:
                key = (socket, *destination)
            case mapping:
                assert_never(mapping)
        if key not in self.mappings:
            self.mappings[key] = self.allocate()
        port = self.mappings[key]
        self.owners[port] = socket
        self.contacted.setdefault(port, set()).add(destination)
        return self.host, port

    def close(self) -> None:
        """Forget the mappings of all sockets."""
        for table in (self.mappings, self.owners, self.contacted):
            table.clear()

    def inbound(self, source: Address, port: int) -> int | None:
        """Return the socket that a packet from `source` to external `port` reaches."""
        contacted = self.contacted.get(port, set())
        match self.behaviour.filtering:
            case Filtering.ENDPOINT_INDEPENDENT:
                admitted = True
            case Filtering.ADDRESS_DEPENDENT:
                admitted = any(address[0] == source[0] for address in contacted)
            case Filtering.ADDRESS_AND_PORT_DEPENDENT:
                admitted = source in contacted
            case filtering:
                assert_never(filtering)
        return self.owners.get(port) if admitted else None


@dataclass
class Host:
    """A host with its engine, and what came of it."""

    nat: ModelNat
    engine: Probing | None = None
    sent: list[tuple[float, Send]] = field(default_factory=list)
    found: PairFound | None = None
    found_at: float = 0.0
    gave_up: bool = False


class NatWorld:
    """Runs two engines against each other until both have found a pair or given up."""

    def __init__(
        self, left: ModelNat, right: ModelNat, rng: random.Random, *, delay: float = 0.02, loss: float = 0.0
    ) -> None:
        self.hosts = (Host(left), Host(right))
        self.now = 100.0
        self._rng, self._delay, self._loss = rng, delay, loss
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def at(self, when: float, action: Callable[[], None]) -> None:
        """Do something at `when`, seconds on the world's clock."""
        heapq.heappush(self._queue, (when, next(self._order), action))

    def start(self, side: int, engine: Probing) -> None:
        """Give a host its engine, now."""
        self.hosts[side].engine = engine
        self._arm(side, engine)

    def run(self, deadline: float) -> None:
        """Let time pass until both have found a pair, both have given up, or it is `deadline`."""
        while self._queue and self._queue[0][0] <= deadline:
            self.now, _, action = heapq.heappop(self._queue)
            action()
            if all(host.found or host.gave_up for host in self.hosts):
                return

    def _arm(self, side: int, engine: Probing) -> None:
        due = engine.next_timer()
        if due is not None:
            self.at(max(due, self.now), lambda: self._fire(side, engine, due))

    def _fire(self, side: int, engine: Probing, due: float) -> None:
        if self.hosts[side].engine is engine and engine.next_timer() == due:
            self._perform(side, engine, engine.handle_timer(self.now))

    def _perform(self, side: int, engine: Probing, effects: list[Effect]) -> None:
        host = self.hosts[side]
        for effect in effects:
            match effect:
                case Send():
                    host.sent.append((self.now, effect))
                    self._carry(side, effect)
                case PairFound():
                    host.found, host.found_at = effect, self.now
                case NothingFound():
                    host.gave_up = True
                case _:
                    assert_never(effect)
        self._arm(side, engine)

    def _carry(self, side: int, packet: Send) -> None:
        source = self.hosts[side].nat.outbound(packet.socket, packet.destination)
        if packet.destination[0] != self.hosts[1 - side].nat.host or self._rng.random() < self._loss:
            return
        if packet.ttl is None or packet.ttl >= HOPS_TO_PEER:
            self.at(self.now + self._delay, lambda: self._arrive(1 - side, packet, source))

    def _arrive(self, side: int, packet: Send, source: Address) -> None:
        host = self.hosts[side]
        socket = host.nat.inbound(source, packet.destination[1])
        if socket is not None and host.engine is not None:
            engine = host.engine
            self._perform(side, engine, engine.receive_datagram(socket, packet.data, source, self.now))
