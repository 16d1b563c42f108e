"""Addresses taken out of text that is meant to be shown to strangers: equal ones stay recognisable as equal."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

_CARRIER: Final = ipaddress.ip_network("100.64.0.0/10")
_CANDIDATES: Final = re.compile(
    r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9A-Fa-f:]*:[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*)(?![\w.])"
)
"""What may be an IPv4 or IPv6 address; `ipaddress` decides."""


class Redactor:
    """Replaces IP addresses by their kind and a number, and host names by a number; the same always by the same."""

    def __init__(self) -> None:
        self._labels: dict[str, str] = {}
        self._hosts: dict[str, str] = {}

    def hide_host(self, host: str) -> None:
        """Replace a host name wherever it is met from now on; an address is replaced in any case."""
        if host and _kind(host) is None:
            self._hosts.setdefault(host, f"[host {len(self._hosts) + 1}]")

    def scrub(self, text: str) -> str:
        """Return `text` without addresses and without the names that are to be hidden."""
        for host, label in self._hosts.items():
            text = text.replace(host, label)
        return _CANDIDATES.sub(lambda match: self._label(match.group()), text)

    def scrub_all(self, value: object) -> object:
        """Return a JSON value with every string in it scrubbed, names of members aside."""
        match value:
            case str():
                return self.scrub(value)
            case dict():
                return {name: self.scrub_all(member) for name, member in value.items()}
            case list() | tuple():
                return [self.scrub_all(member) for member in value]
            case _:
                return value

    def _label(self, text: str) -> str:
        kind = _kind(text)
        if kind is None:
            return text
        address = str(ipaddress.ip_address(text))
        if address not in self._labels:
            number = 1 + sum(label.startswith(f"[{kind} ") for label in self._labels.values())
            self._labels[address] = f"[{kind} {number}]"
        return self._labels[address]


def _kind(text: str) -> str | None:
    """Return what kind of address a text is, None if it is none."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    version = f"IPv{address.version}"
    if address.is_loopback or address.is_unspecified:
        return f"loopback {version}"
    if address.is_link_local:
        return f"link-local {version}"
    if address in _CARRIER:
        return f"carrier's {version}"
    return f"{'private' if address.is_private else 'public'} {version}"
