"""The server put together: HTTP on one TCP port, STUN on UDP, one hub behind."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import secrets
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from aiohttp import web

from visavis_server import __version__
from visavis_server.core.access.auth import Authorizer, TokenRefused
from visavis_server.core.access.buckets import counted_source
from visavis_server.core.access.causes import Cause
from visavis_server.core.access.door import HANDSHAKE_TIMEOUT, SOURCE_PENDING_LIMIT, Door, capacity_of
from visavis_server.core.access.forwarding import (
    client_address,
    is_host_allowed,
    is_origin_allowed,
    parse_address,
)
from visavis_server.core.access.guessing import TooManyGuesses
from visavis_server.core.access.turn import TurnService
from visavis_server.core.errors import ServerError, SettingsError
from visavis_server.core.quiet import Quiet
from visavis_server.core.relay.relay import Relay
from visavis_server.core.rest.admin import Admin
from visavis_server.core.rest.targets import parse_target
from visavis_server.core.signaling.edge import Edge, TooManyConnections, TooManyFailures
from visavis_server.core.signaling.hub import Hub
from visavis_server.core.signaling.resumption import Resumption
from visavis_server.core.signaling.tickets import KEY_SIZE, TicketSigner
from visavis_server.core.stun import StunService
from visavis_server.setup import descriptors
from visavis_server.setup.configuration import OTEL_ENVIRONMENT
from visavis_server.setup.credentials import Credentials
from visavis_server.setup.instructions import instructions
from visavis_server.setup.keys import read_or_make_keys
from visavis_server.setup.logs import ShowAddress, fields, show_addresses
from visavis_server.setup.settings import Settings, alternate_port, hub_rules, new_buckets, relay_rules
from visavis_server.setup.turn_secret import TurnSecret
from visavis_server.sockets import relay
from visavis_server.sockets.acceptor import Acceptor, Visitor
from visavis_server.sockets.connections import Connections
from visavis_server.sockets.guarded_server import GuardedServer
from visavis_server.sockets.http_handler import Fault
from visavis_server.sockets.outbox import Outbox
from visavis_server.sockets.relay import RelayConnections, Unauthorized
from visavis_server.sockets.rest import ADMIN_PREFIX, RestApi, refusal, route_of
from visavis_server.sockets.stun import StunResponder, open_sockets
from visavis_server.sockets.switchboard import Switchboard, now_ms
from visavis_server.sockets.websocket import WebSocketEndpoint, observed_address
from visavis_server.sockets.websocket_aiohttp import AiohttpEndpoint
from visavis_server.watch.metrics import Exposition, LagMeter, Sources
from visavis_server.watch.metrics_endpoint import MetricsEndpoint
from visavis_shared import limits
from visavis_shared.endpoints import is_numeric
from visavis_shared.headers import TOKEN as TOKEN_HEADER
from visavis_shared.ids import INSTANCE_BYTES, hex_id
from visavis_shared.messages import Endpoint, RelayOffer, ServerLimits, StunServer, WelcomePayload
from visavis_shared.stun import Address

if TYPE_CHECKING:
    from visavis_server.watch.otel import OtelExport

logger = logging.getLogger(__name__)

BACKLOG: Final = 4096
"""Connections that the kernel may keep waiting: as many clients may come back at once after a restart."""
KEEP_ALIVE_TIMEOUT: Final = 10.0
"""Seconds that an HTTP connection may idle before its next request: who polls more often keeps it, and a proxy in front
opens another one."""
HTTP_SHUTDOWN_TIMEOUT: Final = 0.3
"""Seconds for REST answers under way at a shutdown; they are made at once, only a slow reader takes time."""
NEARLY_ALL: Final = 0.9
"""Part of all connections that comes from one address only where a proxy stands in front, or nobody else is there."""


SINGLE_HEADERS: Final = ("Host", "Origin", "Authorization", TOKEN_HEADER, "Sec-WebSocket-Key", "Sec-WebSocket-Version")
"""Headers that decide: of two that differ a proxy in front may have checked the other one (RFC 9110 section 5.3)."""


class CannotListen(ServerError):
    """An address or port cannot be used."""


class SignalingServer:
    """A running server; `async with` starts and stops it."""

    def __init__(self, settings: Settings, stop: Callable[[], None] | None = None, *, mounted: bool = False) -> None:
        """`stop` is called when the operator asks by the admin API to stop; somebody has to call `close` then.

        A `mounted` server listens on no TCP port: what has one hands it requests by `handle`.
        """
        self.settings = settings
        self._instance = hex_id(secrets.token_bytes(INSTANCE_BYTES))
        """What the welcome tells of this process, so that agents notice when one name leads to several."""
        self._mounted = mounted
        self._stop = stop or _cannot_stop
        self.host = settings.host
        self._address = ""
        """The same as a number, once it is known."""
        self.port = 0
        """TCP port, known once started."""
        self.stun_ports: tuple[int, int] | None = None
        """UDP ports, known once started; None without STUN."""
        self.relay = None if settings.relay == "never" else Relay(relay_rules(settings))
        capacity = capacity_of(settings.peer_limit, descriptors.limit())
        rules = replace(hub_rules(settings), peer_limit=capacity.peers)
        self.hub = Hub(rules, self.relay, buckets=new_buckets(settings))
        address_limit = settings.address_limit and settings.address_limit + SOURCE_PENDING_LIMIT
        self.door: Door[Visitor] = Door(capacity, address_limit, refusals=self.hub.refusals)
        """Where every connection is counted, and waits until it makes a request."""
        self.metrics: MetricsEndpoint | None = None
        """Where metrics are served, if anywhere."""
        self._lag: LagMeter | None = None
        self._export: OtelExport | None = None
        self._acceptor: Acceptor | None = None
        self._said: set[str] = set()
        """What the operator has been told once."""
        self._quiet = Quiet()
        self._responses: Counter[tuple[str, int]] = Counter()
        """HTTP answers by route and status."""
        self._proxies = tuple(ipaddress.ip_network(text) for text in settings.trusted_proxy)
        self._turn_secret: TurnSecret | None = None
        self._stun: StunResponder | None = None
        self._relay_connections: RelayConnections | None = None
        self._relay_endpoint: WebSocketEndpoint | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def announcement(self) -> str:
        """One line that says where the server listens."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        stun = f"STUN udp/{self.stun_ports[0]}" if self.stun_ports else "STUN off"
        scheme = "http" if self.settings.tls_cert is None else "https"
        return f"listening on {scheme}://{host}:{self.port} (WebSocket /ws), {stun}"

    @property
    def instructions(self) -> list[str]:
        """Lines for the operator: what clients run, and what has to be reachable from outside."""
        return instructions(self.settings, self._address, self.port, self.stun_ports or ())

    async def start(self) -> None:
        """Bind everything and accept connections.

        Raises CannotListen, KeyFileError or SettingsError (a part that is not installed), with nothing left open.
        """
        if self.settings.otel_endpoint is not None:
            self._export = _new_export(self.settings.otel_endpoint, self.settings.otel_interval)
        if self.settings.metrics_port is not None:
            self.metrics = await _open_metrics(self.settings, self._is_ready)
        try:
            await self._start()
        except BaseException:
            if self.metrics is not None:
                await self.metrics.close()
            raise

    async def _start(self) -> None:
        settings = self.settings
        self._show_address = show_address = await _open_address_log(settings)
        self.hub.rooms.resumption = await _open_resumption(settings)
        self._credentials = await Credentials.open(settings)
        self._on_authorizer(self._credentials.authorizer)
        address = await _resolve(settings.host)
        if "host" not in settings.model_fields_set and not _has_ipv6():
            address = self.host = "0.0.0.0"  # noqa: S104 -- all there is
        self._address = address
        if settings.turn_url and settings.turn_secret_file is not None:
            self._turn_secret = await _read_turn_secret(settings.turn_secret_file)
            self.hub.turn = TurnService(settings.turn_url, self._turn_secret.value, settings.turn_ttl)
        listener = None if self._mounted else _listen(address, settings)
        try:
            if settings.stun:
                self._stun = _open_stun(address, settings, self.hub.edge)
                self.stun_ports = self._stun.service.ports
        except CannotListen:
            if listener is not None:
                listener.close()
            raise
        self._switchboard = Switchboard(
            self.hub,
            self._welcome(),
            settings.cleanup_interval,
            show_address=show_address,
            relay_offer=_relay_offer(settings),
        )
        stun = self._stun
        if stun is not None:
            self._switchboard.refusals.append(lambda: [("stun_rate", stun.refused_count)])
        endpoint = {"own": WebSocketEndpoint, "aiohttp": AiohttpEndpoint}[settings.engine]
        self._websocket = endpoint(self._switchboard, self._connect, limits.MESSAGE_SIZE)
        if self.relay is not None:
            self._relay_connections = RelayConnections(self.relay, self.hub.edge, settings.ping_interval)
            self._relay_endpoint = endpoint(
                self._relay_connections, self._relay_connections.connect, relay.MESSAGE_SIZE, relay.SUBPROTOCOL
            )
        admin = Admin(
            self.hub.overview, self.hub.governing, self.hub.gate, lambda: self._credentials.admin_tokens, self._stop
        )
        self._rest = RestApi(
            self.hub.overview,
            admin,
            self._switchboard.perform,
            self.hub.refusals,
            install=settings.invite_install,
            timeout=settings.answer_timeout,
        )
        if listener is not None:
            self._accept(listener)
        self._measure()
        self._credentials.watch(self._on_authorizer)
        if self._turn_secret is not None:
            self._turn_secret.watch(self._on_turn_secret)
        self._warn_of_limits()

    def _accept(self, listener: socket.socket) -> None:
        self.port = listener.getsockname()[1]
        self._http = GuardedServer(
            self.door,
            self._drop,
            self.handle,
            access_log=None,
            keepalive_timeout=KEEP_ALIVE_TIMEOUT,
            handler_cancellation=self.settings.engine == "aiohttp",
            on_fault=self._on_fault,
            on_bug=self._on_bug,
            answer_timeout=self.settings.answer_timeout,
        )
        self._acceptor = Acceptor(
            listener,
            self.door,
            self._http.admit,
            proxies=self._proxies,
            proxy_protocol=self.settings.proxy_protocol,
            tls=_tls_options(self._credentials.tls),
            on_refused=self._on_refused,
        )
        self._acceptor.start()

    async def close(self) -> None:
        """Let go of who resumes within the drain time; then send 1001 to the others and end within two seconds."""
        if self._acceptor is not None and self.settings.reuse_port:
            self._acceptor.stop()  # whoever connects now meets the successor
        await self._switchboard.drain(self.settings.drain_time)
        if self._acceptor is not None:
            await self._acceptor.close()
        if self._stun is not None:
            self._stun.close()
        if self._turn_secret is not None:
            await self._turn_secret.close()
        await self._credentials.close()
        await self._switchboard.close()
        if self._relay_connections is not None:
            await self._relay_connections.close()
        if not self._mounted:
            await self._http.shutdown(HTTP_SHUTDOWN_TIMEOUT)
        if self._export is not None:
            await self._export.close()
        if self._lag is not None:
            self._lag.close()
        if self.metrics is not None:
            await self.metrics.close()

    def _is_ready(self) -> bool:
        return (self._mounted or self._acceptor is not None) and not self.hub.overview.draining

    def _measure(self) -> None:
        """Show to whoever watches what is counted, if somebody does."""
        if self.metrics is None and self._export is None:
            return
        sources = self._sources()
        self._lag = LagMeter(sources.lag)
        exposition = Exposition(sources)
        if self.metrics is not None:
            self.metrics.measure(exposition)
        if self._export is not None:
            self._export.start(exposition)

    def _sources(self) -> Sources:
        connections: dict[str, Connections] = {"signaling": self._switchboard}
        if self._relay_connections is not None:
            connections["relay"] = self._relay_connections
        return Sources(
            self.hub.overview,
            self.hub.refusals,
            self.relay,
            self.door,
            connections,
            self._stun,
            self._responses,
        )

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer any HTTP request; for a WebSocket, when that has ended."""
        response = await self._respond(request)
        if response.status != HTTPStatus.SWITCHING_PROTOCOLS:  # those are counted as connections, when they begin
            path = parse_target(request.raw_path).below(self.settings.path_prefix)
            self._responses[route_of(path or ""), response.status] += 1
            visitor = self._visitor_of(request)
            if visitor is not None:
                self._http.rest(visitor)
        return response

    async def _respond(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer any HTTP request; a bug of ours becomes a 500 like every other answer."""
        try:
            visitor = self._visitor_of(request)
            if visitor is not None:
                self.door.settle(visitor)
            target = parse_target(request.raw_path)
            path = target.below(self.settings.path_prefix)
            repeated = next((name for name in SINGLE_HEADERS if len(request.headers.getall(name, ())) > 1), None)
            if repeated is not None:
                self._on_fault(request, Fault.HEADER)
                return refusal(HTTPStatus.BAD_REQUEST, f"more than one {repeated} header", target.shown)
            if path is None:
                return refusal(HTTPStatus.NOT_FOUND, "not found", target.shown)
            hosts = [request.headers.get("Host", ""), *([] if target.authority is None else [target.authority])]
            if not all(is_host_allowed(host, self.settings.allowed_host) for host in hosts):
                self.hub.refusals[Cause.HOST] += 1
                return refusal(HTTPStatus.FORBIDDEN, "this server does not go by that name (see --allowed-host)", path)
            endpoint = self._endpoint(path)
            if path.startswith(ADMIN_PREFIX):
                return await self._rest.administer(request, path, self._client_address(request))
            if endpoint is None or request.method == "OPTIONS":
                return self._rest.answer(request, path, counted_source(self._client_address(request)))
            if not is_origin_allowed(request.headers.get("Origin"), self.settings.allowed_origin):
                self.hub.refusals[Cause.ORIGIN] += 1
                return refusal(HTTPStatus.FORBIDDEN, "pages of this origin may not connect", path)
            return await endpoint.handle(request, self._client_address(request))
        except Exception as error:  # noqa: BLE001 -- reported
            self._on_bug(error)
            return refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error", parse_target(request.raw_path).shown)

    def _on_bug(self, error: BaseException | None) -> None:
        unsaid = self._quiet.speak(str(HTTPStatus.INTERNAL_SERVER_ERROR), asyncio.get_running_loop().time())
        if unsaid is not None:
            about = fields(event="internal_error", unsaid=unsaid)
            logger.error("a request could not be handled", exc_info=error, extra=about)

    def _on_fault(self, request: web.BaseRequest, fault: Fault) -> None:
        """Count what is not HTTP, and say so once a second and kind."""
        self.hub.refusals[Cause.UNREAD if fault is Fault.UNREAD else Cause.MALFORMED] += 1
        unsaid = self._quiet.speak(fault, asyncio.get_running_loop().time())
        if unsaid is not None:
            address = parse_address(self._client_address(request))
            shown = self._show_address(str(address)) if address is not None else ""
            about = fields(event="malformed", cause=fault.name.lower(), address=shown, unsaid=unsaid)
            sender = f" of {shown}" if shown else ""
            text = "a request%s is refused: %s (%d more since the last such line)"
            logger.warning(text, sender, fault, unsaid, extra=about)

    def _on_turn_secret(self, secret: bytes) -> None:
        assert self.hub.turn is not None
        self.hub.turn.secret = secret

    def _on_authorizer(self, authorizer: Authorizer) -> None:
        self.hub.gate.authorizer = authorizer

    def _endpoint(self, path: str) -> WebSocketEndpoint | None:
        return self._websocket if path == "/ws" else self._relay_endpoint if path == "/relay" else None

    def _client_address(self, request: web.BaseRequest) -> str:
        """Return who has made a request: whom a PROXY header names, or X-Forwarded-For of a trusted proxy."""
        visitor, observed = self._visitor_of(request), self._observed(request)
        if observed is None:
            return ""
        if visitor is not None and visitor.is_named:
            return observed[0]
        # aiohttp gives a plain dict, an empty one, to what it could not parse
        forwarded_for = request.headers.getall("X-Forwarded-For", []) if request.headers else []
        if forwarded_for and not self._proxies and not counted_source(observed[0]):
            self._warn_once(
                "X-Forwarded-For",
                "requests come from this host with X-Forwarded-For: behind a proxy set --trusted-proxy to its address, "
                "or nobody is limited by address",
            )
        return client_address(observed[0], forwarded_for, self._proxies)

    def _visitor_of(self, request: web.BaseRequest) -> Visitor | None:
        return None if self._mounted else self._http.visitor_of(request)

    def _observed(self, request: web.BaseRequest) -> Address | None:
        """Return whom the door knows at the other end; somebody else's listener has no door."""
        visitor = self._visitor_of(request)
        if visitor is not None:
            return visitor.client
        return observed_address(request.transport) if request.transport is not None else None

    def _connect(
        self, request: web.BaseRequest, transport: asyncio.Transport, preamble: bytes, authorization: str, address: str
    ) -> Outbox:
        scheme, _, shown = authorization.partition(" ")
        token = shown.strip() if scheme.lower() == "bearer" else ""
        now = asyncio.get_running_loop().time()
        try:
            self.hub.gate.check_header(token, counted_source(address), now, now_ms())
        except TooManyGuesses as refused:
            raise TooManyFailures(refused.message) from None
        except TokenRefused as refused:
            raise Unauthorized(str(refused)) from None
        observed = self._observed(request)
        endpoint = Endpoint(ip=observed[0], port=observed[1]) if observed is not None and observed[1] else None
        try:
            return self._switchboard.connect(transport, preamble, endpoint, address=address, token=token)
        except TooManyConnections:
            self._on_one_address(self.hub.edge.share_of(counted_source(address)), address)
            raise

    def _drop(self, visitor: Visitor) -> None:
        assert self._acceptor is not None
        self._acceptor.drop(visitor)

    def _on_refused(self, visitor: Visitor, cause: Cause) -> None:
        if cause is Cause.ADDRESS_CONNECTIONS:
            self._on_one_address(self.door.share_of(counted_source(visitor.client[0])), visitor.client[0])

    def _on_one_address(self, share: float, address: str) -> None:
        """Say once that what is refused may be everybody, behind a proxy that was not named."""
        if share >= NEARLY_ALL:
            self._warn_once(
                "one address",
                "all connections come from one address, %s, and more are refused (--address-limit): if it is a proxy, "
                "set --trusted-proxy to it, and --proxy-protocol on where it does not speak HTTP",
                self._show_address(address),
            )

    def _warn_once(self, subject: str, text: str, *arguments: object) -> None:
        if subject not in self._said:
            self._said.add(subject)
            logger.warning(text, *arguments)

    def _warn_of_limits(self) -> None:
        peers, wanted = self.door.capacity.peers, self.settings.peer_limit
        if peers < wanted:
            text = "room for %d connections, not the %d of --peer-limit: this process may have %s file descriptors (%s)"
            logger.warning(text, peers, wanted, descriptors.limit(), "ulimit -n, or LimitNOFILE= of systemd")

    def _welcome(self) -> WelcomePayload:
        settings = self.settings
        return WelcomePayload(
            message="connected",
            server=f"visavis/{__version__}",
            ping_interval=settings.ping_interval,
            private_rooms=True,
            instance=self._instance,
            limits=ServerLimits(
                message_size=limits.MESSAGE_SIZE,
                room_id_length=limits.ROOM_ID_LENGTH,
                display_name_length=limits.DISPLAY_NAME_LENGTH,
                room_capacity=settings.room_capacity,
                stale_timeout=settings.stale_timeout,
                message_rate=settings.message_rate,
                pair_rate=settings.pair_rate,
                join_timeout=settings.join_timeout,
            ),
            stun=tuple(_offer(self._stun, settings)) if self._stun else (),
        )


