"""core.rest.targets: one spelling for every route."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visavis_server.core.rest.targets import parse_target


@pytest.mark.parametrize(
    ("target", "prefix", "authority", "below"),
    [
        ("/health", "", None, "/health"),
        ("/health?x#y", "", None, "/health"),
        ("*", "", None, "/"),
        ("http://a.example/ws?x", "", "a.example", "/ws"),
        ("http://evil@a.example:80/ws", "", "evil@a.example:80", "/ws"),
        ("http://a.example", "", "a.example", "/"),
        ("http://a.example?/ws", "", "a.example", "/ws"),
        ("/signal/ws", "/signal", None, "/ws"),
        ("/signalling/ws", "/signal", None, None),
        ("/%73ignal/ws", "/signal", None, None),
        ("/api/%61dmin/rooms", "", None, "/api/%61dmin/rooms"),
        ("/api/rooms/a%2Fb", "", None, "/api/rooms/a/b"),
        ("/api/rooms/%252F", "", None, "/api/rooms/%2F"),
        ("/r/caf%C3%A9", "", None, "/r/café"),
        ("/%72/x", "", None, "/%72/x"),
    ],
)
def test_only_names_of_rooms_are_decoded(target: str, prefix: str, authority: str | None, below: str | None) -> None:
    parsed = parse_target(target)
    assert (parsed.authority, parsed.below(prefix)) == (authority, below)


@given(st.text(max_size=80))
def test_nothing_reaches_the_admin_api_but_its_own_spelling(text: str) -> None:
    path = parse_target("/" + text).below("")
    assert path is not None
    assert not path.startswith("/api/admin/") or text.startswith("api/admin/")
