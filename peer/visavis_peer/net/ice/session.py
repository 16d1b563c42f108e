"""ICE on aioice, with what the field needs and aioice lacks.

This package alone touches aioice's private names; `tests/integration/peer/test_ice.py` holds each of them in place:

- local trickle: server-reflexive candidates are reported as STUN servers answer, several raced, on the sockets that
  will punch, so a dead server costs nothing (aioice waits 5 s for it);
- openers: low-TTL datagrams that open this side's filters before any check is sent;
- triggered checks for pairs in progress (RFC 8445 section 7.3.1.4), own retransmission timers, no 20 ms poll;
- the valid pair of highest priority is used, not the last one;
- datagrams reach the application only from addresses that passed an authenticated check, through a bounded queue;
- consent (RFC 7675) that tolerates long round trips.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, Literal

from aioice import stun
from aioice.candidate import Candidate
from aioice.ice import CandidatePair, Connection, StunProtocol

from visavis_peer.core.addresses import LocalAddress
from visavis_peer.core.discovery import StunAnswer
from visavis_peer.core.events import PathInfo
from visavis_peer.core.keepalive import Consent
from visavis_peer.net.ice.callbacks import IceCallbacks
from visavis_peer.net.ice.candidates import host_candidate, server_reflexive_candidate, usable_candidate
from visavis_peer.net.ice.gathering import keep_mappings, survey
from visavis_peer.net.ice.socket import IceSocket, Transaction, ip_version, open_socket
from visavis_peer.net.ice.turn import TurnServer, allocate
from visavis_shared import limits
from visavis_shared.endpoints import format_address
from visavis_shared.messages import IceCredentials
from visavis_shared.stun import Address

logger = logging.getLogger(__name__)

PACING: Final = 0.005
"""Seconds between new checks (Ta, RFC 8445 section 14.2: at least 5 ms)."""
CONSENT_SCHEDULE: Final = (30.0,)
"""One transmission that stays answerable for RFC 7675's bound on consent."""
CONSENT_PENDING: Final = 8
"""Consent requests awaiting a response at most, for more than EXPIRY brings about; the oldest makes way."""
QUEUE_SIZE: Final = 256
"""Datagrams kept for the application before it listens: at 1,200 bytes, 300 KiB; the oldest are dropped."""
ANSWER_COUNT: Final = 16
"""STUN answers kept: three of each of five servers, and mapping behaviour needs three."""