async def _read_turn_secret(path: Path) -> TurnSecret:
    """Raises CannotListen."""
    secret = TurnSecret(path)
    try:
        await secret.read()
    except OSError as error:
        raise CannotListen(
            f"cannot read the TURN secret in {path}: {_reason(error)} (see --turn-secret-file)"
        ) from error
    except ValueError as error:
        raise CannotListen(f"cannot read the TURN secret: {error} (see --turn-secret-file)") from error
    return secret


def _tls_options(context: ssl.SSLContext | None) -> dict[str, Any]:
    return {} if context is None else {"ssl": context, "ssl_handshake_timeout": HANDSHAKE_TIMEOUT}


def _cannot_stop() -> None:
    logger.warning("the operator asks to stop, but this server is part of a program that does not")


def _relay_offer(settings: Settings) -> RelayOffer | None:
    """Return what clients are told of the relay, their token aside."""
    if settings.relay == "never":
        return None
    return RelayOffer(
        mode=settings.relay,
        token="-",  # noqa: S106 -- each client gets its own
        message_size=relay.MESSAGE_SIZE,
        rate=settings.relay_rate,
        volume=settings.relay_volume,
    )


async def _open_resumption(settings: Settings) -> Resumption | None:
    """Return what remembers the peers that may resume, None when nobody may.

    Raises KeyFileError.
    """
    if not settings.resume_grace:
        return None
    keys = [secrets.token_bytes(KEY_SIZE)]
    if settings.key_file is not None:
        keys = await asyncio.to_thread(read_or_make_keys, settings.key_file)
    return Resumption(TicketSigner(keys), settings.resume_grace, settings.peer_limit, settings.address_limit)


