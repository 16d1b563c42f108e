"""The real programs as processes in the lab's namespaces."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import IO, Any, Final, Protocol

from tests.netns.lab import Client, Lab
from tests.netns.lab.topology import SIGNALING

PORT: Final = 8080
URL: Final = f"http://{SIGNALING[0]}:{PORT}"

Record = dict[str, Any]


class Start(Protocol):
    """Starts `visavis` on a host of the lab."""

    def __call__(self, client: Client, *arguments: str) -> Program:
        """Run it with `arguments` and `--json`."""


class Process(Protocol):
    """What a Program needs of a process: these of subprocess.Popen's."""

    stdout: IO[str] | None
    stderr: IO[str] | None

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit code.

        Raises subprocess.TimeoutExpired.
        """

    def terminate(self) -> None:
        """Send SIGTERM."""

    def kill(self) -> None:
        """Send SIGKILL."""


class Program:
    """A running command whose standard output is one JSON object per line."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.records: list[Record] = []
        self.errors = ""
        self._changed = threading.Condition()
        self._readers = [threading.Thread(target=self._read_output), threading.Thread(target=self._read_errors)]
        for reader in self._readers:
            reader.start()

    def _read_output(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.records.append(json.loads(line))
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        self.errors = self.process.stderr.read()

    def wait_for(
        self, event: str, timeout: float, matching: Callable[[Record], bool] = lambda _: True, *, otherwise: str = ""
    ) -> Record:
        """Return the first record of `event`, or of the event `otherwise`, that matches.

        Raises AssertionError with everything printed so far when none comes within `timeout` seconds.
        """
        found: list[Record] = []

        def look() -> bool:
            found[:] = [record for record in self.records if record["event"] in (event, otherwise) and matching(record)]
            return bool(found) or self.process.poll() is not None

        with self._changed:
            self._changed.wait_for(look, timeout)
        assert found, f"no {event} within {timeout} s\n{self.transcript()}"
        return found[0]

    def first(self, event: str) -> Record | None:
        """Return the first record of `event` so far."""
        return next((record for record in self.records if record["event"] == event), None)

    def finish(self, timeout: float) -> int:
        """Wait for the program to end by itself and return its exit code."""
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout} s\n{self.transcript()}") from None
        self._join()
        return code

    def stop(self, timeout: float = 10) -> int:
        """End the program as an operator would (SIGTERM) and return its exit code."""
        self.process.terminate()
        return self.finish(timeout)

    def kill(self) -> None:
        """End the program without giving it a chance."""
        self.process.kill()
        self.process.wait()
        self._join()

    def transcript(self) -> str:
        """Return what the program has printed."""
        return "\n".join([*(json.dumps(record) for record in self.records), self.errors])

    def _join(self) -> None:
        for reader in self._readers:
            reader.join()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


def launch(popen: Callable[..., subprocess.Popen[str]], *arguments: str) -> Program:
    """Run `visavis` with `arguments` and `--json` by means of `popen`."""
    command = [sys.executable, "-m", "visavis_peer", *arguments, "--json"]
    return Program(popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE))


def start(client: Client, *arguments: str) -> Program:
    """Run `visavis` with `arguments` and `--json` on a host of the lab."""
    return launch(client.namespace.popen, *arguments)


def agent(client: Client, room: str, name: str, *more: str, start: Start = start) -> Program:
    """Run `visavis agent` in `room`; it greets every peer by its name."""
    return start(client, "agent", "--server", URL, "--room", room, "--name", name, "--message", f"I am {name}", *more)


def start_server(lab: Lab) -> subprocess.Popen[str]:
    """Run `visavis-server` on the signaling host with STUN on both addresses, and wait until it listens."""
    first, second = SIGNALING
    command = [sys.executable, "-m", "visavis_server", "--host", first, "--port", str(PORT)]
    command += ["--stun-address", first, "--stun-address", second]
    process = lab.signaling.popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("listening on"), line
    return process
