"""The one clock besides the event loop's: it goes on while the machine is suspended, so that a suspend can be noticed.

Whoever needs it is given a function that reads it, in tests another one.
"""

from __future__ import annotations

import time


def read_boot_time() -> float:
    """Return the seconds since the machine was started, sleep included; only differences tell anything.

    Where there is no such clock (CLOCK_BOOTTIME of Linux), they are the wall clock's, which may be set.
    """
    boot_time = getattr(time, "CLOCK_BOOTTIME", None)
    return time.time() if boot_time is None else time.clock_gettime(boot_time)
