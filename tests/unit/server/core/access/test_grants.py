"""core.access.grants: which rooms a token names."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visavis_server.core.access.grants import Grants


@pytest.mark.parametrize(
    ("pattern", "room_id", "allowed"),
    [
        ("*", "any thing\u2003x", True),
        ("a", "a", True),
        ("a", "ab", False),
        ("a*", "a", True),
        ("*b", "ab", True),
        ("a*c", "abbc", True),
        ("a*c", "abcd", False),
        ("a.c", "abc", False),
        ("[ab]", "a", False),
        ("***", "x", True),
        ("", "", True),
        ("A", "a", False),
    ],
)
def test_patterns(pattern: str, room_id: str, allowed: bool) -> None:
    assert Grants((pattern,)).allow(room_id) is allowed


@given(st.text("ab*", max_size=8), st.text("ab", max_size=8))
def test_patterns_match_as_regular_expressions_do(pattern: str, room_id: str) -> None:
    expected = re.fullmatch(pattern.replace("*", ".*"), room_id) is not None
    assert Grants((pattern,)).allow(room_id) is expected


def test_no_pattern_takes_long() -> None:
    pattern, room_id = "*a" * 60 + "*b", "a" * 128
    began = time.process_time()
    assert not any(Grants((pattern,)).allow(room_id) for _ in range(64))
    assert time.process_time() - began < 0.5, "all ways to match would take longer than anybody waits"
