"""messages: every model survives the wire, and nothing that comes from it raises anything but our own error."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from tests.unit.shared import strategies
from visavis_shared import limits
from visavis_shared.envelope import Envelope, decode_envelope
from visavis_shared.errors import ErrorCode, RemoteProtocolError
from visavis_shared.messages import (
    Ack,
    CandidatePayload,
    ClientMessage,
    Discover,
    ErrorPayload,
    Join,
    JoinPayload,
    KeepAlivePayload,
    Leave,
    MembersPayload,
    MessageType,
    Model,
    Offer,
    OfferPayload,
    PeerLeft,
    ResumePayload,
    ServerMessage,
    WelcomePayload,
    check_room_id,
    decode_payload,
    decode_server_message,
    encode,
)

FROM_CLIENT: TypeAdapter[ClientMessage] = TypeAdapter(ClientMessage)
PAYLOADS: dict[str, type[BaseModel]] = {
    "JOIN": JoinPayload,
    "RESUME": ResumePayload,
    "KEEP_ALIVE": KeepAlivePayload,
    "CANDIDATE": CandidatePayload,
}


def read_as_server(data: bytes) -> None:
    """Read a client's message as the server does: the envelope, and the payload of what it is the target of."""
    envelope = decode_envelope(data)
    if (model := PAYLOADS.get(envelope.type or "")) is not None:
        decode_payload(model, envelope.payload_bytes or b"{}")


ENDS = [
    pytest.param(strategies.client_messages, FROM_CLIENT.validate_json, id="client"),
    pytest.param(strategies.server_messages, decode_server_message, id="server"),
]
READERS = [
    pytest.param(strategies.client_messages, read_as_server, id="client"),
    pytest.param(strategies.server_messages, decode_server_message, id="server"),
]
Decode = Callable[[bytes], Model]
Read = Callable[[bytes], object]
slow_to_draw = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)


@pytest.mark.parametrize(("messages", "decode"), ENDS)
@slow_to_draw
@given(data=st.data())
def test_a_message_survives_the_wire(messages: st.SearchStrategy[Model], decode: Decode, data: st.DataObject) -> None:
    message = data.draw(messages)
    text = encode(message)
    assert decode(text) == message
    assert b"\n" not in text
    assert None not in leaves(json.loads(text)), "what is unset is left out"


@pytest.mark.parametrize(("messages", "decode"), ENDS)
@slow_to_draw
@given(data=st.data())
def test_unknown_members_are_ignored(messages: st.SearchStrategy[Model], decode: Decode, data: st.DataObject) -> None:
    message = data.draw(messages)
    extended = json.loads(encode(message)) | {"x-unknown": {"deep": [1, None]}}
    assert decode(json.dumps(extended).encode()) == message