class IceSession(Connection):
    """An ICE agent for one peer: bind, gather, then `set_remote`, `open_holes`, `check`, `send`; `close` at the end.

    Only `bind`, `check` and `close` are coroutines. Not reusable: a restart is another session beside this one.
    """

    def __init__(self, *, opener_ttl: int = 4, policy: Literal["auto", "relay"] = "auto") -> None:
        """With policy `relay` no address of this machine is offered or used but by TURN servers."""
        super().__init__(ice_controlling=False)
        self._policy = policy
        self._allocating = 0
        """TURN servers that have been asked for an address and have not answered."""
        self._unused: list[IceSocket] = []
        """Sockets that only ask STUN servers, by policy."""
        self.opener_ttl = opener_ttl
        self.answers: list[StunAnswer] = []
        """What STUN servers have said on the socket that was answered first, in order; at most ANSWER_COUNT."""
        self.answered_from: IceSocket | None = None
        self.answered = asyncio.Event()
        """Set when the first STUN server has answered."""
        self.gathered = asyncio.Event()
        """Set when every STUN server has answered or had its time."""
        self._callbacks: IceCallbacks | None = None
        self._application: Callable[[list[bytes]], None] | None = None
        self._bases_mapped: list[Candidate] = []
        self._early: deque[bytes] = deque(maxlen=QUEUE_SIZE)
        self._holes_open = False
        self._rtts: dict[CandidatePair, float] = {}
        self._pending: dict[CandidatePair, Transaction] = {}
        self._local_mapped: dict[CandidatePair, Address] = {}
        self._reported: CandidatePair | None = None
        self._consent: Consent | None = None
        self._consent_wake = asyncio.Event()
        self._asking: list[asyncio.Task[None]] = []
        """Consent requests that are not answered yet, oldest first; at most CONSENT_PENDING."""
        self._tasks: set[asyncio.Task[None]] = set()

    # --- local side ---------------------------------------------------------------------------------------------------

    @property
    def credentials(self) -> IceCredentials:
        """User name fragment and password of this agent."""
        return IceCredentials(ufrag=self.local_username, pwd=self.local_password)

    @property
    def candidates(self) -> list[str]:
        """Local candidates found so far, as SDP lines."""
        return [candidate.to_sdp() for candidate in self._local_candidates[: limits.CANDIDATE_COUNT]]

    @property
    def all_found(self) -> bool:
        """Whether no more local candidates will come."""
        return self.gathered.is_set() and not self._allocating

    @property
    def sockets(self) -> list[IceSocket]:
        """The sockets of this machine, best local address first."""
        local = [each for each in self._protocols if isinstance(each, IceSocket) and each.sock is not None]
        return local + self._unused

    def attach(self, callbacks: IceCallbacks | None) -> None:
        """Say who hears of what happens from now on; None: nobody."""
        self._callbacks = callbacks

    async def bind(self, addresses: Sequence[LocalAddress], ports: Sequence[int] = (0,)) -> list[str]:
        """Open a socket for each of `addresses` on the first free one of `ports`; each is a host candidate.

        Returns the reasons of those that could not be bound.
        """
        problems = []
        for address in addresses:
            try:
                sock = await open_socket(self, self, address.ip, ports)
            except OSError as error:
                problems.append(f"{address.ip} ({address.interface}): {error.strerror or error}")
                continue
            sock.local_candidate = host_candidate(sock.transport.get_extra_info("sockname")[:2], address.preference)
            if self._policy == "relay":
                self._unused.append(sock)
                continue
            self._protocols.append(sock)
            self._local_candidates.append(sock.local_candidate)
        self._local_candidates_start = self._local_candidates_end = True
        return problems

    def gather(self, servers: Sequence[Address]) -> None:
        """Ask all STUN `servers` (numeric addresses) from every socket at once; candidates come by callback."""
        self._spawn(self._gather(servers))

    async def _gather(self, servers: Sequence[Address]) -> None:
        await survey(self.sockets, servers, self._on_stun_answer)
        self.gathered.set()
        if self._callbacks is not None:
            self._callbacks.gathered()
        await keep_mappings(self.sockets, servers, self._on_stun_answer)

    def _on_stun_answer(self, sock: IceSocket, answer: StunAnswer) -> None:
        if self.answered_from is None:
            self.answered_from = sock
        if sock is self.answered_from and len(self.answers) < ANSWER_COUNT:
            self.answers.append(answer)
            self.answered.set()
        base = sock.local_candidate
        if self._policy == "relay":
            return
        if answer.mapped == (base.host, base.port) or base in self._bases_mapped:
            return  # no NAT, or already known: a mapping per destination says nothing about where a peer will arrive
        self._bases_mapped.append(base)
        candidate = server_reflexive_candidate(base, answer.mapped)
        self._local_candidates.append(candidate)
        if self._callbacks is not None and len(self._local_candidates) <= limits.CANDIDATE_COUNT:
            self._callbacks.candidate(candidate.to_sdp())

    def use_turn(self, servers: asyncio.Task[list[TurnServer]]) -> None:
        """Ask TURN servers for an address each; the candidates come by callback, and nothing waits for them."""
        self._allocating += 1
        self._spawn(self._allocate_all(servers))

    async def _allocate_all(self, servers: asyncio.Task[list[TurnServer]]) -> None:
        await asyncio.wait([servers])
        if not servers.cancelled():
            await asyncio.gather(*(self._allocate(server) for server in servers.result()))
        self._allocating -= 1
        if self.all_found and self._callbacks is not None:
            self._callbacks.gathered()

    async def _allocate(self, server: TurnServer) -> None:
        sock = await allocate(self, self, server)
        if sock is not None:
            self._take_relayed(sock)

    def _take_relayed(self, sock: IceSocket) -> None:
        self._protocols.append(sock)
        self._local_candidates.append(sock.local_candidate)
        if self._callbacks is not None and len(self._local_candidates) <= limits.CANDIDATE_COUNT:
            self._callbacks.candidate(sock.local_candidate.to_sdp())
        for remote in self._remote_candidates:
            if self._holes_open:
                self._open_hole(remote)
            if self._early_checks_done:
                self._pair_remote_candidate(remote)
        if self._early_checks_done:
            self.sort_check_list()
            self._spawn(self._pace())

    # --- remote side --------------------------------------------------------------------------------------------------

    def set_role(self, *, controlling: bool) -> None:
        """Take this agent's role; before the peer knows the credentials, for its checks may come before its answer.

        A check that meets the wrong role would make the sides change theirs (RFC 8445 section 7.3.1.1) in vain.
        """
        self.ice_controlling = controlling

    def set_remote(self, credentials: IceCredentials) -> None:
        """Take the peer's credentials."""
        self.remote_username, self.remote_password = credentials.ufrag, credentials.pwd

    def add_candidate(self, line: str | None) -> None:
        """Take a candidate of the peer (an SDP line), or None for the end of them; what is malformed is ignored."""
        if self._closing or self._remote_candidates_end:
            return
        if line is None:
            self._remote_candidates_end = True
            self._end_remote_candidates()
            return
        candidate = usable_candidate(line)
        if candidate is None or len(self._remote_candidates) >= limits.CANDIDATE_COUNT:
            logger.debug("remote candidate ignored: %r", line)
            return
        if self._holes_open:
            self._open_hole(candidate)
        self._add_remote_candidate(candidate, candidate.host)

    def open_holes(self) -> None:
        """Send an opener to every remote candidate known, and from now on to each as it comes."""
        self._holes_open = True
        for candidate in self._remote_candidates:
            self._open_hole(candidate)

    def _open_hole(self, candidate: Candidate) -> None:
        for sock in self._protocols:
            assert isinstance(sock, IceSocket)
            if ip_version(sock.local_candidate.host) == ip_version(candidate.host):
                sock.send_opener((candidate.host, candidate.port), self.opener_ttl)

    # --- checks -------------------------------------------------------------------------------------------------------

    async def check(self) -> None:
        """Run the connectivity checks until a pair is valid (`valid` has been called by then) or `close`.

        The caller bounds the time: a pair may become valid by a check of the peer when all of ours have failed
        (RFC 8863).
        """
        for remote in self._remote_candidates:
            self._pair_remote_candidate(remote)
        self.sort_check_list()
        self._unfreeze_initial()
        self._early_checks_done = True
        for early in self._early_checks:
            self.check_incoming(*early)
        self._early_checks.clear()
        self._spawn(self._pace())
        await self._check_list_state.get()
        if self._closing:
            return
        self._consent = Consent.start(time.monotonic())
        self._query_consent_task = asyncio.create_task(self.query_consent())

    async def _pace(self) -> None:
        while True:
            if not self._check_periodic():
                return
            await asyncio.sleep(PACING)

    def _check_list_maybe_fail(self) -> None:
        """Never fail by ourselves: see `check`."""

    async def check_start(self, pair: CandidatePair) -> None:
        """Check one pair (RFC 8445 section 7.2.5); the controlling side nominates with every check."""
        assert self.remote_password is not None
        self.check_state(pair, CandidatePair.State.IN_PROGRESS)
        request = self.build_request(pair, nominate=self.ice_controlling)
        protocol = pair.protocol
        assert isinstance(protocol, IceSocket)
        try:
            response, source = await protocol.request(
                request,
                pair.remote_addr,
                integrity_key=self.remote_password.encode(),
                on_start=lambda transaction: self._pending.__setitem__(pair, transaction),
            )
        except stun.TransactionError as error:
            if error.response is not None and error.response.error_code == 487:
                self.switch_role(ice_controlling="ICE-CONTROLLED" in request.attributes)
                return await self.check_start(pair)
            self._check_failed(pair)
            return None
        finally:
            transaction = self._pending.pop(pair, None)
        if source != pair.remote_addr:  # RFC 8445 section 7.2.5.2.1
            self._check_failed(pair)
            return None
        if transaction is not None and transaction.rtt is not None:
            self._rtts[pair] = transaction.rtt
        if mapped := response.attributes.get("XOR-MAPPED-ADDRESS"):
            self._local_mapped[pair] = mapped
        protocol.trust(source)
        pair.nominated = self.ice_controlling or pair.remote_nominated
        self.check_state(pair, CandidatePair.State.SUCCEEDED)
        self.check_complete(pair)
        return None

    def _check_failed(self, pair: CandidatePair) -> None:
        self.check_state(pair, CandidatePair.State.FAILED)
        self.check_complete(pair)

    def request_received(self, message: stun.Message, addr: Address, protocol: StunProtocol) -> None:
        """Answer the peer's checks; requests of anybody else get no answer and leave no trace."""
        attributes = message.attributes
        if (
            self._closing
            or message.message_method is not stun.Method.BINDING
            or not {"MESSAGE-INTEGRITY", "USERNAME", "PRIORITY"} <= attributes.keys()
            or not self._valid_username(attributes["USERNAME"])
            or not message.check_message_integrity(self.local_password.encode())
        ):
            return
        assert isinstance(protocol, IceSocket)
        protocol.trust(addr)
        super().request_received(message, addr, protocol)
        if self._callbacks is not None:
            self._callbacks.check_received()

    def check_incoming(self, message: stun.Message, addr: Address, protocol: StunProtocol) -> None:
        """Trigger a check on the pair of the request, also when one is in progress (RFC 8445 section 7.3.1.4)."""
        if len(self._remote_candidates) >= 2 * limits.CANDIDATE_COUNT:
            return  # an endless supply of peer-reflexive candidates is no peer of ours
        super().check_incoming(message, addr, protocol)
        for pair, transaction in self._pending.items():
            if pair.protocol is protocol and pair.remote_addr == addr:
                transaction.trigger()

    def check_complete(self, pair: CandidatePair) -> None:
        """Use the nominated valid pair of highest priority (RFC 8445 section 8.1.1)."""
        super().check_complete(pair)
        valid = [p for p in self._check_list if p.nominated and p.state is CandidatePair.State.SUCCEEDED]
        if not valid:
            return
        self._nominated[1] = best = valid[0]  # the check list is sorted by priority
        if best is not self._reported and self._callbacks is not None:
            self._reported = best
            self._callbacks.valid(self._path(best))

    def _path(self, pair: CandidatePair) -> PathInfo:
        base = pair.local_candidate
        mapped = self._local_mapped.get(pair)
        local_type = base.type
        if local_type == "host" and mapped is not None and mapped != (base.host, base.port):
            known = {(c.host, c.port) for c in self._local_candidates}
            local_type = "srflx" if mapped in known else "prflx"
        rtt = self._rtts.get(pair)
        relayed = "relay" in (local_type, pair.remote_candidate.type)
        return PathInfo(
            path="relay" if relayed else "direct",
            kind=f"{local_type}-{pair.remote_candidate.type}",
            local=format_address((base.host, base.port)),
            remote=format_address(pair.remote_addr),
            rtt_ms=None if rtt is None else rtt * 1000,
            reason="by a TURN server" if relayed else None,
        )

    # --- data ---------------------------------------------------------------------------------------------------------

    def datagrams_received(self, datagrams: list[bytes]) -> None:
        """Hand the application datagrams of the peer, or keep them until there is one to hand them to."""
        if self._application is not None:
            self._application(datagrams)
        else:
            self._early.extend(datagrams)

    def deliver_to(self, application: Callable[[list[bytes]], None] | None) -> None:
        """Deliver datagrams to `application` from now on, those that came early first; None: keep them."""
        self._application = application
        if application is not None and self._early:
            early = list(self._early)
            self._early.clear()
            application(early)

    def send_datagrams(self, datagrams: Sequence[bytes]) -> None:
        """Send over the selected pair; nothing while there is none, or no consent, as UDP may lose anything."""
        pair = self._nominated.get(1)
        if pair is not None and (self._consent is None or self._consent.expired_at is None):
            protocol = pair.protocol
            assert isinstance(protocol, IceSocket)
            protocol.send_datagrams(datagrams, pair.remote_addr)

    # --- consent ------------------------------------------------------------------------------------------------------

    async def query_consent(self) -> None:
        """Keep consent fresh until it expires (RFC 7675); started by `check`."""
        assert self._consent is not None
        while True:
            delay = self._consent.next_timer() - time.monotonic()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._consent_wake.wait(), max(0.0, delay))
            self._consent_wake.clear()
            match self._consent.handle_timer(time.monotonic(), random.random()):
                case "check":
                    self._check_consent()
                case "expired":
                    if self._callbacks is not None and not self._closing:
                        self._callbacks.suspended()
                case "lost":
                    self._lost("the peer no longer answers")
                    return
                case "wait":
                    pass

    def suspect(self) -> None:
        """Ask the peer at once whether it still listens, and give up sooner if it does not."""
        if self._consent is not None:
            self._consent.suspect(time.monotonic())
            self._consent_wake.set()

    def _check_consent(self) -> None:
        pair = self._nominated.get(1)
        if pair is None:
            return
        pending = [task for task in self._asking if not task.done()]
        if len(pending) >= CONSENT_PENDING:
            pending.pop(0).cancel()
        self._asking = [*pending, self._spawn(self._consent_request(pair))]

    async def _consent_request(self, pair: CandidatePair) -> None:
        assert self._consent is not None
        assert self.remote_password is not None
        request = self.build_request(pair, nominate=False)
        protocol = pair.protocol
        assert isinstance(protocol, IceSocket)
        with contextlib.suppress(stun.TransactionError):
            await protocol.request(
                request, pair.remote_addr, integrity_key=self.remote_password.encode(), schedule=CONSENT_SCHEDULE
            )
            revived = self._consent.on_response(time.monotonic())
            if revived and self._callbacks is not None and not self._closing:
                self._callbacks.resumed()

    # --- end ----------------------------------------------------------------------------------------------------------

    def protocol_lost(self, protocol: StunProtocol) -> None:
        """The socket of the selected pair is gone."""
        pair = self._nominated.get(1)
        if not self._closing and pair is not None and pair.protocol is protocol:
            self._lost("the local socket was closed")

    def _lost(self, reason: str) -> None:
        if self._callbacks is not None and not self._closing:
            self._callbacks.lost(reason)

    async def close(self) -> None:
        """Stop everything and close the sockets. Idempotent."""
        self._callbacks = None
        self._application = None
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await super().close()
        for sock in self._unused:
            await sock.close()
        self._unused.clear()

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
