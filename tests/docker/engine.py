"""Docker as the tests use it: its commands, and the clean-up after them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Self, TypeVar

T = TypeVar("T")

PROJECT: Final = Path(__file__).resolve().parents[2]
_COMMAND_TIMEOUT: Final = 300.0
"""Seconds for one command; the slowest, building an image, takes some 15."""
PATIENCE: Final = 30.0
"""Seconds for something to happen in a container that should take one or two."""
_POLL_INTERVAL: Final = 0.1


def run(*command: str, env: Mapping[str, str] | None = None) -> str:
    """Run a command to its end and return what it printed.

    Raises AssertionError with its standard error when it fails.
    """
    result = subprocess.run(
        command,
        env={**os.environ, **(env or {})},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=_COMMAND_TIMEOUT,
        check=False,
    )
    assert result.returncode == 0, f"{' '.join(command)}: {result.returncode}\n{result.stdout}{result.stderr}"
    return result.stdout


def image_exists(tag: str) -> bool:
    """Return whether the daemon has an image."""
    return bool(run("docker", "images", "--quiet", tag).strip())


def build_image(tag: str, context: Path, *, stage: str = "", **arguments: str) -> str:
    """Build an image, the last stage of its Dockerfile unless another is named, and return its tag."""
    options = [f"--build-arg={name}={value}" for name, value in arguments.items()]
    run("docker", "build", "--quiet", "--tag", tag, "--target", stage, *options, str(context))
    return tag


def discard_superseded(base: str) -> None:
    """Remove what runs with other sources left: other bases of that name, and what stands on any and lost its tag."""
    name = base.partition(":")[0]
    bases = run("docker", "images", "--format", "{{.Repository}}:{{.Tag}}", name).split()
    layers = {_first_layer(image) for image in bases}
    untagged = run("docker", "images", "--quiet", "--filter", "dangling=true").split()
    superseded = [image for image in untagged if _first_layer(image) in layers]
    if unwanted := [*superseded, *(image for image in bases if image != base)]:
        # one may go with another, or be in use: no failure
        subprocess.run(["docker", "rmi", *unwanted], capture_output=True, check=False)


def _first_layer(image: str) -> str:
    return run("docker", "inspect", "--format", "{{index .RootFS.Layers 0}}", image).strip()


def wait_for(look: Callable[[], T | None], complain: Callable[[], str], timeout: float = PATIENCE) -> T:
    """Return what `look` returns once that is not None.

    Raises AssertionError with what `complain` says after `timeout` seconds.
    """
    give_up_at = time.monotonic() + timeout
    while (found := look()) is None:
        assert time.monotonic() < give_up_at, complain()
        time.sleep(_POLL_INTERVAL)
    return found


@cache
def _compose_command() -> tuple[str, ...]:
    """Return Compose v2 where Docker has it, else the program of v1."""
    probe = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    if probe.returncode == 0:
        return ("docker", "compose")
    return (shutil.which("docker-compose") or "docker-compose",)


@dataclass(frozen=True)
class Composition:
    """The services of a compose file; a context in which they run and after which nothing of them is left."""

    file: Path
    name: str
    env: Mapping[str, str]

    def __enter__(self) -> Self:
        self._down()  # of a run that was killed
        try:
            self.compose("up", "--detach", "--no-build")
        except BaseException as error:
            error.add_note(self._logs())
            self._down()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._down()

    def compose(self, *arguments: str) -> str:
        """Run a compose command."""
        prefix = (*_compose_command(), "--project-name", self.name, "--file", str(self.file))
        return run(*prefix, *arguments, env=self.env)

    def service(self, name: str) -> Service:
        """Return a running service."""
        return Service(name, self.compose("ps", "--quiet", name).strip())

    def _logs(self) -> str:
        """Return what the containers say of themselves, to explain a failed start."""
        try:
            return self.compose("ps") + self.compose("logs", "--no-color")
        except (AssertionError, OSError, subprocess.SubprocessError) as error:
            return f"(no logs: {error})"

    def _down(self) -> None:
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "3")


@dataclass(frozen=True)
class Service:
    """One container, and what it has printed."""

    name: str
    container: str

    def events(self) -> list[dict[str, Any]]:
        """Return the JSON lines of its standard output so far."""
        return [json.loads(line) for line in run("docker", "logs", self.container).splitlines() if line.startswith("{")]

    def wait_event(self, *kinds: str, **members: Any) -> dict[str, Any]:
        """Return the first event of one of these kinds with these members, waiting for it.

        Raises AssertionError with the container's whole log when none comes.
        """

        def matches(event: dict[str, Any]) -> bool:
            return event["event"] in kinds and members.items() <= event.items()

        return wait_for(
            lambda: next(filter(matches, self.events()), None), lambda: f"{self.name}: no {kinds}\n{self.log()}"
        )

    def wait_healthy(self) -> None:
        """Wait until the container's health check has passed."""
        wait_for(
            lambda: True if self._inspect("{{.State.Health.Status}}") == "healthy" else None,
            lambda: f"{self.name}: {self._inspect('{{json .State}}')}\n{self.log()}",
        )

    def log(self) -> str:
        """Return everything it printed, on either stream."""
        result = subprocess.run(["docker", "logs", self.container], capture_output=True, text=True, check=False)
        return result.stdout + result.stderr

    def _inspect(self, template: str) -> str:
        return run("docker", "inspect", "--format", template, self.container).strip()
