"""A port of the home gateway for a socket of ours: by PCP or NAT-PMP, whichever answers first, or else by UPnP-IGD."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Final, Self, cast

from visavis_peer.core.nat.portmap import (
    GATEWAY_PORT,
    LIFETIME,
    PMP_ADDRESS_REQUEST,
    REQUEST_SCHEDULE,
    PortMapping,
    Refusal,
    is_useful,
    parse_pcp_response,
    parse_pmp_address,
    parse_pmp_mapping,
    pcp_map_request,
    pmp_map_request,
)
from visavis_peer.host import ssdp
from visavis_peer.host.interfaces import default_gateway
from visavis_shared.tasks import own
from visavis_shared.threads import call_apart

if TYPE_CHECKING:
    from visavis_peer.host.upnp import UpnpGateway

logger = logging.getLogger(__name__)

NONCE_SIZE: Final = 12
"""Bytes of a PCP mapping nonce (RFC 6887 section 11.1)."""
RETRY: Final = 30.0
"""Seconds until a renewal that was not answered is tried again: four times before a mapping ends."""
SILENCE: Final = 600.0
"""Seconds for which a gateway that has given no port is not asked again."""
QUEUE_SIZE: Final = 16
"""Datagrams of the gateway that wait: it answers each of our few requests once."""


class PortMapper:
    """Asks the gateways of one agent for ports, and remembers which of them give none."""

    def __init__(self) -> None:
        self._silent_until: dict[str, float] = {}
        """By gateway; as many as this machine has had."""

    def map(self, local_ip: str, port: int, on_mapped: Callable[[PortMapping], None]) -> MappedPort | None:
        """Ask for a port that leads to UDP `port` of `local_ip`; None where nobody is there to be asked.

        `on_mapped` hears of the first mapping that leads somewhere, and of every one that is different.
        """
        gateway = default_gateway(local_ip)
        if gateway is None or asyncio.get_running_loop().time() < self._silent_until.get(gateway, 0.0):
            return None
        return MappedPort(self, gateway, local_ip, port, on_mapped)

    def leave_alone(self, gateway: str) -> None:
        """Do not ask a gateway for a while."""
        self._silent_until[gateway] = asyncio.get_running_loop().time() + SILENCE


class MappedPort:
    """One UDP port of ours that the gateway maps; renewed until it is closed."""

    def __init__(
        self, mapper: PortMapper, gateway: str, local_ip: str, port: int, on_mapped: Callable[[PortMapping], None]
    ) -> None:
        self.mapping: PortMapping | None = None
        self.external_ip: str | None = None
        """What the gateway says of its external address, which another NAT may translate again."""
        self.note: str | None = None
        """Why the gateway gives no port, in words, where it has said or shown."""
        self.settled = asyncio.Event()
        """Set once the gateway has given a port, or has been given up."""
        self._mapper = mapper
        self._gateway = gateway
        self._local_ip = local_ip
        self._port = port
        self._on_mapped = on_mapped
        self._held: PortMapping | None = None
        """What the gateway has given last, be it of use or not: it is to be given back."""
        self._upnp: UpnpGateway | None = None
        """The gateway where it speaks nothing else."""
        self._nonce = secrets.token_bytes(NONCE_SIZE)
        self._task = own(self._run(), bears=(OSError,))

    @property
    def ended(self) -> bool:
        """Whether the gateway is not asked any more."""
        return self._task.done()

    async def close(self) -> None:
        """Give the mapping back. Idempotent."""
        if not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])
        self.mapping = None
        await self._give_back()

    async def _give_back(self) -> None:
        held, self._held = self._held, None
        if held is not None and self._upnp is not None:
            await self._upnp.unmap(held.external_port)
        elif held is not None:
            with contextlib.suppress(OSError):
                async with _Gateway(self._local_ip, self._gateway) as exchange:
                    exchange.send(pcp_map_request(self._local_ip, self._nonce, self._port, 0, 0))
                    exchange.send(pmp_map_request(self._port, 0, 0))

    async def _run(self) -> None:
        while True:
            found = await self._request() if self._upnp is None else None
            if found is None and (self._held is None or self._upnp is not None):
                found = await self._request_by_upnp()
            if found is None and self.mapping is None:
                self._mapper.leave_alone(self._gateway)
                self.settled.set()
                await self._give_back()
                return
            if found is None:
                await asyncio.sleep(RETRY)
                continue
            if self.mapping is None or _place(found) != _place(self.mapping):
                self.mapping, self.note = found, None
                self._on_mapped(found)
            self.mapping = found
            self.settled.set()
            await asyncio.sleep(max(1.0, found.lifetime / 2))

    async def _request(self) -> PortMapping | None:
        """Ask the gateway in both protocols; return the first useful mapping, None when there is none."""
        try:
            async with _Gateway(self._local_ip, self._gateway) as exchange:
                for wait in REQUEST_SCHEDULE:
                    self._send_requests(exchange)
                    mapping = await self._answer(exchange, wait)
                    if mapping is not None or len(exchange.refused) == 2:
                        return mapping
        except OSError as error:
            logger.info("no port mapping from %s: %s", self._gateway, error)
        return None

    async def _request_by_upnp(self) -> PortMapping | None:
        """Ask a gateway that has given no port otherwise; None when it gives none this way either."""
        if self._upnp is None:
            location = await ssdp.search(self._local_ip, self._gateway)
            if location is None:
                return None
            # a large library, for those gateways only that know nothing better
            upnp = await call_apart(import_module, "visavis_peer.host.upnp")
            found = await upnp.UpnpGateway.find(location, self._gateway)
            if isinstance(found, str):
                self._note("UPnP", found)
                return None
            self._upnp = found
        mapping = await self._upnp.map(
            self._local_ip, self._port, self.mapping.external_port if self.mapping is not None else 0
        )
        if mapping is None:
            self._note("UPnP", self._upnp.trouble)
            return None
        self._held, self.external_ip = mapping, mapping.external_ip
        return mapping if is_useful(mapping, self._local_ip) else None

    def _note(self, protocol: str, trouble: str) -> None:
        if trouble:
            self.note = f"port mapping: the gateway, by {protocol}: {trouble}"

    def _send_requests(self, exchange: _Gateway) -> None:
        if "pcp" not in exchange.refused:
            wanted = self.mapping.external_port if self.mapping else 0
            exchange.send(pcp_map_request(self._local_ip, self._nonce, self._port, wanted, LIFETIME))
        if "nat-pmp" not in exchange.refused:
            exchange.send(PMP_ADDRESS_REQUEST)

    async def _answer(self, exchange: _Gateway, wait: float) -> PortMapping | None:
        """Return the first useful mapping that comes within `wait` seconds."""
        deadline = asyncio.get_running_loop().time() + wait
        while (data := await exchange.receive(deadline)) is not None:
            address = parse_pmp_address(data)
            if isinstance(address, str):
                exchange.external_ip = self.external_ip = address
                exchange.send(pmp_map_request(self._port, self.mapping.external_port if self.mapping else 0, LIFETIME))
                continue
            answer = (
                address
                or parse_pcp_response(data, self._nonce)
                or parse_pmp_mapping(data, self._port, exchange.external_ip)
            )
            if isinstance(answer, PortMapping):
                self._held, self.external_ip = answer, answer.external_ip
                if is_useful(answer, self._local_ip):
                    return answer
            if isinstance(answer, Refusal):
                logger.info("the gateway refuses a port by %s, code %d", answer.protocol, answer.code)
                exchange.refused.add(answer.protocol)
                self._note(answer.protocol, f"refused, code {answer.code}")
        return None


class _Gateway(asyncio.DatagramProtocol):
    """A socket connected to the gateway's port for these protocols; nobody else's datagrams come in."""

    def __init__(self, local_ip: str, gateway: str) -> None:
        self.external_ip = ""
        """The gateway's external address, which NAT-PMP tells before it maps."""
        self.refused: set[str] = set()
        self._local_ip = local_ip
        self._gateway = gateway
        self._received: asyncio.Queue[bytes] = asyncio.Queue(QUEUE_SIZE)
        self._transport: asyncio.DatagramTransport | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(
            lambda: self, local_addr=(self._local_ip, 0), remote_addr=(self._gateway, GATEWAY_PORT)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._transport is not None
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: object) -> None:
        if not self._received.full():
            self._received.put_nowait(data)

    def error_received(self, exc: Exception) -> None:
        """Nobody listens there, says the gateway: silence says the same."""

    def send(self, data: bytes) -> None:
        """Send a request."""
        assert self._transport is not None
        self._transport.sendto(data)

    async def receive(self, deadline: float) -> bytes | None:
        """Return the next datagram, None when there is none before `deadline` on the loop's clock."""
        try:
            async with asyncio.timeout_at(deadline):
                return await self._received.get()
        except TimeoutError:
            return None


def _place(mapping: PortMapping) -> tuple[str, int]:
    return mapping.external_ip, mapping.external_port
