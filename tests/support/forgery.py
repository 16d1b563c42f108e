"""Mutations of directed messages: each is one that the peer never sent to the reader, in this session, in this way."""

from __future__ import annotations

import base64
import random
from collections.abc import Callable
from typing import Any, ClassVar, Final

from tests.support.adversary import Letter

HISTORY: Final = 512
"""Letters kept to splice from."""


class Forger:
    """An attack that delivers `count` mutations of every letter instead of the letter."""

    def __init__(self, seed: int, count: int, kind: str = "") -> None:
        """`kind` names the only mutation wanted."""
        self.count = count
        self._wanted = [mutation for mutation in self.MUTATIONS if kind in ("", mutation.__name__)]
        self.forged = 0
        self.kinds: set[str] = set()
        """Names of the mutations made so far."""
        self._random = random.Random(seed)
        self._seen: list[Letter] = []

    def __call__(self, letter: Letter) -> list[Letter]:
        forged = [self.mutate(letter) for _ in range(self.count)]
        self._seen = [*self._seen, letter][-HISTORY:]
        self.forged += len(forged)
        return forged

    def mutate(self, letter: Letter) -> Letter:
        """Return a mutation of `letter`."""
        while True:
            mutation = self._random.choice(self._wanted)
            forged = mutation(self, letter)
            if forged is not None:
                self.kinds.add(mutation.__name__)
                return forged

    def _flip(self, letter: Letter) -> Letter:
        """Change one bit of what is sealed."""
        sealed = bytearray(_sealed(letter))
        position = self._random.randrange(len(sealed) * 8)
        sealed[position // 8] ^= 1 << position % 8
        return letter.with_payload(sealed=_text(sealed))

    def _cut(self, letter: Letter) -> Letter:
        """Shorten what is sealed."""
        sealed = _sealed(letter)
        return letter.with_payload(sealed=_text(sealed[: self._random.randrange(1, len(sealed))]))

    def _lengthen(self, letter: Letter) -> Letter:
        """Add to what is sealed."""
        return letter.with_payload(sealed=_text(_sealed(letter) + self._random.randbytes(self._random.randint(1, 64))))

    def _invent(self, letter: Letter) -> Letter:
        """Seal with no key at all."""
        return letter.with_payload(sealed=_text(self._random.randbytes(self._random.randint(1, 600))))

    def _garble(self, letter: Letter) -> Letter:
        """Put what is no base64."""
        return letter.with_payload(sealed="A" * (4 * self._random.randint(1, 50) + 1))

    def _strip(self, letter: Letter) -> Letter:
        """Leave out what is sealed."""
        return letter.with_payload(sealed=None)

    def _strip_and_describe(self, letter: Letter) -> Letter:
        """Put an agent of the adversary's own in its place, in the clear."""
        return letter.with_payload(sealed=None, **impostor_description(self._random))

    def _rename_session(self, letter: Letter) -> Letter:
        """Say that it belongs to another session."""
        other = self._random.choice(self._seen).payload["session_id"] if self._seen else None
        if other in (None, letter.payload["session_id"]):
            other = self._random.randbytes(16).hex()
        return letter.with_payload(session_id=other)

    def _retype(self, letter: Letter) -> Letter:
        """Say that it is a message of another type."""
        kind = self._random.choice(
            [kind for kind in ("OFFER", "ANSWER", "CANDIDATE") if kind != letter.message["type"]]
        )
        retyped = Letter(letter.sender, letter.target, letter.message | {"type": kind})
        return retyped.with_payload(accepted=True if kind == "ANSWER" else None)

    def _resend_as_another(self, letter: Letter) -> Letter:
        """Say that it comes from somebody else."""
        peer_id = self._random.randbytes(8).hex()
        return Letter(letter.sender, letter.target, letter.message | {"peer_id": peer_id})

    def _reflect(self, letter: Letter) -> Letter:
        """Send it back."""
        return letter.reflected()

    def _splice(self, letter: Letter) -> Letter | None:
        """Put in what was sealed for another session, direction or type."""
        others = [
            seen
            for seen in self._seen
            if (seen.payload["session_id"], seen.sender, seen.message["type"])
            != (letter.payload["session_id"], letter.sender, letter.message["type"])
        ]
        return letter.with_payload(sealed=self._random.choice(others).payload["sealed"]) if others else None

    MUTATIONS: ClassVar[tuple[Callable[[Forger, Letter], Letter | None], ...]] = (
        _flip,
        _cut,
        _lengthen,
        _invent,
        _garble,
        _strip,
        _strip_and_describe,
        _rename_session,
        _retype,
        _resend_as_another,
        _reflect,
        _splice,
    )


MUTATION_COUNT: Final = len(Forger.MUTATIONS)


def impostor_description(source: random.Random) -> dict[str, Any]:
    """Return the members of an OFFER or ANSWER by which an agent of the adversary's own would be linked with."""
    return {
        "ice": {"ufrag": "evil", "pwd": source.randbytes(12).hex()},
        "candidates": ["1 1 udp 2130706431 127.0.0.1 9 typ host"],
        "fingerprint": source.randbytes(32).hex(),
        "nonce": source.randbytes(16).hex(),
        "speaks": ["quic/1"],
        "instance": source.randbytes(16).hex(),
        "accepted": True,
        "ready": True,
    }


def _sealed(letter: Letter) -> bytes:
    return base64.b64decode(letter.payload["sealed"])


def _text(sealed: bytes | bytearray) -> str:
    return base64.b64encode(sealed).decode()
