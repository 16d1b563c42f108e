"""envelope: what is read, what is refused, and what is left alone."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from visavis_shared import limits
from visavis_shared.envelope import (
    NotUtf8,
    check_opaque_payload,
    decode_envelope,
    encode_text,
    request_id_of,
)
from visavis_shared.errors import ErrorCode, RemoteProtocolError

texts = st.text(st.characters(codec="utf-8"))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(texts, json_values, max_size=4), st.integers(0, 3))
def test_a_payload_is_left_byte_for_byte(payload: dict[str, object], indent: int) -> None:
    text = json.dumps(payload, indent=indent, ensure_ascii=False).encode()
    envelope = decode_envelope(b'{"type":"OFFER","target_id":"x","payload":' + text + b"}")
    assert envelope.payload_bytes == text
    check_opaque_payload(text)


def test_absent_members_are_none() -> None:
    envelope = decode_envelope(b'{"type":"LEAVE"}')
    assert (envelope.target_id, envelope.room_id, envelope.request_id, envelope.peer_id) == (None,) * 4
    assert envelope.payload_bytes == b""


@pytest.mark.parametrize("position", ["key", "payload", "request_id"])
def test_bad_utf8_anywhere_is_seen(position: str) -> None:
    parts = {"key": b'"x":1', "payload": b'"payload":{"a":"?"}', "request_id": b'"request_id":"?"'}
    text = parts[position].replace(b"x" if position == "key" else b"?", b"\xed\xa0\x80")
    with pytest.raises(NotUtf8) as caught:
        decode_envelope(b'{"type":"LEAVE",' + text + b"}")
    assert caught.value.details.startswith("byte ")


@pytest.mark.parametrize(
    ("text", "request_id"),
    [
        (b'{"type":5,"request_id":"q"}', "q"),
        (b'{"request_id":"\\u00e9"}', "é"),
        (b'{"request_id":5}', None),
        (b'{"request_id":null}', None),
        (b"{}", None),
        (b"[]", None),
        (b"{", None),
        (b'{"request_id":"' + b"x" * limits.REQUEST_ID_LENGTH + b'"}', "x" * limits.REQUEST_ID_LENGTH),
        (b'{"request_id":"' + b"x" * (limits.REQUEST_ID_LENGTH + 1) + b'"}', None),
        (b'{"request_id":"\xff"}', None),
        (b'{"x":' * 5000 + b"1" + b"}" * 5000, None),
    ],
)
def test_the_request_id_is_saved_from_a_refused_message_where_it_can_be(text: bytes, request_id: str | None) -> None:
    assert request_id_of(text) == request_id


@given(st.binary(max_size=80))
@example(b'{"request_id":"\\ud800"}')
def test_saving_the_request_id_never_raises(data: bytes) -> None:
    request_id_of(data)


def nested(depth: int, opening: str = '{"x":', closing: str = "}") -> bytes:
    return (opening * (depth - 1) + "{}" + closing * (depth - 1)).encode()


@pytest.mark.parametrize("depth", [1, 2, 63, 64])
def test_a_payload_up_to_the_limit_of_nesting_passes(depth: int) -> None:
    check_opaque_payload(nested(depth))


def test_brackets_side_by_side_or_in_strings_do_not_nest() -> None:
    check_opaque_payload(b'{"x":[' + b"{}," * 200 + b"{}]}")
    check_opaque_payload(json.dumps({"x": '[{"\\' * 100}).encode())


@pytest.mark.parametrize("payload", [nested(65), nested(1000), b'{"x":' + b"[" * 64 + b"]" * 64 + b"}"])
def test_a_payload_beyond_the_limit_is_refused(payload: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        check_opaque_payload(payload)
    assert caught.value.details == "payload: nested too deeply"


@pytest.mark.parametrize(("payload", "reason"), [(b"", "required"), (b"null", "must be an object"), (b"[]", "must")])
def test_a_payload_must_be_an_object(payload: bytes, reason: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        check_opaque_payload(payload)
    assert caught.value.code is ErrorCode.INVALID_MESSAGE
    assert caught.value.details.startswith(f"payload: {reason}")


@given(st.text(st.characters(codec="utf-8")))
def test_text_is_encoded_as_json(text: str) -> None:
    assert json.loads(encode_text(text)) == text
