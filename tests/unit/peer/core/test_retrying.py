"""core.retrying: a message that says that it is tried again, and the same without that."""

from __future__ import annotations

import pytest

from visavis_peer.core.retrying import reason_alone, tried_again


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("no network", "no network; trying again in 2 s"),
        ("is the server running?", "is the server running? trying again in 2 s"),
    ],
)
def test_a_question_ends_by_itself(reason: str, told: str) -> None:
    assert tried_again(reason, " in 2 s") == told
    assert reason_alone(told) == reason_alone(reason) == reason
