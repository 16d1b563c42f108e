"""By which addresses a server that was just started is reached, and by how many; and a real haproxy in front."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.support.conditions import until
from tests.support.requirements import require
from tests.support.server_running import ServerProcess, http, server_process
from tests.support.ws_raw import TIMEOUT, RawClient, upgrade_request

DESCRIPTORS: Final = 256
HOARDED: Final = 300
HAPROXY: Final = """
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
listen visavis
  bind 127.0.0.1:{front}
  server visavis 127.0.0.1:{back} {option}
"""


@asynccontextmanager
async def started(shell: str) -> AsyncIterator[ServerProcess]:
    """Start a server by a line of shell, `$SERVER` being the program."""
    process = await asyncio.create_subprocess_exec(
        "/bin/sh",
        "-c",
        shell,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"SERVER": f"{sys.executable} -m visavis_server"},
    )
    server = ServerProcess(process)
    try:
        await server.read_announcement()
        yield server
    finally:
        if process.returncode is None:
            process.kill()
        await server.ended()


async def test_both_families_reach_a_server_without_options() -> None:
    async with started("exec $SERVER --port 0 --stun-port 0") as server:
        assert server.host == "[::]"
        for host in ("127.0.0.1", "::1"):
            assert (await http(server.port, "/health", host=host)).status == 200
            async with await RawClient.connect(server.port, host=host) as client:
                assert client.peer_id
        await server.said("clients run: visavis pipe --server http://")
        assert f"TCP {server.port}, UDP {server.stun_port}" in await server.said("to be reached from outside")


async def test_who_can_reach_it_is_said_for_each_way_to_listen() -> None:
    proxy = "--host 127.0.0.1 --trusted-proxy 127.0.0.1"
    inside, outside = "only this machine can reach TCP {tcp} (127.0.0.1): ", "to be reached from outside: "
    passed = f"{inside}a proxy on this machine has to pass it on"
    cases = {
        "": f"{outside}TCP {{tcp}}, UDP {{udp}}, UDP ",
        "--stun off": f"{outside}TCP {{tcp}}\n",
        "--stun-address 127.0.0.1": f"{outside}TCP {{tcp}}\n",
        "--host 127.0.0.1": f"{inside}--host says where else to listen\n",
        "--host localhost": f"{inside}--host says where else to listen\n",
        "--host 127.0.0.1 --stun-address 0.0.0.0": f"{inside}--host says where else to listen; {outside}UDP {{udp}}, ",
        f"{proxy} --stun-address 0.0.0.0": f"{passed}; {outside}UDP {{udp}}, UDP ",
        proxy: f"{passed}; nor does anybody else reach STUN: set --stun-address ",
        f"{proxy} --stun off --public-host meet.example": f"{passed}\n",
    }

    async def told(flags: str) -> tuple[ServerProcess, str]:
        ports = "--stun-port 0" if "--stun off" not in flags else ""
        async with started(f"exec $SERVER --port 0 {ports} {flags}") as server:
            await server.said("clients run: ")
            _, errors = await server.stop()
            return server, errors

    for (flags, part), (server, errors) in zip(
        cases.items(), await asyncio.gather(*(told(flags) for flags in cases)), strict=True
    ):
        assert part.format(tcp=server.port, udp=server.stun_port) in errors, (flags, errors)
        if "--trusted-proxy" in flags:
            name = "meet.example" if "--public-host" in flags else "NAME"
            assert f"--server https://{name} (the address of the proxy in front)\n" in errors


async def test_few_descriptors_are_said_and_harm_nobody_who_is_in() -> None:
    command = f"ulimit -n {DESCRIPTORS} && exec $SERVER --host 127.0.0.1 --port 0 --stun off"
    async with started(command) as server, AsyncExitStack() as stack:
        assert "ulimit -n" in await server.said("room for ")
        member = await stack.enter_async_context(await RawClient.connect(server.port))
        assert (await member.request(type="JOIN", room_id="r", payload={}))["type"] == "ACK"
        answers: list[bytes] = []

        async def keep() -> None:
            """Ask once, and keep the connection."""
            with contextlib.suppress(OSError):
                client = await RawClient.open(server.port)
                stack.callback(client.abort)
                client.write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
                answers.append((await client.reader.readline()).strip())

        await asyncio.gather(*(keep() for _ in range(HOARDED)))
        assert b"HTTP/1.1 200 OK" in answers
        assert len(os.listdir(f"/proc/{server.pid}/fd")) < DESCRIPTORS
        assert (await member.request(type="DISCOVER", room_id="r"))["type"] == "PEER_LIST"
        assert (await http(server.port, "/health")).status == 200, "the longest idle one has made way"

        members = [await RawClient.open(server.port) for _ in range(HOARDED)]
        statuses = []
        for client in members:
            stack.callback(client.abort)
            with contextlib.suppress(OSError):
                client.write(upgrade_request())
                async with asyncio.timeout(TIMEOUT):
                    statuses.append((await client.reader.readline()).split(b" ")[1:2])
        assert [b"101"] in statuses
        assert [b"503"] in statuses
        assert (await member.request(type="DISCOVER", room_id="r"))["type"] == "PEER_LIST"
        assert "Traceback" not in server.errors


@asynccontextmanager
async def haproxy(directory: Path, back: int, option: str) -> AsyncIterator[int]:
    """Run haproxy in front of a port; its own one is returned."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        front = free.getsockname()[1]
    file = directory / "haproxy.cfg"
    file.write_text(HAPROXY.format(front=front, back=back, option=option))
    process = await asyncio.create_subprocess_exec("haproxy", "-db", "-q", "-f", str(file), stderr=subprocess.DEVNULL)

    def listens() -> bool:
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", front)) == 0

    try:
        await until(listens)
        yield front
    finally:
        process.kill()
        await process.wait()


@pytest.mark.parametrize("option", ["send-proxy-v2", "send-proxy"])
async def test_who_comes_by_haproxy_is_observed_as_who_it_is(option: str, tmp_path: Path) -> None:
    require("haproxy")
    options = ("--trusted-proxy", "127.0.0.1", "--proxy-protocol", "on", "--stun", "off")
    async with server_process(*options) as server, haproxy(tmp_path, server.port, option) as front:
        client = await RawClient.open(front)
        client.write(upgrade_request())
        assert (await client.read_response()).startswith("HTTP/1.1 101 ")
        welcome = await client.receive()
        host, port = client.writer.get_extra_info("sockname")
        assert welcome["payload"]["observed"] == {"ip": host, "port": port}
        client.abort()
        assert (await http(front, "/health")).status == 200


async def test_a_header_that_nobody_has_asked_for_is_refused_and_the_option_named(tmp_path: Path) -> None:
    require("haproxy")
    async with server_process("--stun", "off") as server, haproxy(tmp_path, server.port, "send-proxy-v2") as front:
        client = await RawClient.open(front)
        client.write(upgrade_request())
        async with asyncio.timeout(TIMEOUT):
            with contextlib.suppress(ConnectionError):
                assert await client.reader.read() == b""
        client.abort()
        assert "--proxy-protocol on" in await server.said("PROXY header")
        assert (await http(server.port, "/health")).status == 200
