"""What an agent needs to know, in one frozen object made by the CLI or by the program that embeds it.

Each setting is described in one place: what it must be, and how it is called and explained on a command line, from
which its flag, its environment variable and its key of the file are made (visavis_shared/configuration.py).

Not a model of pydantic's, which takes as long to import as it takes to connect: the command connects first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final, Literal

from visavis_peer.errors import UsageError
from visavis_shared import ids
from visavis_shared.configuration import Setting, as_number, as_switch, as_text, as_texts
from visavis_shared.limits import DISPLAY_NAME_LENGTH, PATIENCE_MAX, ROOM_ID_LENGTH, TOKEN_LENGTH

PATIENCE: Final = 600.0
"""Seconds: a walk from one desk to another with the laptop's lid closed."""
CONNECT_TIMEOUT: Final = 30.0
"""Seconds: a person at a terminal looks for the reason after that long."""
PORT_COUNT: Final = 32
"""UDP ports that `port` opens from: one per link and one to spare; firewalls are configured for a range."""
PORT_MIN: Final = 1024
"""The first port that any user may bind to (RFC 6335 section 6)."""
PORT_MAX: Final = 65_535 - PORT_COUNT
STUN_PORT: Final = 3478
"""UDP port of a STUN server that is named without one (RFC 8489 section 18.6)."""
STUN_COUNT: Final = 8
"""STUN servers at most: three tell everything that is to be known of a NAT."""
INTERFACE_COUNT: Final = 32
"""Interfaces at most: candidates are bounded, too."""
TIMEOUT_MAX: Final = 86_400.0
"""Seconds: a day."""

_CHECK: Final = "check"
_SETTING: Final = "setting"
"""Keys of the metadata of a field."""
_RELAY: Final = ("auto", "never", "only")
_WHETHER: Final = ("auto", "never")
"""Words for how, and for whether something is done."""

Check = Callable[[object], object]
"""Returns a value as it is kept; raises ValueError that says what it must be."""


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
    from visavis_shared.invite import SECRET_SIZE  # for who has one: --help does not wait for it

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


def _optional(check: Check) -> Check:
    return lambda value: None if value is None else check(value)


def _one_of(words: tuple[str, ...]) -> Check:
    def check(value: object) -> object:
        if value not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return value

    return check


def _hosts(value: object) -> tuple[str, ...]:
    from visavis_shared.endpoints import parse_host_port  # likewise, for who names one

    texts = _texts(STUN_COUNT)(value)
    for each in texts:
        parse_host_port(each, STUN_PORT)
    return texts


def _texts(count: int) -> Callable[[object], tuple[str, ...]]:
    def check(value: object) -> tuple[str, ...]:
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise ValueError("must be a sequence of strings")
        if len(value) > count:
            raise ValueError(f"must have at most {count} entries")
        return tuple(_text(each) for each in value)

    return check


