"""host.boot_time: the clock that goes on while a machine is suspended."""

from __future__ import annotations

import pytest

from visavis_peer.host.boot_time import read_boot_time


def test_the_clock_never_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_boot_time() <= read_boot_time()
    monkeypatch.delattr("time.CLOCK_BOOTTIME", raising=False)
    monkeypatch.setattr("time.time", lambda: 5.0)
    assert read_boot_time() == 5.0
