"""What one peer that floods the signaling server costs the others: latency of relayed messages with and without it.

500 peers in pairs send each other an OFFER now and then, with the server's limits as they are by default. Meanwhile a
process of its own connects, joins, and sends as fast as it can, again and again, since the server closes it. The server
has a core of its own; the load and the flood share the other, so that some of what the flood costs is the load's.
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import multiprocessing
import os
import random
import select
import statistics
import sys
import time
from collections.abc import Iterator

from scripts.benches.load import READ_SIZE, Client, connect_and_join, drain, text_frame
from scripts.benches.server import Server

SERVER = [
    *("-m", "visavis_server", "--host", "127.0.0.1", "--port", "0", "--stun", "off", "--log-level", "error"),
    *("--peer-limit", "100000"),
]
PEERS = 500
PERIOD = 0.5
"""Seconds between two messages of a peer."""
PAYLOAD = 600
"""Bytes of a message: an OFFER with candidates."""
BURST = 512
"""Messages of one write of the flood."""


def flood(port: int) -> None:
    """Connect and send until the server has enough, for ever."""
    burst = text_frame({"type": "KEEP_ALIVE"}) * BURST
    while True:
        with contextlib.suppress(OSError):
            client = Client(port)
            client.welcome()
            client.send(type="JOIN", room_id="flood")
            client.socket.setblocking(False)
            while True:
                readable, writable, _ = select.select([client.socket], [client.socket], [])
                if readable and not client.socket.recv(READ_SIZE):
                    break
                if writable:
                    client.socket.send(burst)


@contextlib.contextmanager
def flooding(port: int, wanted: bool) -> Iterator[None]:
    """Run the flood meanwhile."""
    process = multiprocessing.Process(target=flood, args=(port,), daemon=True)
    if wanted:
        process.start()
    try:
        yield
    finally:
        if wanted:
            process.kill()
            process.join()


def latencies(clients: list[Client], seconds: float) -> list[float]:
    """Send between neighbours and return what each message took, in seconds."""
    frames, partner = {}, {}
    for index, client in enumerate(clients):
        other = clients[index ^ 1]
        message = {"type": "OFFER", "target_id": other.peer_id, "payload": {"sdp": "x" * PAYLOAD}}
        frames[client.socket.fileno()] = text_frame(message)
        partner[other.socket.fileno()] = client.socket.fileno()
    sockets = {client.socket.fileno(): client.socket for client in clients}
    poll = select.epoll()
    for client in clients:
        client.socket.setblocking(False)
        poll.register(client.socket, select.EPOLLIN)
    now = time.perf_counter()
    end = now + seconds
    due = [(now + random.random() * PERIOD, number) for number in sockets]
    heapq.heapify(due)
    sent: dict[int, float] = {}
    taken: list[float] = []
    while now < end:
        while due[0][0] <= now:
            at, number = heapq.heappop(due)
            heapq.heappush(due, (at + PERIOD, number))
            if number not in sent:
                sent[number] = time.perf_counter()
                sockets[number].send(frames[number])
        for number, _ in poll.poll(max(0.0, due[0][0] - now)):
            data = sockets[number].recv(READ_SIZE)
            now = time.perf_counter()
            if b'"OFFER"' in data and partner[number] in sent:
                taken.append(now - sent.pop(partner[number]))
        now = time.perf_counter()
    poll.close()
    for client in clients:
        client.socket.setblocking(True)
    drain(clients)
    return taken


def main() -> None:
    """Measure in interleaved rounds."""
    parser = argparse.ArgumentParser(prog="scripts/bench flood", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=10.0, help="of a measurement (default: %(default)s)")
    arguments = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("two cores are needed: one for the server, one for the load")
    os.sched_setaffinity(0, {cores[1]})
    server = Server(SERVER, cores[0])
    ratios = []
    try:
        clients = connect_and_join(server.port, PEERS, 64, room_size=2)
        drain(clients)
        latencies(clients, 2.0)
        for number in range(arguments.rounds):
            p99 = {}
            for wanted in (False, True) if number % 2 == 0 else (True, False):
                with flooding(server.port, wanted):
                    taken = sorted(latencies(clients, arguments.seconds))
                p99[wanted] = taken[len(taken) * 99 // 100]
                print(
                    f"{'with the flood' if wanted else 'without':15} {len(taken):6} messages: "
                    f"median {statistics.median(taken) * 1000:.2f} ms, p99 {p99[wanted] * 1000:.2f} ms, "
                    f"maximum {taken[-1] * 1000:.2f} ms"
                )
            ratios.append(p99[True] / p99[False])
    finally:
        server.process.kill()
        server.process.communicate()
    print(f"p99 with the flood: {statistics.median(ratios):.2f} times that without ", end="")
    print(f"[{min(ratios):.2f}-{max(ratios):.2f}]")


if __name__ == "__main__":
    main()
