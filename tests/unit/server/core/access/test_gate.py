"""core.access.gate: the operator's tokens, without a room."""

from __future__ import annotations

from collections import Counter

import pytest

from visavis_server.core.access.auth import Authorizer, TokenRefused
from visavis_server.core.access.causes import Cause
from visavis_server.core.access.gate import Gate
from visavis_server.core.access.guessing import FAILURE_BURST, TooManyGuesses
from visavis_shared.errors import ErrorCode, RemoteProtocolError

HERE = "192.0.2.1"


def locked() -> tuple[Gate, Counter[Cause]]:
    refusals: Counter[Cause] = Counter()
    gate = Gate(refusals)
    gate.authorizer = Authorizer([b"k" * 32])
    return gate, refusals


def test_without_keys_everybody_may_do_everything() -> None:
    gate = Gate(Counter())
    gate.check_header("", HERE, 0.0, 0)
    assert gate.grants("anything", "r", HERE, 0.0, 0).create


def test_a_token_that_no_key_has_signed_is_a_guess_and_none_is_not() -> None:
    gate, refusals = locked()
    for shown in ("", "forged"):
        with pytest.raises(RemoteProtocolError) as caught:
            gate.grants(shown, "r", HERE, 0.0, 0)
        assert caught.value.code is ErrorCode.UNAUTHORIZED
    with pytest.raises(TokenRefused):
        gate.check_header("forged", HERE, 0.0, 0)
    assert refusals == {Cause.WRONG_TOKEN: 2}


def test_too_many_wrong_secrets_of_one_address_are_not_looked_at() -> None:
    gate, refusals = locked()
    for _ in range(FAILURE_BURST):
        gate.check_tries("room r", HERE, 0.0)
        gate.fail("room r", Cause.WRONG_PASSWORD, HERE, 0.0)
    with pytest.raises(TooManyGuesses):
        gate.check_tries("room r", HERE, 0.0)
    with pytest.raises(TooManyGuesses):
        gate.check_header("forged", HERE, 0.0, 0)
    gate.check_tries("room r", "203.0.113.1", 0.0)
    assert refusals == {Cause.WRONG_PASSWORD: FAILURE_BURST, Cause.GUESSES: 1, Cause.WRONG_TOKEN: 1}
