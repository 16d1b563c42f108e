"""coturn as deploy/coturn starts it: whom its relay reaches, and whom never."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
import yaml

from tests.netns.lab.namespaces import Namespace
from tests.support.requirements import require
from tests.support.turn_client import OK, TurnClient
from visavis_server.core.access.turn import TurnService

DEPLOY: Final = Path(__file__).parents[2] / "deploy" / "coturn"
SECRETS: Final = ("0123456789abcdef-first", "0123456789abcdef-second")
PORT: Final = 3500
UNAUTHORIZED: Final = 401
FORBIDDEN: Final = 403
QUOTA_REACHED: Final = 486
HOSTS: Final = {4: ("5.5.5.5", "6.6.6.6"), 6: ("2a01:4f8::1", "2a01:4f8::2")}
"""The relay and a peer by family: public addresses, which only this namespace knows."""
PUBLIC: Final = {
    4: ("1.1.1.1", "11.0.0.1", "93.184.216.34", "100.63.255.255", "172.15.255.255", "223.255.255.254"),
    6: ("2001:200::1", "2001:4860:4860::8888", "2400:cb00::1", "2606:4700::1111", "2a01:4f8::2", "3fff:1000::1"),
}
SPECIAL: Final = {
    4: (
        "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.8.9.1",
        "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.2.1", "192.31.196.1", "192.52.193.1",
        "192.88.99.1", "192.168.1.1", "192.175.48.1", "198.18.0.1", "198.19.255.255", "198.51.100.7", "203.0.113.9",
        "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    ),
    6: (
        "::", "::1", "::2", "::1:0", "::10.0.0.1", "::127.0.0.1", "::ffff:10.0.0.1", "::ffff:1.1.1.1",
        "::ffff:0:10.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::1.1.1.1", "64:ff9b:1::10.0.0.1", "64:ff9b:1:ffff::1",
        "100::", "100::1", "100:0:0:1::1", "1fff:ffff::", "2001::1", "2001:0:4136:e378::1", "2001:2::1", "2001:10::1",
        "2001:20::1", "2001:db8::1", "2001:db8:ffff::1", "2002:a00:1::1", "2620:4f:8000::1", "3fff::1",
        "3fff:fff:ffff::1", "4000::", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "febf::1", "fec0::1",
        "feff::1", "ff02::1", "ff0e::1",
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Relay:
    """A running coturn."""

    namespace: Namespace
    process: subprocess.Popen[str]
    sockets: contextlib.ExitStack

    def udp_socket(self, ip: str) -> socket.socket:
        """Return a socket that is closed with the relay."""
        return self.sockets.enter_context(self.namespace.udp_socket(ip))

    def client(
        self, family: int, *, secret: str = SECRETS[0], source: str = "198.51.100.7", age: int = 0
    ) -> TurnClient:
        """Return a client with credentials as the signaling server makes them, `age` seconds ago."""
        service = TurnService(("turn:relay",), secret.encode())
        (server,) = json.loads(service.ice_servers(source, int((time.time() - age) * 1000)))
        relay, _ = HOSTS[family]
        sock = self.udp_socket(relay)
        return TurnClient(sock, (relay, PORT), server["username"], server["credential"])


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    """Start coturn by what the compose file starts it with, its files in other places."""
    require("netns")
    require("coturn")
    folder = tmp_path_factory.mktemp("coturn")
    secrets = folder / "secret"
    secrets.write_text("".join(f"{secret}\n" for secret in SECRETS))
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    shell, start, *_ = compose["services"]["turn"]["entrypoint"]
    assert f"./deploy/coturn/start:{start}:ro" in compose["services"]["turn"]["volumes"]
    with contextlib.ExitStack() as stack:
        namespace = Namespace("coturn", ipv6=True)
        stack.callback(namespace.close)
        hosts = [host for pair in HOSTS.values() for host in pair]
        namespace.configure(*(f"addr add {host}/{128 if ':' in host else 32} dev lo" for host in hosts))
        here = [f"--{option}={pair[0]}" for pair in HOSTS.values() for option in ("listening-ip", "relay-ip")]
        own = [f"--pidfile={folder}/pid", f"--userdb={folder}/db", "--log-file=stdout"]
        files = {
            "TURN_CONFIG": str(DEPLOY / "turnserver.conf"),
            "TURN_SECRET_FILE": str(secrets),
            "TURN_FOLDER": str(folder),
        }
        process = namespace.popen(
            [shell, str(DEPLOY / "start"), f"--listening-port={PORT}", *here, *own],
            env=files,
            stdout=stack.enter_context((folder / "log").open("w")),
            stderr=subprocess.STDOUT,
        )
        running = Relay(namespace, process, stack)
        for family in HOSTS:
            _wait_until_it_answers(running, family)
        yield running


def _wait_until_it_answers(relay: Relay, family: int) -> None:
    give_up_at = time.monotonic() + 20
    while relay.process.poll() is None and time.monotonic() < give_up_at:
        try:
            code = relay.client(family, source="first").allocate(family)
        except OSError:
            continue
        assert code == OK
        return
    raise AssertionError("coturn does not answer")


@pytest.mark.parametrize("family", HOSTS)
def test_a_public_peer_is_reached_and_no_address_that_is_special(relay: Relay, family: int) -> None:
    client = relay.client(family)
    assert client.allocate(family) == OK
    assert {ip: client.permit(ip) for ip in PUBLIC[family]} == dict.fromkeys(PUBLIC[family], OK)
    assert {ip: client.permit(ip) for ip in SPECIAL[family]} == dict.fromkeys(SPECIAL[family], FORBIDDEN)
    channels = {ip: client.bind_channel((ip, 9), 0x4000 + index) for index, ip in enumerate(SPECIAL[family])}
    assert channels == dict.fromkeys(SPECIAL[family], FORBIDDEN)


@pytest.mark.parametrize("family", HOSTS)
def test_data_passes_to_a_public_peer_and_back(relay: Relay, family: int) -> None:
    peer_ip = HOSTS[family][1]
    peer = relay.udp_socket(peer_ip)
    client = relay.client(family)
    assert client.allocate(family) == OK
    assert client.relayed is not None
    assert client.permit(peer_ip) == OK
    client.send((peer_ip, peer.getsockname()[1]), b"there")
    data, source = peer.recvfrom(100)
    assert (data, source[:2]) == (b"there", client.relayed)
    peer.sendto(b"back", client.relayed)
    assert client.receive() == ((peer_ip, peer.getsockname()[1]), b"back")


def test_both_secrets_of_the_file_are_good_and_no_other(relay: Relay) -> None:
    for secret in SECRETS:
        assert relay.client(4, secret=secret).allocate(4) == OK
    assert relay.client(4, secret="0123456789abcdef-third").allocate(4) == UNAUTHORIZED


def test_no_secret_stands_on_the_command_line(relay: Relay) -> None:
    arguments = Path(f"/proc/{relay.process.pid}/cmdline").read_bytes()
    assert arguments.startswith(b"turnserver\0")
    assert not any(secret.encode() in arguments for secret in SECRETS)


def test_an_address_has_its_quota_however_often_it_asks_for_credentials(relay: Relay) -> None:
    text = (DEPLOY / "turnserver.conf").read_text(encoding="utf-8")
    quota = next(int(line.partition("=")[2]) for line in text.splitlines() if line.startswith("user-quota="))
    clients = [relay.client(4, source="203.0.113.80", age=number % 290) for number in range(quota + 1)]
    codes = [client.allocate(4) for client in clients]
    assert codes == [OK] * quota + [QUOTA_REACHED]
    assert relay.client(4, source="203.0.113.81").allocate(4) == OK
