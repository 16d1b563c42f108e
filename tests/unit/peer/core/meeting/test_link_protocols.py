"""core.link_protocols: which protocol of links two agents use, and who is to be updated where there is none."""

from __future__ import annotations

import pytest

from visavis_peer.core.meeting.link_protocols import SPOKEN, common, mismatch, refusal
from visavis_shared import limits
from visavis_shared.messages import AnswerPayload


@pytest.mark.parametrize("theirs", [["quic/1"], ["quic/2", "quic/1"], ["moq/draft-12", "x", "quic/1"]])
def test_a_word_in_common_is_used_whatever_else_the_peer_speaks(theirs: list[str]) -> None:
    assert common(theirs) == "quic/1"


@pytest.mark.parametrize(
    ("theirs", "told"),
    [
        ([], "it speaks no protocol of links by name, this side quic/1: update visavis on the other machine"),
        (["quic/0"], "it speaks quic/0, this side quic/1: update visavis on the other machine"),
        (["quic/2"], "it speaks quic/2, this side quic/1: update visavis on this machine"),
        (
            ["quic/3", "quic/2", "quic/0"],
            "it speaks quic/3, quic/2, this side quic/1: update visavis on this machine",
        ),
        (["webrtc/1"], "it speaks webrtc/1, this side quic/1: update visavis on the machine where it is older"),
        (
            ["quic/one", "/", "7"],
            "it speaks quic/one, /, this side quic/1: update visavis on the machine where it is older",
        ),
    ],
)
def test_without_a_common_word_it_is_said_which_side_is_older(theirs: list[str], told: str) -> None:
    assert common(theirs) is None
    assert mismatch(theirs) == told


def test_whatever_a_peer_speaks_the_refusal_fits_into_an_answer() -> None:
    longest = ["x" * limits.LINK_PROTOCOL_LENGTH] * limits.LINK_PROTOCOL_COUNT
    for theirs in ([], longest):
        AnswerPayload(session_id="s", accepted=False, reason=refusal(theirs), speaks=SPOKEN)
