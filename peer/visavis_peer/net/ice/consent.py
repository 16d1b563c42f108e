"""Asking for consent (RFC 7675) on the selected pair, and on other valid ones while that is silent."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Sequence
from typing import Final, Protocol

from aioice import stun
from aioice.ice import CandidatePair

from visavis_peer.core.keepalive import Consent
from visavis_peer.net.ice.socket import IceSocket, Transaction
from visavis_shared.tasks import own

CONSENT_SCHEDULE: Final = (30.0,)
"""One transmission that stays answerable for RFC 7675's bound on consent."""
CONSENT_PENDING: Final = 32
"""Consent requests awaiting a response at most: those of EXPIRY's last seconds on five pairs; the oldest makes way."""
OTHERS_COUNT: Final = 4
"""Pairs besides the selected one that are asked at a time: the last ones that the peer was heard on."""


class ConsentOwner(Protocol):
    """What the keeper asks of its session."""

    def selected_pair(self) -> CandidatePair | None:
        """Return the pair that is in use."""

    def displaced_pairs(self) -> Sequence[CandidatePair]:
        """Return the pairs that have fallen silent lately, and may come back."""

    def other_pairs(self) -> Sequence[CandidatePair]:
        """Return the other nominated valid pairs, the one last heard on first."""

    def consent_request(self, pair: CandidatePair) -> tuple[stun.Message, bytes]:
        """Return a Binding request for `pair` and the key to sign it with."""

    def on_silent(self) -> None:
        """The selected pair does not answer in time."""

    def on_answer(self, pair: CandidatePair, *, silent: bool) -> None:
        """The peer has answered on `pair`; `silent` tells whether the selected one owes an answer."""

    def on_consent(self, *, given: bool) -> None:
        """Consent has expired, or has been given again."""

    def on_consent_lost(self) -> None:
        """Nobody has answered for so long that nobody will."""


class ConsentKeeper:
    """Keeps one session's consent fresh: `run` is its task, everything else may be called at any time."""

    def __init__(self, owner: ConsentOwner, round_trip: float | None) -> None:
        """`round_trip` is that of the check that has just given consent, in seconds."""
        self._loop = asyncio.get_running_loop()
        self.consent = Consent.start(self._loop.time(), round_trip)
        self._owner = owner
        self._wake = asyncio.Event()
        self._asking: list[asyncio.Task[None]] = []
        """Requests that are not answered yet, oldest first; at most CONSENT_PENDING."""

    @property
    def given(self) -> bool:
        """Whether application data may be sent."""
        return self.consent.expired_at is None

    async def run(self) -> None:
        """Ask until the path is lost; cancellation ends it, and what it has asked."""
        try:
            while self._step():
                delay = self.consent.next_timer() - self._loop.time()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(delay):
                        await self._wake.wait()
                self._wake.clear()
        finally:
            for task in self._asking:
                task.cancel()

    def _step(self) -> bool:
        """Do what is due; return whether there is more to come."""
        match self.consent.handle_timer(self._loop.time(), random.random()):
            case "check":
                self._ask(self._owner.displaced_pairs())
            case "search":
                self._owner.on_silent()
                self._ask(self._owner.other_pairs())
            case "expired":
                self._owner.on_consent(given=False)
            case "lost":
                self._owner.on_consent_lost()
                return False
            case "wait":
                pass
        return True

    def suspect(self) -> None:
        """Ask the peer at once whether it still listens, and give up sooner if it does not."""
        self.consent.suspect(self._loop.time())
        self._wake.set()

    def on_peer_check(self, *, elsewhere: bool) -> None:
        """An authenticated check of the peer has come in, `elsewhere` if on another pair than the selected one."""
        self.consent.on_peer_check(self._loop.time(), elsewhere=elsewhere)
        self._wake.set()

    def on_answer(self, pair: CandidatePair, round_trip: float | None) -> None:
        """The peer has answered a check on `pair`, of this keeper or of the session."""
        now = self._loop.time()
        self._owner.on_answer(pair, silent=self.consent.is_silent(now))
        if pair is self._owner.selected_pair():
            revived = self.consent.on_response(now, round_trip)
            self._wake.set()
            if revived:
                self._owner.on_consent(given=True)

    def _ask(self, others: Sequence[CandidatePair]) -> None:
        selected = self._owner.selected_pair()
        pairs = [] if selected is None else [selected]
        pending = [task for task in self._asking if not task.done()]
        pending += [own(self._request(pair), bears=(OSError,)) for pair in (*pairs, *others[:OTHERS_COUNT])]
        for task in pending[:-CONSENT_PENDING]:
            task.cancel()
        self._asking = pending[-CONSENT_PENDING:]

    async def _request(self, pair: CandidatePair) -> None:
        protocol = pair.protocol
        assert isinstance(protocol, IceSocket)
        request, key = self._owner.consent_request(pair)
        transactions: list[Transaction] = []
        with contextlib.suppress(stun.TransactionError):
            _, source = await protocol.request(
                request, pair.remote_addr, integrity_key=key, schedule=CONSENT_SCHEDULE, on_start=transactions.append
            )
            if source == pair.remote_addr:  # consent is of one 5-tuple (RFC 7675 section 5.1)
                self.on_answer(pair, transactions[0].rtt)
