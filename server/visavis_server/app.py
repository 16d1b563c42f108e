"""The server put together: HTTP on one TCP port, STUN on UDP, one hub behind."""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import ssl
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from aiohttp import web

from visavis_server.core.access.auth import Authorizer
from visavis_server.core.access.buckets import counted_source
from visavis_server.core.access.door import HANDSHAKE_TIMEOUT, SOURCE_PENDING_LIMIT, Door, capacity_of
from visavis_server.core.access.turn import TurnService
from visavis_server.core.relay.relay import Relay
from visavis_server.core.rest.admin import Admin
from visavis_server.core.signaling.hub import Hub
from visavis_server.core.signaling.resumption import Resumption
from visavis_server.core.signaling.tickets import KEY_SIZE, TicketSigner
from visavis_server.setup import descriptors
from visavis_server.setup.credentials import Credentials
from visavis_server.setup.instructions import instructions
from visavis_server.setup.keys import read_or_make_keys
from visavis_server.setup.logs import ShowAddress, show_addresses
from visavis_server.setup.settings import Settings, hub_rules, new_buckets, relay_rules
from visavis_server.setup.turn_secret import TurnSecret
from visavis_server.sockets import relay
from visavis_server.sockets.acceptor import Acceptor, Visitor
from visavis_server.sockets.connections import Connections
from visavis_server.sockets.front import Front
from visavis_server.sockets.greeting import relay_offer, welcome
from visavis_server.sockets.guarded_server import GuardedServer
from visavis_server.sockets.listening import CannotListen, has_ipv6, listen, open_stun, reason, resolve
from visavis_server.sockets.origins import Origins
from visavis_server.sockets.relay import RelayConnections
from visavis_server.sockets.rest import RestApi
from visavis_server.sockets.stun import StunResponder
from visavis_server.sockets.switchboard import Switchboard
from visavis_server.sockets.websocket import WebSocketEndpoint
from visavis_server.sockets.websocket_aiohttp import AiohttpEndpoint
from visavis_server.watch.metrics import Sources
from visavis_server.watch.observers import Observers
from visavis_shared import limits
from visavis_shared.ids import INSTANCE_BYTES, hex_id

logger = logging.getLogger(__name__)

