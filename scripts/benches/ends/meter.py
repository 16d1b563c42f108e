"""What one end of a transfer measures of itself and tells the bench.

It imports the standard library only, so that it runs in any environment. An end prints one line with where it is to be
reached, if it is, and one JSON line, a Reading, when it is done.
"""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import json
import re
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

BLOCK: Final = bytes(64 << 10)
"""What a sender writes at once."""


@dataclass(frozen=True)
class Reading:
    """One end's figures."""

    began: float
    """When the sender gave the first byte, or the receiver had the first ones: seconds of the machine's clock."""
    ended: float
    """When the last byte was read, or its sender knew that it was."""
    cpu: float
    """Seconds on a core in between."""
    peak: int
    """Bytes of resident memory at most in between."""
    growth: int
    """Bytes that this is more than it was before."""


class Meter:
    """Measures from `start` to `stop`, once."""

    def __init__(self, profile: str = "") -> None:
        """Write a profile of what is measured to the file `profile`, if one is named."""
        self._file = profile
        self._profile = cProfile.Profile() if profile else None
        self._began = self._cpu = 0.0
        self._memory = 0

    def start(self) -> None:
        """The first byte is next."""
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # the peak is from now on (proc(5))
        self._memory = _status("VmRSS")
        self._cpu = time.process_time()
        self._began = time.monotonic()
        if self._profile is not None:
            self._profile.enable()

    def stop(self) -> None:
        """Everything is done; print the reading."""
        ended, cpu = time.monotonic(), time.process_time()
        if self._profile is not None:
            self._profile.disable()
            self._profile.dump_stats(self._file)
        peak = _status("VmHWM")
        reading = Reading(self._began, ended, cpu - self._cpu, peak, peak - self._memory)
        print(json.dumps(asdict(reading)), flush=True)


def arguments_of_end(description: str | None) -> argparse.Namespace:
    """Return the command line that all ends share: `role`, `address`, `size`, `loop`, `profile`, and what
    only some heed."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("role", choices=["send", "receive", "serve"])
    parser.add_argument("address", nargs="?", default="", help="what the other end or a server has printed")
    parser.add_argument("--size", type=int, required=True, help="bytes of the transfer, a multiple of the block")
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="asyncio")
    parser.add_argument("--interface", action="append", default=[], help="for visavis")
    parser.add_argument("--host", default="127.0.0.1", help="address of the receiver, for wormhole")
    parser.add_argument("--relay", default="auto", help="for visavis")
    parser.add_argument("--profile", default="", metavar="FILE")
    return parser.parse_args()


def _status(name: str) -> int:
    """Return a size that Linux knows of this process, in bytes."""
    match = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert match, name
    return int(match[1]) * 1024
