"""switchboard and outbox on transports that are lists."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import AsyncIterator
from typing import Any, Literal

import pytest

from tests.support.server_world import WELCOME
from visavis_server.core.access.buckets import JOIN_BURST
from visavis_server.core.access.causes import Cause
from visavis_server.core.frames import BINARY, frame
from visavis_server.core.signaling.edge import ServerFull
from visavis_server.core.signaling.effects import Report
from visavis_server.core.signaling.hub import Hub
from visavis_server.core.signaling.rules import Rules
from visavis_server.setup.logs import show_addresses
from visavis_server.sockets import connections as module
from visavis_server.sockets.outbox import FLUSH_SIZE, OUTBOX_COUNT, OUTBOX_SIZE, Outbox
from visavis_server.sockets.switchboard import Switchboard
from visavis_shared.messages import Endpoint

FILLER = frame(BINARY, bytes(2 * OUTBOX_SIZE))
OBSERVED = Endpoint(ip="198.51.100.7", port=40_000)


class FakeTransport(asyncio.Transport):
    """Takes what is written; reads nothing while `stuck`."""

    def __init__(self, *, stuck: bool = False, eof: bool = True) -> None:
        super().__init__()
        self.stuck = stuck
        self.eof = eof
        self.writes: list[bytes] = []
        self.unread = 0
        self.events: list[str] = []

    def write(self, data: Any) -> None:
        self.writes.append(bytes(data))
        if self.stuck:
            self.unread += len(data)

    def get_write_buffer_size(self) -> int:
        return self.unread

    def can_write_eof(self) -> bool:
        return self.eof

    def write_eof(self) -> None:
        self.events.append("eof")

    def is_closing(self) -> bool:
        return "close" in self.events or "abort" in self.events

    def close(self) -> None:
        self.events.append("close")

    def abort(self) -> None:
        self.events.append("abort")

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The text messages written behind the preamble."""
        return [json.loads(payload) for opcode, payload in self.frames if opcode == 1]

    @property
    def frames(self) -> list[tuple[int, bytes]]:
        data = b"".join(self.writes).removeprefix(b"preamble")
        found = []
        while data:
            size, head = data[1], 2
            if size == 126:
                size, head = int.from_bytes(data[2:4]), 4
            elif size == 127:
                size, head = int.from_bytes(data[2:10]), 10
            found.append((data[0] & 0x0F, data[head : head + size]))
            data = data[head + size :]
        return found

    @property
    def close_code(self) -> int | None:
        codes = [int.from_bytes(payload[:2]) for opcode, payload in self.frames if opcode == 8]
        return codes[0] if codes else None


