"""`visavis` forked from a process that has imported it, where another would import for 0.8 s: for runs by the hundred.

The code, the arguments, the pipes and the namespace are the same as those of the command.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import IO, Final, TextIO

from tests.netns.lab import Client
from tests.netns.lab.namespaces import enter
from tests.netns.programs import Program
from visavis_peer.commands import main

_CONTEXT: Final = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["__main__", __name__, "uvloop"])


class ForkedProcess:
    """What a Program needs of a process."""

    def __init__(self, namespace: str, arguments: Sequence[str]) -> None:
        ends = [_CONTEXT.Pipe(duplex=False) for _ in range(2)]
        self._process = _CONTEXT.Process(target=_run, args=(namespace, arguments, *(writer for _, writer in ends)))
        self._process.start()
        self.stdout: IO[str] | None
        self.stderr: IO[str] | None
        self.stdout, self.stderr = (_reading(reader) for reader, _ in ends)
        for _, writer in ends:
            writer.close()

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit code.

        Raises subprocess.TimeoutExpired.
        """
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired("visavis", timeout or 0.0)
        return code

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._process.terminate()

    def kill(self) -> None:
        """Send SIGKILL."""
        self._process.kill()


def start_forked(client: Client, *arguments: str) -> Program:
    """Run `visavis` with `arguments` and `--json` on a host of the lab."""
    return Program(ForkedProcess(client.namespace.name, [*arguments, "--json"]))


def _reading(end: Connection) -> TextIO:
    with end:
        return io.TextIOWrapper(io.FileIO(os.dup(end.fileno())), line_buffering=True)


def _run(namespace: str, arguments: Sequence[str], out: Connection, err: Connection) -> None:
    """Be the command."""
    enter(namespace)
    for end, descriptor in ((out, 1), (err, 2)):
        os.dup2(end.fileno(), descriptor)
        end.close()
    sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
    sys.exit(main.main(arguments))
