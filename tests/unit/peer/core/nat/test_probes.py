"""core.probes: what is signed, and that nothing else is believed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visavis_peer.core.nat.probes import KEY_SIZE, PROBE_SIZE, Kind, Probe, Seal, looks_like_probe, session_key

KEY = session_key("one password", "another password")
probes = st.builds(Probe, st.sampled_from(Kind), st.integers(0, 2**32 - 1))


@given(probes, st.booleans())
def test_the_other_side_reads_what_one_side_has_signed(probe: Probe, controlling: bool) -> None:
    datagram = Seal(KEY, "session", controlling=controlling).encode(probe)
    assert len(datagram) == PROBE_SIZE
    assert looks_like_probe(datagram)
    assert Seal(KEY, "session", controlling=not controlling).decode(datagram) == probe


def test_a_datagram_sent_back_is_not_believed() -> None:
    seal = Seal(KEY, "session", controlling=True)
    assert seal.decode(seal.encode(Probe(Kind.PROBE, 1))) is None


@pytest.mark.parametrize(
    ("key", "session_id"), [(session_key("one password", "x"), "session"), (KEY, "session2"), (KEY, "")]
)
def test_another_session_is_not_believed(key: bytes, session_id: str) -> None:
    datagram = Seal(key, session_id, controlling=True).encode(Probe(Kind.ANSWER, 1))
    assert Seal(KEY, "session", controlling=False).decode(datagram) is None


@given(probes, st.integers(0, PROBE_SIZE * 8 - 1))
def test_no_bit_may_change(probe: Probe, bit: int) -> None:
    datagram = bytearray(Seal(KEY, "session", controlling=True).encode(probe))
    datagram[bit // 8] ^= 1 << bit % 8
    assert Seal(KEY, "session", controlling=False).decode(bytes(datagram)) is None


@given(st.binary(max_size=64))
def test_anything_else_is_none_and_never_an_error(datagram: bytes) -> None:
    assert Seal(KEY, "session", controlling=False).decode(datagram) is None


@pytest.mark.parametrize("first", [0, 1, 3, 64, 79, 80, 127, 192, 240, 255, 0x9B, 0x9F])
def test_stun_turn_channels_and_quic_do_not_look_like_probes(first: int) -> None:
    assert not looks_like_probe(bytes((first,)) + bytes(PROBE_SIZE - 1))


def test_the_key_depends_on_both_passwords_and_their_order() -> None:
    assert len(KEY) == KEY_SIZE
    assert len({KEY, session_key("another password", "one password"), session_key("one password", "x")}) == 3


def test_sequences_begin_again_after_four_bytes() -> None:
    datagram = Seal(KEY, "session", controlling=True).encode(Probe(Kind.PROBE, 2**32 + 5))
    assert Seal(KEY, "session", controlling=False).decode(datagram) == Probe(Kind.PROBE, 5)
