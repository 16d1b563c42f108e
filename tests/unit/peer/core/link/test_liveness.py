"""core.liveness: what a peer's silence means, told on two clocks."""

from __future__ import annotations

from itertools import pairwise

import pytest

from visavis_peer.core.link.liveness import (
    ASK_COUNT,
    HANDSHAKE_TIMEOUT,
    LATE,
    PING_INTERVAL,
    SILENCE,
    STALE,
    SUSPENDED_INTERVAL,
    UNANSWERED_COUNT,
    WATCH_INTERVAL,
    Liveness,
    Verdict,
)

PATIENCE = 600.0


class Watched:
    """A peer that says nothing, looked at every WATCH_INTERVAL."""

    def __init__(self, patience: float = PATIENCE, *, established: bool = True, waits: bool = True) -> None:
        self.now = 1000.0
        self.liveness = Liveness(patience, self.now, self.now)
        self.established = established
        self.waits = waits
        self.asked: list[float] = []
        """Seconds of silence at which it was asked."""

    def until(self, seconds: float) -> dict[Verdict, float]:
        """Look until there were so many seconds of silence; return when each verdict but ASK and WAIT came first."""
        came: dict[Verdict, float] = {}
        while self.silence < seconds:
            self.now += WATCH_INTERVAL
            verdict = self.look()
            if verdict is Verdict.ASK:
                self.liveness.on_asked(self.now)
                self.asked.append(self.silence)
            elif verdict is not Verdict.WAIT:
                came.setdefault(verdict, self.silence)
            if verdict is Verdict.GIVE_UP:
                break
        return came

    def look(self) -> Verdict:
        return self.liveness.watch(
            self.now, self.now, established=self.established, announced=self.established, waits=self.waits
        )

    @property
    def silence(self) -> float:
        return self.liveness.silence(self.now)


def test_a_silent_peer_is_asked_then_waited_for_then_given_up() -> None:
    peer = Watched()
    assert peer.until(2 * PATIENCE) == {Verdict.SUSPEND: SILENCE + 1, Verdict.GIVE_UP: PATIENCE + 1}
    live = [silence for silence in peer.asked if silence <= SILENCE]
    assert live == [PING_INTERVAL + 1 + each for each in range(len(live))]
    assert live[-1] == SILENCE
    waited = [silence for silence in peer.asked if silence > SILENCE]
    assert {later - earlier for earlier, later in pairwise(waited)} == {SUSPENDED_INTERVAL}


@pytest.mark.parametrize("why", ["not authenticated", "it left", "no patience"])
def test_who_is_not_waited_for_is_given_up_at_once(why: str) -> None:
    peer = Watched(0.0 if why == "no patience" else PATIENCE, waits=why != "not authenticated")
    peer.liveness.departed = why == "it left"
    assert peer.until(PATIENCE) == {Verdict.GIVE_UP: SILENCE + 1}


def test_a_peer_that_leaves_while_it_is_waited_for_is_given_up() -> None:
    peer = Watched()
    peer.until(100)
    peer.liveness.departed = True
    assert peer.until(PATIENCE) == {Verdict.GIVE_UP: 101}


def test_a_handshake_is_not_asked_for_and_has_its_own_time() -> None:
    peer = Watched(established=False)
    assert peer.until(PATIENCE) == {Verdict.GIVE_UP: HANDSHAKE_TIMEOUT + 1}
    assert not peer.asked


def test_a_sign_of_life_ends_a_suspension_and_tells_how_long_the_silence_was() -> None:
    peer = Watched()
    peer.until(100)
    assert peer.liveness.suspended_at is not None
    assert not peer.liveness.takes_datagrams
    assert peer.liveness.on_heard(peer.now) == 100
    assert peer.liveness.suspended_at is None
    assert peer.liveness.takes_datagrams
    assert peer.silence == 0
    assert peer.liveness.on_heard(peer.now + 1) is None


def test_time_in_which_this_process_was_stopped_is_not_the_peers_silence() -> None:
    peer = Watched()
    peer.until(3)
    peer.now += 300 + WATCH_INTERVAL
    assert peer.look() is Verdict.WAIT
    assert peer.silence == 4
    peer.now += LATE  # as late as a busy machine may be
    peer.look()
    assert peer.silence == 4 + LATE


def test_what_has_waited_for_this_machine_to_wake_up_is_stale_for_a_moment() -> None:
    liveness = Liveness(PATIENCE, 10.0, 10.0)
    assert not liveness.is_stale(11.0, 11.0)
    assert liveness.is_stale(11.1, 11.1 + WATCH_INTERVAL + LATE)  # `now` has not gone on in the sleep
    assert liveness.is_stale(11.1 + STALE / 2, 111.0 + STALE / 2)
    after = Liveness(PATIENCE, 10.0, 10.0)
    assert after.is_stale(100.0, 100.0)
    assert not after.is_stale(100.0 + STALE, 100.0 + STALE)


def test_a_peer_that_acknowledges_nothing_is_asked_now_and_then_and_given_up_in_the_end() -> None:
    liveness = Liveness(PATIENCE, 0.0, 0.0)
    verdicts = [liveness.on_sent(ASK_COUNT) for _ in range(UNANSWERED_COUNT // ASK_COUNT)]
    assert verdicts == [Verdict.ASK] * (UNANSWERED_COUNT // ASK_COUNT)
    assert not liveness.takes_datagrams
    assert liveness.on_sent(ASK_COUNT - 1) is Verdict.WAIT
    assert liveness.on_sent(1) is Verdict.GIVE_UP


def test_an_answer_begins_the_count_anew() -> None:
    liveness = Liveness(PATIENCE, 0.0, 0.0)
    liveness.on_sent(UNANSWERED_COUNT)
    liveness.on_answered()
    assert liveness.takes_datagrams
    assert liveness.on_sent(ASK_COUNT - 1) is Verdict.WAIT
    assert liveness.on_sent(1) is Verdict.ASK


def test_a_suspended_link_is_not_ended_for_what_it_sends() -> None:
    peer = Watched()
    peer.until(30)
    assert peer.liveness.on_sent(2 * UNANSWERED_COUNT) is Verdict.WAIT
    peer.liveness.on_heard(peer.now)
    assert peer.liveness.on_sent(0) is Verdict.ASK
