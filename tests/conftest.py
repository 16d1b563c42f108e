"""What every test shares: the switch for longer campaigns, and a guard against blocking the event loop."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Final

import hypothesis
import pytest
from blockbuster import BlockBuster, blockbuster_ctx

# how long an example takes says more of the machine than of the code
hypothesis.settings.register_profile("visavis", deadline=None)
hypothesis.settings.load_profile("visavis")

_COVERAGE: Final = "COVERAGE_PROCESS_CONFIG"
"""What coverage (`patch = ["subprocess"]`) tells the programs that a measured one starts."""
_NETWORKS: Final = tuple(Path(__file__).parent / name for name in ("netns", "docker"))


def pytest_configure() -> None:
    """Give the programs of tests their signals, also where the tests themselves are run by nohup or as a job."""
    for name in ("SIGHUP", "SIGINT"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL if name == "SIGHUP" else signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--campaign", action="store_true", help="also run the longer campaigns")
    parser.addoption("--long", action="store_true", help="also run what takes up to half an hour of waiting each")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what was not asked for, so that it counts as deselected and not as skipped."""
    unwanted = [name for name in ("campaign", "long") if not config.getoption(f"--{name}")]
    left_out = [item for item in items if any(map(item.get_closest_marker, unwanted))]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Keep coverage, which slows what it measures, away from tests of networks and time, and from longer runs."""
    networks = any(item.path.is_relative_to(folder) for folder in _NETWORKS)
    real_time = any(map(item.get_closest_marker, ("campaign", "long", "timed")))
    if _COVERAGE not in os.environ or not (networks or real_time):
        return (yield)
    trace = sys.gettrace()
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(_COVERAGE)
        sys.settrace(None)
        try:
            return (yield)
        finally:
            sys.settrace(trace)


@pytest.fixture(autouse=True)
def blocking_calls_fail() -> Iterator[BlockBuster]:
    """Fail a test in which our own code blocks the event loop."""
    with blockbuster_ctx(["visavis_server", "visavis_peer", "visavis_shared"]) as guard:
        yield guard


@pytest.fixture(autouse=True)
def collector_as_it_was() -> Iterator[None]:
    """Undo what a command does that runs in this process: it has the garbage collector relax."""
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    if gc.get_freeze_count():
        gc.unfreeze()
