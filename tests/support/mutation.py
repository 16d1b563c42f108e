"""Messages with something wrong, the same ones for the same seed."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any, Final

MESSAGES: Final[tuple[dict[str, Any], ...]] = (
    {
        "type": "JOIN",
        "room_id": "r",
        "payload": {"display_name": "a", "public_endpoint": {"ip": "192.0.2.1", "port": 1}},
    },
    {"type": "LEAVE", "request_id": "1"},
    {"type": "DISCOVER", "room_id": "r"},
    {"type": "KEEP_ALIVE"},
    {"type": "RESUME", "payload": {"token": "t", "last_seq": 1}},
    {"type": "ROOM", "room_id": "r", "payload": {"capacity": 2, "password": "p", "locked": False}},
    {"type": "KICK", "room_id": "r", "payload": {"peer_id": "0" * 16, "ban": True, "reason": "x"}},
    {
        "type": "OFFER",
        "target_id": "0" * 16,
        "payload": {"endpoint": {"ip": "192.0.2.1", "port": 1}, "session_id": "s"},
    },
    {"type": "ANSWER", "target_id": "0" * 16, "payload": {"accepted": True, "session_id": "s"}},
    {"type": "CANDIDATE", "target_id": "0" * 16, "payload": {"candidate": "c"}},
)
"""One of every type that a client may send."""
_VALUES: Final[tuple[Any, ...]] = (
    None,
    True,
    -1,
    1e308,
    2**64,
    "",
    "\x00",
    "\ud800",
    "é" * 200,
    [],
    [[]],
    {},
    {"": {}},
    "JOIN",
    "PEER_LEFT",
)
_TOKENS: Final = (b"{", b"}", b'"', b",", b":", b"[", b"\\", b"\\ud800", b"\xff", b"\x00", b"1e999", b"-", b"null")


def mutated(seed: int) -> Iterator[bytes]:
    """Yield mutated messages without end."""
    chance = random.Random(seed)
    while True:
        message = json.loads(json.dumps(chance.choice(MESSAGES)))
        if chance.random() < 0.7:
            _change_value(message, chance)
        data = bytearray(json.dumps(message, ensure_ascii=True).encode())
        for _ in range(chance.choice((0, 0, 1, 3))):
            _change_bytes(data, chance)
        yield bytes(data)


def _change_value(message: dict[str, Any], chance: random.Random) -> None:
    """Replace, remove or add one member, at the top or one level below."""
    payload = message.get("payload")
    where = payload if payload and chance.random() < 0.6 else message
    name = chance.choice([*where, "unknown", "payload", "request_id"])
    if chance.random() < 0.2:
        where.pop(name, None)
    else:
        where[name] = chance.choice(_VALUES)


def _change_bytes(data: bytearray, chance: random.Random) -> None:
    """Cut, insert, repeat or flip somewhere."""
    at = chance.randrange(len(data) + 1)
    match chance.randrange(4):
        case 0:
            del data[at : at + chance.randrange(1, 8)]
        case 1:
            data[at:at] = chance.choice(_TOKENS)
        case 2:
            data[at:at] = data[at : at + 20]
        case _:
            data[at : at + 1] = bytes([chance.randrange(256)])
