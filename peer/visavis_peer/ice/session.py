"""An ICE session: the agent of core.ice on sockets, with the loop's clock and one timer.

What ICE does, and what it does beyond the RFCs, stands in core.ice. Here datagrams go past it: to the application from
addresses that the agent trusts, through a bounded queue until there is one, and out on the pair that it has selected.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Literal, assert_never

from visavis_peer.core.ice import (
    Candidate,
    CandidateFound,
    CheckReceived,
    Effect,
    Lost,
    OpenHole,
    Resumed,
    Suspended,
    Transmit,
    Trust,
    Valid,
)
from visavis_peer.core.nat.destinations import Allowance, Destinations
from visavis_peer.ice.candidates import read_candidate, to_line
from visavis_peer.ice.local import LocalSide
from visavis_peer.ice.path_size import find_size
from visavis_peer.ice.socket import DATAGRAM_SIZE, IceSocket
from visavis_shared.messages import IceCredentials
from visavis_shared.stun import Address, Message

QUEUE_SIZE: Final = 256
"""Datagrams kept for the application before it listens: at 1,200 bytes, 300 KiB; the oldest are dropped."""


class IceSession(LocalSide):
    """An ICE agent for one peer: bind, gather, then `set_remote`, `open_holes`, `check`, `send_datagrams`; `close`.

    Only `bind`, `check` and `close` are coroutines. Not reusable: a restart is another session beside this one.
    """

    def __init__(
        self,
        *,
        opener_ttl: int = 4,
        policy: Literal["auto", "relay"] = "auto",
        destinations: Destinations | None = None,
        servers: Allowance | None = None,
    ) -> None:
        """With policy `relay` no address of this machine is offered or used but by TURN servers.

        `destinations` is what all sessions of the agent have sent to addresses that others name, `servers` what may go
        to STUN and TURN servers.
        """
        destinations = destinations or Destinations()
        super().__init__(policy, servers or Allowance(destinations), Allowance(destinations))
        self.opener_ttl = opener_ttl
        self._early: deque[bytes] = deque(maxlen=QUEUE_SIZE)
        self._application: Callable[[list[bytes]], None] | None = None
        self._settled = asyncio.Event()
        """Set when a pair is valid, and at the end."""
        self._route: tuple[IceSocket, Address] | None = None
        """Where data goes; None while there is no pair, or no consent."""
        self._timer: asyncio.TimerHandle | None = None
        self._due: float | None = None
        """When the timer goes off, None where none does."""

    @property
    def loopback(self) -> bool:
        """Whether peers on this machine are looked for by its loopback."""
        return self.agent.loopback

    @loopback.setter
    def loopback(self, allowed: bool) -> None:
        self.agent.loopback = allowed

    # --- remote side --------------------------------------------------------------------------------------------------

    def set_role(self, *, controlling: bool) -> None:
        """Take this agent's role; before the peer knows the credentials, for its checks may come before its answer."""
        self.agent.set_role(controlling=controlling)

    def set_remote(self, credentials: IceCredentials) -> None:
        """Take the peer's credentials."""
        self.agent.set_remote(credentials)

    def add_candidate(self, line: str | None) -> None:
        """Take a candidate of the peer (an SDP line), or None for the end of them; what is malformed is ignored."""
        if self._closing:
            return
        if line is None:
            self.agent.end_remote()
            return
        candidate = read_candidate(line)
        if candidate is not None:
            own = [sock.local_candidate.host for sock in self.sockets]
            self._perform(self.agent.add_remote(candidate, own, self._loop.time()))

    @property
    def remote_candidates(self) -> list[Candidate]:
        """The candidates that the peer has named, in that order, and those its checks have shown."""
        return self.agent.remote_candidates

    def holds(self, sock: IceSocket) -> bool:
        """Whether a socket belongs to this session, which closes it."""
        return self.agent.uses(sock.number)

    def adopt(self, sock: IceSocket, remote: Address, method: str) -> None:
        """Check a pair that `method` has found; from now on `sock` is the session's, if it was not before."""
        if not self._closing:
            self._sockets[sock.number] = sock
            self._perform(self.agent.adopt(sock.number, sock.local_candidate, remote, method, self._loop.time()))

    def open_holes(self) -> None:
        """Send an opener to every remote candidate known, and from now on to each as it comes."""
        self._perform(self.agent.open_holes(self._loop.time()))

    async def check(self) -> None:
        """Run the connectivity checks until a pair is valid (`valid` has been called by then) or `close`.

        The caller bounds the time: a pair may become valid by a check of the peer when all of ours have failed
        (RFC 8863). Candidates may come before, meanwhile and after; those that promise a better pair are checked.
        """
        if not self._closing:
            self._perform(self.agent.start(self._loop.time()))
            await self._settled.wait()

    # --- the agent ----------------------------------------------------------------------------------------------------

    def stun_received(self, sock: IceSocket, data: bytes, source: Address) -> None:
        """See SocketOwner."""
        if not self._closing:
            self._perform(self.agent.receive_datagram(sock.number, data, source, self._loop.time()))

    def suspect(self) -> None:
        """Ask the peer at once whether it still listens, and suspend the path sooner if it does not."""
        if not self._closing:
            self._perform(self.agent.suspect(self._loop.time()))

    def _on_timer(self, due: float) -> None:
        self._due = None
        # the loop may wake a little early
        self._perform(self.agent.handle_timer(max(self._loop.time(), due)))

    def _perform(self, effects: Sequence[Effect]) -> None:
        """Carry out what the agent wants done, and wake up when it wants to be."""
        self._arm()
        if not effects:
            return
        self._choose_route()
        for effect in effects:
            match effect:
                case Transmit(number, data, address):
                    if number in self._sockets:
                        self._sockets[number].transport.sendto(data, address)
                case OpenHole(number, address):
                    if number in self._sockets:
                        self._sockets[number].send_opener(address, self.opener_ttl)
                case Trust(number, address):
                    if number in self._sockets:
                        self._sockets[number].trust(address)
                case _:
                    self._report(effect)

    def _arm(self) -> None:
        due = None if self._closing else self.agent.next_timer()
        if due == self._due:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._due, self._timer = due, None if due is None else self._loop.call_at(due, self._on_timer, due)

    def _choose_route(self) -> None:
        pair = self.agent.selected
        sock = None if pair is None else self._sockets.get(pair.socket)
        usable = pair is not None and sock is not None and self.agent.may_send
        self._route = (sock, pair.remote.address) if usable and pair is not None and sock is not None else None

    def _report(self, event: CandidateFound | CheckReceived | Valid | Suspended | Resumed | Lost) -> None:
        if isinstance(event, Valid):
            self._settled.set()
        hears = self._callbacks
        if hears is None:
            return
        match event:
            case CandidateFound(candidate):
                hears.candidate(to_line(candidate))
            case CheckReceived():
                hears.check_received()
            case Valid(path):
                hears.valid(path)
            case Suspended():
                hears.suspended()
            case Resumed():
                hears.resumed()
            case Lost(reason):
                hears.lost(reason)
            case _:
                assert_never(event)

    # --- data ---------------------------------------------------------------------------------------------------------

    @property
    def receiver(self) -> Callable[[list[bytes]], None]:
        """See SocketOwner: the application, or until there is one what keeps its datagrams."""
        return self._application or self._early.extend

    def deliver_to(self, application: Callable[[list[bytes]], None] | None) -> None:
        """Deliver datagrams to `application` from now on, those that came early first; None: keep them."""
        self._application = application
        for sock in self._sockets.values():
            sock.deliver = self.receiver
        if application is not None and self._early:
            early = list(self._early)
            self._early.clear()
            application(early)

    def send_datagrams(self, datagrams: Sequence[bytes]) -> None:
        """Send over the selected pair; nothing while there is none, or no consent, as UDP may lose anything."""
        if self._route is not None:
            sock, address = self._route
            sock.send_datagrams(datagrams, address)

    @property
    def path_datagram_size(self) -> int:
        """Bytes of UDP payload that the selected pair carries unfragmented, as far as this machine knows."""
        pair = self.agent.selected
        sock = None if pair is None else self._sockets.get(pair.socket)
        return DATAGRAM_SIZE if sock is None else sock.datagram_size

    async def find_datagram_size(self) -> int | None:
        """Ask the peer and return how many bytes of UDP payload the selected pair carries; None: nothing came back."""
        pair = self.agent.selected
        sock = None if pair is None else self._sockets.get(pair.socket)
        if pair is None or sock is None:
            return None
        return await find_size(sock, pair.remote.address, self._size_request)

    def _size_request(self) -> tuple[Message, str]:
        request = self.agent.selected_request()
        assert request is not None  # a pair is selected until the end
        return request

    # --- end ----------------------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Stop everything and close the sockets. Idempotent."""
        self._closing = True
        self._route = None
        self.deliver_to(None)
        self._settled.set()
        self._arm()
        await super().close()
