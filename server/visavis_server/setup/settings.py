"""The settings of the server: made once in the CLI, frozen, handed down."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from visavis_server.core.access import buckets
from visavis_server.core.access.buckets import Buckets
from visavis_server.core.access.turn import TTL_MAX
from visavis_server.core.errors import SettingsError
from visavis_server.core.relay.relay import RelayRules
from visavis_server.core.signaling import rules
from visavis_server.core.signaling.rules import Exposure, Rules

Port = Annotated[int, Field(ge=0, le=65535)]
"""TCP or UDP port; 0 lets the system choose."""
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
Rate = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]
"""Per second."""


@dataclass(frozen=True, slots=True)
class Metavar:
    """What stands for the value of a setting in `--help`, where neither its type nor the end of its name says it."""

    text: str


INSTALL: Final = "it belongs to the project visavis; whoever invited you can tell you where to get it"
"""Names the program and its project, no index of packages: a name there may be held by anybody."""


def _numeric(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError("must be an IPv4 or IPv6 address") from None


def _resolvable(text: str) -> str:
    try:
        text.encode("idna")
    except UnicodeError:
        raise ValueError("is neither an address nor a name that can be looked up") from None
    if not text.isprintable() or " " in text:
        raise ValueError("is neither an address nor a name that can be looked up")
    return text


Host = Annotated[str, Field(min_length=1), AfterValidator(_resolvable)]
"""Address or name."""
TurnUrl = Annotated[str, Field(max_length=300, pattern=r"^turn:[^/?#@\s]+(\?transport=(udp|tcp))?$")]
"""RFC 7065, without TLS: what is relayed is encrypted already."""


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        raise ValueError("must be an address or a network such as 10.0.0.0/8") from None


def _websocket(text: str) -> str:
    if re.fullmatch(r"wss?://[!-~]+", text) is None or set(text) & set("?#@\\") or not urlsplit(text).hostname:
        raise ValueError("must be a URL such as wss://relay.example.org/relay")
    return text


class Settings(BaseModel):
    """What an operator can set; each field is a flag, an environment variable `VISAVIS_…` and a key of the file.

    Making them raises SettingsError that names the setting.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, defer_build=True)

    host: Host = "::"
    """Address or name to listen on; `::` is every address of both families, `0.0.0.0` every one of IPv4."""
    port: Port = 8080
    """TCP port of HTTP and WebSocket; 0 picks a free one."""
    reuse_port: bool = False
    """Whether a successor may listen on the same ports (SO_REUSEPORT) while this server drains."""
    stun: bool = True
    """Whether to answer STUN."""
    stun_port: Port = 3478
    """UDP port of STUN (RFC 8489 section 18.6); 0 picks a free one."""
    stun_alternate_port: Port | None = None
    """Second UDP port, for measuring NATs; by default the one after stun_port, or a free one."""
    stun_address: Annotated[tuple[Annotated[str, AfterValidator(_numeric)], ...], Field(max_length=4)] = ()
    """Addresses to answer STUN on, by default those of `host`; two of one family make RFC 5780 complete."""
    public_host: Annotated[str, Field(max_length=253)] | None = None
    """Name or address that clients are told for STUN; by default the one that they used to reach the server."""
    room_capacity: Annotated[int, Field(ge=0, le=100_000)] = rules.ROOM_CAPACITY
    """Peers per room; 0 is unlimited."""
    peer_limit: Annotated[int, Field(ge=1, le=1_000_000)] = rules.PEER_LIMIT
    """Connections at once; more are refused with HTTP status 503."""
    room_limit: Annotated[int, Field(ge=1, le=1_000_000)] = rules.ROOM_LIMIT
    """Rooms at once, empty ones included; an empty one makes way for a new one."""
    room_rate: Rate = buckets.ROOM_RATE
    """Rooms per second that one address (IPv6: /64) may make, 100 at once; 0 is unlimited. Loopback is not limited."""
    join_rate: Rate = buckets.JOIN_RATE
    """JOINs per second of rooms where others are that one address (IPv6: /64) may make, 128 at once; 0 is unlimited.
    Loopback is not limited."""
    exposure: Exposure = Exposure.SEED
    """What strangers may learn: `seed` rooms, members and endpoints; `members` rooms and sizes; `counts` totals."""
    relay: Literal["auto", "never", "only"] = "auto"
    """Whether the server relays links: `auto` those without a direct path, `never` any, `only` all of them."""
    relay_url: Annotated[Annotated[str, Field(max_length=300), AfterValidator(_websocket)] | None, Metavar("URL")] = (
        None
    )
    """Where clients are told that the relay is, such as `wss://relay.example.org/relay`; by default beside `/ws`."""
    relay_rate: Annotated[int, Field(ge=0, le=1 << 40), Metavar("BYTES")] = RelayRules.rate
    """Bytes per second that a pair of client addresses may relay, both directions together; 0 is unlimited."""
    relay_volume: Annotated[int, Field(ge=0, le=1 << 60), Metavar("BYTES")] = RelayRules.volume
    """Bytes that a pair of client addresses may relay in a day; 0 is unlimited."""
    relay_sessions: Annotated[int, Field(ge=0, le=1_000_000)] = RelayRules.sessions
    """Pairs of peers that one client address may relay for at a time; 0 is unlimited."""
    relay_address_rate: Annotated[int, Field(ge=0, le=1 << 40), Metavar("BYTES")] = RelayRules.address_rate
    """Bytes per second that one client address may relay in all; 0 is unlimited."""
    relay_address_volume: Annotated[int, Field(ge=0, le=1 << 60), Metavar("BYTES")] = RelayRules.address_volume
    """Bytes that one client address may relay in a day; 0 is unlimited."""
    turn_url: Annotated[tuple[TurnUrl, ...], Field(max_length=8)] = ()
    """TURN servers for which members are given credentials: `turn:host:port?transport=udp` (or tcp)."""
    turn_secret_file: Path | None = None
    """File whose first line is the secret shared with them; read again when it changes."""
    turn_ttl: Annotated[int, Field(ge=30, le=TTL_MAX)] = TTL_MAX
    """Seconds for which TURN credentials are valid."""
    resume_grace: Annotated[float, Field(ge=0, le=600, allow_inf_nan=False)] = rules.RESUME_GRACE
    """Seconds for which a peer that can resume is kept when its connection is lost; 0 keeps nobody."""
    key_file: Path | None = None
    """File of keys for resume tokens, made if it does not exist: with it peers keep their ids over a restart."""
    drain_time: Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)] = 10.0
    """Seconds at most over which the connections of peers that resume are closed when the server stops."""
    message_rate: Rate = buckets.MESSAGE_RATE
    """Messages per second that a client may send, ten seconds' worth at once; 0 is unlimited."""
    pair_rate: Rate = buckets.PAIR_RATE
    """OFFER, ANSWER and CANDIDATE per second from one client to another, ten seconds' worth at once; 0 is unlimited."""
    address_rate: Rate = buckets.ADDRESS_RATE
    """Messages per second of all clients of one address (IPv6: /64), ten seconds' worth at once; 0 is unlimited."""
    address_limit: Annotated[int, Field(ge=0, le=1_000_000)] = rules.ADDRESS_LIMIT
    """Connections of one address (IPv6: /64); 0 is unlimited. Loopback is not limited."""
    answer_timeout: Seconds = 20.0
    """Seconds that a client has to read an answer of the REST API, before its connection is cut."""
    join_timeout: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)] = 0
    """Seconds that a client has to join a room; 0 is unlimited, as in the original server."""
    ping_interval: Seconds = rules.PING_INTERVAL
    """Seconds between WebSocket pings."""
    stale_timeout: Seconds = rules.STALE_TIMEOUT
    """Seconds without any traffic after which a peer is dropped."""
    empty_room_ttl: Seconds = rules.EMPTY_ROOM_TTL
    """Seconds for which a room without members is kept."""
    cleanup_interval: Seconds = rules.CLEANUP_INTERVAL
    """Seconds between sweeps for pings, stale peers and empty rooms."""
    room_secret_file: Path | None = None
    """File of keys for room tokens: with it, or with jwks_file, nobody joins a room without a token."""
    jwks_file: Path | None = None
    """JSON Web Key Set for JSON Web Tokens (HS256, ES256, EdDSA)."""
    jwt_audience: Annotated[Annotated[str, Field(max_length=256)] | None, Metavar("NAME")] = None
    """What a JSON Web Token must name as its audience."""
    admin_token_file: Path | None = None
    """File of tokens for the admin API, one a line; without it only a JSON Web Token with `admin` opens that."""
    allowed_origin: Annotated[tuple[str, ...], Field(max_length=64), Metavar("URL")] = ()
    """Origins whose pages may connect, such as `https://app.example.org`; by default all."""
    allowed_host: Annotated[tuple[str, ...], Field(max_length=64), Metavar("NAME")] = ()
    """Names by which clients may reach the server, with `*.` for all names below a domain; by default any."""
    trusted_proxy: Annotated[
        tuple[Annotated[str, AfterValidator(_network)], ...], Field(max_length=64), Metavar("ADDRESS")
    ] = ()
    """Addresses or networks of proxies whose X-Forwarded-For is believed; by default none."""
    proxy_protocol: bool = False
    """Whether each connection of a trusted proxy begins with a header of the PROXY protocol, version 1 or 2."""
    path_prefix: Annotated[str, Field(pattern=r"^(/[A-Za-z0-9._~-]+)*$", max_length=128), Metavar("PATH")] = ""
    """What stands before every path, such as `/signal`."""
    invite_install: Annotated[str, Field(min_length=1, max_length=500), Metavar("TEXT")] = INSTALL
    """What the page behind an invite says about where to get the program: a place or a command, as plain text."""
    tls_cert: Path | None = None
    """Certificate chain in PEM; with it the server speaks HTTPS only."""
    tls_key: Path | None = None
    """Private key of the certificate in PEM."""
    engine: Literal["own", "aiohttp"] = "own"
    """What reads the frames of WebSockets: the server's own code, or aiohttp, which is slower."""
    metrics_port: Port | None = None
    """TCP port of /metrics (Prometheus) and /ready, on a listener of its own; 0 picks a free one. By default none."""
    metrics_host: Host = "127.0.0.1"
    """Address or name to serve metrics on; whoever can reach it can read them."""
    otel_endpoint: Annotated[
        Annotated[str, Field(max_length=500, pattern=r"^https?://[^\s?#@]+$")] | None, Metavar("URL")
    ] = None
    """OpenTelemetry collector to send metrics to, by OTLP over HTTP, such as `http://127.0.0.1:4318`."""
    otel_interval: Seconds = 60.0
    """Seconds between two exports to it."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """What is logged on standard error."""
    log_format: Literal["text", "json"] = "text"
    """Whether a line of the log is text for people, or a JSON object."""
    log_addresses: Literal["plain", "hashed", "none"] = "hashed"
    """How the log shows client addresses."""
    log_key_file: Path | None = None
    """File of the key by which they are hashed, made if it does not exist: hashes are then the same after a restart."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        # one alone would leave a server on plain HTTP that its operator takes for one with TLS
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("--tls-cert and --tls-key belong together")
        # else anybody could say which address he has
        if self.proxy_protocol and not self.trusted_proxy:
            raise ValueError("proxy_protocol needs trusted_proxy, which says whose header to believe")
        if self.stale_timeout <= self.ping_interval:
            raise ValueError("stale_timeout must be longer than ping_interval, or idle peers are dropped")
        # RFC 5780 needs two addresses of a family to tell how a NAT maps and filters; a third is of no use
        for family in (4, 6):
            mine = [address for address in self.stun_address if ipaddress.ip_address(address).version == family]
            if len(mine) > 2 or len(set(mine)) != len(mine):
                raise ValueError("stun_address: at most two different addresses of each family")
            # the wildcard would take the packets of the other one, and answer from the wrong address
            if len(mine) == 2 and any(ipaddress.ip_address(address).is_unspecified for address in mine):
                raise ValueError("stun_address: the wildcard address cannot stand beside another")
        # credentials are made from it, and without them no TURN server lets anybody in
        if self.turn_url and self.turn_secret_file is None:
            raise ValueError("turn_url needs turn_secret_file")
        ports = (self.stun_port, alternate_port(self))
        # 0 is any that is free, and the system never gives the same one twice
        if self.stun and ports[0] and ports[0] == ports[1]:
            raise ValueError("stun_alternate_port must differ from stun_port")
        return self

    if not TYPE_CHECKING:  # type checkers know the fields by the annotations

        def __init__(self, **values: object) -> None:
            try:
                super().__init__(**values)
            except ValidationError as error:
                first = error.errors(include_url=False)[0]
                setting = str(first["loc"][0]) if first["loc"] else ""
                raise SettingsError(first["msg"].removeprefix("Value error, "), setting) from None


