"""Mutated messages over sockets, to a server process that relays messages between others meanwhile.

A process of its own connects, sends some mutated messages, waits until the server has looked at all of them or closed
the connection, and connects anew; each time from another address (by X-Forwarded-For), or what is counted by address
would turn most of them away. It has the lowest priority, so that what the others wait for is the server and not it.
"""

from __future__ import annotations

import ipaddress
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from itertools import islice
from multiprocessing.connection import Connection
from typing import Final

from scripts.benches.flood import PEERS, latencies
from scripts.benches.load import BINARY, CLOSE, TEXT, UPGRADE, Client, connect_and_join, drain, masked_frame, text_frame
from scripts.benches.server import Server

from tests.support.mutation import mutated

SERVER: Final = [
    *("-m", "visavis_server", "--host", "127.0.0.1", "--port", "0", "--stun", "off", "--peer-limit", "100000"),
    *("--trusted-proxy", "127.0.0.1", "--log-level", "warning", "--log-format", "json"),
]
"""Limits as they are by default."""
STAY: Final = 50
"""Messages of one connection."""
SLICE: Final = 5.0
"""Seconds between two looks at the memory and at whether the rogues are done."""
_LAST: Final = text_frame({"type": "KEEP_ALIVE", "request_id": "was that all"})
_ADDRESSES: Final = int(ipaddress.IPv4Address("10.0.0.0"))


def send_mutated(port: int, count: int, seed: int, done: Connection) -> None:
    """Send `count` messages; then say how many connections ended by the server's close code, and how many by ours."""
    os.nice(19)
    messages, endings = mutated(seed), Counter[str]()
    for number, begin in enumerate(range(0, count, STAY)):
        address = ipaddress.IPv4Address(_ADDRESSES + number)
        client = Client(port, UPGRADE[:-2] + f"X-Forwarded-For: {address}\r\n\r\n".encode())
        client.welcome()
        client.socket.sendall(b"".join(map(frame, islice(messages, min(STAY, count - begin)))) + _LAST)
        endings[how_it_ends(client)] += 1
        client.socket.close()
    done.send(endings)


def frame(message: bytes) -> bytes:
    """Return a mutated message as a frame; one that no text frame may carry goes as binary."""
    try:
        message.decode()
    except UnicodeDecodeError:
        return masked_frame(BINARY, message)
    return masked_frame(TEXT, message)


def how_it_ends(client: Client) -> str:
    """Read on until everything is answered or the server closes the connection."""
    while True:
        opcode, payload = client.receive_frame()
        if opcode == CLOSE:
            return f"closed with {int.from_bytes(payload[:2])}"
        if b'"was that all"' in payload:
            return "answered"
        if b"INTERNAL_ERROR" in payload:
            return "INTERNAL_ERROR"


def run(count: int, seed: int) -> None:
    """Measure without and with the rogues, and print; exits where the log has an error."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("two cores are needed: one for the server, one for the load")
    os.sched_setaffinity(0, {cores[1]})
    with tempfile.TemporaryFile("w+") as log:
        server = Server(SERVER, cores[0], log)
        try:
            endings = beside_others(server, count, seed)
        finally:
            server.process.kill()
            server.process.communicate()
        log.seek(0)
        lines = [json.loads(line) for line in log]
    causes = {line["cause"] for line in lines if line.get("event") == "refused"}
    print(f"connections: {dict(endings)}")
    print(f"log: {len(lines)} lines, warnings of what was refused: {', '.join(sorted(causes)) or 'none'}")
    wrong = [line for line in lines if line["level"] != "warning" or line.get("event") != "refused"]
    if wrong or endings["INTERNAL_ERROR"]:
        sys.exit(f"something else stands in the log: {wrong[:3]}")
    print("no exception")


def beside_others(server: Server, count: int, seed: int) -> Counter[str]:
    """Run the rogues while others relay; return how their connections ended."""
    clients = connect_and_join(server.port, PEERS, 64, room_size=2)
    drain(clients)
    latencies(clients, SLICE)
    show("without", latencies(clients, 2 * SLICE))
    result, done = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.Process(target=send_mutated, args=(server.port, count, seed, done), daemon=True)
    began = time.monotonic()
    memory = [server.memory]
    process.start()
    done.close()
    taken: list[float] = []
    try:
        while process.is_alive():
            taken += latencies(clients, SLICE)
            memory.append(server.memory)
        seconds = time.monotonic() - began
        endings: Counter[str] = result.recv()
    finally:
        process.kill()
        process.join()
    show("with", taken)
    show("without", latencies(clients, 2 * SLICE))
    quarters = [memory[(len(memory) - 1) * part // 4] / 2**20 for part in range(5)]
    print(f"{count} mutated messages in {seconds:.0f} s")
    print("RSS before, after each quarter, MiB: " + ", ".join(f"{each:.1f}" for each in quarters))
    return endings


def show(name: str, taken: list[float]) -> None:
    """Print what the others' messages took."""
    taken = sorted(taken)
    print(
        f"{name:8} {len(taken):6} messages of others: median {statistics.median(taken) * 1000:.2f} ms, "
        f"p99 {taken[len(taken) * 99 // 100] * 1000:.2f} ms, maximum {taken[-1] * 1000:.2f} ms"
    )
