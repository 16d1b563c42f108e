"""The operator's compose.yaml, with the image built on the offline base."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from tests.docker.engine import PROJECT, Composition, run

pytestmark = pytest.mark.timeout(600)  # the first test also builds the images


def free_port() -> int:
    """Return a port that is free for TCP, and with the next one for UDP."""
    while True:
        with (
            socket.socket(type=socket.SOCK_STREAM) as tcp,
            socket.socket(type=socket.SOCK_DGRAM) as first,
            socket.socket(type=socket.SOCK_DGRAM) as second,
        ):
            tcp.bind(("", 0))
            port: int = tcp.getsockname()[1]
            try:
                first.bind(("", port))
                second.bind(("", port + 1))
            except (OSError, OverflowError):
                continue
            return port


@pytest.fixture(scope="module")
def deployed(image: str) -> Iterator[str]:
    """The URL of the server that compose.yaml starts, on a free port."""
    port = str(free_port())
    env = {"VISAVIS_IMAGE": image, "VISAVIS_PORT": port, "VISAVIS_STUN_PORT": port}
    with Composition(PROJECT / "compose.yaml", "visavis-deployment", env) as running:
        running.service("visavis").wait_healthy()
        yield f"http://127.0.0.1:{port}"


def test_the_operators_compose_file_serves_http_and_stun(deployed: str, image: str) -> None:
    with urllib.request.urlopen(f"{deployed}/health", timeout=5) as answer:
        assert answer.status == 200

    # from another container: with published ports STUN would tell it the address of its gateway
    (bridge,) = json.loads(run("ip", "-json", "-4", "address", "show", "docker0"))
    server = deployed.replace("127.0.0.1", bridge["addr_info"][0]["local"])
    discover = ("docker", "run", "--rm", "--entrypoint=visavis", image, "discover", "--json", "--server", server)
    endpoint = json.loads(run(*discover).splitlines()[0])
    assert endpoint["event"] == "endpoint"
    assert f"{endpoint['ip']}:{endpoint['port']}" == endpoint["local"]


def test_strangers_read_counts_only(deployed: str) -> None:
    with urllib.request.urlopen(f"{deployed}/api/stats", timeout=5) as answer:
        assert answer.status == 200
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(f"{deployed}/api/rooms", timeout=5)
    assert refusal.value.code == 403
    refusal.value.close()
