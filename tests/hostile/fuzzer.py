"""Says, seeded, what no peer says: valid messages with ids of others, in another order, again, cut short or late.

    python -m tests.hostile.fuzzer --port PORT --seed N --seconds S [--invite INVITE] NAME...

does it by hand to the agents of those names; without an invite in room `r`.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import secrets
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

from tests.hostile.member import Member, description, member
from tests.support.ws_raw import Message
from visavis_shared.invite import Invite

IDS: Final = ("S1", "S2", "S3")
"""Session ids, few so that they meet again and again across peers and kinds."""
MEMBERS: Final = 3
PAUSE: Final = 0.02
"""Seconds between bursts: what a server lets one client say in the long run."""
BURST: Final = 8
KINDS: Final = ("OFFER", "ANSWER", "CANDIDATE")
STRANGE: Final[tuple[Any, ...]] = (
    None, "", " ", "\x00", "\ud7ff", "a" * 65_000, -1, 0, 2**63, 1e308, True, [], {}, [[]] * 40, {"a": {"b": {}}},
)  # fmt: skip
"""Values put in the place of others."""
LINES: Final = (
    "1 1 udp 2130706431 127.0.0.1 9 typ host",
    "1 1 udp 2130706431 ::1 9 typ host",
    "1 2 udp 1 127.0.0.1 0 typ host",
    "1 1 tcp 1 127.0.0.1 9 typ host tcptype active",
    "1 1 udp 99999999999 224.0.0.1 9 typ srflx raddr 0.0.0.0 rport 0",
    "1 1 udp -1 255.255.255.255 70000 typ relay",
    "nonsense",
    "1 1 udp 1 \u0661 9 typ host",
)


class Fuzzer:
    """Makes messages; the same seed and the same peers give the same ones."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._said: list[tuple[str, Message]] = []
        """What can be said again, and by somebody else."""
        self.count = 0

    def message(self, heard: Sequence[Message]) -> tuple[str, Message]:
        """Return kind and payload of a message, made from nothing, from what was said, or from what was `heard`."""
        self.count += 1
        choice = self._random.random()
        if self._said and choice < 0.25:
            kind, payload = self._random.choice(self._said)
        elif heard and choice < 0.4:
            message = self._random.choice(heard)
            kind, payload = message["type"], message["payload"]
        else:
            kind = self._random.choice(KINDS)
            payload = self._fresh(kind)
        kind, payload = self._twisted(kind, dict(payload))
        self._said = [*self._said, (kind, payload)][-64:]
        return kind, payload

    def _fresh(self, kind: str) -> Message:
        source = self._random
        payload: Message = {"session_id": source.choice(IDS)}
        if kind == "CANDIDATE":
            payload |= source.choice(
                (
                    {"candidate": source.choice(LINES)},
                    {"end_of_candidates": True},
                    {"ready": True},
                    {"nat": {"last_port": source.randrange(1, 65_536), "attempt": source.randrange(9)}},
                    {"failed": "no reason"},
                )
            )
            return payload
        payload |= description(candidates=source.sample(LINES, source.randrange(len(LINES))))
        if kind == "ANSWER":
            return payload | {"accepted": source.random() < 0.8, "ready": source.random() < 0.5}
        return payload | {"round": source.randrange(4), "links": [secrets.token_hex(16)] * source.randrange(3)}

    def _twisted(self, kind: str, payload: Message) -> tuple[str, Message]:
        """Change an id, the kind, or one value; or nothing."""
        source = self._random
        choice = source.random()
        if choice < 0.3:
            payload["session_id"] = source.choice(IDS)
        elif choice < 0.4:
            kind = source.choice(KINDS)
        elif choice < 0.6 and payload:
            payload[source.choice(list(payload))] = source.choice(STRANGE)
        elif choice < 0.65 and payload:
            del payload[source.choice(list(payload))]
        return kind, payload

    def shuffled(self, messages: list[tuple[str, Message]]) -> list[tuple[str, Message]]:
        """Return a burst in another order, some of it twice and some of it not at all."""
        source = self._random
        again = [each for each in messages if source.random() < 0.2]
        burst = [each for each in messages if source.random() > 0.1] + again
        source.shuffle(burst)
        return burst

    def sealed(self) -> bool:
        """Whether the next message is to be sealed, where that can be."""
        return self._random.random() < 0.7

    def one_of(self, things: Sequence[Any]) -> Any:
        """Return one of them."""
        return self._random.choice(things)


async def play(port: int, fuzzer: Fuzzer, victims: Sequence[str], seconds: float, invite: Invite | None = None) -> None:
    """Have several members say what the fuzzer makes to the agents of these names, some of them leaving and coming."""
    room, secret = ("r", None) if invite is None else (invite.room, invite.secret)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        async with AsyncExitStack() as stack:
            joined = [
                await stack.enter_async_context(member(port, room, f"mallory{number}", secret))
                for number in range(MEMBERS)
            ]
            targets = [await one.peer(name) for one in joined for name in victims][: len(victims)]
            for _ in range(100):
                if time.monotonic() >= end:
                    break
                burst = fuzzer.shuffled(
                    [fuzzer.message([m for m in joined[0].heard if m["type"] in KINDS]) for _ in range(BURST)]
                )
                for kind, payload in burst:
                    _say(fuzzer.one_of(joined), fuzzer, kind, fuzzer.one_of(targets), payload, secret is not None)
                await asyncio.sleep(PAUSE)


def _say(one: Member, fuzzer: Fuzzer, kind: str, target: str, payload: Message, has_secret: bool) -> None:
    if has_secret and fuzzer.sealed():
        one.say_sealed_raw(kind, target, payload)
    else:
        one.say(kind, target, **payload)


def main() -> None:
    """Play by hand."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="of the server on loopback")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--invite")
    parser.add_argument("victims", nargs="+", help="display names of agents in the room")
    given = parser.parse_args()
    fuzzer = Fuzzer(given.seed)
    invite = None if given.invite is None else Invite.parse(given.invite)
    asyncio.run(play(given.port, fuzzer, given.victims, given.seconds, invite))
    print(f"seed {given.seed}: {fuzzer.count} messages")


if __name__ == "__main__":
    main()
