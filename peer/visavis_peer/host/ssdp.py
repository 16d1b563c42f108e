"""The search for a gateway that speaks UPnP (UPnP Device Architecture 1.1, section 1.3): one datagram out, answers in.

Ours, for the library that speaks UPnP takes 5 MiB and is imported only for gateways that have answered.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Final
from urllib.parse import urlsplit

SEARCH_TIME: Final = 2
"""Seconds that a gateway has to answer the search: it may take its time up to MX, which is 1 or 2 in practice."""
ANSWER_SIZE: Final = 2048
"""Bytes of an answer: its headers are a few hundred."""
HOPS: Final = 2
"""TTL of the search, as the specification has it."""
_GROUP: Final = ("239.255.255.250", 1900)
_DEVICE: Final = "urn:schemas-upnp-org:device:InternetGatewayDevice:1"
_REQUEST: Final = "\r\n".join(
    [
        "M-SEARCH * HTTP/1.1",
        f"HOST: {_GROUP[0]}:{_GROUP[1]}",
        'MAN: "ssdp:discover"',
        f"MX: {SEARCH_TIME}",
        f"ST: {_DEVICE}",
        "",
        "",
    ]
).encode()


async def search(local_ip: str, gateway: str) -> str | None:
    """Return the URL of the description of the device at `gateway`, on the network of `local_ip`.

    None when it does not answer within SEARCH_TIME; answers of others, or that lead elsewhere, are none.
    """
    loop = asyncio.get_running_loop()
    found: asyncio.Future[str] = loop.create_future()
    try:
        transport, _ = await loop.create_datagram_endpoint(lambda: _Search(gateway, found), sock=_open(local_ip))
    except OSError:
        return None
    try:
        transport.sendto(_REQUEST, _GROUP)
        async with asyncio.timeout(SEARCH_TIME):
            return await found
    except (OSError, TimeoutError):
        return None
    finally:
        transport.close()


def location_of(answer: bytes, gateway: str) -> str | None:
    """Return where an answer says that the description is; None where that is not at `gateway`, or it is no answer."""
    status, *lines = answer[:ANSWER_SIZE].decode("ascii", "replace").split("\r\n")
    if not status.startswith("HTTP/1.1 200"):
        return None
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip().lower() == "location":
            try:
                return value.strip() if urlsplit(value.strip()).hostname == gateway else None
            except ValueError:
                return None
    return None


class _Search(asyncio.DatagramProtocol):
    def __init__(self, gateway: str, found: asyncio.Future[str]) -> None:
        self._gateway = gateway
        self._found = found

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        location = location_of(data, self._gateway)
        # whoever else answers may have the gateway's name, but not its address
        if address[0] == self._gateway and location is not None and not self._found.done():
            self._found.set_result(location)

    def error_received(self, error: Exception) -> None:
        if not self._found.done():
            self._found.set_exception(error)


def _open(local_ip: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(local_ip))
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, HOPS)
        sock.bind((local_ip, 0))
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock
