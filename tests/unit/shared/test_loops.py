"""shared.loops: which event loop the programs take."""

from __future__ import annotations

import asyncio
import sys

import pytest

from visavis_shared.loops import fastest_loop


def test_uvloop_is_used_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Installed:
        new_event_loop = asyncio.new_event_loop

    monkeypatch.setitem(sys.modules, "uvloop", Installed)
    assert fastest_loop() is asyncio.new_event_loop
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert fastest_loop() is None
