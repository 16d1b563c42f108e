"""core.quiet with a clock of the test's."""

from __future__ import annotations

from visavis_server.core.quiet import Quiet


def test_each_cause_has_a_line_a_second() -> None:
    quiet = Quiet()
    assert quiet.speak("a", 10.0) == 0
    assert quiet.speak("a", 10.9) is None
    assert quiet.speak("b", 10.9) == 0
    assert quiet.speak("a", 11.0) == 1
    assert quiet.speak("a", 12.0) == 0
