"""Networks with nothing but a proxy out: a real tinyproxy (HTTP) and a real microsocks (SOCKS5) between namespaces."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from tests.netns.lab.conditions import until
from tests.netns.lab.namespaces import Namespace, connect
from tests.netns.programs import Program
from tests.support.requirements import require

SERVER: Final = "http://10.77.0.2:8080"
HTTP: Final = "10.77.1.1:3128"
SOCKS: Final = "10.77.2.1:1080"
USER: Final = "mia:pa55word"
SECRET: Final = "pa55word"
PATIENCE: Final = 20.0
TINYPROXY: Final = "Port 3128\nListen 10.77.1.1\nTimeout 600\nMaxClients 20\nBasicAuth mia pa55word\nLogLevel Connect\n"
GREETING: Final = b"by the proxies\n" * 1000


class Networks:
    """`server` outside, `office` and `campus` inside, and `border` with the proxies, which forwards no packet."""

    def __init__(self, stack: ExitStack, directory: Path) -> None:
        self._stack = stack
        self.border, self.outside, self.office, self.campus = (
            self._namespace(name) for name in ("border", "outside", "office", "campus")
        )
        for number, inside in enumerate((self.outside, self.office, self.campus)):
            connect(self.border, f"eth{number}", inside, "eth0")
            self.border.configure(f"addr add 10.77.{number}.1/24 dev eth{number}", f"link set eth{number} up")
            inside.configure(
                f"addr add 10.77.{number}.2/24 dev eth0", "link set eth0 up", f"route add default via 10.77.{number}.1"
            )
        self.border.nft("table inet border { chain forward { type filter hook forward priority 0; policy drop; }\n}")
        (directory / "tinyproxy.conf").write_text(TINYPROXY)
        user, password = USER.split(":")
        for command in (
            ["tinyproxy", "-d", "-c", str(directory / "tinyproxy.conf")],
            ["microsocks", "-i", "10.77.2.1", "-p", "1080", "-u", user, "-P", password],
        ):
            self.border.popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: all(f":{port}" in self.border.run("ss", "-Hltn") for port in (3128, 1080)))
        server = self.outside.popen(
            [sys.executable, "-m", "visavis_server", "--host", "10.77.0.2", "--port", "8080"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert server.stdout is not None
        assert server.stdout.readline().startswith("listening on")

    def _namespace(self, name: str) -> Namespace:
        made = Namespace(f"proxies-{name}")
        self._stack.callback(made.close)
        return made

    def visavis(self, where: Namespace, *arguments: str, **environment: str) -> Program:
        command = [sys.executable, "-m", "visavis_peer", *arguments, "--json", "-v"]
        clean = dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"), "")
        process = where.popen(command, env=clean | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        program = Program(process)
        self._stack.callback(program.kill)
        return program


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Networks]:
    for capability in ("netns", "tinyproxy", "microsocks"):
        require(capability)
    with ExitStack() as stack:
        yield Networks(stack, tmp_path_factory.mktemp("proxies"))


def agent(networks: Networks, where: Namespace, room: str, name: str, *more: str, **environment: str) -> Program:
    common = ("--server", SERVER, "--room", room, "--name", name, "--message", f"I am {name}")
    return networks.visavis(where, "agent", *common, *more, **environment)


def test_two_networks_with_nothing_but_a_proxy_out_link_by_the_relay(networks: Networks) -> None:
    ann = agent(networks, networks.office, "r", "ann", http_proxy=f"http://{USER}@{HTTP}")
    bob = agent(networks, networks.campus, "r", "bob", "--proxy", f"socks5h://{USER}@{SOCKS}")
    for program, other in ((ann, "bob"), (bob, "ann")):
        assert program.wait_for("data", PATIENCE)["text"] == f"I am {other}"
        settled = program.wait_for("path", PATIENCE, lambda path: path["cause"] == "no_path", otherwise="link_up")
        assert settled["path"] == "relay"
        assert "no STUN server answered" in settled["reason"]
        assert settled["remote"].startswith("10.77.0.2:8080 through ")
    for program in (ann, bob):
        assert program.stop() == 0
        assert SECRET not in program.transcript()


def test_without_the_proxy_nothing_gets_out_and_no_proxy_means_without(networks: Networks) -> None:
    plain = networks.visavis(networks.office, "ping", "--server", SERVER, "--room", "q", "--timeout", "1")
    spared = networks.visavis(
        networks.office, "ping", "--server", SERVER, "--room", "q", "--timeout", "1",
        all_proxy=f"http://{USER}@{HTTP}", no_proxy="10.77.0.0/16",
    )  # fmt: skip
    assert plain.finish(PATIENCE) == 5
    assert spared.finish(PATIENCE) == 5


def test_a_pipe_passes_both_proxies(networks: Networks, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(GREETING)
    command = [sys.executable, "-m", "visavis_peer", "pipe", "--server", SERVER, "--room", "p", "--interface", "eth0"]
    with (tmp_path / "in").open("rb") as given, (tmp_path / "out").open("wb") as taken:
        left = networks.office.popen(
            command, env={"ALL_PROXY": f"http://{USER}@{HTTP}"}, stdin=given.fileno(), stdout=subprocess.DEVNULL
        )
        right = networks.campus.popen(command, env={"ALL_PROXY": f"socks5://{USER}@{SOCKS}"}, stdout=taken.fileno())
        left.wait(PATIENCE)
        assert right.wait(PATIENCE) == 0
    assert (tmp_path / "out").read_bytes() == GREETING


@pytest.mark.parametrize(
    ("proxy", "reason"),
    [
        (f"http://mia:wrong@{HTTP}", "asks for a user name and a password"),
        ("http://10.77.1.1:1", "cannot be reached"),
    ],
)
def test_a_proxy_that_does_not_help_is_named_and_its_password_is_not(
    networks: Networks, proxy: str, reason: str
) -> None:
    command = ("ping", "--server", SERVER, "--room", "q", "--timeout", "1")
    ping = networks.visavis(networks.office, *command, http_proxy=proxy)
    assert ping.finish(PATIENCE) == 5
    assert "through the proxy http://10.77.1.1:" in ping.transcript()
    assert reason in ping.transcript()
    assert "wrong" not in ping.transcript()
