"""core.paths: which way datagrams go."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from visavis_peer.core.link.paths import DOUBT, DOUBT_PROBES, DOUBT_RTTS, PathChoice, Route


def both(now: float = 0.0) -> PathChoice:
    choice = PathChoice()
    choice.relay = True
    choice.set_direct(usable=True, now=now)
    return choice


def test_without_a_path_nothing_is_sent() -> None:
    assert PathChoice().routes(0.0, 0.1, answer_due=True) == ()
    assert PathChoice().main is None


def test_the_relay_carries_all_until_there_is_a_direct_path() -> None:
    choice = PathChoice()
    choice.relay = True
    assert (choice.main, choice.routes(0.0, 0.1, answer_due=True)) == ("relay", ("relay",))
    choice.set_direct(usable=True, now=1.0)
    assert (choice.main, choice.routes(1.0, 0.1, answer_due=True)) == ("direct", ("direct",))
    choice.set_direct(usable=False, now=2.0)
    assert (choice.main, choice.routes(2.0, 0.1, answer_due=True)) == ("relay", ("relay",))


def test_unanswered_datagrams_make_a_direct_path_doubtful_and_the_relay_is_used_as_well() -> None:
    choice = both()
    assert choice.routes(10.0, 0.1, answer_due=True) == ("direct",)
    assert choice.routes(10.0 + DOUBT, 0.1, answer_due=True) == ("direct",)
    assert not choice.doubted
    assert choice.routes(10.01 + DOUBT, 0.1, answer_due=True) == ("direct", "relay")
    assert choice.doubted
    assert choice.main == "direct"


def test_a_slow_path_has_more_time() -> None:
    choice = both()
    choice.routes(10.0, 0.8, answer_due=True)
    assert choice.routes(10.0 + DOUBT_RTTS * 0.8 - 0.01, 0.8, answer_due=True) == ("direct",)
    assert choice.routes(10.0 + DOUBT_RTTS * 0.8 + 0.01, 0.8, answer_due=True) == ("direct", "relay")


def test_a_datagram_on_the_direct_path_ends_the_doubt() -> None:
    choice = both()
    choice.routes(10.0, 0.1, answer_due=True)
    choice.routes(12.0, 0.1, answer_due=True)
    choice.on_received("direct", 12.1)
    assert not choice.doubted
    assert choice.routes(12.2, 0.1, answer_due=True) == ("direct",)
    assert choice.routes(13.1, 0.1, answer_due=True) == ("direct",)


def test_an_idle_path_is_not_in_doubt() -> None:
    choice = both()
    assert choice.routes(1000.0, 0.1, answer_due=True) == ("direct",)


def test_what_needs_no_answer_leads_to_no_doubt() -> None:
    choice = both()
    for now in (10.0, 15.0, 20.0):
        assert choice.routes(now, 0.1, answer_due=False) == ("direct",)
    assert choice.routes(25.0, 0.1, answer_due=True) == ("direct",)
    assert choice.routes(26.1, 0.1, answer_due=True) == ("direct", "relay")


def test_a_peer_that_is_heard_and_acknowledges_nothing_makes_its_path_doubtful() -> None:
    choice = both()
    choice.on_received("direct", 10.0)
    assert choice.routes(10.1, 0.1, answer_due=True, probes=DOUBT_PROBES - 1) == ("direct",)
    choice.on_received("direct", 10.2)
    assert choice.routes(10.3, 0.1, answer_due=True, probes=DOUBT_PROBES) == ("direct", "relay")
    assert choice.doubted


def test_what_comes_by_the_relay_does_not_answer_for_the_direct_path() -> None:
    choice = both()
    choice.routes(10.0, 0.1, answer_due=True)
    choice.on_received("relay", 10.5)
    assert choice.routes(11.1, 0.1, answer_due=True) == ("direct", "relay")


def test_a_peer_that_uses_the_relay_while_the_direct_path_is_silent_spreads_its_doubt() -> None:
    choice = both()
    choice.on_received("direct", 10.0)
    choice.on_received("relay", 10.0 + DOUBT / 2)
    assert not choice.doubted
    choice.on_received("relay", 10.01 + DOUBT / 2)
    assert choice.doubted
    assert choice.routes(10.6, 0.1, answer_due=True) == ("direct", "relay")


def test_datagrams_late_by_the_relay_cast_no_doubt_on_a_new_direct_path() -> None:
    choice = PathChoice()
    choice.relay = True
    choice.set_direct(usable=True, now=10.0)
    choice.on_received("relay", 10.1)
    assert not choice.doubted


def test_doubt_without_a_relay_changes_nothing_but_that_consent_is_asked_for() -> None:
    choice = PathChoice()
    choice.set_direct(usable=True, now=0.0)
    choice.routes(10.0, 0.1, answer_due=True)
    assert choice.routes(12.0, 0.1, answer_due=True) == ("direct",)
    assert choice.doubted


def test_another_direct_path_begins_without_doubt() -> None:
    choice = both()
    choice.routes(10.0, 0.1, answer_due=True)
    choice.routes(12.0, 0.1, answer_due=True)
    choice.set_direct(usable=True, now=12.0)
    assert not choice.doubted
    assert choice.routes(12.1, 0.1, answer_due=True) == ("direct",)


steps = st.lists(
    st.tuples(
        st.sampled_from(("direct on", "direct off", "relay on", "relay off", "send", "by direct", "by relay")),
        st.floats(0, 3),
    ),
    max_size=40,
)


@given(steps)
def test_datagrams_go_by_paths_that_exist_and_always_by_the_main_one(script: list[tuple[str, float]]) -> None:
    choice, now = PathChoice(), 0.0
    for step, delay in script:
        now += delay
        match step.split():
            case ["direct", state]:
                choice.set_direct(usable=state == "on", now=now)
            case ["relay", state]:
                choice.relay = state == "on"
            case ["by", route]:
                by: Route = "direct" if route == "direct" else "relay"
                choice.on_received(by, now)
        routes = choice.routes(now, 0.1, answer_due=True)
        assert ("direct" in routes) == choice.direct
        assert "relay" not in routes or choice.relay
        assert routes[:1] == (() if choice.main is None else (choice.main,))