def alternate_port(settings: Settings) -> int:
    """Return the second STUN port; 0 lets the system choose."""
    if settings.stun_alternate_port is not None:
        return settings.stun_alternate_port
    return settings.stun_port + 1 if 0 < settings.stun_port < 65535 else 0


def new_buckets(settings: Settings) -> Buckets:
    """Return buckets that enforce the rates, all full."""
    return Buckets(
        settings.message_rate, settings.address_rate, settings.pair_rate, settings.room_rate, settings.join_rate
    )


def relay_rules(settings: Settings) -> RelayRules:
    """Return what the relay enforces."""
    return RelayRules(
        settings.relay_rate,
        settings.relay_volume,
        settings.relay_sessions,
        settings.relay_address_rate,
        settings.relay_address_volume,
    )


def hub_rules(settings: Settings) -> Rules:
    """Return what the hub enforces."""
    return Rules(
        room_capacity=settings.room_capacity,
        peer_limit=settings.peer_limit,
        room_limit=settings.room_limit,
        ping_interval=settings.ping_interval,
        stale_timeout=settings.stale_timeout,
        empty_room_ttl=settings.empty_room_ttl,
        exposure=settings.exposure,
        resume_grace=settings.resume_grace,
        address_limit=settings.address_limit,
        join_timeout=settings.join_timeout,
    )
