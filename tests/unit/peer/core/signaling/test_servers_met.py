"""core.servers_met: one name that leads to several servers."""

from __future__ import annotations

from visavis_peer.core.signaling.servers_met import SERVER_COUNT, ServersMet


def test_a_server_that_is_met_again_after_another_is_told_of_once() -> None:
    met = ServersMet()
    assert [met.meet(instance) for instance in ("a", "a", "b", "a", "b", "a")] == [
        False,
        False,
        False,
        True,
        False,
        False,
    ]


def test_servers_that_replace_each_other_are_nothing_to_tell_of() -> None:
    met = ServersMet()
    assert not any(met.meet(str(number)) for number in range(10 * SERVER_COUNT))


def test_a_server_without_an_id_says_nothing() -> None:
    met = ServersMet()
    assert not any(met.meet(instance) for instance in ("a", None, "a", None, "a"))
