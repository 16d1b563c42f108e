"""How many file descriptors this process may have: each connection takes one."""

from __future__ import annotations

import contextlib

try:
    import resource
except ImportError:  # Windows, where sockets are not limited that way
    resource = None  # type: ignore[assignment]


def raise_limit() -> None:
    """Raise the soft limit, which is low for programs that use select(), to the hard one, which an operator has set."""
    if resource is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with contextlib.suppress(OSError, ValueError):  # macOS has a lower limit of its own that it does not tell
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def limit() -> int | None:
    """Return how many descriptors this process may have at once; None for any number."""
    if resource is None:
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft
