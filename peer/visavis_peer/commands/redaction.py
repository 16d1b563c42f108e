"""Addresses and names taken out of text that is meant to be shown to strangers; equal ones stay equal."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Final

_CARRIER: Final = ipaddress.ip_network("100.64.0.0/10")
_RUN: Final = re.compile(
    r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?!\.?\w)"
    r"|\[?(?<!\w)[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*(?:%[\w.~-]+)?\]?"
)
"""What may have an IPv4 or IPv6 address in it, with its zone (RFC 4007 section 11) and brackets."""
_MAC: Final = re.compile(
    r"(?<![\w:.-])(?:[0-9A-Fa-f]{2}([:-])(?:[0-9A-Fa-f]{2}\1){4}(?:[0-9A-Fa-f]{2}\1[0-9A-Fa-f]{2}\1)?[0-9A-Fa-f]{2}"
    r"|[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4})(?![\w-])"
    r"|(?<=\b[a-z]{2}x)[0-9A-Fa-f]{12}\b"
)
"""MAC and EUI-64 addresses as systems write them, and that in the name of an interface (`enx0242ac110002`)."""
_USER: Final = re.compile(r"(?<=://)[^/@\s]+(?=@)")
"""User name and password in a URL (RFC 3986 section 3.2.1)."""
_LONGEST: Final = 128
"""Characters of an address with its zone at most: 45 (RFC 5952) and a name. A longer run is replaced as a whole."""

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class Redactor:
    """Replaces addresses by their kind and a number, and names by a number; the same always by the same."""

    def __init__(self) -> None:
        self._labels: dict[str, str] = {}
        self._names: dict[str, tuple[re.Pattern[str], str]] = {}

    def hide_host(self, host: str) -> None:
        """Replace a host name wherever it is met from now on; an address is replaced in any case."""
        if host and _parse(host.partition("%")[0].strip("[]")) is None:
            self._hide(host, "host")

    def hide_user(self, user: str) -> None:
        """Replace the name of a user of this machine wherever it is met as a word from now on."""
        if user:
            self._hide(user, "user")

    def _hide(self, name: str, kind: str) -> None:
        name = name.rstrip(".").casefold()
        if name and name not in self._names:
            number = 1 + sum(label.startswith(f"[{kind} ") for _, label in self._names.values())
            pattern = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)", re.IGNORECASE)
            self._names[name] = (pattern, f"[{kind} {number}]")

    def scrub(self, text: str) -> str:
        """Return `text` without addresses and without the names that are to be hidden."""
        text = _USER.sub("[user]", text)
        # the longest first: the name of a host may be the beginning of that with its domain
        for _, (pattern, label) in sorted(self._names.items(), key=lambda item: -len(item[0])):
            text = pattern.sub(label, text)
        text = _MAC.sub(lambda match: self._label(match.group().casefold(), "MAC"), text)
        return _RUN.sub(lambda match: self._without_addresses(match.group()), text)

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

    def _without_addresses(self, run: str) -> str:
        """Return a run of digits, colons and the like with the longest address in it replaced."""
        if len(run) > _LONGEST:
            return "[something long]"
        for before, written, after in _cuts(run):
            address = None if "]" in written else _parse(written.partition("%")[0])
            if address is not None:
                if before.endswith("[") and after.startswith("]"):
                    before, after = before[:-1], after[1:]
                label = self._label(str(address), _kind(address))
                return self._without_addresses(before) + label + self._without_addresses(after)
        return run

    def _label(self, value: str, kind: str) -> str:
        if value not in self._labels:
            number = 1 + sum(label.startswith(f"[{kind} ") for label in self._labels.values())
            self._labels[value] = f"[{kind} {number}]"
        return self._labels[value]


def _cuts(run: str) -> Iterator[tuple[str, str, str]]:
    """Yield what stands before, in and after each part of a run that may be an address, the longest parts first.

    An address may follow a colon or bracket and be followed by them: `to:::1`, `[::1]:80`, `fe80::1: link-local`.
    """
    starts = [0] + [index + 1 for index, each in enumerate(run) if each in ":["]
    ends = [len(run)] + [index for index, each in enumerate(run) if each in ":.]%"]
    parts = {(start, end) for start in starts for end in ends if start < end}
    for start, end in sorted(parts, key=lambda part: (part[0] - part[1], part[0])):
        yield run[:start], run[start:end], run[end:]


def _parse(text: str) -> IpAddress | None:
    """Return the address that a text is, an IPv4 one where that is mapped into IPv6; None if it is none."""
    try:
        # leading zeros are for some an octal number, for all an address
        address = ipaddress.ip_address(re.sub(r"(?<![\w:])0+(?=\d+\.|\d+$)", "", text) if ":" not in text else text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _kind(address: IpAddress) -> str:
    """Return what kind of address it is."""
    version = f"IPv{address.version}"
    if address.is_loopback or address.is_unspecified:
        return f"loopback {version}"
    if address.is_link_local:
        return f"link-local {version}"
    if address in _CARRIER:
        return f"carrier's {version}"
    return f"{'private' if address.is_private else 'public'} {version}"
