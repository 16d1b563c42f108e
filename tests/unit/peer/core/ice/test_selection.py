"""core.selection: which valid pair is used."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from visavis_peer.core.ice.consent import REVIVAL
from visavis_peer.core.ice.selection import Selection

VALID = ["host", "reflexive", "relayed"]


def test_without_a_valid_pair_there_is_none_to_use() -> None:
    assert Selection[str]().best([]) is None


def test_the_pair_of_highest_priority_is_used() -> None:
    assert Selection[str]().best(VALID) == "host"


def test_a_pair_that_answers_displaces_those_above_it_and_no_other() -> None:
    selection = Selection[str]()
    selection.prefer("reflexive", VALID, 0.0)
    assert selection.displaced == ["host"]
    assert selection.best(VALID) == "reflexive"


def test_a_pair_that_is_not_valid_displaces_nothing() -> None:
    selection = Selection[str]()
    selection.prefer("unknown", VALID, 0.0)
    assert selection.displaced == []


def test_a_displaced_pair_that_answers_takes_its_place_again() -> None:
    selection = Selection[str]()
    selection.prefer("relayed", VALID, 0.0)
    assert selection.on_answer("host", 1.0)
    assert selection.best(VALID) == "host"
    assert not selection.on_answer("host", 2.0)


def test_a_displaced_pair_is_given_up_after_some_time() -> None:
    selection = Selection[str]()
    selection.prefer("reflexive", VALID, 0.0)
    selection.prefer("relayed", VALID, 10.0)
    assert selection.give_up(REVIVAL - 1) == []
    assert selection.give_up(REVIVAL) == ["host"]
    assert selection.displaced == ["reflexive"]


@given(st.dictionaries(st.sampled_from(VALID), st.floats(0, 100), max_size=3))
def test_the_other_pairs_come_by_when_they_were_heard_last(heard: dict[str, float]) -> None:
    selection = Selection[str]()
    for pair, at in heard.items():
        selection.on_heard(pair, at)
    others = selection.others(VALID, "host")
    assert sorted(others) == ["reflexive", "relayed"]
    times = [heard.get(pair, 0.0) for pair in others]
    assert times == sorted(times, reverse=True)
