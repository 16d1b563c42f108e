"""An engine process (tests/netns/engine) as the lab sees it: started, commanded, ended with its namespace."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tests.netns.lab.namespaces import Namespace

_ROOT: Final = Path(__file__).parents[3]
_ANSWER_TIMEOUT: Final = 20.0
"""Seconds for an answer, which takes a millisecond, or 0.3 s from a process that has just been started."""


class Worker:
    """A process that owns devices; it ends with its namespace or with the lab's own process, whichever is first."""

    def __init__(self, namespace: Namespace, module: str, descriptors: Sequence[int], *arguments: str) -> None:
        """Run `module` with the descriptors, which are the process's alone from now on, and `arguments`."""
        self._name = module.rpartition(".")[2]
        self._one_at_a_time = threading.Lock()
        try:
            self._process = namespace.popen(
                [sys.executable, "-m", module, *map(str, descriptors), *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=descriptors,
                cwd=_ROOT,
            )
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        self._ready = False

    def __repr__(self) -> str:
        return f"Worker({self._name}, pid {self._process.pid})"

    def wait_until_ready(self) -> None:
        """Wait until the process takes packets; those that come before are queued.

        Raises RuntimeError when it has ended instead, or is not heard of.
        """
        with self._one_at_a_time:
            if not self._ready:
                self._read_answer()
                self._ready = True

    def command(self, do: str, **arguments: Any) -> Any:
        """Have the process do something and return its answer when it has.

        Raises ValueError for what it cannot do, RuntimeError when it has ended or does not answer.
        """
        self.wait_until_ready()
        with self._one_at_a_time:
            assert self._process.stdin is not None
            try:
                self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
                self._process.stdin.flush()
            except OSError:
                raise self._ended() from None
            return self._read_answer()

    def _read_answer(self) -> Any:
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], _ANSWER_TIMEOUT)[0]:
            raise RuntimeError(f"the {self._name} process (pid {self._process.pid}) has not answered")
        line = self._process.stdout.readline()
        if not line:
            raise self._ended()
        answer = json.loads(line)
        if answer["error"] is not None:
            raise ValueError(f"{self._name}: {answer['error']}")
        return answer["result"]

    def _ended(self) -> RuntimeError:
        return RuntimeError(f"the {self._name} process has ended with code {self._process.wait()}; its stderr says why")
