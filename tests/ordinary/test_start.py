"""What the programs import before they do anything: people wait for it each time.

The lists below are of top-level modules that are not Python's own; whoever adds to one adds to every start, and
`scripts/bench start` shows how much.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.commands import DEADLINE, Process, end, next_event, url
from tests.support.conditions import until
from tests.support.server_running import server_process
from visavis_peer.commands.verbs import VERBS

OURS: Final = {"visavis_peer", "visavis_shared"}
HTTP: Final = {
    *("aiohappyeyeballs", "aiohttp", "aiosignal", "attr", "frozenlist", "idna", "multidict", "propcache", "yarl"),
    *("typing_extensions", "uvloop"),
}
"""aiohttp with what it brings, and the event loop."""
AT_ONCE: Final = OURS | HTTP
"""Until the request for the WebSocket has left."""
MODELS: Final = {"annotated_types", "pydantic", "pydantic_core", "typing_inspection"}
ALONE: Final = AT_ONCE | MODELS | {"aioice", "dns", "ifaddr", "netifaces"}
"""While nobody is there to link with: no engine, no cryptography, no UPnP."""
ENGINE: Final = {
    "visavis_peer.link.quic",
    "visavis_peer.peers.sessions",
    "visavis_peer.peers.prober",
    "visavis_peer.host.upnp",
}
LATER: Final = ENGINE | {
    f"visavis_peer.{name}"
    for name in (
        *("peers.peering", "peers.links", "peers.relay_connection", "link.link"),
        *("core.meeting.mesh", "core.meeting.negotiation", "core.meeting.effects", "core.nat.strategy"),
    )
}
"""Of ours, what an agent that is alone has no use for."""
SECRET: Final = "A" * 22
PROGRAM: Final = """
import atexit, json, os, runpy, signal, sys, time
before, place = set(sys.modules), os.environ["MODULES"]
def dump(*_):
    with open(place + ".part", "w") as file:
        json.dump(sorted(set(sys.modules) - before), file)
    os.rename(place + ".part", place)
class Held:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ.get("HELD"):
            dump()
            while True:  # the process is killed here
                time.sleep(60)
sys.meta_path.insert(0, Held())
signal.signal(signal.SIGUSR1, dump)
atexit.register(dump)
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__")
"""
"""Runs a program, and writes down which modules it has: at its end, on a signal, or where it begins to import HELD and
then goes no further."""


async def watched(place: Path, module: str, *arguments: str, held: str = "") -> Process:
    """Start a program under PROGRAM."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VISAVIS_")}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM, module, *arguments),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env=environment | {"MODULES": str(place), "HELD": held},
        start_new_session=True,
    )  # fmt: skip


def modules_at(place: Path) -> set[str]:
    return set(json.loads(place.read_text()))


def foreign(modules: set[str]) -> set[str]:
    """Return the top-level modules that are not Python's own; what begins with _ is a part of another one."""
    tops = {name.partition(".")[0] for name in modules}
    return {top for top in tops if not top.startswith("_")} - sys.stdlib_module_names - {"cython_runtime"}


@pytest.mark.parametrize(
    ("module", "arguments", "allowed"),
    [
        ("visavis_peer", (), OURS),
        ("visavis_peer", ("pip",), OURS),
        ("visavis_peer", ("--help",), OURS),
        *(("visavis_peer", (verb, "--help"), OURS) for verb in VERBS),
        ("visavis_server", ("--help",), MODELS | {"visavis_server", "visavis_shared", "typing_extensions"}),
    ],
)
async def test_help_imports_nothing_of_what_it_explains(
    module: str, arguments: tuple[str, ...], allowed: set[str], tmp_path: Path
) -> None:
    place = tmp_path / "modules"
    process = await watched(place, module, *arguments)
    async with asyncio.timeout(DEADLINE):
        await process.communicate()
    modules = modules_at(place)
    assert foreign(modules) <= allowed
    # which are the standard library's, but not for free
    assert not modules & {"importlib.metadata", "difflib"} or module == "visavis_server" or arguments == ("pip",)


@pytest.mark.parametrize(
    ("verb", "more"), [("pipe", ()), ("ping", ("--room", "r")), ("agent", ("--room", "r", "--name", "ann"))]
)
async def test_the_server_is_asked_before_anything_large_is_imported(
    verb: str, more: tuple[str, ...], tmp_path: Path
) -> None:
    asked: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set_result(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    place = tmp_path / "modules"
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        server_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        arguments = (verb, "--server", server_url, *more)
        process = await watched(place, "visavis_peer", *arguments, held=f"visavis_peer.commands.{verb}")
        try:
            async with asyncio.timeout(DEADLINE):
                assert b"Upgrade: websocket" in await asked
            await until(place.exists)
        finally:
            await end(process)
    modules = modules_at(place)
    assert foreign(modules) <= AT_ONCE
    assert "visavis_peer.agent" not in modules


async def test_an_agent_that_is_alone_has_no_engine_and_gets_it_with_the_first_peer(tmp_path: Path) -> None:
    async with server_process("--stun", "off") as server:
        invite = tmp_path / "invite"
        invite.write_text(f"{url(server)}/r/r#{SECRET}")
        arguments = ("agent", "--invite-file", str(invite), "--interface", "lo", "--json")
        places = [tmp_path / "ann", tmp_path / "bob"]
        ann = await watched(places[0], "visavis_peer", *arguments, "--name", "ann")
        try:
            await next_event(ann, "joined")
            ann.send_signal(signal.SIGUSR1)
            await until(places[0].exists)
            modules = modules_at(places[0])
            assert foreign(modules) <= ALONE - {"uvloop"}
            assert not modules & LATER
            bob = await watched(places[1], "visavis_peer", *arguments, "--name", "bob", "--message", "hello")
            try:
                said: dict[str, Any] = await next_event(ann, "data")
                assert said["text"] == "hello"
            finally:
                await end(bob)
        finally:
            await end(ann)


@pytest.mark.parametrize("verb", ["discover", "doctor"])
async def test_an_examination_needs_no_engine(verb: str, tmp_path: Path) -> None:
    place = tmp_path / "modules"
    async with server_process("--stun-port", "0") as server:
        process = await watched(place, "visavis_peer", verb, "--server", url(server), "--interface", "lo")
        async with asyncio.timeout(DEADLINE):
            await process.communicate()
    modules = modules_at(place)
    assert foreign(modules) <= ALONE
    assert not modules & ENGINE


def test_what_is_put_off_is_there_when_it_is_used() -> None:
    program = """
import sys
from visavis_peer.commands.put_off import UNUSED, put_off_unused
put_off_unused()
import aioice, aiohttp, pydantic.type_adapter
waiting = {name for name in UNUSED if name in sys.modules and type(sys.modules[name]).__name__ == "_LazyModule"}
import dns.message, idna
print(*sorted(UNUSED - waiting))
print(dns.message.make_query("host.example", "A").question[0].name, idna.encode("bücher").decode())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    waiting, used = done.stdout.splitlines()
    assert waiting == ""
    assert used == "host.example. xn--bcher-kva"
