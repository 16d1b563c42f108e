"""A hostile gateway as a program in a network of its own, and the real agent behind it: each failure is a note."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Final

import pytest

from tests.hostile.gateway import KINDS
from tests.netns.lab.namespaces import Namespace, connect
from tests.netns.programs import Program, launch
from tests.support.memory import MIB
from tests.support.requirements import require

pytestmark = pytest.mark.timeout(120)

OWN, CLIENT, OTHER = "10.77.0.1", "10.77.0.2", "10.77.0.3"
PATIENCE: Final = 40.0
"""Seconds for seven agents that start together on a busy machine and give up PCP, NAT-PMP and UPnP in turn."""
MEMORY: Final = 160 * MIB
"""Bytes that an agent has at its highest: some 70 MiB of its own."""
NOTES: Final = {
    "control-loopback": "the gateway, by UPnP: it",
    "control-other": "the gateway, by UPnP: it",
    "control-redirect": "redirects",
    "redirect": "redirects",
    "endless": "more than 64 KiB",
    "entities": "document type",
}


class _Lines:
    """What a program says, read all the time."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.lines: list[str] = []
        self._process = process
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line.strip())

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()


class World:
    """A gateway that is the server's host as well, and an agent behind it."""

    def __init__(self, number: int, kind: str, stack: ExitStack) -> None:
        self.kind = kind
        self.gateway, self.client = (Namespace(f"gateway-{number}-{side}") for side in ("own", "client"))
        for namespace in (self.gateway, self.client):
            stack.callback(namespace.close)
        connect(self.gateway, "lan", self.client, "eth0")
        self.gateway.configure(f"addr add {OWN}/24 dev lan", f"addr add {OTHER}/24 dev lan", "link set lan up")
        self.client.configure(
            f"addr add {CLIENT}/24 dev eth0", "link set eth0 up", f"route add default via {OWN} dev eth0"
        )
        server = self._python(self.gateway, "visavis_server", "--host", OWN, "--port", "8080")
        assert server.stdout is not None
        assert server.stdout.readline().startswith("listening on")
        self.asked = self._said(stack, self.gateway, kind, "--own", OWN, "--other", OTHER)
        self.watch = self._said(stack, self.client, "watch")
        arguments = ("agent", "--server", f"http://{OWN}:8080", "--room", "r", "--name", "ann")
        self.agent: Program = launch(self.client.popen, *arguments)
        stack.callback(self._stop)

    def _python(self, where: Namespace, module: str, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", module, *arguments]
        return where.popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def _said(self, stack: ExitStack, where: Namespace, *arguments: str) -> _Lines:
        return stack.enter_context(closing(_Lines(self._python(where, "tests.hostile.gateway", *arguments))))

    def _stop(self) -> None:
        if self.agent.process.poll() is None:
            self.agent.kill()

    def note(self) -> str:
        """Return what the agent's report says of port mapping once it does."""

        def noted(record: dict[str, Any]) -> bool:
            return "port mapping" in json.dumps(record)

        record = self.agent.wait_for("endpoint", PATIENCE, noted)
        return str(next(note for note in record["nat"]["notes"] if "port mapping" in note))


@pytest.fixture(scope="module")
def worlds() -> Iterator[dict[str, World]]:
    """All of them at once, for each agent takes its time until it has asked in every way."""
    require("netns")
    with ExitStack() as stack:
        yield {kind: World(number, kind, stack) for number, kind in enumerate(KINDS)}


def _highest(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


@pytest.mark.parametrize("kind", NOTES)
def test_the_agent_asks_nobody_else_and_notes_what_is_wrong(worlds: dict[str, World], kind: str) -> None:
    world = worlds[kind]
    assert NOTES[kind] in world.note()
    assert world.asked.lines, "the gateway itself is asked"
    assert all(line.split()[0] == OWN for line in world.asked.lines)
    assert world.watch.lines == []
    process = world.agent.process
    assert isinstance(process, subprocess.Popen)
    assert _highest(process.pid) < MEMORY
    assert world.agent.stop() == 0
    assert "Traceback" not in world.agent.errors


def test_who_answers_from_another_address_is_not_asked(worlds: dict[str, World]) -> None:
    """Once an agent of the same start has been through with its gateway, this one has heard all answers."""
    worlds["redirect"].note()
    world = worlds["foreign"]
    assert world.agent.wait_for("endpoint", PATIENCE, lambda record: record["nat"]["probing"] is not None)
    assert world.agent.stop() == 0
    assert world.asked.lines == []
    assert "Traceback" not in world.agent.errors
