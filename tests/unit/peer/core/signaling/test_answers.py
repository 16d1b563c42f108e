"""core.answers: what an answer means that is no WebSocket."""

from __future__ import annotations

import pytest

from visavis_peer.core.signaling.answers import likely_cause, shown_location, stays_at_home


@pytest.mark.parametrize(
    ("status", "headers", "part"),
    [
        (200, {"Content-Type": "text/html; charset=utf-8"}, "web page"),
        (204, {}, "log-in"),
        (400, {}, "upgrade"),
        (426, {}, "upgrade"),
        (502, {}, "does not reach the server"),
        (504, {}, "does not reach the server"),
        (522, {}, "does not reach the server"),
        (404, {}, "path prefix"),
        (511, {}, "log-in"),
        (407, {}, "--proxy"),
        (101, {}, "damaged"),
        (401, {"WWW-Authenticate": "Bearer"}, "--token"),
        (401, {"WWW-Authenticate": 'Basic realm="x"'}, "USER:PASSWORD"),
        (401, {}, "USER:PASSWORD"),
    ],
)
def test_the_likely_cause_is_named(status: int, headers: dict[str, str], part: str) -> None:
    assert part in likely_cause(status, headers, login=False, token=False)


def test_what_was_shown_in_vain_is_not_asked_for_again() -> None:
    assert "token is not valid" in likely_cause(401, {"WWW-Authenticate": "Bearer x"}, login=False, token=True)
    assert "does not take" in likely_cause(401, {"WWW-Authenticate": "Basic"}, login=True, token=True)
    assert likely_cause(500, {}, login=False, token=False) == ""


@pytest.mark.parametrize(
    ("url", "location", "followed"),
    [
        ("ws://h.example:8080/ws", "/other", True),
        ("ws://h.example/ws", "http://h.example:80/x", True),
        ("ws://h.example/ws", "https://H.example/ws", True),
        ("ws://h.example:8080/ws", "https://h.example/ws", True),
        ("wss://h.example/ws", "wss://h.example/v2/ws", True),
        ("wss://h.example/ws", "http://h.example/ws", False),
        ("ws://h.example/ws", "http://h.example:81/ws", False),
        ("ws://h.example/ws", "https://h.example:8443/ws", False),
        ("ws://h.example/ws", "//evil.example/ws", False),
        ("ws://h.example/ws", "http://h.example@evil.example/ws", False),
        ("ws://h.example/ws", "http://h.example\\evil.example/ws", False),
        ("ws://h.example/ws", "http://h.example\t/ws", False),
        ("ws://h.example/ws", "file:///etc/passwd", False),
        ("ws://h.example/ws", "http://[", False),
        ("ws://h.example/ws", "http://h.example:99999/", False),
    ],
)
def test_redirects_stay_at_the_same_origin(url: str, location: str, followed: bool) -> None:
    assert stays_at_home(url, location) is followed


def test_a_location_is_shown_without_secrets_and_on_one_line() -> None:
    assert shown_location("ws://h/ws", "https://u:secret@login.example/p?token=secret") == "https://login.example/p"
    assert "\n" not in shown_location("ws://h/ws", "http://e/\n")
    assert shown_location("ws://h/ws", "http://[")
