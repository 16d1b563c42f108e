"""What an agent needs to know, in one frozen object made by the CLI or by the program that embeds it.

Not a model of pydantic's, which takes as long to import as it takes to connect: the command connects first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from visavis_peer.errors import UsageError
from visavis_shared import ids
from visavis_shared.invite import SECRET_SIZE
from visavis_shared.limits import DISPLAY_NAME_LENGTH, PATIENCE_MAX, TOKEN_LENGTH

PATIENCE: Final = 600.0
"""Seconds: a walk from one desk to another with the laptop's lid closed."""
PORT_COUNT: Final = 32
"""UDP ports that `port` opens from: one per link and one to spare; firewalls are configured for a range."""
PORT_MIN: Final = 1024
"""The first port that any user may bind to (RFC 6335 section 6)."""
PORT_MAX: Final = 65_535 - PORT_COUNT
STUN_COUNT: Final = 8
"""STUN servers at most: three tell everything that is to be known of a NAT."""
INTERFACE_COUNT: Final = 32
"""Interfaces at most: candidates are bounded, too."""
TIMEOUT_MAX: Final = 86_400.0
"""Seconds: a day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """Settings of an Agent; making them raises UsageError that names the setting."""

    server: str
    """URL of the signaling server: http(s) or ws(s), with a path prefix if need be; without a scheme it is https, but
    http for localhost and numeric private addresses."""
    room: str
    """1 to 128 characters, no control characters, no white space at the ends."""
    name: str | None = None
    """Shown to the other members of the room; up to 64 characters of the same kind."""
    secret: bytes | None = field(default=None, repr=False)
    """The room's secret, which authenticates the peers to each other; None: they stay unauthenticated."""
    token: str | None = field(default=None, repr=False)
    """A room token or JSON Web Token, for a server that asks for one."""
    proxy: str | None = field(default=None, repr=False)
    """URL of the HTTP or SOCKS proxy through which the signaling server and its relay are reached, with a user name and
    a password if need be; None: directly. The environment is not read here (`visavis --proxy`)."""
    relay: Literal["auto", "never", "only"] = "auto"
    """Whether links may, must not, or must go by a relay."""
    port_mapping: Literal["auto", "never"] = "auto"
    """Whether to ask the gateway for ports (PCP, NAT-PMP, UPnP-IGD)."""
    probing: Literal["auto", "never"] = "auto"
    """Whether to take part in prediction and birthday probing where connectivity checks find no path."""
    stun: Sequence[str] = ()
    """STUN servers as `host[:port]` (3478), 8 at most; empty: those that the signaling server offers."""
    interfaces: Sequence[str] = ()
    """Names of the network interfaces to use, 32 at most; empty: all that lead anywhere."""
    port: int | None = None
    """First of the UDP ports to bind to, 1024 to 65503; None: any."""
    report: bool = True
    """Whether to tell the signaling server how links turn out (direct, relayed or failed, why, kinds of NAT)."""
    patience: float = PATIENCE
    """Seconds for which a link waits for a peer that has fallen silent, as one that is asleep, 0 to 86400: the smaller
    of what both sides say. Below 26 s, as in rooms without a secret, so much silence is the end."""
    connect_timeout: float | None = 30.0
    """Seconds within which the first connection to the signaling server must succeed; None: it is tried until it does,
    as lost ones are."""

    def __post_init__(self) -> None:
        for name, check in _CHECKS.items():
            try:
                object.__setattr__(self, name, check(getattr(self, name)))
            except ValueError as error:
                raise UsageError(f"{name}: {error}") from None


def udp_ports(settings: AgentSettings) -> tuple[int, ...]:
    """Return the UDP ports to try in order."""
    return (0,) if settings.port is None else tuple(range(settings.port, settings.port + PORT_COUNT))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a string")
    return value


def _room(value: object) -> str:
    return ids.room_id(_text(value))


def _name(value: object) -> str:
    text = _text(value)
    if len(text) > DISPLAY_NAME_LENGTH:
        raise ValueError(f"must have at most {DISPLAY_NAME_LENGTH} characters")
    return ids.single_line(text)


def _secret(value: object) -> bytes:
    if not isinstance(value, bytes) or len(value) != SECRET_SIZE:
        raise ValueError(f"must be {SECRET_SIZE} bytes")
    return value


def _token(value: object) -> str:
    text = _text(value)
    if not 1 <= len(text) <= TOKEN_LENGTH or not all("!" <= character <= "~" for character in text):
        raise ValueError(f"must be 1 to {TOKEN_LENGTH} visible ASCII characters without a space")
    return text


def _port(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not PORT_MIN <= value <= PORT_MAX:
        raise ValueError(f"must be a whole number from {PORT_MIN} to {PORT_MAX}")
    return value


def _seconds(value: object) -> float:
    number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    if not 0 < number <= TIMEOUT_MAX:
        raise ValueError(f"must be more than 0 and at most {TIMEOUT_MAX:.0f} seconds")
    return number


def _patience(value: object) -> float:
    number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    if not 0 <= number <= PATIENCE_MAX:
        raise ValueError(f"must be 0 to {PATIENCE_MAX} seconds")
    return number


def _whether(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be True or False")
    return value


def _optional(check: Callable[[object], object]) -> Callable[[object], object]:
    return lambda value: None if value is None else check(value)


def _one_of(*words: str) -> Callable[[object], object]:
    def check(value: object) -> object:
        if value not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return value

    return check


def _texts(count: int) -> Callable[[object], object]:
    def check(value: object) -> tuple[str, ...]:
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise ValueError("must be a sequence of strings")
        if len(value) > count:
            raise ValueError(f"must have at most {count} entries")
        return tuple(_text(each) for each in value)

    return check


_CHECKS: Final[dict[str, Callable[[object], object]]] = {
    "server": _text,
    "room": _room,
    "name": _optional(_name),
    "secret": _optional(_secret),
    "token": _optional(_token),
    "proxy": _optional(_text),
    "relay": _one_of("auto", "never", "only"),
    "port_mapping": _one_of("auto", "never"),
    "probing": _one_of("auto", "never"),
    "stun": _texts(STUN_COUNT),
    "interfaces": _texts(INTERFACE_COUNT),
    "port": _optional(_port),
    "report": _whether,
    "patience": _patience,
    "connect_timeout": _optional(_seconds),
}
"""What each setting must be: each returns it as it is kept, or raises ValueError that says what is wrong."""