def _is(check: Check, read: Check | None = None, **flag: Any) -> Mapping[str, object]:
    """Return what a field is besides its type: `check` for all, `read` and what `Setting` takes for the command line.

    `read` makes a value of what is said there, which then must be what `check` says.
    """
    setting = None if read is None else Setting(read=lambda value: check(read(value)), **flag)
    return {_CHECK: check, _SETTING: setting}


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """Settings of an Agent; making them raises UsageError that names the setting."""

    server: str = field(
        metadata=_is(
            _text, as_text, name="server", metavar="URL",
            help="signaling server: https, http, wss or ws, with a path prefix if need be; without a scheme https is"
            " meant, but http for localhost and private addresses such as 192.168.1.2",
        )
    )  # fmt: skip
    """URL of the signaling server: http(s) or ws(s), with a path prefix if need be; without a scheme it is https, but
    http for localhost and numeric private addresses."""
    room: str = field(
        metadata=_is(
            _room, as_text, name="room", metavar="NAME", group="room",
            help=f"room to join, 1 to {ROOM_ID_LENGTH} characters",
        )
    )  # fmt: skip
    """1 to 128 characters, no control characters, no white space at the ends."""
    name: str | None = field(
        default=None,
        metadata=_is(
            _optional(_name), as_text, name="name", metavar="NAME", group="room",
            help=f"name shown to the others, up to {DISPLAY_NAME_LENGTH} characters",
        ),
    )  # fmt: skip
    """Shown to the other members of the room; up to 64 characters of the same kind."""
    secret: bytes | None = field(default=None, repr=False, metadata=_is(_optional(_secret)))
    """The room's secret, which authenticates the peers to each other; None: they stay unauthenticated."""
    token: str | None = field(
        default=None,
        repr=False,
        metadata=_is(
            _optional(_token), as_text, name="token", metavar="TOKEN",
            help="shown to a server that asks for one; other users of this machine can see flags, so better set"
            " VISAVIS_TOKEN",
        ),
    )  # fmt: skip
    """A room token or JSON Web Token, for a server that asks for one."""
    proxy: str | None = field(
        default=None,
        repr=False,
        metadata=_is(
            _optional(_text), as_text, name="proxy", metavar="URL",
            help="HTTP or SOCKS5 proxy to the server (http, https, socks5 or socks5h://[USER:PASSWORD@]HOST:PORT), or"
            " `none`; default: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY of the environment",
        ),
    )  # fmt: skip
    """URL of the HTTP or SOCKS proxy through which the signaling server and its relay are reached, with a user name and
    a password if need be; None: directly. The environment is not read here (`visavis --proxy`)."""
    relay: Literal["auto", "never", "only"] = field(
        default="auto",
        metadata=_is(
            _one_of(_RELAY), as_text, name="relay", choices=_RELAY, group="links",
            help="whether links may (auto, the default), must not (never) or must (only) go through the server's relay",
        ),
    )  # fmt: skip
    """Whether links may, must not, or must go by a relay."""
    port_mapping: Literal["auto", "never"] = field(
        default="auto",
        metadata=_is(
            _one_of(_WHETHER), as_text, name="port_mapping", choices=_WHETHER, group="links",
            help="whether to ask the gateway for ports by PCP, NAT-PMP or UPnP (auto, the default)",
        ),
    )  # fmt: skip
    """Whether to ask the gateway for ports (PCP, NAT-PMP, UPnP-IGD)."""
    probing: Literal["auto", "never"] = field(
        default="auto",
        metadata=_is(
            _one_of(_WHETHER), as_text, name="probing", choices=_WHETHER, group="links",
            help="whether to probe the peer's NAT for a path where connectivity checks find none (auto, the default)",
        ),
    )  # fmt: skip
    """Whether to take part in prediction and birthday probing where connectivity checks find no path."""
    stun: Sequence[str] = field(
        default=(),
        metadata=_is(
            _hosts, as_texts, name="stun", metavar="HOST[:PORT]", many=True,
            help="STUN server, repeatable; default: the signaling server's",
        ),
    )  # fmt: skip
    """STUN servers as `host[:port]` (3478), 8 at most; empty: those that the signaling server offers."""
    interfaces: Sequence[str] = field(
        default=(),
        metadata=_is(
            _texts(INTERFACE_COUNT), as_texts, name="interface", metavar="NAME", many=True,
            help="use only this interface, repeatable",
        ),
    )  # fmt: skip
    """Names of the network interfaces to use, 32 at most; empty: all that lead anywhere."""
    port: int | None = field(
        default=None,
        metadata=_is(
            _optional(_port), as_number(int), name="port", metavar="N",
            help=f"first UDP port to bind to; the next {PORT_COUNT - 1} serve further links",
        ),
    )  # fmt: skip
    """First of the UDP ports to bind to, 1024 to 65503; None: any."""
    report: bool = field(
        default=True,
        metadata=_is(
            _whether, as_switch, name="report", is_switched_off=True, group="links",
            help="do not tell the server whether links are direct, relayed or failed (also: VISAVIS_REPORT=off)",
        ),
    )  # fmt: skip
    """Whether to tell the signaling server how links turn out (direct, relayed or failed, why, kinds of NAT)."""
    patience: float = field(
        default=PATIENCE,
        metadata=_is(
            _patience, as_number(float), name="patience", metavar="SECONDS", group="room",
            help="how long to wait for a peer that has fallen silent, such as one whose machine is asleep, if it has"
            f" the room's secret; the smaller value of both sides counts (default {PATIENCE:g})",
        ),
    )  # fmt: skip
    """Seconds for which a link waits for a peer that has fallen silent, as one that is asleep, 0 to 86400: the smaller
    of what both sides say. Below 26 s, as in rooms without a secret, so much silence is the end."""
    connect_timeout: float | None = field(
        default=CONNECT_TIMEOUT,
        metadata=_is(_optional(_seconds), as_number(float), name="timeout", metavar="SECONDS"),
    )
    """Seconds within which the first connection to the signaling server must succeed; None: it is tried until it does,
    as lost ones are."""

    def __post_init__(self) -> None:
        for each in fields(self):
            try:
                object.__setattr__(self, each.name, each.metadata[_CHECK](getattr(self, each.name)))
            except ValueError as error:
                raise UsageError(f"{each.name}: {error}") from None


FLAGS: Final[dict[str, Setting]] = {
    each.name: each.metadata[_SETTING] for each in fields(AgentSettings) if each.metadata[_SETTING] is not None
}
"""What can be said on a command line of each setting, by the name of the field."""


def udp_ports(settings: AgentSettings) -> tuple[int, ...]:
    """Return the UDP ports to try in order."""
    return (0,) if settings.port is None else tuple(range(settings.port, settings.port + PORT_COUNT))