@pytest.fixture(autouse=True)
def nobody_answers_a_close(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CLOSE_TIMEOUT", 0.001)


@pytest.fixture
async def board() -> AsyncIterator[Switchboard]:
    made = Switchboard(Hub(Rules(address_limit=0)), WELCOME, 1000.0, show_address=str)
    yield made
    await made.close()


def connect(board: Switchboard, transport: FakeTransport) -> Outbox:
    return board.connect(transport, b"preamble", OBSERVED)


def say(board: Switchboard, outbox: Outbox, **message: Any) -> None:
    board.receive(outbox, json.dumps(message).encode(), text=True)


async def turn() -> None:
    """Let one turn of the loop pass."""
    await asyncio.sleep(0)


async def test_preamble_and_welcome_go_out_in_one_write(board: Switchboard) -> None:
    transport = FakeTransport()
    outbox = connect(board, transport)
    assert transport.writes == []
    await turn()
    assert len(transport.writes) == 1
    assert transport.writes[0].startswith(b"preamble\x81")
    assert transport.messages[0]["peer_id"] == outbox.peer_id
    assert transport.messages[0]["payload"]["observed"] == {"ip": "198.51.100.7", "port": 40_000}


async def test_what_arises_in_one_turn_is_written_once(board: Switchboard) -> None:
    transport = FakeTransport()
    outbox = connect(board, transport)
    for number in range(10):
        say(board, outbox, type="KEEP_ALIVE", request_id=str(number))
    board.on_ping(outbox, b"x")
    await turn()
    assert len(transport.writes) == 1
    assert [message.get("request_id") for message in transport.messages] == [None, *map(str, range(10))]
    assert transport.frames[-1] == (10, b"x")


async def test_much_is_offered_to_the_kernel_before_the_turn_is_over(board: Switchboard) -> None:
    transport = FakeTransport()
    outbox = connect(board, transport)
    while not transport.writes:
        say(board, outbox, type="KEEP_ALIVE")
    assert FLUSH_SIZE < len(transport.writes[0]) < FLUSH_SIZE + 1000
    assert outbox.open


async def test_ids_that_are_taken_are_not_given_twice(board: Switchboard, monkeypatch: pytest.MonkeyPatch) -> None:
    entropy = iter([b"\0" * 8, b"\0" * 8, b"\0" * 8, b"\1" * 8])
    monkeypatch.setattr(secrets, "token_bytes", lambda _size: next(entropy))
    assert connect(board, FakeTransport()).peer_id == "00" * 8
    assert connect(board, FakeTransport()).peer_id == "01" * 8


async def test_a_full_hub_leaves_no_trace_of_the_connection() -> None:
    board = Switchboard(Hub(Rules(peer_limit=1)), WELCOME, 1000.0, show_address=str)
    connect(board, FakeTransport())
    transport = FakeTransport()
    with pytest.raises(ServerFull):
        connect(board, transport)
    await turn()
    assert transport.writes == []
    assert len(board._open) == 1
    await board.close()


def full(outbox: Outbox, frame: bytes) -> int:
    """Put frames until one is refused and return how many were taken."""
    count = 0
    while outbox.put(frame):
        count += 1
        outbox.flush()
    return count


async def test_the_outbox_is_bounded_in_bytes() -> None:
    transport = FakeTransport(stuck=True)
    outbox = Outbox("p", transport, asyncio.get_running_loop())
    count = full(outbox, bytes(10_000))
    assert OUTBOX_SIZE <= transport.unread < OUTBOX_SIZE + 10_000
    assert count == -(-OUTBOX_SIZE // 10_000)


async def test_the_outbox_is_bounded_in_messages() -> None:
    outbox = Outbox("p", FakeTransport(stuck=True), asyncio.get_running_loop())
    assert full(outbox, b"x") == OUTBOX_COUNT


async def test_a_single_message_may_be_larger_than_the_bound() -> None:
    outbox = Outbox("p", FakeTransport(stuck=True), asyncio.get_running_loop())
    assert outbox.put(bytes(3 * OUTBOX_SIZE))
    assert not outbox.put(b"x")


async def test_who_reads_on_is_never_full() -> None:
    transport = FakeTransport(stuck=True)
    outbox = Outbox("p", transport, asyncio.get_running_loop())
    for _ in range(3 * OUTBOX_COUNT):
        assert outbox.put(b"x" * 100)
        outbox.flush()
        transport.unread = 0


async def test_a_full_outbox_closes_that_peer_and_no_other(board: Switchboard) -> None:
    stuck, healthy, sender = FakeTransport(stuck=True), FakeTransport(), FakeTransport()
    outboxes = [connect(board, transport) for transport in (stuck, healthy, sender)]
    for outbox in outboxes:
        say(board, outbox, type="JOIN", room_id="r")
    victim = outboxes[0]
    while victim.open:
        say(board, outboxes[2], type="OFFER", target_id=victim.peer_id, payload={"x": "y" * 20_000})
        await turn()
    await turn()
    assert stuck.close_code == 1013
    assert stuck.unread < OUTBOX_SIZE + FLUSH_SIZE + 50_000
    for transport in (healthy, sender):
        assert transport.messages[-1]["type"] == "PEER_LEFT"
        assert transport.messages[-1]["peer_id"] == victim.peer_id
        assert transport.messages[-1]["cause"] == "silent", "it may be asleep"
        assert transport.close_code is None
    assert victim.peer_id not in board.hub.rooms.peers


async def test_a_room_in_which_nobody_reads_empties_without_recursion(board: Switchboard) -> None:
    """Each PEER_LEFT fills the next outbox: effects queue up, the stack does not."""
    outboxes = []
    for _ in range(JOIN_BURST):
        outbox = connect(board, FakeTransport())
        say(board, outbox, type="JOIN", room_id="r")
        outboxes.append(outbox)
        await turn()
    for outbox in outboxes[:-1]:
        assert isinstance(outbox.transport, FakeTransport)
        outbox.transport.stuck = True
        outbox.put(FILLER)
        outbox.flush()
    say(board, outboxes[-1], type="LEAVE")
    await turn()
    assert list(board.hub.rooms.peers) == [outboxes[-1].peer_id]
    assert not board.hub.rooms.open["r"].members


async def test_a_peer_that_overflows_while_it_is_being_dropped_is_closed_once(board: Switchboard) -> None:
    first, second = FakeTransport(), FakeTransport(stuck=True)
    outboxes = [connect(board, transport) for transport in (first, second)]
    for outbox in outboxes:
        say(board, outbox, type="JOIN", room_id="r")
    await turn()
    outboxes[1].put(FILLER)
    outboxes[1].flush()
    for client in board.hub.edge.clients.values():
        client.last_seen_at = -1000.0
    board._sweep()
    await turn()
    assert first.close_code == 1011
    assert second.close_code == 1013, "told of the first, and full"
    assert not board.hub.rooms.peers
    assert not board._open


async def test_the_sweep_pings_and_comes_again() -> None:
    board = Switchboard(Hub(Rules(ping_interval=0)), WELCOME, 0.001, show_address=str)
    transport = FakeTransport()
    connect(board, transport)
    while [opcode for opcode, _ in transport.frames].count(9) < 2:
        await turn()
    await board.close()


async def test_nothing_of_a_client_counts_once_it_is_being_closed(board: Switchboard) -> None:
    transport = FakeTransport()
    outbox = connect(board, transport)
    board.on_close(outbox, 4001)
    await turn()
    written = list(transport.writes)
    say(board, outbox, type="JOIN", room_id="r")
    board.on_ping(outbox, b"")
    board.on_pong(outbox)
    board.on_violation(outbox, 1002, "late")
    board.on_close(outbox, 1000)
    await turn()
    assert transport.writes == written
    assert transport.close_code == 4001
    assert not board.hub.rooms.open


async def test_a_violation_hangs_up_behind_the_close_frame(board: Switchboard) -> None:
    transport, tls = FakeTransport(), FakeTransport(eof=False)
    for each in (transport, tls):
        board.on_violation(connect(board, each), 1002, "frame not masked")
        assert each.close_code == 1002
    assert transport.events == ["eof"]
    assert tls.events == [], "TLS cannot close one side"


async def test_losing_a_connection_twice_is_as_once(board: Switchboard) -> None:
    outbox = connect(board, FakeTransport())
    board.on_lost(outbox)
    board.on_lost(outbox)
    assert not board.hub.rooms.peers
    assert outbox.gone.is_set()


async def test_close_waits_for_answers_and_cuts_off_who_gives_none() -> None:
    board = Switchboard(Hub(Rules()), WELCOME, 1000.0, show_address=str)
    polite, rude = FakeTransport(), FakeTransport()
    polite_outbox = connect(board, polite)
    rude_outbox = connect(board, rude)
    say(board, rude_outbox, type="JOIN", room_id="r")
    await turn()
    closing = asyncio.ensure_future(board.close())
    await turn()
    assert polite.close_code == rude.close_code == 1001
    board.on_lost(polite_outbox)
    await closing
    assert (polite.events, rude.events) == ([], ["abort"])
    board.on_lost(rude_outbox)
    assert not board.hub.rooms.peers


@pytest.mark.parametrize("how", ["plain", "hashed", "none"])
async def test_addresses_are_logged_as_the_operator_wants(
    how: Literal["plain", "hashed", "none"], caplog: pytest.LogCaptureFixture
) -> None:
    board = Switchboard(Hub(Rules()), WELCOME, 1000.0, show_address=show_addresses(how))
    with caplog.at_level(logging.INFO):
        outboxes = [connect(board, FakeTransport()) for _ in range(2)]
        board.connect(FakeTransport(), b"", None)
        for outbox in outboxes:
            say(board, outbox, type="JOIN", room_id="secret room")
            board.on_close(outbox, 1000)
    assert ("198.51.100.7" in caplog.text) is (how == "plain")
    assert (" from #" in caplog.text) is (how == "hashed")
    assert "an unknown address" in caplog.text
    assert "secret room" not in caplog.text
    lines = [record.message for record in caplog.records]
    assert len(lines) == 3, "once a connection"
    assert lines[0].split()[-1] == lines[1].split()[-1], "one address, one name"
    await board.close()


async def test_refusals_are_logged_once_a_second_and_cause_however_many_there_are(
    board: Switchboard, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 100.0
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now)
    refusals = board.hub.refusals
    with caplog.at_level(logging.WARNING):
        for _ in range(40):
            now += 0.25
            for cause in Cause:
                refusals[cause] += 1000
            board._log_refusals()
    lines = [record for record in caplog.records if record.message.startswith("refused")]
    assert len(lines) == 10 * len(Cause), "ten seconds"
    logged = sum(int(line.message.split()[1]) for line in lines)
    assert logged + 3 * 1000 * len(Cause) == refusals.total(), "none is forgotten; the last three are due"
    now += 1
    board._log_refusals()
    board._log_refusals()
    assert caplog.records[-1].message.startswith("refused 3000 times")


async def test_what_is_everyday_life_is_not_logged_by_default(
    board: Switchboard, caplog: pytest.LogCaptureFixture
) -> None:
    board.refusals.append(lambda: [("relay_early", 5), ("relay_volume", 5)])
    with caplog.at_level(logging.INFO):
        board._log_refusals()
    assert [record.message.rpartition(" ")[2] for record in caplog.records] == ["relay_volume"]


async def test_a_failure_of_ours_is_logged_once_a_second_with_the_number_of_the_others(
    board: Switchboard, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 100.0
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now)
    for _ in range(20):
        now += 0.25
        board.perform([Report("p", ZeroDivisionError())])
    lines = [record.message for record in caplog.records if "could not be handled" in record.message]
    assert lines == [
        "a message of p could not be handled (0 more since the last such line)",
        *["a message of p could not be handled (3 more since the last such line)"] * 4,
    ]
