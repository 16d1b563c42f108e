"""core.signaling.tickets: what is signed is what is read, and nothing else is."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visavis_server.core.signaling.tickets import KEY_SIZE, TICKET_LIFETIME, Ticket, TicketRefused, TicketSigner

NOW_MS = 1_795_403_021_723
LIFETIME_MS = round(TICKET_LIFETIME * 1000)
KEY = bytes(range(KEY_SIZE))
OTHER = bytes(reversed(range(KEY_SIZE)))


def signer(*keys: bytes) -> TicketSigner:
    return TicketSigner(keys or (KEY,))


@given(
    peer_id=st.text("0123456789abcdef", min_size=1, max_size=32),
    room_id=st.text(st.characters(exclude_categories=["Cs"]), max_size=128),
    counter=st.integers(0, 2**63),
)
def test_a_token_says_what_was_signed(peer_id: str, room_id: str, counter: int) -> None:
    token = signer().issue(peer_id, room_id, counter, NOW_MS)
    assert signer().verify(token, NOW_MS) == Ticket(peer_id, room_id, counter, NOW_MS + LIFETIME_MS, NOW_MS)
    assert len(token) < 1024


def test_a_token_lasts_for_its_lifetime_and_no_longer() -> None:
    token = signer().issue("a", "r", 0, NOW_MS)
    signer().verify(token, NOW_MS + LIFETIME_MS - 1)
    with pytest.raises(TicketRefused, match="expired"):
        signer().verify(token, NOW_MS + LIFETIME_MS)


def test_no_changed_bit_passes() -> None:
    data = bytearray(base64.urlsafe_b64decode(signer().issue("0123456789abcdef", "room", 7, NOW_MS) + "=="))
    for bit in range(len(data) * 8):
        data[bit // 8] ^= 1 << bit % 8
        with pytest.raises(TicketRefused):
            signer().verify(base64.urlsafe_b64encode(data).decode(), NOW_MS)
        data[bit // 8] ^= 1 << bit % 8


@pytest.mark.parametrize("token", ["", "A", "====", "not a token", "\u00e9" * 80, "A" * 1024, "-" * 43, "\ud800"])
def test_garbage_is_refused(token: str) -> None:
    with pytest.raises(TicketRefused, match=r"malformed|not signed"):
        signer().verify(token, NOW_MS)


@given(st.text(max_size=200))
def test_any_text_is_refused(token: str) -> None:
    with pytest.raises(TicketRefused):
        signer().verify(token, NOW_MS)


def test_a_refusal_repeats_nothing_of_the_token() -> None:
    token = signer(OTHER).issue("a", "r", 0, NOW_MS)
    with pytest.raises(TicketRefused) as refusal:
        signer().verify(token, NOW_MS)
    assert token not in str(refusal.value)


def test_keys_rotate() -> None:
    old, new = signer(KEY).issue("a", "r", 0, NOW_MS), signer(OTHER).issue("a", "r", 0, NOW_MS)
    both = signer(OTHER, KEY)
    assert both.verify(old, NOW_MS) == both.verify(new, NOW_MS)
    assert both.issue("a", "r", 0, NOW_MS) == new
    with pytest.raises(TicketRefused):
        signer(OTHER).verify(old, NOW_MS)


@pytest.mark.parametrize("keys", [(), (b"short",), (KEY, b"")])
def test_weak_keys_are_refused(keys: tuple[bytes, ...]) -> None:
    with pytest.raises(ValueError, match="at least 32 bytes"):
        TicketSigner(keys)