async def _open_metrics(settings: Settings, is_ready: Callable[[], bool]) -> MetricsEndpoint:
    """Raises CannotListen."""
    endpoint = MetricsEndpoint(is_ready)
    host, port = settings.metrics_host, settings.metrics_port or 0
    shown = f"[{host}]" if ":" in host else host
    try:
        await endpoint.start(host, port)
    except OSError as error:
        where = f"{shown}:{port}"
        raise CannotListen(
            f"cannot serve metrics on {where}: {_reason(error)} (see --metrics-host, --metrics-port)"
        ) from error
    logger.info("metrics on http://%s:%d/metrics", shown, endpoint.port)
    return endpoint


def _new_export(endpoint: str, interval: float) -> OtelExport:
    """Raises SettingsError."""
    try:
        from visavis_server.watch.otel import OtelExport
    except ImportError as error:
        raise SettingsError(
            f"--otel-endpoint ({OTEL_ENVIRONMENT}) needs OpenTelemetry, which is not installed: "
            "pip install 'visavis[otel]'"
        ) from error
    return OtelExport(endpoint, interval)


async def _open_address_log(settings: Settings) -> ShowAddress:
    """Raises KeyFileError."""
    key = None
    if settings.log_key_file is not None:
        key, *_ = await asyncio.to_thread(read_or_make_keys, settings.log_key_file)
    return show_addresses(settings.log_addresses, key)


