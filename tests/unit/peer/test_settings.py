"""The settings of an agent: what cannot be is refused by name."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from visavis_peer.errors import UsageError
from visavis_peer.settings import AgentSettings, udp_ports
from visavis_shared.messages import DisplayName, RoomId

GOOD: dict[str, Any] = {"server": "https://h", "room": "den"}
ROOM = TypeAdapter(RoomId)
NAME = TypeAdapter(DisplayName)


def is_valid(adapter: TypeAdapter[Any], value: object) -> bool:
    try:
        adapter.validate_python(value)
    except ValidationError:
        return False
    return True


def is_accepted(**members: object) -> bool:
    try:
        AgentSettings(**GOOD | members)
    except UsageError:
        return False
    return True


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("server", [None, 1]),
        ("room", ["", "r" * 129, " r", "a\nb", "\ud800", None, 1]),
        ("name", ["n" * 65, "n ", "\x00", 1]),
        ("secret", [b"", b"x" * 15, b"x" * 17, "x" * 16]),
        ("token", ["", "a b", "t" * 4097, "é", 1]),
        ("proxy", [1]),
        ("relay", ["maybe", None]),
        ("port_mapping", ["only"]),
        ("probing", [True]),
        ("stun", ["stun.example", ["h"] * 9, [1], None]),
        ("interfaces", [["lo"] * 33, "lo"]),
        ("port", [1023, 65_504, "5000", True, 5000.0]),
        ("report", [None, 1]),
        ("connect_timeout", [0, -1, 86_401, math.nan, math.inf, "30", True]),
    ],
)
def test_what_cannot_be_is_refused_by_name(name: str, values: list[object]) -> None:
    for value in values:
        with pytest.raises(UsageError, match=f"^{name}: "):
            AgentSettings(**GOOD | {name: value})


def test_what_can_be_is_kept() -> None:
    settings = AgentSettings(server="h", room="den", stun=["a", "b"], interfaces=("lo",), port=1024, connect_timeout=1)
    assert settings.stun == ("a", "b")
    assert udp_ports(settings) == tuple(range(1024, 1056))
    assert udp_ports(dataclasses.replace(settings, connect_timeout=None, port=None)) == (0,)
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.room = "other"  # type: ignore[misc]


def test_secrets_are_not_shown() -> None:
    shown = repr(AgentSettings(server="h", room="den", secret=b"s" * 16, token="tttt", proxy="http://u:pppp@h"))
    assert not any(secret in shown for secret in ("ssss", "tttt", "pppp"))


@given(st.text(max_size=140))
def test_rooms_and_names_are_those_of_the_protocol(text: str) -> None:
    assert is_accepted(room=text) == is_valid(ROOM, text)
    assert is_accepted(name=text) == is_valid(NAME, text)