def leaves(value: Any) -> list[Any]:
    """Return every value inside `value` that is no container."""
    if isinstance(value, dict):
        return leaves(list(value.values()))
    return [leaf for inner in value for leaf in leaves(inner)] if isinstance(value, list) else [value]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value inside `value`."""
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += places(inner, (*path, key))
    return found


junk = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=300), st.builds(list), st.builds(dict)
)


@pytest.mark.parametrize(("messages", "read"), READERS)
@slow_to_draw
@given(data=st.data())
def test_a_mutated_message_raises_nothing_but_a_remote_error(
    messages: st.SearchStrategy[Model], read: Read, data: st.DataObject
) -> None:
    document = json.loads(encode(data.draw(messages)))
    for _ in range(data.draw(st.integers(1, 3))):
        *path, last = data.draw(st.sampled_from(places(document)))
        owner = document
        for key in path:
            owner = owner[key]
        if data.draw(st.booleans()):
            owner[last] = data.draw(junk)
        else:
            del owner[last]
        if not places(document):
            break
    survives(read, json.dumps(document).encode())


@pytest.mark.parametrize(("messages", "read"), READERS)
@slow_to_draw
@given(data=st.data())
def test_flipped_bytes_raise_nothing_but_a_remote_error(
    messages: st.SearchStrategy[Model], read: Read, data: st.DataObject
) -> None:
    text = bytearray(encode(data.draw(messages)))
    for _ in range(data.draw(st.integers(1, 5))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    survives(read, bytes(text[: data.draw(st.integers(0, len(text)))]))
    survives(read, bytes(text))


@given(st.binary(max_size=100))
def test_any_bytes_raise_nothing_but_a_remote_error(data: bytes) -> None:
    survives(read_as_server, data)
    survives(decode_server_message, data)


def survives(read: Read, data: bytes) -> None:
    """Check that `read` returns, or raises a RemoteProtocolError that says what is wrong."""
    refused = None
    try:
        read(data)
    except RemoteProtocolError as error:
        refused = error
    assert refused is None or (refused.code is ErrorCode.INVALID_MESSAGE and refused.details)


@slow_to_draw
@given(strategies.client_messages)
def test_envelope_and_models_read_the_same(message: Model) -> None:
    envelope: Envelope = decode_envelope(encode(message))
    document = json.loads(encode(message))
    for name in ("type", "target_id", "room_id", "request_id", "peer_id", "timestamp"):
        assert getattr(envelope, name) == document.get(name), name
    assert (json.loads(envelope.payload_bytes) if envelope.payload_bytes else None) == document.get("payload")


@pytest.mark.parametrize(
    ("model", "payloads"),
    [
        (JoinPayload, strategies.join_payloads),
        (OfferPayload, strategies.offer_payloads),
        (CandidatePayload, strategies.candidate_payloads),
        (MembersPayload, strategies.member_payloads),
        (WelcomePayload, strategies.welcome_payloads),
        (ErrorPayload, strategies.error_payloads),
    ],
)
@slow_to_draw
@given(data=st.data())
def test_a_payload_survives_on_its_own(model: type[BaseModel], payloads: Any, data: st.DataObject) -> None:
    payload = data.draw(payloads)
    assert decode_payload(model, encode(payload)) == payload


ROOM = '{"type":"PEER_JOINED","peer_id":"x","room_id":%s}'
OFFERED = '{"type":"OFFER","target_id":"x","payload":{"session_id":"s","endpoint":{"ip":"%s","port":1}}}'


@pytest.mark.parametrize(
    ("text", "message", "details"),
    [
        ('{"type":"PEER_JOINED","peer_id":"x"}', "invalid message", "room_id: "),
        (ROOM % '" x"', "invalid message", "room_id: must not begin or end with white space"),
        (ROOM % '"a\\tb"', "invalid message", "room_id: must not contain control characters"),
        (ROOM % '"a\\u2028b"', "invalid message", "room_id: must not contain control characters"),
        (ROOM % f'"{"x" * 129}"', "invalid message", "room_id: "),
        (OFFERED % "x", "invalid message", "payload.endpoint.ip: must be an IPv4 or IPv6 address"),
        (OFFERED % "fe80::1%1", "invalid message", "payload.endpoint.ip: must not carry a zone"),
        ('{"type":"OFFER","target_id":"x","payload":{}}', "invalid message", "payload.session_id: Field required"),
        ('{"type":"NOPE"}', "invalid message", "message: "),
        ("{}", "invalid message", "message: "),
        ("{", "invalid JSON", "message: "),
        ("[" * 10_000, "invalid JSON", "message: "),
    ],
)
def test_an_error_names_the_field_without_echoing_the_value(text: str, message: str, details: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_server_message(text)
    assert (caught.value.code, caught.value.message) == (ErrorCode.INVALID_MESSAGE, message)
    assert caught.value.details.startswith(details)
    assert len(caught.value.details) < 256


def test_strings_are_not_numbers_and_numbers_no_strings() -> None:
    for text in ('{"type":"JOIN","room_id":5}', '{"type":"LEAVE","timestamp":"5"}', '{"type":"LEAVE","request_id":5}'):
        with pytest.raises(ValidationError):
            FROM_CLIENT.validate_json(text)


def test_each_end_knows_the_types_it_receives() -> None:
    received = {
        "JOIN": 0,
        "LEAVE": 0,
        "DISCOVER": 0,
        "KEEP_ALIVE": 0,
        "RESUME": 2,
        "ROOM": 0,
        "KICK": 2,
        "OFFER": 2,
        "ANSWER": 2,
        "CANDIDATE": 2,
    }
    assert {member.value for member in MessageType} == set(received) | {
        "PEER_JOINED",
        "PEER_LEFT",
        "PEER_LIST",
        "ERROR",
        "ACK",
        "GOAWAY",
        "NOTICE",
    }
    with pytest.raises(ValidationError):
        FROM_CLIENT.validate_json(encode(PeerLeft(peer_id="x", room_id="r")))
    with pytest.raises(RemoteProtocolError):
        decode_server_message(encode(Leave()))


def test_messages_are_written_in_the_seed_documents_form() -> None:
    """The examples of the seed document, read and written."""
    join = Join.model_validate_json(
        '{"type":"JOIN","room_id":"my-room","payload":{"display_name":"Alice","endpoint":{"ip":"203.0.113.1",'
        '"port":12345}}}'
    )
    assert json.loads(encode(join)) == {
        "type": "JOIN",
        "room_id": "my-room",
        "payload": {"display_name": "Alice", "endpoint": {"ip": "203.0.113.1", "port": 12345}},
    }
    offer = {
        "endpoint": {"ip": "203.0.113.1", "port": 12345},
        "session_id": "sess-abc123",
        "initiator_id": "a1b2c3d4",
    }
    message = {"type": "OFFER", "target_id": "e5f6g7h8", "payload": offer}
    assert isinstance(FROM_CLIENT.validate_json(json.dumps(message)), Offer)
    answer = {"endpoint": {"ip": "198.51.100.1", "port": 54321}, "session_id": "sess-abc123", "accepted": True}
    FROM_CLIENT.validate_json(json.dumps({"type": "ANSWER", "target_id": "a1b2c3d4", "payload": answer}))
    error = {"code": "PEER_NOT_FOUND", "message": "target peer not found", "details": "peer_id: xyz123"}
    decode_server_message(json.dumps({"type": "ERROR", "payload": error}))


def test_the_ack_carries_any_payload() -> None:
    ack = decode_server_message('{"type":"ACK","peer_id":"x","payload":{"message":"left room"}}')
    assert isinstance(ack, Ack)
    assert ack.payload == {"message": "left room"}


@given(strategies.room_ids)
def test_a_room_id_is_returned_as_it_is(room_id: str) -> None:
    assert check_room_id(room_id) == room_id
    assert Discover(room_id=room_id).room_id == room_id


@pytest.mark.parametrize("room_id", ["", " ", "a ", "\n", "x" * (limits.ROOM_ID_LENGTH + 1)])
def test_what_is_no_room_id_is_refused(room_id: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        check_room_id(room_id)
    assert caught.value.details.startswith("room_id: ")


@given(strategies.server_messages)
def test_a_message_is_the_same_wherever_its_type_stands(message: ServerMessage) -> None:
    members = json.loads(encode(message))
    first = {"type": members.pop("type")} | members
    last = members | {"type": first["type"]}
    for each in (first, last):
        text = json.dumps(each, separators=(",", ":"))
        assert decode_server_message(text) == decode_server_message(text.encode()) == message


@pytest.mark.parametrize(
    "text", ['{"type":"ACK"', '{"type":"ACK"}', '{"type":"HELLO","peer_id":"x"}', '{"type":"ACK","type":"LEAVE"}']
)
def test_a_type_at_the_beginning_does_not_make_a_message(text: str) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_server_message(text)
