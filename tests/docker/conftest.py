"""Fixtures of the container tests: a daemon, images, and the networks of compose.yaml."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NoReturn

import pytest

from tests.docker.base_image import ensure_base_image
from tests.docker.engine import PROJECT, Composition, build_image, discard_superseded

_DOCKERD: Final = PROJECT / "scripts/lib/dockerd"
_HERE: Final = PROJECT / "tests/docker"


@pytest.fixture(scope="session")
def daemon() -> Iterator[None]:
    """A Docker daemon, started and ended here unless there is one.

    One run of a user at a time: a second one would want the same subnets, and lose the daemon when the first one ends.
    """
    if sys.platform != "linux":
        _do_without("the images are made of programs of a Linux machine")
    import fcntl  # where there is no Linux there may be none

    with Path(tempfile.gettempdir(), f"visavis-docker-tests-{os.getuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = subprocess.run([_DOCKERD, "start"], capture_output=True, text=True, check=False)
        if result.returncode:
            _do_without(result.stderr.strip())
        yield
        if result.stdout.strip() == "started":
            subprocess.run([_DOCKERD, "stop"], check=True)


def _do_without(reason: str) -> NoReturn:
    """Skip with the reason; on CI, where nothing may be skipped, fail."""
    if os.environ.get("CI"):
        pytest.fail(f"docker: {reason} (on CI nothing may be skipped)")
    pytest.skip(f"docker: {reason}")


@pytest.fixture(scope="session")
def image(daemon: None) -> Iterator[str]:
    """The image of the Dockerfile, on a base that needs no registry."""
    base = ensure_base_image()
    # under a tag of its own the first stage stays cached
    build_image("visavis-build:test", PROJECT, stage="build", BASE_IMAGE=base)
    yield build_image("visavis:test", PROJECT, BASE_IMAGE=base)
    discard_superseded(base)


@pytest.fixture(scope="session")
def lab_image(image: str) -> str:
    """That image with the tools of a router."""
    return build_image("visavis-lab:test", _HERE, APP_IMAGE=image)


@pytest.fixture
def networks(lab_image: str) -> Iterator[Composition]:
    """Two agents behind a NAT each, and a server between them."""
    env = {"VISAVIS_LAB_IMAGE": lab_image}
    with Composition(_HERE / "compose.yaml", "visavis-lab", env) as running:
        yield running
