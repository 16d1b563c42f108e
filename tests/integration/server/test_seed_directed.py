"""seed-behaviour section 4: OFFER, ANSWER, CANDIDATE. Each test names its line."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.server_running import joined, running_server
from tests.support.ws_raw import CLOSE, Message, RawClient
from visavis_server.app import SignalingServer

DIRECTED = ["OFFER", "ANSWER", "CANDIDATE"]


@pytest.fixture
async def server() -> AsyncIterator[SignalingServer]:
    async with running_server() as running:
        yield running


@pytest.fixture
async def pair(server: SignalingServer) -> AsyncIterator[tuple[RawClient, RawClient]]:
    """Two members of one room."""
    async with await joined(server, "r") as a, await joined(server, "r") as b:
        await a.receive()
        yield a, b


def error_of(message: Message) -> tuple[str, str]:
    assert message["type"] == "ERROR", message
    return message["payload"]["code"], message["payload"]["message"]


@pytest.mark.parametrize("kind", DIRECTED)
async def test_a_directed_message_arrives_with_its_sender(pair: tuple[RawClient, RawClient], kind: str) -> None:
    """Section 4, keep: peer_id the sender, target_id kept, room_id dropped, server's time, request_id kept, no ACK."""
    a, b = pair
    b.send(type=kind, target_id=a.peer_id, payload={"x": 1}, request_id="o2", timestamp=7, room_id="zzz", extra=1)
    got = await a.receive()
    assert got == {
        "type": kind,
        "peer_id": b.peer_id,
        "target_id": a.peer_id,
        "payload": {"x": 1},
        "timestamp": got["timestamp"],
        "request_id": "o2",
    }
    assert got["timestamp"] > 1_700_000_000_000
    await b.nothing_more()


async def test_the_payload_is_forwarded_byte_for_byte(pair: tuple[RawClient, RawClient]) -> None:
    """Section 4, keep: number spellings, duplicate keys, big integers and escapes survive."""
    a, b = pair
    payload = '{ "sdp" : "a<b>&c \\u003c \\/ é" , "n":1.0e2,"big":12345678901234567890,"dup":1,"dup":2 }'
    b.send_text(f'{{"type":"OFFER","target_id":"{a.peer_id}","payload":{payload}}}')
    got = await a.receive_bytes()
    assert b'"payload":' + payload.encode() + b',"timestamp":' in got


@pytest.mark.parametrize("payload", ["", ',"payload":null', ',"payload":"x"', ',"payload":[]', ',"payload":5'])
async def test_a_payload_must_be_an_object(pair: tuple[RawClient, RawClient], payload: str) -> None:
    """Section 4, choose: absent or not an object is INVALID_MESSAGE."""
    a, b = pair
    b.send_text(f'{{"type":"OFFER","target_id":"{a.peer_id}"{payload}}}')
    answer = await b.receive()
    assert error_of(answer) == ("INVALID_MESSAGE", "payload is required")
    assert answer["payload"]["details"].startswith("payload: ")
    await a.nothing_more()


@pytest.mark.parametrize("target", ["", ',"target_id":""', ',"target_id":null'])
async def test_a_directed_message_needs_a_target(pair: tuple[RawClient, RawClient], target: str) -> None:
    """Section 4, keep."""
    _, b = pair
    b.send_text(f'{{"type":"OFFER","payload":{{}}{target}}}')
    assert error_of(await b.receive()) == ("INVALID_MESSAGE", "target_id is required")


async def test_an_unknown_target_is_not_found(pair: tuple[RawClient, RawClient]) -> None:
    """Section 4, keep: ids are case-sensitive; section 5, fix: the ERROR says which and for which request."""
    a, b = pair
    for target in ("xyz123", a.peer_id.upper() if a.peer_id.upper() != a.peer_id else "X", "x" * 300):
        answer = await b.request(type="OFFER", target_id=target, payload={}, request_id="o")
        assert error_of(answer) == ("PEER_NOT_FOUND", "target peer not found")
        assert answer["payload"]["details"] == f"peer_id: {target[:128]}"
        assert answer["request_id"] == "o"


