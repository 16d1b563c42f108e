"""One end of a stream between qh3's own asyncio server, which sends, and client.

The other way takes twice as long: only the client reads its socket in batches.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import ssl
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from qh3.asyncio.client import connect
from qh3.asyncio.protocol import QuicConnectionProtocol
from qh3.asyncio.server import serve
from qh3.quic.configuration import QuicConfiguration
from qh3.quic.connection import QuicConnection
from scripts.benches.ends.loops import run
from scripts.benches.ends.meter import BLOCK, Meter, arguments_of_end

ALPN: Final = "bench"
HIGH_WATER: Final = 1 << 20
"""Bytes that the sender gives the engine ahead, for its streams have no `drain` that waits; no bound is no faster."""


class Sender(QuicConnectionProtocol):
    """A connection that says when it has sent something."""

    def __init__(self, quic: QuicConnection, stream_handler: Any = None) -> None:
        super().__init__(quic, stream_handler)
        self.quic = quic
        self.sent = asyncio.Event()

    def transmit(self) -> None:
        """Send what can be sent."""
        super().transmit()
        self.sent.set()


async def send(arguments: argparse.Namespace) -> None:
    """Serve one client: send everything on the stream that it opens, and wait for the end of the other direction."""
    opened: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    connections: list[Sender] = []

    def make(quic: QuicConnection, stream_handler: Any = None) -> Sender:
        connections.append(Sender(quic, stream_handler))
        return connections[-1]

    configuration = QuicConfiguration(is_client=False, alpn_protocols=[ALPN])
    configuration.load_cert_chain(*_certificate())
    server: Any = await serve(
        "127.0.0.1",
        0,
        configuration=configuration,
        create_protocol=make,
        stream_handler=lambda reader, writer: opened.put_nowait((reader, writer)),
    )
    print(server._transport.get_extra_info("sockname")[1], flush=True)  # noqa: SLF001
    reader, writer = await opened.get()
    connection = connections[0]
    meter = Meter(arguments.profile)
    meter.start()
    for _ in range(arguments.size // len(BLOCK)):
        writer.write(BLOCK)
        while connection.quic.get_send_buffer_size() > HIGH_WATER:
            connection.sent.clear()
            await connection.sent.wait()
    writer.write_eof()
    await reader.read()
    meter.stop()
    server.close()


async def receive(arguments: argparse.Namespace) -> None:
    """Open a stream and read it to the end."""
    configuration = QuicConfiguration(is_client=True, alpn_protocols=[ALPN], verify_mode=ssl.CERT_NONE)
    meter = Meter(arguments.profile)
    async with connect("127.0.0.1", int(arguments.address), configuration=configuration) as client:
        reader, writer = await client.create_stream()
        writer.write(b"x")
        received = len(await reader.read(len(BLOCK)))
        meter.start()
        while data := await reader.read(len(BLOCK)):
            received += len(data)
        meter.stop()
        writer.write_eof()
        await client.wait_closed()  # which the server sees to
    assert received == arguments.size, received


def _certificate() -> tuple[bytes, bytes]:
    """Return a certificate and its private key, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    encoding, no_password = serialization.Encoding.PEM, serialization.NoEncryption()
    secret = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, no_password)
    return certificate.public_bytes(encoding), secret


if __name__ == "__main__":
    parsed = arguments_of_end(__doc__)
    run(send(parsed) if parsed.role == "send" else receive(parsed), parsed.loop)