KEEP_ALIVE_TIMEOUT: Final = 10.0
"""Seconds that an HTTP connection may idle before its next request: who polls more often keeps it, and a proxy in front
opens another one."""
HTTP_SHUTDOWN_TIMEOUT: Final = 0.3
"""Seconds for REST answers under way at a shutdown; they are made at once, only a slow reader takes time."""


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
        self.stun: StunResponder | None = None
        """What answers STUN, if anything does."""
        self.relay_connections: RelayConnections | None = None
        """Those of the relay, where there is one."""
        self.observers = Observers(settings, self._is_ready)
        self._acceptor: Acceptor | None = None
        self._turn_secret: TurnSecret | None = None

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
        await self.observers.open()
        try:
            await self._start()
        except BaseException:
            await self.observers.abandon()
            raise

    async def _start(self) -> None:
        settings = self.settings
        show_address = await _open_address_log(settings)
        self.hub.rooms.resumption = await _open_resumption(settings)
        self._credentials = await Credentials.open(settings)
        self._on_authorizer(self._credentials.authorizer)
        address = await resolve(settings.host)
        if "host" not in settings.model_fields_set and not has_ipv6():
            address = self.host = "0.0.0.0"  # noqa: S104 -- all there is
        self._address = address
        if settings.turn_url and settings.turn_secret_file is not None:
            self._turn_secret = await _read_turn_secret(settings.turn_secret_file)
            self.hub.turn = TurnService(settings.turn_url, self._turn_secret.value, settings.turn_ttl)
        listener = self._listen(address)
        origins = Origins(settings.trusted_proxy, show_address)
        self._front = Front(settings, self.hub, self.door, origins)
        self._serve(show_address)
        if listener is not None:
            self._accept(listener, origins)
        self.observers.show(self._sources())
        self._credentials.watch(self._on_authorizer)
        if self._turn_secret is not None:
            self._turn_secret.watch(self._on_turn_secret)
        self._warn_of_limits()

    def _listen(self, address: str) -> socket.socket | None:
        """Open all ports; returns the listener of TCP, where this server has one.

        Raises CannotListen, with nothing left open.
        """
        settings = self.settings
        listener = None if self._mounted else listen(address, settings)
        try:
            if settings.stun:
                self.stun = open_stun(address, settings, lambda ip: self.hub.edge.is_connected(counted_source(ip)))
                self.stun_ports = self.stun.service.ports
        except CannotListen:
            if listener is not None:
                listener.close()
            raise
        return listener

    def _serve(self, show_address: ShowAddress) -> None:
        """Make what requests are answered by."""
        settings, hub, stun = self.settings, self.hub, self.stun
        self.switchboard = Switchboard(
            hub,
            welcome(settings, self._instance, stun),
            settings.cleanup_interval,
            show_address=show_address,
            relay_offer=relay_offer(settings),
        )
        if stun is not None:
            self.switchboard.refusals.append(lambda: [("stun_rate", stun.refused_count)])
        endpoint = {"own": WebSocketEndpoint, "aiohttp": AiohttpEndpoint}[settings.engine]
        endpoints = {"/ws": endpoint(self.switchboard, self._front.connect, limits.MESSAGE_SIZE)}
        if self.relay is not None:
            relays = self.relay_connections = RelayConnections(self.relay, hub.edge, settings.ping_interval)
            endpoints["/relay"] = endpoint(relays, relays.connect, relay.MESSAGE_SIZE, relay.SUBPROTOCOL)
        admin = Admin(hub.overview, hub.governing, hub.gate, lambda: self._credentials.admin_tokens, self._stop)
        self.rest = RestApi(
            hub.overview,
            admin,
            self.switchboard.perform,
            hub.refusals,
            install=settings.invite_install,
            timeout=settings.answer_timeout,
        )
        self._front.open(self.switchboard, self.rest, endpoints)

    def _accept(self, listener: socket.socket, origins: Origins) -> None:
        self.port = listener.getsockname()[1]
        self.http = origins.door = GuardedServer(
            self.door,
            self._drop,
            self.handle,
            access_log=None,
            keepalive_timeout=KEEP_ALIVE_TIMEOUT,
            handler_cancellation=self.settings.engine == "aiohttp",
            on_fault=self._front.on_fault,
            on_bug=self._front.on_bug,
            answer_timeout=self.settings.answer_timeout,
        )
        self._acceptor = Acceptor(
            listener,
            self.door,
            self.http.admit,
            proxies=origins.proxies,
            proxy_protocol=self.settings.proxy_protocol,
            tls=_tls_options(self._credentials.tls),
            on_refused=self._front.on_refused,
        )
        self._acceptor.start()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer any HTTP request; for a WebSocket, when that has ended."""
        return await self._front.handle(request)

    async def close(self) -> None:
        """Let go of who resumes within the drain time; then send 1001 to the others and end within two seconds."""
        if self._acceptor is not None and self.settings.reuse_port:
            self._acceptor.stop()  # whoever connects now meets the successor
        await self.switchboard.drain(self.settings.drain_time)
        if self._acceptor is not None:
            await self._acceptor.close()
        if self.stun is not None:
            self.stun.close()
        if self._turn_secret is not None:
            await self._turn_secret.close()
        await self._credentials.close()
        await self.switchboard.close()
        if self.relay_connections is not None:
            await self.relay_connections.close()
        if not self._mounted:
            await self.http.shutdown(HTTP_SHUTDOWN_TIMEOUT)
        await self.observers.close()

    def _is_ready(self) -> bool:
        return (self._mounted or self._acceptor is not None) and not self.hub.overview.draining

    def _sources(self) -> Sources:
        connections: dict[str, Connections] = {"signaling": self.switchboard}
        if self.relay_connections is not None:
            connections["relay"] = self.relay_connections
        return Sources(
            self.hub.overview,
            self.hub.refusals,
            self.relay,
            self.door,
            connections,
            self.stun,
            self._front.responses,
        )

    def _on_turn_secret(self, secret: bytes) -> None:
        assert self.hub.turn is not None
        self.hub.turn.secret = secret

    def _on_authorizer(self, authorizer: Authorizer) -> None:
        self.hub.gate.authorizer = authorizer

    def _drop(self, visitor: Visitor) -> None:
        assert self._acceptor is not None
        self._acceptor.drop(visitor)

    def _warn_of_limits(self) -> None:
        peers, wanted = self.door.capacity.peers, self.settings.peer_limit
        if peers < wanted:
            text = "room for %d connections, not the %d of --peer-limit: this process may have %s file descriptors (%s)"
            logger.warning(text, peers, wanted, descriptors.limit(), "ulimit -n, or LimitNOFILE= of systemd")


async def _read_turn_secret(path: Path) -> TurnSecret:
    """Raises CannotListen."""
    secret = TurnSecret(path)
    try:
        await secret.read()
    except OSError as error:
        raise CannotListen(
            f"cannot read the TURN secret in {path}: {reason(error)} (see --turn-secret-file)"
        ) from error
    except ValueError as error:
        raise CannotListen(f"cannot read the TURN secret: {error} (see --turn-secret-file)") from error
    return secret


def _tls_options(context: ssl.SSLContext | None) -> dict[str, Any]:
    return {} if context is None else {"ssl": context, "ssl_handshake_timeout": HANDSHAKE_TIMEOUT}


def _cannot_stop() -> None:
    logger.warning("the operator asks to stop, but the program that this server is part of does not")


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


async def _open_address_log(settings: Settings) -> ShowAddress:
    """Raises KeyFileError."""
    key = None
    if settings.log_key_file is not None:
        key, *_ = await asyncio.to_thread(read_or_make_keys, settings.log_key_file)
    return show_addresses(settings.log_addresses, key)
