"""Two secure connections without I/O, and a clock that jumps to the next timer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from qh3.quic.events import ConnectionTerminated

from tests.support.link_pair import introduce
from visavis_peer.link import control, quic
from visavis_peer.link.identity import Identity, Introduction
from visavis_peer.link.quic import SecureConnection

OFFERER, ANSWERER = Identity(), Identity()
BOTH = (OFFERER, ANSWERER)
Filter = Callable[[list[bytes]], list[bytes]]


def everything(datagrams: list[bytes]) -> list[bytes]:
    return datagrams


class Silent(SecureConnection):
    """An offerer that does not prove itself until it is told to."""

    hello: control.Hello | None = None

    def send_control(self, frame: control.ControlFrame) -> None:
        if isinstance(frame, control.Hello):
            self.hello = frame
        else:
            super().send_control(frame)

    def prove(self) -> None:
        assert self.hello is not None
        super().send_control(self.hello)


class Breaking(SecureConnection):
    """A side that breaks off as an attacker does, who has an Initial's keys (RFC 9001 section 5.2) and no others."""

    def break_off(self, code: int, frame_type: int | None, words: str) -> bool:
        """Close as the transport or a peer would, whoever is at the other end; False before there is anybody."""
        if self._quic is not None:
            self._quic.close(code, frame_type, words)
        return self._quic is not None

    def hear_end(self, code: int, frame_type: int | None, words: str) -> None:
        """Take such a close as the engine would hand it on."""
        self._on_event(ConnectionTerminated(code, frame_type, words))


class Exchange:
    """An offerer, an answerer, and a clock that jumps to the next timer."""

    def __init__(
        self,
        identities: tuple[Identity, Identity] = BOTH,
        *,
        offerer: type[SecureConnection] = SecureConnection,
        told_a: dict[str, str] | None = None,
        told_b: dict[str, str] | None = None,
    ) -> None:
        self.now = 100.0
        self.introduction = introduce(OFFERER, ANSWERER)
        self.a = offerer(identities[0], self._told(told_a), is_offerer=True)
        self.b = SecureConnection(identities[1], self._told(told_b), is_offerer=False)

    def _told(self, otherwise: dict[str, str] | None) -> Introduction:
        return replace(self.introduction, **(otherwise or {}))

    def start(self) -> Exchange:
        self.a.start(self.now)
        self.settle()
        return self

    def settle(self, to_b: Filter = everything, to_a: Filter = everything) -> None:
        """Let pass what a few exchanges take; the engine spreads what it sends over time."""
        self.go_on(0.5, to_b, to_a)

    def _carry(self, to_b: Filter, to_a: Filter) -> None:
        while True:
            from_a, from_b = self.a.take_datagrams(self.now), self.b.take_datagrams(self.now)
            if not from_a and not from_b:
                return
            self.b.receive(to_b(from_a), self.now)
            self.a.receive(to_a(from_b), self.now)

    def go_on(self, seconds: float, to_b: Filter = everything, to_a: Filter = everything) -> None:
        """Let time pass, with every timer at its time."""
        end = self.now + seconds
        while True:
            self._carry(to_b, to_a)
            timers = [(due, side) for side in (self.a, self.b) if (due := side.next_timer()) is not None]
            due, side = min(timers, key=lambda pair: pair[0], default=(end + 1, self.a))
            if due > end:
                self.now = end
                return
            self.now = max(self.now, due)
            side.handle_timer(self.now)


def events(side: SecureConnection) -> list[quic.ConnectionEvent]:
    found = []
    while (event := side.next_event()) is not None:
        found.append(event)
    return found


def end_of(side: SecureConnection) -> quic.Terminated:
    """Return how the connection ended; it has delivered nothing."""
    (over,) = events(side)
    assert isinstance(over, quic.Terminated)
    return over
