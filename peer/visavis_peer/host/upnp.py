"""A port of a gateway that speaks UPnP-IGD, by way of async-upnp-client."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from datetime import timedelta
from ipaddress import IPv4Address
from typing import Final

from async_upnp_client.client_factory import UpnpFactory
from async_upnp_client.exceptions import UpnpActionError, UpnpError
from async_upnp_client.profiles.igd import IgdDevice

from visavis_peer.core.nat.portmap import LIFETIME, PortMapping
from visavis_peer.host.gateway_http import REQUEST_COUNT, GatewayRequester
from visavis_shared.ids import printable

logger = logging.getLogger(__name__)

REQUEST_TIMEOUT: Final = 3.0
"""Seconds of one request: home gateways are slow at it."""
FIND_TIMEOUT: Final = 10.0
"""Seconds for a gateway's descriptions, all together."""
TROUBLE_LENGTH: Final = 120
"""Characters of a reason: it has to fit into a note of the NAT report, which has 200."""
FAILURES: Final = (
    UpnpError,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    RecursionError,
)
"""What the library raises on descriptions and answers that make no sense: it trusts gateways to mean well."""
ATTEMPTS: Final = 3
"""External ports tried where others have taken one."""
DESCRIPTION: Final = "visavis"
_ANYBODY: Final = IPv4Address(0)
_CONFLICT: Final = 718
_ONLY_PERMANENT: Final = 725
"""Error codes of the service WANIPConnection:1."""


class UpnpGateway:
    """One gateway that has answered."""

    def __init__(self, device: IgdDevice, requester: GatewayRequester) -> None:
        self.trouble = ""
        """Why the latest request came to nothing, in words; empty where it did not."""
        self._device = device
        self._requester = requester

    @classmethod
    async def find(cls, location: str, gateway: str) -> UpnpGateway | str:
        """Return the device at `gateway` whose description is at `location`; why there is none, in words."""
        requester = GatewayRequester(gateway, REQUEST_TIMEOUT)
        try:
            async with asyncio.timeout(FIND_TIMEOUT):
                device = await UpnpFactory(requester, non_strict=True).async_create_device(location)
            return cls(IgdDevice(device, None), requester)
        except FAILURES as error:
            logger.info("no UPnP gateway: %s", _in_words(error))
            return _in_words(error)

    async def map(self, local_ip: str, port: int, wanted: int) -> PortMapping | None:
        """Map an external port to UDP `port` of `local_ip`: `wanted`, or with 0 the same one if it is free."""
        self.trouble = ""
        self._requester.left = REQUEST_COUNT
        try:
            external_ip = await self._device.async_get_external_ip_address()
            external = wanted or port
            for _ in range(ATTEMPTS):
                lease = await self._add(local_ip, port, external)
                if lease is not None and external_ip:
                    IPv4Address(external_ip)
                    return PortMapping("upnp", port, external_ip, external, lease)
                external = random.randint(49152, 65535)
            self.trouble = "it tells no address, or gives no port"
        except FAILURES as error:
            self.trouble = _in_words(error)
        logger.info("the gateway maps no port by UPnP: %s", self.trouble)
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
        self._requester.left = REQUEST_COUNT
        with contextlib.suppress(*FAILURES):
            await self._device.async_delete_port_mapping(_ANYBODY, external, "UDP")


def _in_words(error: Exception) -> str:
    return printable(str(error))[:TROUBLE_LENGTH] or type(error).__name__
