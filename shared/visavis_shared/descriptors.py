"""The standard streams belong to whoever has started the program: they may be closed, full, not blocking, unreadable.

Descriptors 0, 1 and 2 are never closed here: the next socket would get the number, and be written to. Where one is
closed, or has served its purpose, the null device takes its place.
"""

from __future__ import annotations

import os
import select
import sys
from typing import Any, Final

STDIN: Final = 0
STDOUT: Final = 1
STDERR: Final = 2


def prepare_standard_streams() -> None:
    """Open the null device where a standard stream is closed, and have text that a stream cannot encode escaped.

    To be called before anything else opens a descriptor.
    """
    for descriptor in (STDIN, STDOUT, STDERR):
        try:
            os.fstat(descriptor)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != descriptor:
                os.dup2(null, descriptor)
                os.close(null)
            os.set_inheritable(descriptor, True)
    stream: Any
    for name, descriptor in (("stdin", STDIN), ("stdout", STDOUT), ("stderr", STDERR)):
        stream = getattr(sys, name)
        if stream is None:  # Python has found it closed
            mode = "r" if descriptor == STDIN else "w"
            stream = os.fdopen(descriptor, mode, encoding="utf-8", closefd=False)
            setattr(sys, name, stream)
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None and descriptor != STDIN:
            reconfigure(errors="backslashreplace")


def retire(descriptor: int) -> None:
    """Put the null device in the place of a standard stream that is done with, so that its other end sees the end.

    Raises OSError when what was written could not be kept (close(2)).
    """
    copy = os.dup(descriptor)
    null = os.open(os.devnull, os.O_RDWR)
    try:
        os.dup2(null, descriptor)
    finally:
        os.close(null)
        os.close(copy)  # dup2 would keep this one's error to itself


def wait_readable(descriptor: int, timeout: float | None = None) -> bool:
    """Wait up to `timeout` seconds until a read does not block; return whether it does not."""
    return bool(select.select([descriptor], [], [], timeout)[0])


def wait_writable(descriptor: int, timeout: float | None = None) -> bool:
    """Wait up to `timeout` seconds until a write does not block; return whether it does not."""
    return bool(select.select([], [descriptor], [], timeout)[1])


def read_some(descriptor: int, size: int) -> bytes:
    """Return up to `size` bytes once there are some, also of a descriptor that somebody has set to O_NONBLOCK.

    Nothing at the end. Raises OSError.
    """
    while True:
        try:
            return os.read(descriptor, size)
        except BlockingIOError:
            wait_readable(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """Write everything, also to a descriptor that somebody has set to O_NONBLOCK.

    Raises OSError.
    """
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            wait_writable(descriptor)
