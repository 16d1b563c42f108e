"""core.signaling.resume: the token of a session, and what has been received in it."""

from __future__ import annotations

from visavis_peer.core.signaling.resume import ResumeState
from visavis_shared.messages import ResumeOffer


def test_a_session_to_resume_begins_with_an_ack_and_keeps_its_count_over_new_tokens() -> None:
    state = ResumeState()
    state.refresh(ResumeOffer(token="unasked", grace=30.0))
    assert vars(state)["token"] is None
    state.begin(ResumeOffer(token="first", grace=30.0))
    state.count(3)
    state.refresh(ResumeOffer(token="second", grace=30.0))
    assert (state.token, state.received) == ("second", 3)
    state.begin(None)
    assert vars(state) == {"token": None, "received": 0}
    state.begin(ResumeOffer(token="third", grace=30.0))
    state.forget()
    assert vars(state)["token"] is None
