"""A resuming client and the hub, both without I/O, on connections that break anywhere: nothing lost or doubled.

The client is the agent's: `ResumeState` and `Unconfirmed` count, and nothing is sent between RESUME and its ACK.
"""

from __future__ import annotations

from collections import deque

from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.support.server_world import Message, World
from visavis_peer.core.signaling.resume import ResumeState
from visavis_peer.core.signaling.unconfirmed import Unconfirmed
from visavis_server.core.signaling.tickets import KEY_SIZE, TicketSigner
from visavis_shared.messages import CandidateMessage, CandidatePayload, ResumedPayload, ResumeOffer, encode


class CutMachine(RuleBasedStateMachine):
    """`a` resumes, `b` never loses its connection; both number what they send to each other."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(signer=TicketSigner([bytes(KEY_SIZE)]), join_timeout=0)
        self.state = ResumeState()
        self.unconfirmed = Unconfirmed()
        self.waiting: deque[bytes] = deque()
        self.way_up: deque[bytes] = deque()
        """Written by `a`, not yet read by the server."""
        self.way_down: deque[Message] = deque()
        """Written by the server, not yet read by `a`."""
        self.connected_as = ""
        """Id by which the server knows the connection of `a`; empty while there is none."""
        self.in_session = False
        self.said = {"a": 0, "b": 0}
        self.heard: dict[str, list[int]] = {"a": [], "b": []}
        self.connections = 0

    @initialize()
    def join(self) -> None:
        self.world.connect("a")
        ack = self.world.request("a", type="JOIN", room_id="r", payload={"resume": True})
        self.state.begin(ResumeOffer.model_validate(ack["payload"]["resume"]))
        self.unconfirmed.begin()
        self.world.joined("b", "r")
        self.connected_as, self.in_session = "a", True
        self.collect()

    def collect(self) -> None:
        """Take what the server has written."""
        if self.connected_as:
            self.way_down.extend(self.world.take(self.connected_as))
        self.heard["b"] += [number_of(message) for message in self.world.take("b") if message["type"] == "CANDIDATE"]

    @rule()
    def a_says(self) -> None:
        self.said["a"] += 1
        self.waiting.append(encode(numbered("b", self.said["a"])))

    @rule()
    def b_says(self) -> None:
        self.world.now += 1  # within the rates
        self.said["b"] += 1
        self.world.send_bytes("b", encode(numbered("a", self.said["b"])))
        self.collect()

    @precondition(lambda self: self.in_session and self.waiting)
    @rule()
    def a_writes(self) -> None:
        message = self.waiting.popleft()
        self.unconfirmed.add(message)
        self.way_up.append(message)

    @precondition(lambda self: self.way_up)
    @rule()
    def server_reads(self) -> None:
        self.world.now += 1
        self.world.send_bytes(self.connected_as, self.way_up.popleft())
        if self.connected_as != "a":
            self.connected_as = "a"
        self.collect()

    @precondition(lambda self: self.way_down)
    @rule()
    def a_reads(self) -> None:
        message = self.way_down.popleft()
        if message["type"] == "ACK":
            resumed = ResumedPayload.model_validate(message["payload"])
            assert not resumed.gap
            self.state.begin(resumed.resume)
            assert resumed.received is not None
            again, lost = self.unconfirmed.resume(resumed.received)
            assert not lost
            self.waiting.extendleft(reversed(again))
            self.in_session = True
            return
        self.state.count(1)
        if message["type"] == "CANDIDATE":
            self.heard["a"].append(number_of(message))

    @precondition(lambda self: self.in_session and self.connected_as and not self.way_down)
    @rule()
    def pong(self) -> None:
        self.world.hub.on_pong("a")

    @precondition(lambda self: self.connected_as)
    @rule()
    def cut(self) -> None:
        """Lose the connection with all that is on it; the server notices."""
        self.world.disconnect(self.connected_as)
        self.forget_connection()

    @rule()
    def connect_again(self) -> None:
        """Lose the connection, if there is one, without the server's notice, and RESUME on another."""
        self.forget_connection()
        self.connections += 1
        self.connected_as = self.world.connect(f"fresh{self.connections}")
        payload = b'{"token":"%b","received":%d}' % ((self.state.token or "").encode(), self.state.received)
        self.way_up.append(b'{"type":"RESUME","payload":%b}' % payload)

    def forget_connection(self) -> None:
        self.way_up.clear()
        self.way_down.clear()
        self.connected_as, self.in_session = "", False

    def teardown(self) -> None:
        if self.state.token is None:
            return
        self.connect_again()
        while self.way_up or self.way_down or self.waiting:
            if self.way_up:
                self.server_reads()
            elif self.way_down:
                self.a_reads()
            else:
                self.a_writes()
        assert self.heard["b"] == list(range(1, self.said["a"] + 1))
        assert self.heard["a"] == list(range(1, self.said["b"] + 1))
        assert not self.world.reports


def numbered(target_id: str, number: int) -> CandidateMessage:
    return CandidateMessage(target_id=target_id, payload=CandidatePayload(session_id=f"s{number}"))


def number_of(message: Message) -> int:
    return int(message["payload"]["session_id"][1:])


CutMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestCuts = CutMachine.TestCase
