"""Churn for minutes: clients connect, join, move, offer and vanish; no gap in any `seq`, and nothing that grows."""

from __future__ import annotations

import argparse
import json
import os
import random
import select
import sys
import time
from pathlib import Path
from typing import Any, Final

from scripts.benches.load import READ_SIZE, Client
from scripts.benches.server import Server

SERVER: Final = [
    *("-m", "visavis_server", "--host", "127.0.0.1", "--port", "0", "--stun", "off", "--log-level", "error"),
    *("--message-rate", "0", "--pair-rate", "0", "--empty-room-ttl", "5"),
]
CLIENTS: Final = 300
ROOMS: Final = 60
PAUSE: Final = 0.002
"""Seconds between two deeds, some 400 a second."""
INTERVAL: Final = 10.0
"""Seconds between two looks at the process."""


class Member(Client):
    """A client that checks the order of what its room is told."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.welcome()
        self.room = ""
        self.seq = 0
        self.offers = 0
        self.socket.setblocking(False)

    def join(self, room: str) -> None:
        """Join a room, or move there."""
        self.socket.setblocking(True)
        self.send(type="JOIN", room_id=room, request_id="join")
        while True:
            message = json.loads(self.receive())
            if message.get("request_id") == "join":
                break
            self._take(message)
        self.socket.setblocking(False)
        if message["type"] == "ACK":
            self.room, self.seq = room, message["seq"]

    def read(self) -> bool:
        """Take what has come; False when the connection has ended."""
        try:
            data = self.socket.recv(READ_SIZE)
        except BlockingIOError:
            return True
        if not data:
            return False
        self.buffer += data
        while (payload := self._whole()) is not None:
            self._take(json.loads(payload))
        return True

    def _whole(self) -> bytes | None:
        """Return the payload of a frame that is there."""
        if len(self.buffer) < 2:
            return None
        size, head = self.buffer[1], 2
        if size == 126:
            size, head = int.from_bytes(self.buffer[2:4]), 4
        elif size == 127:
            size, head = int.from_bytes(self.buffer[2:10]), 10
        if len(self.buffer) < head + size:
            return None
        kind, payload = self.buffer[0] & 15, self.buffer[head : head + size]
        self.buffer = self.buffer[head + size :]
        return payload if kind == 1 else b"{}"

    def _take(self, message: dict[str, Any]) -> None:
        kind = message.get("type")
        if kind in ("PEER_JOINED", "PEER_LEFT") and message["room_id"] == self.room:
            if message["seq"] != self.seq + 1:
                sys.exit(f"a gap: seq {message['seq']} after {self.seq} in {self.room}")
            self.seq = message["seq"]
        elif kind == "OFFER":
            self.offers += 1


def main() -> None:
    """Churn, look now and then, and say how it went."""
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="default: %(default)s")
    arguments = parser.parse_args()
    server = Server(SERVER, min(os.sched_getaffinity(0)))
    rng = random.Random(1)
    members: list[Member] = []
    looks: list[tuple[float, int, int]] = []
    deeds = offers = 0
    began = time.monotonic()
    next_look = began + INTERVAL
    try:
        while time.monotonic() - began < arguments.minutes * 60:
            deeds += 1
            offers += _do_something(members, server.port, rng)
            for member in list(members):
                if member.socket.fileno() < 0:
                    members.remove(member)
            time.sleep(PAUSE)
            readable, _, _ = select.select([member.socket for member in members], [], [], 0)
            ready = set(readable)
            for member in [each for each in members if each.socket in ready]:
                if not member.read():
                    sys.exit("the server closed a connection")
            if time.monotonic() >= next_look:
                next_look += INTERVAL
                descriptors = len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))
                looks.append((time.monotonic() - began, server.memory, descriptors - len(members)))
    finally:
        server.process.kill()
        server.process.communicate()
    print(
        f"{deeds} deeds and {offers} OFFERs in {arguments.minutes:g} minutes, {len(members)} clients at the end; no gap"
    )
    half = looks[len(looks) // 2 :]
    for name, index, unit in (("memory", 1, "KiB"), ("descriptors beside connections", 2, "")):
        values = [look[index] / (1024 if unit else 1) for look in half]
        slope = _slope([look[0] / 60 for look in half], values)
        print(f"{name}: {values[0]:,.0f} to {values[-1]:,.0f} {unit} in the second half, {slope:+.1f} {unit} a minute")


def _do_something(members: list[Member], port: int, rng: random.Random) -> int:
    """Do one thing at random; return how many OFFERs were sent."""
    if len(members) < CLIENTS and (not members or rng.random() < 0.3):
        member = Member(port)
        member.join(f"room-{rng.randrange(ROOMS)}")
        members.append(member)
        return 0
    member = rng.choice(members)
    chance = rng.random()
    if chance < 0.1:
        member.socket.close()
    elif chance < 0.2:
        member.join(f"room-{rng.randrange(ROOMS)}")
    else:
        others = [each for each in members if each.room == member.room and each is not member]
        if others:
            member.send(type="OFFER", target_id=rng.choice(others).peer_id, payload={"sdp": "x" * rng.randrange(2000)})
            return 1
    return 0


def _slope(xs: list[float], ys: list[float]) -> float:
    """Return the slope of the least-squares line."""
    if len(xs) < 2:
        return 0.0
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    return sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / sum((x - mean_x) ** 2 for x in xs)


if __name__ == "__main__":
    main()
