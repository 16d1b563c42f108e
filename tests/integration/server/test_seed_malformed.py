"""seed-behaviour section 5: errors and malformed input. The connection stays open through all of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from tests.support.server_running import running_server
from tests.support.ws_raw import BINARY, TEXT, RawClient

pytestmark = pytest.mark.usefixtures("engine")


@pytest.fixture
async def client() -> AsyncIterator[RawClient]:
    async with running_server() as server, await RawClient.connect(server.port) as connected:
        yield connected


async def refused(client: RawClient, text: str | bytes) -> dict[str, str]:
    """Send `text`, check that it is refused as invalid and that the connection lives, and return the payload."""
    client.send_text(text)
    answer = await client.receive()
    assert set(answer) - {"request_id"} == {"type", "payload", "timestamp"}
    assert answer["type"] == "ERROR"
    payload: dict[str, str] = answer["payload"]
    assert payload["code"] == "INVALID_MESSAGE"
    assert payload["details"]
    alive = await client.request(type="KEEP_ALIVE")
    assert alive["type"] == "ACK"
    return payload


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '"x"',
        "42",
        "true",
        '{"type":"KEEP_ALIVE"} trailing',
        '{"type":"KEEP_ALIVE"}{"type":"KEEP_ALIVE"}',
        '\ufeff{"type":"KEEP_ALIVE"}',
        "NaN",
        '{"type":"OFFER","target_id":"x","payload":{"n":NaN}}',
        "[" * 20_000,
        '{"type":"OFFER","target_id":"x","payload":' + '{"x":' * 5_000 + "1" + "}" * 5_000 + "}",
        "{'type':'KEEP_ALIVE'}",
        '{"type":"KEEP_ALIVE",}',
    ],
)
async def test_bad_json_is_named_as_such(client: RawClient, text: str) -> None:
    """Section 5, keep: `invalid JSON`."""
    assert (await refused(client, text))["message"] == "invalid JSON"


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('{"type":5}', "type"),
        ('{"type":"JOIN","room_id":5}', "room_id"),
        ('{"type":"KEEP_ALIVE","request_id":7}', "request_id"),
        ('{"type":"KEEP_ALIVE","timestamp":"x"}', "timestamp"),
        ('{"type":"KEEP_ALIVE","timestamp":1.5}', "timestamp"),
        ('{"type":"KEEP_ALIVE","timestamp":1e3}', "timestamp"),
        ('{"type":"KEEP_ALIVE","timestamp":9223372036854775808}', "timestamp"),
        ('{"type":"OFFER","target_id":[]}', "target_id"),
        ('{"type":"KEEP_ALIVE","peer_id":{}}', "peer_id"),
        ('{"type":"KEEP_ALIVE","request_id":"' + "x" * 129 + '"}', "request_id"),
    ],
)
async def test_a_member_of_the_wrong_type_is_named(client: RawClient, text: str, field: str) -> None:
    """Section 5, keep: `invalid JSON`; fix: details name the member."""
    payload = await refused(client, text)
    assert payload["message"] == "invalid JSON"
    assert payload["details"].startswith(f"{field}: ")


@pytest.mark.parametrize("brackets", ["[]", "{}"])
async def test_the_deepest_json_of_a_message_does_no_harm(client: RawClient, brackets: str) -> None:
    """Section 5: in a member that nobody reads it may pass, depending on the parser's own limit; in a payload never."""
    opening = brackets[0] if brackets == "[]" else '{"x":'
    depth = 32_000 // (len(opening) + 1)
    deep = opening * depth + "0" + brackets[1] * depth
    await refused(client, f'{{"x":{deep}}}')
    payload = await refused(client, f'{{"type":"OFFER","target_id":"x","payload":{{"x":{deep}}}}}')
    assert payload["message"] == "invalid JSON"


@pytest.mark.parametrize("text", ["null", " null\n", "{}", '{"type":null}', '{"type":""}'])
async def test_no_type_is_an_unknown_type(client: RawClient, text: str) -> None:
    """Section 5, keep: `unknown message type: ` with nothing behind."""
    assert (await refused(client, text))["message"] == "unknown message type: "


