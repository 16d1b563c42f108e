"""Network namespaces by name: made, entered, run in, and always removed."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

_CLONE_NEWNET: Final = 0x40000000
_CLONE_NEWNS: Final = 0x00020000
_MS_REC_SLAVE: Final = 1 << 14 | 1 << 19
_MNT_DETACH: Final = 2
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_NAME: Final = re.compile(r"^vv(\d+)-")
_SOCKET_TIMEOUT: Final = 2.0
"""Seconds that a probe's socket waits: a datagram crosses the lab in well under a millisecond."""
_SETTINGS: Final = (
    ("ipv4/ip_forward", "1"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    # removing the first address of a subnet must not take the others with it
    ("ipv4/conf/all/promote_secondaries", "1"),
    ("ipv4/conf/default/promote_secondaries", "1"),
    # addresses are configured, never advertised, and in use at once instead of a second later
    *((f"ipv6/conf/{which}/{name}", "0") for which in ("all", "default") for name in ("accept_ra", "accept_dad")),
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

    def __init__(self, name: str, *, ipv6: bool = False) -> None:
        """`name` is unique in this process, at most 40 characters; without `ipv6` there is none, not even link-local.

        Raises RuntimeError where it cannot be made.
        """
        self.name = f"vv{os.getpid()}-{name}"
        self._processes: list[subprocess.Popen[Any]] = []
        run("ip", "netns", "add", self.name)
        with self.entered():
            _apply(ipv6=ipv6)
        self.configure("link set lo up")

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
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stdin: int = subprocess.DEVNULL,
        **options: Any,
    ) -> subprocess.Popen[str]:
        """Start a program inside; its pid is the program's own, and `close` ends it if it still runs.

        It leads a process group of its own: Ctrl-C in the terminal is the lab's to deal with. `options` are Popen's.
        """
        process = subprocess.Popen(
            ["ip", "netns", "exec", self.name, *command],
            text=True,
            stdin=stdin,
            process_group=0,
            env={**os.environ, **(env or {})},
            **options,
        )
        self._processes.append(process)
        return process

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Have the calling thread inside; a socket made there stays there when the thread has left."""
        with Path("/proc/thread-self/ns/net").open() as home, Path(f"/run/netns/{self.name}").open() as inside:
            _setns(inside.fileno())
            try:
                yield
            finally:
                _setns(home.fileno())

    def udp_socket(self, ip: str, port: int = 0) -> socket.socket:
        """Return a UDP socket bound inside, with a timeout of 2 s.

        Raises OSError where `ip` is none of the namespace's.
        """
        with self.entered():
            sock = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_DGRAM)
            sock.settimeout(_SOCKET_TIMEOUT)
            try:
                sock.bind((ip, port))
            except OSError:
                sock.close()
                raise
            return sock

    def close(self) -> None:
        """End the programs started inside, their children included, and remove the namespace. Idempotent."""
        for process in self._processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    # what a killed process has not read cannot be flushed any more
                    with contextlib.suppress(BrokenPipeError):
                        stream.close()
        self._processes.clear()
        remove(self.name)


def connect(left: Namespace, left_name: str, right: Namespace, right_name: str) -> None:
    """Lay a cable between two namespaces; the ends are down until configured."""
    ip_batch([f"link add {left_name} netns {left.name} type veth peer name {right_name} netns {right.name}"])


def enter(name: str) -> None:
    """Have this process, of one thread, inside a namespace for good, with a /sys of its own: as `ip netns exec` does.

    Raises OSError.
    """
    with Path(f"/run/netns/{name}").open() as inside:
        _setns(inside.fileno())
    for what, result in (
        ("unshare", _LIBC.unshare(_CLONE_NEWNS)),
        ("mount /", _LIBC.mount(b"", b"/", b"none", _MS_REC_SLAVE, None)),
        ("umount /sys", _LIBC.umount2(b"/sys", _MNT_DETACH)),
        ("mount /sys", _LIBC.mount(b"sysfs", b"/sys", b"sysfs", 0, None)),
    ):
        if result:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), what)


def remove_leftovers() -> list[str]:
    """Remove the namespaces of owners that no longer run, with what still runs in them, and return their names."""
    removed = []
    for name in names():
        match = _NAME.match(name)
        if match and not Path(f"/proc/{match[1]}").exists():
            _end_orphans(name)
            remove(name)
            removed.append(name)
    return removed


def names() -> list[str]:
    """Return the names of all namespaces of this machine."""
    return [line.split()[0] for line in run("ip", "netns", "list").splitlines()]


def remove(name: str) -> None:
    """Remove a namespace; one that is gone already, perhaps by the hand of another lab, is as well."""
    subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


def _end_orphans(name: str) -> None:
    """Kill what a dead owner has left running in its namespace, which would otherwise outlive the name unseen."""
    found = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False)
    for pid in found.stdout.split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)


def _apply(*, ipv6: bool) -> None:
    """Set the kernel's parameters in the namespace that the calling thread is in."""
    switches = ("forwarding", "1") if ipv6 else ("disable_ipv6", "1")
    settings = [*_SETTINGS, *((f"ipv6/conf/{which}/{switches[0]}", switches[1]) for which in ("all", "default"))]
    for name, value in settings:
        Path("/proc/sys/net", name).write_text(value)


def _setns(descriptor: int) -> None:
    if _LIBC.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "setns")
