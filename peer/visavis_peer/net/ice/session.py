"""ICE on aioice, with what the field needs and aioice lacks.

This package alone touches aioice's private names; `tests/integration/peer/test_ice.py` holds each of them in place:

- local trickle: server-reflexive candidates are reported as STUN servers answer, several raced, on the sockets that
  will punch, so a dead server costs nothing (aioice waits 5 s for it);
- openers: low-TTL datagrams that open this side's filters before any check is sent;
- triggered checks for pairs in progress (RFC 8445 section 7.3.1.4), own retransmission timers, no 20 ms poll;
- the valid pair of highest priority is used, not the last one, and better ones are still checked when one is valid;
- a pair that falls silent makes way for one that answers, so that a new NAT mapping heals without signaling;
- datagrams reach the application only from addresses that passed an authenticated check, through a bounded queue;
- consent (RFC 7675) that tolerates long round trips, and comes back.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Literal

from aioice import stun
from aioice.candidate import Candidate
from aioice.ice import CandidatePair, StunProtocol

from visavis_peer.core.destinations import Allowance, Destinations
from visavis_peer.core.events import PathInfo, RelayCause
from visavis_peer.core.selection import Selection
from visavis_peer.net.ice.candidates import ADDRESS_COUNT, is_reachable_from, peer_reflexive_candidate, usable_candidate
from visavis_peer.net.ice.consent import ConsentKeeper
from visavis_peer.net.ice.local import LocalSide
from visavis_peer.net.ice.path_size import find_size
from visavis_peer.net.ice.socket import DATAGRAM_SIZE, IceSocket, Transaction, ip_version
from visavis_shared import limits
from visavis_shared.endpoints import format_address
from visavis_shared.messages import IceCredentials
from visavis_shared.stun import Address
from visavis_shared.tasks import own

logger = logging.getLogger(__name__)

PACING: Final = 0.005
"""Seconds between new checks (Ta, RFC 8445 section 14.2: at least 5 ms)."""
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
        super().__init__(policy, servers or Allowance(destinations))
        self.allowance = Allowance(destinations)
        self.loopback = True
        """Whether peers on this machine are looked for by its loopback."""
        self.opener_ttl = opener_ttl
        self._application: Callable[[list[bytes]], None] | None = None
        self._early: deque[bytes] = deque(maxlen=QUEUE_SIZE)
        self._holes_open = False
        self._pacing: asyncio.Task[None] | None = None
        self._rtts: dict[CandidatePair, float] = {}
        self._pending: dict[CandidatePair, Transaction] = {}
        self._local_mapped: dict[CandidatePair, Address] = {}
        self._methods: dict[CandidatePair, str] = {}
        """How pairs were found that no candidate has named."""
        self._selection: Selection[CandidatePair] = Selection()
        self._searching = False
        """Whether the selected pair is silent, so that pairs of lower priority are checked too."""
        self._reported: CandidatePair | None = None
        self._keeper: ConsentKeeper | None = None

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
        if candidate is None or not self._may_check(candidate):
            logger.debug("remote candidate ignored: %r", line)
            return
        if self._holes_open:
            self._open_hole(candidate)
        self._add_remote_candidate(candidate, candidate.host)
        self._pace()

    def _may_check(self, candidate: Candidate) -> bool:
        """Whether one more candidate of the peer is within the bounds, and leads nowhere where this side is not."""
        same = sum(each.host == candidate.host for each in self._remote_candidates)
        own = [sock.local_candidate.host for sock in self.sockets]
        within = len(self._remote_candidates) < limits.CANDIDATE_COUNT and same < ADDRESS_COUNT
        return within and is_reachable_from(candidate.host, own, loopback=self.loopback)

    @property
    def remote_candidates(self) -> list[Candidate]:
        """The candidates that the peer has named, in that order, and those its checks have shown."""
        return list(self._remote_candidates)

    def holds(self, sock: IceSocket) -> bool:
        """Whether a socket belongs to this session, which closes it."""
        return sock in self._protocols

    def adopt(self, sock: IceSocket, remote: Address, method: str) -> None:
        """Check a pair that `method` has found; from now on `sock` is the session's, if it was not before."""
        if self._closing:
            return
        if sock not in self._protocols:
            self._protocols.append(sock)
        known = [each for each in self._remote_candidates if (each.host, each.port) == remote]
        if not known:
            known = [peer_reflexive_candidate(remote)]
            self._remote_candidates += known
        pair = self._find_pair(sock, known[0])
        if pair is None:
            pair = CandidatePair(sock, known[0])
            self._check_list.append(pair)
            self.sort_check_list()
        self._methods[pair] = method
        if self._early_checks_done and pair.state is not CandidatePair.State.SUCCEEDED:
            self.check_state(pair, CandidatePair.State.WAITING)
            self.check_start_task(pair)

    def _on_relayed_socket(self) -> None:
        """Pair a relayed candidate that has come after some of the peer's."""
        for remote in self._remote_candidates:
            if self._holes_open:
                self._open_hole(remote)
            if self._early_checks_done:
                self._pair_remote_candidate(remote)
        self.sort_check_list()
        self._pace()

    def open_holes(self) -> None:
        """Send an opener to every remote candidate known, and from now on to each as it comes."""
        self._holes_open = True
        for candidate in self._remote_candidates:
            self._open_hole(candidate)

    def _open_hole(self, candidate: Candidate) -> None:
        for sock in self._protocols:
            assert isinstance(sock, IceSocket)
            if ip_version(sock.local_candidate.host) != ip_version(candidate.host):
                continue
            if self.allowance.may_send(candidate.host, self._loop.time()):
                sock.send_opener((candidate.host, candidate.port), self.opener_ttl)

    # --- checks -------------------------------------------------------------------------------------------------------

    async def check(self) -> None:
        """Run the connectivity checks until a pair is valid (`valid` has been called by then) or `close`.

        The caller bounds the time: a pair may become valid by a check of the peer when all of ours have failed
        (RFC 8863). Candidates may come before, meanwhile and after; those that promise a better pair are checked.
        """
        for remote in self._remote_candidates:
            self._pair_remote_candidate(remote)
        self.sort_check_list()
        self._unfreeze_initial()
        self._early_checks_done = True
        for early in self._early_checks:
            self.check_incoming(*early)
        self._early_checks.clear()
        self._pace()
        await self._check_list_state.get()
        pair = self.selected_pair()
        if self._closing or pair is None:
            return
        self._keeper = ConsentKeeper(self, self._rtts.get(pair))
        self._query_consent_task = own(self._keeper.run())

    def _pace(self) -> None:
        """Start new checks one by one, unless that is being done."""
        if self._early_checks_done and (self._pacing is None or self._pacing.done()):
            self._pacing = self._spawn(self._start_checks())

    async def _start_checks(self) -> None:
        while True:
            if not self._check_periodic():
                return
            await asyncio.sleep(PACING)

    def _check_periodic(self) -> bool:
        """Start the best check that is waiting; return False if none promises a better pair than there is."""
        selected = None if self._searching else self.selected_pair()
        for state in (CandidatePair.State.WAITING, CandidatePair.State.FROZEN):
            for pair in self._check_list:  # sorted by priority
                if pair is selected:
                    break
                if pair.state is state and pair.task is None:
                    self.check_start_task(pair)
                    return True
        return False

    def _check_list_maybe_fail(self) -> None:
        """Never fail by ourselves: see `check`."""

    def _prune_components(self) -> None:
        """There is one component, also when the peer has named no candidate: its checks may come."""

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
                may_send=lambda: self.allowance.may_send(pair.remote_addr[0], self._loop.time()),
            )
        except stun.TransactionError as error:
            if error.response is not None and error.response.error_code == 487:
                self.allowance.on_answer(pair.remote_addr[0])
                self.switch_role(ice_controlling="ICE-CONTROLLED" in request.attributes)
                return await self.check_start(pair)
            self._check_failed(pair)
            return None
        finally:
            transaction = self._pending.pop(pair, None)
        if source != pair.remote_addr:  # RFC 8445 section 7.2.5.2.1
            self._check_failed(pair)
            return None
        self.allowance.on_answer(source[0])
        rtt = None if transaction is None else transaction.rtt
        if rtt is not None:
            self._rtts[pair] = rtt
        if mapped := response.attributes.get("XOR-MAPPED-ADDRESS"):
            self._local_mapped[pair] = mapped
        protocol.trust(source)
        pair.nominated = self.ice_controlling or pair.remote_nominated
        self._selection.on_heard(pair, self._loop.time())
        self.check_state(pair, CandidatePair.State.SUCCEEDED)
        self.check_complete(pair)
        if self._keeper is not None:
            self._keeper.on_answer(pair, rtt)
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
        if protocol not in self._protocols:
            self._protocols.append(protocol)  # opened beside: the peer has found it
        protocol.trust(addr)
        self.allowance.on_check(addr[0])
        super().request_received(message, addr, protocol)
        if self._callbacks is not None:
            self._callbacks.check_received()

    def check_incoming(self, message: stun.Message, addr: Address, protocol: StunProtocol) -> None:
        """Trigger a check on the pair of the request, also when one is in progress (RFC 8445 section 7.3.1.4)."""
        if len(self._remote_candidates) >= 2 * limits.CANDIDATE_COUNT:
            return  # an endless supply of peer-reflexive candidates is no peer of ours
        super().check_incoming(message, addr, protocol)
        for pair in self._check_list:
            if pair.protocol is protocol and pair.remote_addr == addr:
                self._on_peer_check(pair)

    def _on_peer_check(self, pair: CandidatePair) -> None:
        self._selection.on_heard(pair, self._loop.time())
        if pair in self._pending:
            self._pending[pair].trigger()
        if self._keeper is not None:
            self._keeper.on_peer_check(elsewhere=pair is not self.selected_pair())

    def check_complete(self, pair: CandidatePair) -> None:
        """Take note of a finished check; the others go on, for a better pair may yet become valid."""
        pair.task = None
        if pair.state is not CandidatePair.State.SUCCEEDED:
            return
        self._use_best()
        self._check_list_maybe_complete()
        for other in self._check_list:  # RFC 8445 section 7.2.5.3.3
            if (
                other.state is CandidatePair.State.FROZEN
                and other.local_candidate.foundation == pair.local_candidate.foundation
            ):
                self.check_state(other, CandidatePair.State.WAITING)

    # --- selection ----------------------------------------------------------------------------------------------------

    def selected_pair(self) -> CandidatePair | None:
        """Return the pair in use."""
        return self._nominated.get(1)

    def _valid_pairs(self) -> list[CandidatePair]:
        """Return the nominated valid pairs by priority."""
        return [each for each in self._check_list if each.nominated and each.state is CandidatePair.State.SUCCEEDED]

    def _use_best(self) -> None:
        best = self._selection.best(self._valid_pairs())
        if best is None:
            return
        self._nominated[1] = best
        if best is not self._reported and self._callbacks is not None:
            self._reported = best
            self._callbacks.valid(self._path(best))

    def _forget_displaced(self) -> None:
        """Give up pairs that have been silent for long, and with them what a NAT had made of the peer's address."""
        for pair in self._selection.give_up(self._loop.time()):
            self.check_state(pair, CandidatePair.State.FAILED)
            if pair.remote_candidate.type == "prflx":
                self._check_list.remove(pair)
                self._rtts.pop(pair, None)
                self._local_mapped.pop(pair, None)
                if all(each.remote_candidate is not pair.remote_candidate for each in self._check_list):
                    self._remote_candidates.remove(pair.remote_candidate)

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
            method=self._methods.get(pair),
            cause=RelayCause.TURN if relayed else None,
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
        pair = self.selected_pair()
        if pair is not None and (self._keeper is None or self._keeper.given):
            protocol = pair.protocol
            assert isinstance(protocol, IceSocket)
            protocol.send_datagrams(datagrams, pair.remote_addr)

    @property
    def path_datagram_size(self) -> int:
        """Bytes of UDP payload that the selected pair carries unfragmented, as far as this machine knows."""
        pair = self.selected_pair()
        if pair is None:
            return DATAGRAM_SIZE
        assert isinstance(pair.protocol, IceSocket)
        return pair.protocol.datagram_size

    async def find_datagram_size(self) -> int | None:
        """Ask the peer and return how many bytes of UDP payload the selected pair carries; None: nothing came back."""
        pair = self.selected_pair()
        if pair is None:
            return None
        assert isinstance(pair.protocol, IceSocket)
        return await find_size(pair.protocol, pair.remote_addr, lambda: self.consent_request(pair))

    # --- consent ------------------------------------------------------------------------------------------------------

    def suspect(self) -> None:
        """Ask the peer at once whether it still listens, and suspend the path sooner if it does not."""
        if self._keeper is not None:
            self._keeper.suspect()

    def displaced_pairs(self) -> Sequence[CandidatePair]:
        """See ConsentOwner."""
        self._forget_displaced()
        return self._selection.displaced

    def other_pairs(self) -> Sequence[CandidatePair]:
        """See ConsentOwner."""
        self._forget_displaced()
        return self._selection.others(self._valid_pairs(), self.selected_pair())

    def consent_request(self, pair: CandidatePair) -> tuple[stun.Message, bytes]:
        """See ConsentOwner; the controlling side nominates, so that the peer follows to the pair in use."""
        assert self.remote_password is not None
        nominate = self.ice_controlling and pair is self.selected_pair()
        return self.build_request(pair, nominate=nominate), self.remote_password.encode()

    def on_silent(self) -> None:
        """See ConsentOwner: pairs that were not worth a check now are."""
        self._searching = True
        self._pace()

    def on_answer(self, pair: CandidatePair, *, silent: bool) -> None:
        """See ConsentOwner: a pair that answers takes over from one that does not, or takes its place again."""
        now = self._loop.time()
        back = self._selection.on_answer(pair, now)
        if silent and pair is not self.selected_pair():
            self._selection.prefer(pair, self._valid_pairs(), now)
        if back or silent:
            self._use_best()
        if pair is self.selected_pair():
            self._searching = False

    def on_consent(self, *, given: bool) -> None:
        """See ConsentOwner."""
        if self._callbacks is not None and not self._closing:
            if given:
                self._callbacks.resumed()
            else:
                self._callbacks.suspended()

    def on_consent_lost(self) -> None:
        """See ConsentOwner."""
        self._lost("the peer no longer answers")

    # --- end ----------------------------------------------------------------------------------------------------------

    def protocol_lost(self, protocol: StunProtocol) -> None:
        """The socket of the selected pair is gone."""
        pair = self.selected_pair()
        if not self._closing and pair is not None and pair.protocol is protocol:
            self._lost("the local socket was closed")

    def _lost(self, reason: str) -> None:
        if self._callbacks is not None and not self._closing:
            self._callbacks.lost(reason)

    async def close(self) -> None:
        """Stop everything and close the sockets. Idempotent."""
        self._application = None
        await super().close()