@pytest.mark.parametrize(
    "name", ["NOPE", "join", "ACK", "PEER_JOINED", "PEER_LEFT", "PEER_LIST", "ERROR", '<script>"', "\u202e"]
)
async def test_an_unknown_type_is_echoed(client: RawClient, name: str) -> None:
    """Section 5, keep: lower case and the server's own types are unknown; the name is echoed, escaped."""
    assert (await refused(client, json.dumps({"type": name})))["message"] == f"unknown message type: {name}"


async def test_the_echo_of_an_unknown_type_is_bounded(client: RawClient) -> None:
    """Ours: an answer is not to grow with the request."""
    payload = await refused(client, json.dumps({"type": "X" * 30_000}))
    assert payload["message"] == "unknown message type: " + "X" * 64


async def test_names_of_members_are_exact(client: RawClient) -> None:
    """Section 5, fix: the original matches them case-insensitively."""
    payload = await refused(client, '{"TYPE":"KEEP_ALIVE","Request_ID":"ci"}')
    assert payload["message"] == "unknown message type: "


async def test_the_last_of_two_types_wins(client: RawClient) -> None:
    """Section 5, keep."""
    client.send_text('{"type":"NOPE","type":"KEEP_ALIVE"}')
    assert (await client.receive())["type"] == "ACK"


@pytest.mark.parametrize(
    "text",
    [
        '{"type":"NOPE","request_id":"q"}',
        '{"type":"JOIN","request_id":"q"}',
        '{"type":"JOIN","room_id":5,"request_id":"q"}',
        '{"type":"LEAVE","request_id":"q"}',
        '{"type":"OFFER","target_id":"x","request_id":"q"}',
        '{"request_id":"q"}',
    ],
)
async def test_an_error_echoes_the_request_id(client: RawClient, text: str) -> None:
    """Section 5, fix."""
    client.send_text(text)
    answer = await client.receive()
    assert (answer["type"], answer["request_id"]) == ("ERROR", "q")


@pytest.mark.parametrize("text", ['{"type":"NOPE","request_id":5}', '{"type":"NOPE","request_id":""}', "{"])
async def test_an_error_without_a_usable_request_id_has_none(client: RawClient, text: str) -> None:
    """Section 5: nothing is made up."""
    client.send_text(text)
    assert "request_id" not in await client.receive()


async def test_a_lone_surrogate_is_bad_json(client: RawClient) -> None:
    """Section 5: the original replaces it; there is no UTF-8 for it, so we refuse it."""
    assert (await refused(client, '{"type":"KEEP_ALIVE","request_id":"\\ud800"}'))["message"] == "invalid JSON"


async def test_binary_frames_are_handled_like_text(client: RawClient) -> None:
    """Section 6, keep: replies are text; binary garbage is `invalid JSON`, not a reason to close."""
    client.send_frame(BINARY, b'{"type":"KEEP_ALIVE","request_id":"b"}')
    frame = await client.read_frame()
    assert (frame.opcode, json.loads(frame.payload)["request_id"]) == (TEXT, "b")
    client.send_frame(BINARY, b"\xff\xfe\x00garbage")
    answer = await client.receive()
    assert answer["payload"]["message"] == "invalid JSON"
    assert (await client.request(type="KEEP_ALIVE"))["type"] == "ACK"


async def test_a_failure_of_the_server_is_answered_and_the_connection_lives(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Section 2, fix: INTERNAL_ERROR is never sent by the original; ours answers, logs, and carries on."""
    async with running_server() as server:

        def fail(*_: object) -> None:
            raise ZeroDivisionError("a bug")

        monkeypatch.setitem(server.hub.handlers, "LEAVE", fail)
        async with await RawClient.connect(server.port) as client:
            answer = await client.request(type="LEAVE", request_id="q")
            assert answer["payload"]["code"] == "INTERNAL_ERROR"
            assert answer["request_id"] == "q"
            assert "a bug" not in json.dumps(answer)
            assert (await client.request(type="KEEP_ALIVE"))["type"] == "ACK"
    assert any(record.exc_info and record.exc_info[0] is ZeroDivisionError for record in caplog.records)
