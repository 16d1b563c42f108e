"""The machine's network interfaces, by netifaces, or by psutil on a Python that netifaces has no wheel for."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

from visavis_peer.core.nat.addresses import Interface

try:
    import netifaces
except ImportError:
    from visavis_peer.host import interfaces_psutil as netifaces  # type: ignore[no-redef]

_IFF_UP: Final = 0x1
_SYSFS: Final = Path("/sys/class/net")


def list_interfaces() -> list[Interface]:
    """Return all interfaces with their IPv4 and IPv6 addresses, in the machine's order."""
    default = _default_interfaces()
    return [
        Interface(name, _addresses(name), up=_is_up(name), default_route=name in default)
        for name in netifaces.interfaces()
    ]


def default_gateway(local_ip: str) -> str | None:
    """Return the IPv4 gateway that leads out of the network of `local_ip`, None when there is none."""
    listed = netifaces.gateways().get(netifaces.AF_INET, [])
    for address, interface, *_ in listed if isinstance(listed, list) else []:
        if local_ip in _addresses(str(interface)):
            return str(address)
    return None


def _default_interfaces() -> set[str]:
    """Return the names of the interfaces that default routes lead through."""
    default = netifaces.gateways().get("default", {})
    return {str(gateway[1]) for gateway in default.values()} if isinstance(default, dict) else set()


def _addresses(name: str) -> tuple[str, ...]:
    try:
        listed = netifaces.ifaddresses(name)
    except ValueError:  # gone since it was listed
        return ()
    found = [
        entry["addr"].partition("%")[0]
        for family in (netifaces.AF_INET, netifaces.AF_INET6)
        for entry in listed.get(family, [])
        if "addr" in entry
    ]
    return tuple(dict.fromkeys(found))


def _is_up(name: str) -> bool:
    """Whether the interface is up with a carrier; unknown counts as up (only Linux tells through a file)."""
    with contextlib.suppress(OSError, ValueError):
        flags = int((_SYSFS / name / "flags").read_text(), 16)
        state = (_SYSFS / name / "operstate").read_text().strip()
        return bool(flags & _IFF_UP) and state not in ("down", "lowerlayerdown", "notpresent")
    return True