async def test_a_peer_cannot_address_itself(pair: tuple[RawClient, RawClient]) -> None:
    """Section 4, fix: INVALID_MESSAGE instead of delivery to oneself."""
    _, b = pair
    answer = await b.request(type="OFFER", target_id=b.peer_id, payload={})
    assert error_of(answer) == ("INVALID_MESSAGE", "target_id is the sender itself")


@pytest.mark.parametrize("kind", DIRECTED)
async def test_peers_of_different_rooms_cannot_reach_each_other(server: SignalingServer, kind: str) -> None:
    """Section 4, fix: a common room is required; nothing reaches the target."""
    async with (
        await joined(server, "x") as a,
        await joined(server, "y") as b,
        await RawClient.connect(server.port) as c,
    ):
        for sender, target in ((a, b), (b, c), (c, a)):
            answer = await sender.request(type=kind, target_id=target.peer_id, payload={})
            assert error_of(answer) == ("PEER_NOT_FOUND", "target peer not found")
            await target.nothing_more()


async def test_two_peers_without_a_room_can_reach_each_other(server: SignalingServer) -> None:
    """Section 4: sender and target need a common room, or are both in none."""
    async with await RawClient.connect(server.port) as a, await RawClient.connect(server.port) as b:
        a.send(type="OFFER", target_id=b.peer_id, payload={})
        assert (await b.receive())["peer_id"] == a.peer_id


async def test_two_hundred_offers_arrive_in_order(pair: tuple[RawClient, RawClient]) -> None:
    """Section 4, keep."""
    a, b = pair
    for number in range(200):
        b.send(type="OFFER", target_id=a.peer_id, payload={"n": number})
    assert [(await a.receive())["payload"]["n"] for _ in range(200)] == list(range(200))


async def test_an_answer_needs_no_offer_before(pair: tuple[RawClient, RawClient]) -> None:
    """Section 4, keep: the server has no memory of sessions."""
    a, b = pair
    a.send(type="ANSWER", target_id=b.peer_id, payload={"session_id": "never offered"})
    assert (await b.receive())["type"] == "ANSWER"


@pytest.mark.parametrize("where", ["payload", "request_id", "type"])
async def test_text_that_is_not_utf8_closes_its_sender_and_nobody_else(
    pair: tuple[RawClient, RawClient], where: str
) -> None:
    """Section 4, fix: 1007 to the sender, where the original lets any peer disconnect any other."""
    a, b = pair
    parts = {"payload": b'{"x":"ok"}', "request_id": b'"r"', "type": b'"OFFER"'}
    parts[where] = parts[where].replace(b'"', b'"\xff\xfe', 1) if where != "payload" else b'{"x":"\xff\xfe"}'
    b.send_text(
        b'{"type":%b,"target_id":"%b","payload":%b,"request_id":%b}'
        % (parts["type"], a.peer_id.encode(), parts["payload"], parts["request_id"])
    )
    assert (await b.closed()).code == 1007
    left = await a.receive()
    assert (left["type"], left["peer_id"]) == ("PEER_LEFT", b.peer_id)
    assert (await a.request(type="KEEP_ALIVE"))["type"] == "ACK"


async def test_utf8_cut_by_fragments_is_whole_again(pair: tuple[RawClient, RawClient]) -> None:
    """RFC 6455 section 5.4: a character may be split between two fragments."""
    a, b = pair
    text = f'{{"type":"OFFER","target_id":"{a.peer_id}","payload":{{"x":"é"}}}}'.encode()
    cut = text.index("é".encode()) + 1
    b.send_frame(0x1, text[:cut], fin=False)
    b.send_frame(0x0, text[cut:])
    assert (await a.receive())["payload"] == {"x": "é"}


async def test_a_target_that_has_left_is_not_found(pair: tuple[RawClient, RawClient]) -> None:
    """Section 8, fix: no window in which an OFFER is accepted and lost."""
    a, b = pair
    a.send_frame(CLOSE, b"\x03\xe8")
    assert (await b.receive())["type"] == "PEER_LEFT"
    answer = await b.request(type="OFFER", target_id=a.peer_id, payload={})
    assert error_of(answer)[0] == "PEER_NOT_FOUND"
