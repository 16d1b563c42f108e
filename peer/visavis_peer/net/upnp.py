"""A port of a gateway that speaks UPnP-IGD, by way of async-upnp-client."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from datetime import timedelta
from ipaddress import IPv4Address
from typing import Final
from urllib.parse import urlsplit

from async_upnp_client.aiohttp import AiohttpRequester
from async_upnp_client.client_factory import UpnpFactory
from async_upnp_client.exceptions import UpnpActionError, UpnpError
from async_upnp_client.profiles.igd import IgdDevice
from async_upnp_client.search import SsdpSearchListener
from async_upnp_client.utils import CaseInsensitiveDict

from visavis_peer.core.portmap import LIFETIME, PortMapping

logger = logging.getLogger(__name__)

SEARCH_TIME: Final = 2
"""Seconds that a gateway has to answer the search: it may take its time up to MX, which is 1 or 2 in practice."""
REQUEST_TIMEOUT: Final = 3
"""Seconds of one request: home gateways are slow at it."""
ATTEMPTS: Final = 3
"""External ports tried where others have taken one."""
DESCRIPTION: Final = "visavis"
_DEVICE: Final = "urn:schemas-upnp-org:device:InternetGatewayDevice:1"
_ANYBODY: Final = IPv4Address(0)
_CONFLICT: Final = 718
_ONLY_PERMANENT: Final = 725
"""Error codes of the service WANIPConnection:1."""


class UpnpGateway:
    """One gateway that has answered."""

    def __init__(self, device: IgdDevice) -> None:
        self._device = device

    @classmethod
    async def find(cls, local_ip: str, gateway: str) -> UpnpGateway | None:
        """Search on the network of `local_ip`; a device that says to be elsewhere than at `gateway` is none of ours."""
        location = await _search(local_ip, gateway)
        if location is None:
            return None
        try:
            factory = UpnpFactory(AiohttpRequester(timeout=REQUEST_TIMEOUT), non_strict=True)
            return cls(IgdDevice(await factory.async_create_device(location), None))
        except (UpnpError, OSError, TimeoutError) as error:
            logger.info("no UPnP gateway: %s", error)
            return None

    async def map(self, local_ip: str, port: int, wanted: int) -> PortMapping | None:
        """Map an external port to UDP `port` of `local_ip`: `wanted`, or with 0 the same one if it is free."""
        try:
            external_ip = await self._device.async_get_external_ip_address()
            external = wanted or port
            for _ in range(ATTEMPTS):
                lease = await self._add(local_ip, port, external)
                if lease is not None and external_ip:
                    IPv4Address(external_ip)
                    return PortMapping("upnp", port, external_ip, external, lease)
                external = random.randint(49152, 65535)
        except (UpnpError, OSError, TimeoutError, ValueError) as error:
            logger.info("the gateway maps no port by UPnP: %s", error)
        return None

    async def _add(self, local_ip: str, port: int, external: int) -> int | None:
        """Return the seconds until the mapping has to be renewed, None where somebody else has the port."""
        for lease in (LIFETIME, 0):
            try:
                await self._device.async_add_port_mapping(
                    _ANYBODY, external, "UDP", port, IPv4Address(local_ip), True, DESCRIPTION, timedelta(seconds=lease)
                )
            except UpnpActionError as error:
                if error.error_code == _CONFLICT:
                    return None
                if error.error_code != _ONLY_PERMANENT:
                    raise
            else:
                return LIFETIME
        return None

    async def unmap(self, external: int) -> None:
        """Give a port back; a gateway that does not answer keeps it for its lease."""
        with contextlib.suppress(UpnpError, OSError, TimeoutError):
            await self._device.async_delete_port_mapping(_ANYBODY, external, "UDP")


async def _search(local_ip: str, gateway: str) -> str | None:
    """Return the address of the gateway's description, None when it does not answer within SEARCH_TIME."""
    found: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def on_answer(headers: CaseInsensitiveDict) -> None:
        location = str(headers.get("location", ""))
        if urlsplit(location).hostname == gateway and not found.done():
            found.set_result(location)

    listener = SsdpSearchListener(callback=on_answer, source=(local_ip, 0), timeout=SEARCH_TIME, search_target=_DEVICE)
    try:
        await listener.async_start()
        listener.async_search()
        async with asyncio.timeout(SEARCH_TIME):
            return await found
    except (OSError, TimeoutError, ValueError):
        return None
    finally:
        listener.async_stop()
