"""core.ice.messages: what is a check or a response of the peer, and what is nobody's."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.ice_agents import OURS, PEER, THEIRS
from visavis_peer.core.ice.messages import (
    check_request,
    conflict_response,
    read_check,
    read_response,
    signed,
    success_response,
)
from visavis_shared.messages import IceCredentials
from visavis_shared.stun import Class, Message, Method, parse

ID = bytes(range(12))


def request(**changed: Any) -> Message:
    options: dict[str, Any] = {"controlling": True, "nominate": True} | changed
    return check_request(ID, THEIRS, OURS, 1234, 99, **options)


def test_a_check_says_its_priority_its_role_and_whether_it_nominates() -> None:
    check = read_check(signed(request(), OURS.pwd), OURS, THEIRS)
    assert check is not None
    assert (check.transaction_id, check.priority, check.nominates) == (ID, 1234, True)
    assert (check.controlling, check.controlled) == (99, None)
    check = read_check(signed(request(controlling=False, nominate=False), OURS.pwd), OURS, THEIRS)
    assert check is not None
    assert (check.nominates, check.controlling, check.controlled) == (False, None, 99)
    assert "FINGERPRINT" in parse(signed(request(), OURS.pwd)).attributes


@pytest.mark.parametrize("missing", ["USERNAME", "PRIORITY"])
def test_a_request_that_lacks_something_is_none(missing: str) -> None:
    message = request()
    del message.attributes[missing]
    assert read_check(signed(message, OURS.pwd), OURS, THEIRS) is None


@pytest.mark.parametrize("username", ["ours", "ours:", "them:ours", "ours:else", ":them", ""])
def test_a_request_to_or_from_somebody_else_is_none(username: str) -> None:
    message = request()
    message.attributes["USERNAME"] = username
    assert read_check(signed(message, OURS.pwd), OURS, THEIRS) is None


def test_while_the_peers_name_is_not_known_it_may_be_any() -> None:
    stranger = IceCredentials(ufrag="else", pwd="e" * 22)
    message = check_request(ID, stranger, OURS, 1, 1, controlling=True, nominate=False)
    assert read_check(signed(message, OURS.pwd), OURS, None) is not None
    assert read_check(signed(message, OURS.pwd), OURS, THEIRS) is None


def test_what_is_not_signed_or_by_another_password_is_none() -> None:
    assert read_check(bytes(request()), OURS, THEIRS) is None
    assert read_check(signed(request(), THEIRS.pwd), OURS, THEIRS) is None
    assert read_response(bytes(success_response(ID, PEER)), THEIRS.pwd) is None
    assert read_response(signed(success_response(ID, PEER), OURS.pwd), THEIRS.pwd) is None


def test_responses_say_what_has_become_of_a_check() -> None:
    success = read_response(signed(success_response(ID, PEER), THEIRS.pwd), THEIRS.pwd)
    assert success is not None
    assert (success.error, success.mapped) == (None, PEER)
    conflict = read_response(signed(conflict_response(ID), THEIRS.pwd), THEIRS.pwd)
    assert conflict is not None
    assert (conflict.error, conflict.mapped) == (487, None)
    nameless = read_response(signed(Message(Method.BINDING, Class.ERROR, ID), THEIRS.pwd), THEIRS.pwd)
    assert nameless is not None
    assert nameless.error == 0


def test_a_request_is_no_response_and_a_response_no_check() -> None:
    assert read_response(signed(request(), THEIRS.pwd), THEIRS.pwd) is None
    assert read_check(signed(success_response(ID, PEER), OURS.pwd), OURS, THEIRS) is None
    assert read_check(signed(Message(Method.ALLOCATE, Class.REQUEST, ID), OURS.pwd), OURS, THEIRS) is None


@given(st.binary(max_size=200))
def test_nothing_that_a_stranger_sends_raises(data: bytes) -> None:
    stun = data[:2] + len(data).to_bytes(2) + b"\x21\x12\xa4\x42" + bytes(12) + data
    for each in (data, stun, b"\x00" + stun[1:]):
        assert read_check(each, OURS, THEIRS) is None
        assert read_response(each, THEIRS.pwd) is None
