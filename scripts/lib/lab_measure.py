"""What the lab's own processes can carry, and how punctual a cable is."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from typing import Final

from tests.netns.lab import SIGNALING, Impairment, Lab, Site

PORT: Final = 7009
DATAGRAM_SIZE: Final = 1200
RATE: Final = 20_000_000
"""Bytes a second that a cable must carry without losses of its own."""
SECONDS: Final = 5
DELAY: Final = 0.02
ROUNDS: Final = 500

# a sender that keeps to its rate in steps of a millisecond
_SENDER: Final = """
import socket, sys, time
host, port, size, rate, seconds = sys.argv[1], *map(float, sys.argv[2:])
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.connect((host, int(port)))
data, count, started_at = bytes(int(size)), 0, time.monotonic()
while (elapsed := time.monotonic() - started_at) < seconds:
    while count * size < elapsed * rate:
        sock.send(data)
        count += 1
    time.sleep(0.001)
print(count)
"""
# counts until there has been nothing for half a second
_RECEIVER: Final = """
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, 33, 1 << 25)  # SO_RCVBUFFORCE
sock.bind((sys.argv[1], int(sys.argv[2])))
print("ready", flush=True)
buffer, count = bytearray(2048), 0
sock.recv_into(buffer)
sock.settimeout(0.5)
try:
    while True:
        count += 1
        sock.recv_into(buffer)
except TimeoutError:
    print(count)
"""
# echoes to whoever asks
_ECHO: Final = """
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind((sys.argv[1], int(sys.argv[2])))
print("ready", flush=True)
while True:
    data, source = sock.recvfrom(2048)
    sock.sendto(data, source)
"""


def measure(kind: str) -> None:
    """Print throughput and punctuality of a site of `kind` on cables."""
    with Lab() as lab:
        site = lab.site("measured", kind, cables=True)
        _throughput(lab, site)
        _punctuality(lab, site)


def _throughput(lab: Lab, site: Site) -> None:
    receiver = _start(lab, _RECEIVER)
    assert receiver.stdout is not None
    engines = [*_pids(site)]
    before = {pid: _cpu(pid) for pid in engines}
    sent = int(
        site.clients[0].namespace.run(
            sys.executable, "-c", _SENDER, SIGNALING[0], *map(str, (PORT, DATAGRAM_SIZE, RATE, SECONDS))
        )
    )
    busy = {pid: (_cpu(pid) - cpu) / SECONDS for pid, cpu in before.items()}
    received = int(receiver.stdout.readline())
    print(f"{sent} datagrams of {DATAGRAM_SIZE} bytes in {SECONDS} s = {sent * DATAGRAM_SIZE / SECONDS / 1e6:.1f} MB/s")
    print(f"arrived: {received}, lost: {sent - received}")
    for name, link in (("host", site.clients[0].link), ("site", site.uplink)):
        print(f"{name}'s cable, outward: {json.dumps(link.counts()['outward'])}")
    print("share of a core by process: " + ", ".join(f"{share:.0%}" for share in busy.values()))


def _punctuality(lab: Lab, site: Site) -> None:
    """Compare round trips with a delay on one link and without."""
    echo = _start(lab, _ECHO)
    try:
        plain = _round_trips(site)
        site.clients[0].link.impair(Impairment(delay=DELAY))
        delayed = _round_trips(site)
    finally:
        echo.kill()
    error = [(trip - 2 * DELAY - statistics.median(plain)) / 2 * 1000 for trip in delayed]
    error.sort()
    oversleep = sorted(_oversleep() for _ in range(ROUNDS))
    print(f"a round trip without delay: median {statistics.median(plain) * 1000:.2f} ms")
    print(
        f"error of a {DELAY * 1000:.0f} ms delay each way, {ROUNDS} round trips: "
        f"median {error[len(error) // 2]:.2f} ms, 99 % within {error[len(error) * 99 // 100]:.2f} ms, "
        f"from {error[0]:.2f} to {error[-1]:.2f} ms"
    )
    print(
        f"how late this machine wakes a process that sleeps as long: median {oversleep[len(oversleep) // 2]:.2f} ms, "
        f"99 % within {oversleep[len(oversleep) * 99 // 100]:.2f} ms, at most {oversleep[-1]:.2f} ms"
    )


def _oversleep() -> float:
    started_at = time.monotonic()
    time.sleep(DELAY)
    return (time.monotonic() - started_at - DELAY) * 1000


def _round_trips(site: Site) -> list[float]:
    trips = []
    with site.clients[0].namespace.udp_socket(site.clients[0].address) as sock:
        for _ in range(ROUNDS):
            sent_at = time.monotonic()
            sock.sendto(b"ping", (SIGNALING[0], PORT))
            sock.recv(64)
            trips.append(time.monotonic() - sent_at)
    return trips


def _start(lab: Lab, program: str) -> subprocess.Popen[str]:
    process = lab.signaling.popen([sys.executable, "-c", program, SIGNALING[0], str(PORT)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def _pids(site: Site) -> list[int]:
    """Return the engine processes of a site: its cables' and its NAT's."""
    namespaces = [site.router.name, site.router.name.removesuffix("router") + "isp"]
    return [
        int(pid)
        for name in namespaces
        for pid in subprocess.run(
            ["ip", "netns", "pids", name], capture_output=True, text=True, check=True
        ).stdout.split()
    ]


def _cpu(pid: int) -> float:
    """Return the seconds of processor time that a process has used."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100
