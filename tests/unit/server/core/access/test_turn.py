"""core.access.turn: credentials that a TURN server can check by the shared secret alone."""

from __future__ import annotations

import base64
import hmac
import json

from visavis_server.core.access.turn import TurnService

SERVICE = TurnService(("turn:turn.example",), b"secret", 600)
HERE = "192.0.2.1"


def made(now_ms: int, source: str = HERE) -> dict[str, str]:
    (server,) = json.loads(SERVICE.ice_servers(source, now_ms))
    assert server["urls"] == ["turn:turn.example"]
    return {name: server[name] for name in ("username", "credential")}


def test_the_password_is_what_the_server_computes_from_the_name() -> None:
    credentials = made(1_000_000_000)
    expected = hmac.digest(b"secret", credentials["username"].encode(), "sha1")
    assert base64.b64decode(credentials["credential"]) == expected


def test_they_are_good_for_half_their_time_at_least_and_shared_for_as_long() -> None:
    now = 1_000_000_000
    for seconds in (0, 299, 300, 451):
        expires = int(made((now + seconds) * 1000)["username"].partition(":")[0])
        assert 300 <= expires - now - seconds <= 600
    start = now // 300 * 300 * 1000
    assert made(start) == made(start + 299_999) != made(start + 300_000)


def test_a_name_is_one_source_and_does_not_show_it() -> None:
    here, there = (made(0, source)["username"].partition(":")[2] for source in (HERE, "192.0.2.2"))
    assert here != there
    assert HERE not in here
    assert made(10**12)["username"].endswith(here), "quotas count by it, whenever it comes"