async def _resolve(host: str) -> str:
    """Return `host` as an address.

    Raises CannotListen.
    """
    if is_numeric(host):
        return host
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise CannotListen(f"cannot resolve host {host!r}: {error.strerror}") from error
    return str(found[0][4][0])


def _has_ipv6() -> bool:
    """Whether this machine can listen by IPv6: some kernels come without."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
            sock.bind(("::", 0))
    except OSError:
        return False
    return True


def _listen(address: str, settings: Settings) -> socket.socket:
    version6 = ":" in address
    try:
        return socket.create_server(
            (address, settings.port),
            family=socket.AF_INET6 if version6 else socket.AF_INET,
            backlog=BACKLOG,
            dualstack_ipv6=address == "::" and socket.has_dualstack_ipv6(),
            reuse_port=settings.reuse_port,
        )
    except OSError as error:
        where = f"[{address}]:{settings.port}" if version6 else f"{address}:{settings.port}"
        raise CannotListen(f"cannot listen on http://{where}: {_reason(error)} (see --host, --port)") from error


def _reason(error: OSError) -> str:
    """Return the system's words; `socket` appends the address to them."""
    return os.strerror(error.errno) if error.errno else str(error)


def _open_stun(address: str, settings: Settings, edge: Edge) -> StunResponder:
    hosts = list(settings.stun_address) or [address]
    if hosts == ["::"] and socket.has_dualstack_ipv6():
        hosts.append("0.0.0.0")  # noqa: S104 -- the operator asked for every address
    alternate = alternate_port(settings)
    try:
        sockets, ports = open_sockets(hosts, settings.stun_port, alternate, shared=settings.reuse_port)
    except OSError as error:
        where = f"{', '.join(hosts)} udp/{settings.stun_port} and udp/{alternate}"
        raise CannotListen(f"cannot answer STUN on {where}: {_reason(error)} (see --stun-port, --stun off)") from error
    configured = tuple(host for host in hosts if not ipaddress.ip_address(host).is_unspecified)
    service = StunService(ports, configured, secrets.token_bytes(KEY_SIZE))
    return StunResponder(service, sockets, lambda ip: edge.is_connected(counted_source(ip)))


def _offer(stun: StunResponder, settings: Settings) -> list[StunServer]:
    """Return the STUN servers that clients are told; without a host where they reach it by the one they came by."""
    offered: list[StunServer] = []
    for ip, port in stun.addresses:
        alone = stun.service.other_address(ip) is None
        host = ip if settings.stun_address and not ipaddress.ip_address(ip).is_unspecified else None
        server = StunServer(host=settings.public_host or host if alone else ip, port=port)
        if server not in offered:
            offered.append(server)
    return offered
