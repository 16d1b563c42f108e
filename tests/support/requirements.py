"""What a test needs of the machine: skipped with the reason where it is missing, failed on CI.

By the standard library alone but for `require`: `scripts/demo` asks before anything is installed, by
`python -m tests.support.requirements NAME`, which prints what `missing` returns.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

_CAPABILITIES: Final = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21}
"""Their numbers in linux/capability.h; in a plain container root has neither."""
_TRIAL: Final = ("unshare", "--net", "--mount", "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
"""Makes a network namespace as `ip netns add` does, and sets in it what the lab sets."""


def _namespaces() -> str | None:
    """Whether this process may make network namespaces, whatever is installed."""
    if sys.platform != "linux":
        return "network namespaces need Linux"
    if os.geteuid() != 0:
        return "network namespaces need root"
    effective = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff:"))
    held = int(effective.split()[1], 16)
    if lacking := [name for name, number in _CAPABILITIES.items() if not held >> number & 1]:
        return f"network namespaces need {' and '.join(lacking)}, which this root has not got: is it a container's?"
    if shutil.which(_TRIAL[0]) is None:
        return None  # the lab itself will tell
    done = subprocess.run(_TRIAL, capture_output=True, text=True, check=False)
    return f"no network namespaces here: {done.stderr.strip()}" if done.returncode else None


def _netns() -> str | None:
    if reason := _namespaces():
        return reason
    missing = [tool for tool in ("ip", "nft", "conntrack", "sysctl") if shutil.which(tool) is None]
    return f"not installed: {', '.join(missing)}" if missing else None


def _node() -> str | None:
    node = shutil.which("node")
    if node is None:
        return "not installed: node"
    for attempt in (["--experimental-websocket", "--eval", "0"], ["--eval", "require('ws')"]):
        if subprocess.run([node, *attempt], capture_output=True, check=False).returncode == 0:
            return None
    return "this node has no WebSocket, nor the package ws (Debian: node-ws)"


def _docker() -> str | None:
    if shutil.which("docker") is None or shutil.which("dockerd") is None:
        return "not installed: docker.io"
    return None if os.geteuid() == 0 else "starting dockerd needs root"


def _coturn() -> str | None:
    return None if shutil.which("turnserver") else "not installed: coturn"


def _miniupnpd() -> str | None:
    return None if shutil.which("miniupnpd") else "not installed: miniupnpd-nftables"


def _tinyproxy() -> str | None:
    return None if shutil.which("tinyproxy") else "not installed: tinyproxy"


def _microsocks() -> str | None:
    return None if shutil.which("microsocks") else "not installed: microsocks"


def _haproxy() -> str | None:
    return None if shutil.which("haproxy") else "not installed: haproxy"


_CHECKS: Final[dict[str, Callable[[], str | None]]] = {
    "namespaces": _namespaces,
    "netns": _netns,
    "node": _node,
    "docker": _docker,
    "coturn": _coturn,
    "miniupnpd": _miniupnpd,
    "tinyproxy": _tinyproxy,
    "microsocks": _microsocks,
    "haproxy": _haproxy,
}


def missing(capability: str) -> str | None:
    """Return why `capability` (a name in _CHECKS) cannot be had here, or None."""
    return _CHECKS[capability]()


def require(capability: str) -> None:
    """Skip the calling test where `capability` is missing; on CI, where nothing may be skipped, fail it."""
    import pytest  # the demo's environment has none

    reason = missing(capability)
    if reason is None:
        return
    if os.environ.get("CI"):
        pytest.fail(f"{capability}: {reason} (on CI nothing may be skipped)")
    pytest.skip(f"{capability}: {reason}")


if __name__ == "__main__":
    print(missing(sys.argv[1]) or "")
