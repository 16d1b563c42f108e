"""Network namespaces by name: made, entered, run in, and always removed."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

_CLONE_NEWNET: Final = 0x40000000
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_NAME: Final = re.compile(r"^vv(\d+)-")
_SYSCTLS: Final = (
    "net.ipv4.ip_forward=1",
    "net.ipv4.conf.all.rp_filter=0",
    "net.ipv4.conf.default.rp_filter=0",
    # a lab of IPv4 NATs: no neighbour discovery, no addresses that come a second later
    "net.ipv6.conf.all.disable_ipv6=1",
    "net.ipv6.conf.default.disable_ipv6=1",
)


def run(*command: str, text: str | None = None) -> str:
    """Run a command and return what it prints.

    Raises RuntimeError with its error output.
    """
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}\n{text or ''}")
    return done.stdout


def ip_batch(lines: Sequence[str], namespace: str | None = None) -> None:
    """Run several `ip` commands at once, in `namespace` or where this process is."""
    where = ["-n", namespace] if namespace else []
    run("ip", *where, "-batch", "-", text="\n".join(lines) + "\n")


class Namespace:
    """One network namespace, named after the process that owns it so that leftovers can be told."""

    def __init__(self, name: str) -> None:
        """`name` is unique in this process, at most 40 characters."""
        self.name = f"vv{os.getpid()}-{name}"
        self._processes: list[subprocess.Popen[Any]] = []
        run("ip", "netns", "add", self.name)
        run("ip", "netns", "exec", self.name, "sysctl", "-qw", *_SYSCTLS)
        ip_batch(["link set lo up"], self.name)

    def __repr__(self) -> str:
        return f"Namespace({self.name})"

    def configure(self, *lines: str) -> None:
        """Run `ip` commands inside."""
        ip_batch(lines, self.name)

    def nft(self, ruleset: str) -> None:
        """Load nftables rules inside."""
        run("ip", "netns", "exec", self.name, "nft", "-f", "-", text=ruleset)

    def run(self, *command: str) -> str:
        """Run a command inside and return what it prints."""
        return run("ip", "netns", "exec", self.name, *command)

    def popen(
        self, command: Sequence[str], *, env: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[str]:
        """Start a program inside; its pid is the program's own, and `close` ends it if it still runs."""
        process = subprocess.Popen(
            ["ip", "netns", "exec", self.name, *command],
            text=True,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(env or {})},
            **options,
        )
        self._processes.append(process)
        return process

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Have the calling thread inside; a socket made there stays there when the thread has left."""
        with Path("/proc/self/ns/net").open() as home, Path(f"/run/netns/{self.name}").open() as inside:
            _setns(inside.fileno())
            try:
                yield
            finally:
                _setns(home.fileno())

    def udp_socket(self, ip: str, port: int = 0) -> socket.socket:
        """Return a UDP socket bound inside, with a timeout of 2 s."""
        with self.entered():
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.settimeout(2)
            sock.bind((ip, port))
            return sock

    def close(self) -> None:
        """End what runs inside and remove the namespace. Idempotent."""
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.wait()
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
        self._processes.clear()
        subprocess.run(["ip", "netns", "delete", self.name], capture_output=True, check=False)


def connect(left: Namespace, left_name: str, right: Namespace, right_name: str) -> None:
    """Lay a cable between two namespaces; the ends are down until configured."""
    ip_batch([f"link add {left_name} netns {left.name} type veth peer name {right_name} netns {right.name}"])


def remove_leftovers() -> list[str]:
    """Remove the namespaces of owners that no longer run, and return their names."""
    removed = []
    for line in run("ip", "netns", "list").splitlines():
        name = line.split()[0]
        match = _NAME.match(name)
        if match and not Path(f"/proc/{match[1]}").exists():
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)
            removed.append(name)
    return removed


def _setns(descriptor: int) -> None:
    if _LIBC.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "setns")
