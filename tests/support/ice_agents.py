"""An ICE agent without a socket: one alone with a peer that the test plays, and any number in a network of models."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, assert_never

from tests.support.nat_world import ModelNat
from visavis_peer.core.ice import (
    Candidate,
    CandidateFound,
    CheckReceived,
    Effect,
    IceAgent,
    Lost,
    OpenHole,
    Resumed,
    Suspended,
    Transmit,
    Trust,
    Valid,
    messages,
)
from visavis_peer.core.ice.pairs import Pair
from visavis_peer.core.nat.destinations import Allowance, Destinations
from visavis_peer.ice.candidates import host_candidate, relayed_candidate, server_reflexive_candidate
from visavis_shared.messages import IceCredentials
from visavis_shared.stun import Address, Class, Message, Method, parse

OURS: Final = IceCredentials(ufrag="ours", pwd="o" * 22)
THEIRS: Final = IceCredentials(ufrag="them", pwd="t" * 22)
HOST: Final = ("192.0.2.1", 1000)
"""Where the agent under test has its socket 0."""
PEER: Final = ("198.51.100.1", 2000)
"""Where its peer is."""
STUN: Final = ("203.0.113.1", 3478)
START: Final = 100.0
Event = CandidateFound | CheckReceived | Valid | Suspended | Resumed | Lost


def named(address: Address, preference: int = 65535, kind: str = "host") -> Candidate:
    """Return a candidate of the peer."""
    match kind:
        case "relay":
            return relayed_candidate(address, PEER)
        case "srflx":
            return server_reflexive_candidate(host_candidate(("10.9.9.9", address[1]), preference), address)
        case _:
            return host_candidate(address, preference)


class Alone:
    """An agent with one socket, and a peer that says what the test has it say."""

    def __init__(self, *, controlling: bool = True, known: bool = True, sockets: Sequence[Address] = (HOST,)) -> None:
        self.now = START
        self.destinations = Destinations()
        self.allowance = Allowance(self.destinations)
        self.agent = IceAgent(OURS, self.allowance, random.Random(1))
        self.agent.set_role(controlling=controlling)
        self.sent: list[Transmit] = []
        self.sent_at: list[float] = []
        self.holes: list[OpenHole] = []
        self.trusted: list[Trust] = []
        self.events: list[Event] = []
        for number, address in enumerate(sockets):
            self.perform(self.agent.add_socket(number, host_candidate(address, 65535 - number), self.now))
        self.events.clear()
        if known:
            self.agent.set_remote(THEIRS)

    def perform(self, effects: Sequence[Effect]) -> None:
        """Note what the agent wants done."""
        for effect in effects:
            match effect:
                case Transmit():
                    self.sent.append(effect)
                    self.sent_at.append(self.now)
                case OpenHole():
                    self.holes.append(effect)
                case Trust():
                    self.trusted.append(effect)
                case _:
                    self.events.append(effect)

    def name(self, *candidates: Candidate) -> None:
        """Have the peer name candidates."""
        own = [each.host for each in self.agent.local_candidates]
        for candidate in candidates:
            self.perform(self.agent.add_remote(candidate, own, self.now))

    def start(self, *candidates: Candidate) -> None:
        """Name candidates and begin the checks."""
        self.name(*candidates)
        self.perform(self.agent.start(self.now))

    def wait(self, seconds: float) -> None:
        """Let time pass, with every timer at its moment."""
        end = self.now + seconds
        while (due := self.agent.next_timer()) is not None and due <= end:
            self.now = max(self.now, due)
            self.perform(self.agent.handle_timer(self.now))
        self.now = end

    def receive(self, data: bytes, source: Address = PEER, socket: int = 0) -> list[Transmit]:
        """Have a datagram come in; return what is sent upon it."""
        count = len(self.sent)
        self.perform(self.agent.receive_datagram(socket, data, source, self.now))
        return self.sent[count:]

    def check(
        self,
        source: Address = PEER,
        socket: int = 0,
        *,
        controlling: bool | None = None,
        nominate: bool = False,
        tie_breaker: int = 1,
        priority: int = 1 << 24,
    ) -> list[Transmit]:
        """Have a check of the peer come in; it has the other role unless one is given."""
        request = messages.check_request(
            random.Random(len(self.sent) + len(self.events)).randbytes(12),
            THEIRS,
            OURS,
            priority,
            tie_breaker,
            controlling=not self.agent.controlling if controlling is None else controlling,
            nominate=nominate,
        )
        return self.receive(messages.signed(request, OURS.pwd), source, socket)

    def answer(
        self,
        request: Transmit | None = None,
        *,
        mapped: Address | None = HOST,
        error: int | None = None,
        source: Address | None = None,
        password: str = THEIRS.pwd,
    ) -> list[Transmit]:
        """Have the peer answer a request, the last one if none is given."""
        request = request or self.requests[-1]
        response = Message(Method.BINDING, Class.RESPONSE if error is None else Class.ERROR, request.data[8:20])
        if error is not None:
            response.attributes["ERROR-CODE"] = (error, "no")
        elif mapped is not None:
            response.attributes["XOR-MAPPED-ADDRESS"] = mapped
        return self.receive(messages.signed(response, password), source or request.address, request.socket)

    def connect(self, *candidates: Candidate) -> Pair:
        """Name candidates, begin, and have the peer answer and nominate the first check."""
        self.start(*(candidates or (named(PEER),)))
        first = self.requests[0]
        if not self.agent.controlling:
            self.check(first.address, first.socket, nominate=True)
        self.answer(first)
        assert self.agent.selected is not None
        return self.agent.selected

    @property
    def requests(self) -> list[Transmit]:
        """The requests that were sent, with all repetitions."""
        return [each for each in self.sent if parse(each.data).message_class is Class.REQUEST]

    def of(self, kind: type[Event]) -> list[Event]:
        """Return the events of a kind."""
        return [each for each in self.events if isinstance(each, kind)]


@dataclass
class Node:
    """An agent in a network: at public addresses, or behind a NAT."""

    agent: IceAgent
    addresses: dict[int, Address]
    """Its sockets, by number."""
    nat: ModelNat | None = None
    events: list[tuple[float, Event]] = field(default_factory=list)
    trusted: set[tuple[int, Address]] = field(default_factory=set)
    inbox: list[bytes] = field(default_factory=list)
    sent_count: int = 0
    received_count: int = 0
    """STUN messages."""

    @property
    def candidates(self) -> list[Candidate]:
        return list(self.agent.local_candidates)

    def of(self, kind: type[Event]) -> list[Event]:
        """Return the events of a kind."""
        return [event for _, event in self.events if isinstance(event, kind)]


class Network:
    """Agents, NATs, and a path between that loses, delays, reorders and repeats; on a clock of its own."""

    def __init__(
        self, rng: random.Random, *, loss: float = 0.0, delay: tuple[float, float] = (0.02, 0.02), repeat: float = 0.0
    ) -> None:
        self.now = START
        self.nodes: list[Node] = []
        self.loss, self.delay, self.repeat = loss, delay, repeat
        self.cut: Callable[[Address, Address], bool] = lambda source, destination: False
        """Whether nothing comes through between two addresses, as the world sees them."""
        self._rng = rng
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def add(self, name: str, addresses: Sequence[Address], nat: ModelNat | None = None) -> Node:
        """Add an agent with a socket at each address; behind a NAT a STUN server tells it its mapping."""
        credentials = IceCredentials(ufrag=name, pwd=name[:1] * 22)
        rng = random.Random(self._rng.random())
        agent = IceAgent(credentials, Allowance(Destinations()), rng)
        node = Node(agent, dict(enumerate(addresses)), nat)
        self.nodes.append(node)
        for number, address in node.addresses.items():
            candidate = host_candidate(address, 65535 - number)
            agent.add_socket(number, candidate, self.now)
            if nat is not None:
                agent.add_reflexive(server_reflexive_candidate(candidate, nat.outbound(number, STUN)))
        return node

    def at(self, when: float, action: Callable[[], None]) -> None:
        """Do something at `when`."""
        heapq.heappush(self._queue, (when, next(self._order), action))

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Let time pass until something is true; return whether it is."""
        end = self.now + seconds
        while not until() and self._queue and self._queue[0][0] <= end:
            self.now, _, action = heapq.heappop(self._queue)
            action()
        if until():
            return True
        self.now = end
        return False

    def perform(self, node: Node, effects: Sequence[Effect]) -> None:
        """Carry out what an agent wants done."""
        for effect in effects:
            match effect:
                case Transmit(socket, data, address):
                    node.sent_count += 1
                    self.send(node, socket, data, address)
                case OpenHole(socket, address):
                    if node.nat is not None:
                        node.nat.outbound(socket, address)
                case Trust(socket, address):
                    node.trusted.add((socket, address))
                case CandidateFound() | CheckReceived() | Valid() | Suspended() | Resumed() | Lost():
                    node.events.append((self.now, effect))
                case _:
                    assert_never(effect)
        due = node.agent.next_timer()
        if due is not None:
            self.at(max(due, self.now), lambda: self._fire(node, due))

    def _fire(self, node: Node, due: float) -> None:
        if node.agent.next_timer() == due:
            self.perform(node, node.agent.handle_timer(self.now))

    def send(self, node: Node, socket: int, data: bytes, destination: Address) -> None:
        """Carry a datagram, if its way and chance let it through."""
        source = node.addresses[socket] if node.nat is None else node.nat.outbound(socket, destination)
        if self.cut(source, destination):
            return
        copies = 1 + (self._rng.random() < self.repeat)
        for _ in range(copies):
            if self._rng.random() >= self.loss:
                self.at(self.now + self._rng.uniform(*self.delay), lambda: self._arrive(data, source, destination))

    def _arrive(self, data: bytes, source: Address, destination: Address) -> None:
        for node in self.nodes:
            socket = self._socket_at(node, source, destination)
            if socket is None:
                continue
            if data[0] < 4:
                node.received_count += 1
                self.perform(node, node.agent.receive_datagram(socket, data, source, self.now))
            elif (socket, source) in node.trusted:
                node.inbox.append(data)

    @staticmethod
    def _socket_at(node: Node, source: Address, destination: Address) -> int | None:
        if node.nat is not None:
            return node.nat.inbound(source, destination[1]) if destination[0] == node.nat.host else None
        return next((number for number, address in node.addresses.items() if address == destination), None)

    def send_data(self, node: Node, data: bytes) -> None:
        """Have an application send on the selected pair."""
        pair = node.agent.selected
        if pair is not None and node.agent.may_send:
            self.send(node, pair.socket, data, pair.remote.address)


def introduce(left: Node, right: Node, *, controlling: Node | None = None) -> None:
    """Give both the other's credentials, and roles."""
    for node, other in ((left, right), (right, left)):
        node.agent.set_role(controlling=node is (controlling or left))
        node.agent.set_remote(other.agent.credentials)


def tell(network: Network, node: Node, other: Node, candidates: Sequence[Candidate] | None = None) -> None:
    """Tell a node candidates of the other, all of them by default."""
    own = [address[0] for address in node.addresses.values()]
    for candidate in other.candidates if candidates is None else candidates:
        network.perform(node, node.agent.add_remote(candidate, own, network.now))


def carried(network: Network, left: Node, right: Node) -> bool:
    """Whether data gets through both ways on the selected pairs, of some copies at least one."""
    for node in (left, right):
        node.inbox.clear()
    for _ in range(40):
        for node, word in ((left, b"\xf0left"), (right, b"\xf0right")):
            network.send_data(node, word)
    network.run(0.5)
    return b"\xf0right" in left.inbox and b"\xf0left" in right.inbox
