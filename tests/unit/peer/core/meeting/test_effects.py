"""core.meeting.effects: what an effect says of its session."""

from __future__ import annotations

from visavis_peer.core.meeting.effects import Introduce, SendReady, SessionKey
from visavis_shared.messages import AnswerPayload


def test_a_session_goes_by_the_peer_and_the_id_that_it_chose() -> None:
    assert SendReady("s", "ann").key == SessionKey("ann", "s")
    assert SendReady("s", "ann").key != SendReady("s", "bob").key


def test_a_peer_that_does_not_name_its_process_goes_by_its_id() -> None:
    silent = AnswerPayload(session_id="s", accepted=True)
    named = AnswerPayload(session_id="s", accepted=True, instance="ab" * 16)
    assert Introduce("s", "ann", silent).instance == "ann"
    assert Introduce("s", "ann", named).instance == "ab" * 16
