"""The ICE agent: roles, checks, triggered checks, peer-reflexive candidates, nomination, selection and consent.

RFC 8445, section by section:

- 6.1.1 roles: the offerer controls. 7.2.5.1 and 7.3.1.1 role conflicts: by tie-breaker, both ways; a check that has met
  one waits for its turn again, and is sent in the other role.
- 6.1.4.2 pacing: a new check each Ta, the lowest that section 14.2 allows. Triggered checks wait for no Ta: their way
  is open now, and there is one for each check of the peer, which is paced itself.
- 7.2.5 responses: only from where the request went (7.2.5.2.1); the mapped address names the path, but makes no local
  peer-reflexive candidate (7.2.5.3.1), as its checks would leave from the same base.
- 7.3 requests: answered from the first moment, and acted on once this side's checks have begun; of those that come
  before, the last EARLY_COUNT are kept.
- 7.3.1.3 peer-reflexive candidates: of addresses that nobody has named, up to a bound; one that is named later keeps
  its pairs (RFC 8838 section 11).
- 7.3.1.4 triggered checks: a pair in progress is asked again at once, on the same transaction, at most each 20 ms; a
  failed one begins anew.
- 8 nomination: the controlling side nominates with every check (as RFC 5245's aggressive nomination), which spares a
  round trip where both sides choose alike: the valid pair of highest priority that answers. A check for consent on the
  selected pair nominates it again, so that the peer follows to it.
- 8.1.2 conclusion: checks do not stop with the first nomination, for with trickle a better candidate may come late:
  pairs better than the selected one are still checked, and all of them while that is silent. A list never fails: the
  peer's check may come when all of ours have failed (RFC 8863); whoever runs this agent bounds the time.
- 9 restarts: none; another agent runs beside this one.
- 10 and 11 keepalives: by consent (RFC 7675), see paths.py.

RFC 8838: candidates of either side may come before the checks, meanwhile and after; after their end (section 14) none.

Beyond both: sockets that probing has opened beside (probing.py) are taken over when a pair is found on them or a
check comes in there. What goes to addresses that have not answered is counted, with all retransmissions and openers
(core/nat/destinations.py): one that is refused is left out, and the schedule goes on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from visavis_peer.core.ice import messages
from visavis_peer.core.ice.candidates import Candidate, peer_reflexive_priority
from visavis_peer.core.ice.consent import Consent
from visavis_peer.core.ice.effects import CandidateFound, CheckReceived, Effect, Lost, OpenHole, Transmit, Trust
from visavis_peer.core.ice.messages import Check, Response
from visavis_peer.core.ice.pairs import Pair, PairState, PairTable
from visavis_peer.core.ice.paths import Paths
from visavis_peer.core.ice.remote import RemoteCandidates
from visavis_peer.core.ice.requests import Request, Requests
from visavis_peer.core.ice.role import Randomness, Role
from visavis_peer.core.ice.transactions import CHECK_SCHEDULE, CONSENT_SCHEDULE, Transaction
from visavis_peer.core.nat.destinations import Allowance
from visavis_shared import limits
from visavis_shared.messages import IceCredentials
from visavis_shared.stun import Address, Message

PACING: Final = 0.005
"""Seconds between new checks (Ta, RFC 8445 section 14.2: at least 5 ms)."""
EARLY_COUNT: Final = 100
"""Checks kept that come before this side's have begun; RFC 8445's bound on checks (section 19.5.1)."""
_ID: Final = slice(8, 20)
"""Where a STUN message has its transaction id (RFC 8489 section 5)."""


class IceAgent:
    """An ICE session's mind. What it returns is to be done, in order; `now` is in seconds, monotonic.

    After any call with `now`, call `handle_timer` when `next_timer()` has come. Sockets are numbers of the shell's.
    """

    def __init__(self, credentials: IceCredentials, allowance: Allowance, randomness: Randomness) -> None:
        """`credentials` are this side's; `allowance` is what may go to addresses that the peer names."""
        self.loopback = True
        """Whether peers on this machine are looked for by its loopback."""
        self.local_candidates: list[Candidate] = []
        """In the order in which they were found; the peer hears of the first `limits.CANDIDATE_COUNT`."""
        self._role = Role(credentials, randomness)
        self._remote_candidates = RemoteCandidates()
        self._allowance = allowance
        self._randomness = randomness
        self._sockets: dict[int, Candidate] = {}
        """Those that are paired."""
        self._beside: dict[int, Candidate] = {}
        """Those that may be taken over."""
        self._effects: list[Effect] = []
        self._table = PairTable()
        self._paths = Paths(self._table, self.local_candidates, self._effects.append)
        self._requests = Requests()
        self._early: deque[tuple[int, Address, Check]] = deque(maxlen=EARLY_COUNT)
        self._started = False
        self._holes_open = False
        self._next_check_at = float("-inf")
        """When the next check may begin (RFC 8445 section 6.1.4.2)."""

    def __repr__(self) -> str:
        role = "controlling" if self.controlling else "controlled"
        return f"<IceAgent {role}, {len(self.pairs)} pairs, selected {self.selected!r}>"

    # --- what a shell may ask -----------------------------------------------------------------------------------------

    @property
    def credentials(self) -> IceCredentials:
        """User name fragment and password of this side."""
        return self._role.credentials

    @property
    def controlling(self) -> bool:
        """Whether this side controls."""
        return self._role.controlling

    @property
    def selected(self) -> Pair | None:
        """The pair in use."""
        return self._paths.selected

    @property
    def may_send(self) -> bool:
        """Whether data may be sent on the selected pair."""
        return self._paths.may_send

    @property
    def consent(self) -> Consent | None:
        """The timers of consent; None before the first pair is valid."""
        return self._paths.consent

    @property
    def pairs(self) -> list[Pair]:
        """All pairs, best first."""
        return list(self._table)

    @property
    def remote_candidates(self) -> list[Candidate]:
        """The candidates of the peer, in the order in which they became known."""
        return list(self._remote_candidates)

    def uses(self, socket: int) -> bool:
        """Whether a socket is this agent's: it was given it to use, or has taken it over."""
        return socket in self._sockets

    def selected_request(self) -> tuple[Message, str] | None:
        """Return a check of the selected pair for the shell's own questions, and the password to sign it with."""
        if self.selected is None or self._role.remote is None:
            return None
        return self._message(self.selected, nominate=True), self._role.remote.pwd

    def next_timer(self) -> float | None:
        """Return when `handle_timer` wants to be called; None: not for now."""
        due = [at for at in (self._requests.due_at, self._paths.due_at) if at is not None]
        if self._next_pair() is not None:
            due.append(self._next_check_at)
        return min(due, default=None)

    # --- the local side -----------------------------------------------------------------------------------------------

    def set_role(self, *, controlling: bool) -> None:
        """Take this agent's role; before the peer knows the credentials, for its checks may come before its answer.

        A check that meets the wrong role would make the sides change theirs (RFC 8445 section 7.3.1.1) in vain.
        """
        self._role.controlling = controlling
        self._table.sort(controlling=controlling)

    def add_socket(self, socket: int, candidate: Candidate, now: float) -> list[Effect]:
        """Use a socket; `candidate` is its own, a host candidate or a relayed one, and the peer is to hear of it."""
        self._sockets[socket] = candidate
        self._find_local(candidate)
        for remote in self._remote_candidates:
            self._open_hole(socket, remote, now)
            self._pair(socket, remote)
        self._check_next(now)
        return self._take()

    def add_beside(self, socket: int, candidate: Candidate) -> None:
        """Know a socket that is not paired, but taken over once the peer is found on it."""
        self._beside[socket] = candidate

    def add_reflexive(self, candidate: Candidate) -> list[Effect]:
        """Take note of a server-reflexive candidate, or of one on a gateway: redundant ones are left out (5.1.3)."""
        if all(known.address != candidate.address for known in self.local_candidates):
            self._find_local(candidate)
        return self._take()

    def _find_local(self, candidate: Candidate) -> None:
        self.local_candidates.append(candidate)
        if len(self.local_candidates) <= limits.CANDIDATE_COUNT:
            self._effects.append(CandidateFound(candidate))

    def remove_socket(self, socket: int) -> list[Effect]:
        """A socket is gone: nothing on it can succeed."""
        self._beside.pop(socket, None)
        self._sockets.pop(socket, None)
        for pair in self._table:
            if pair.socket == socket:
                self._requests.forget(pair)
                pair.state = PairState.FAILED
        if self.selected is not None and self.selected.socket == socket:
            self._effects.append(Lost("the local socket was closed"))
        return self._take()

    # --- the remote side ----------------------------------------------------------------------------------------------

    def set_remote(self, credentials: IceCredentials) -> None:
        """Take the peer's credentials."""
        self._role.remote = credentials

    def add_remote(self, candidate: Candidate, own_hosts: Sequence[str], now: float) -> list[Effect]:
        """Take a candidate of the peer, if it may be checked; `own_hosts` are this machine's addresses in use."""
        known = self._remote_candidates.at(candidate.address)
        if not self._remote_candidates.name(candidate, own_hosts, loopback=self.loopback):
            return []
        for pair in self._table:
            if pair.remote is known:
                pair.remote = candidate  # its pairs stay (RFC 8838 section 11)
        self._table.sort(controlling=self.controlling)
        for socket in self._sockets:
            self._open_hole(socket, candidate, now)
            self._pair(socket, candidate)
        self._check_next(now)
        return self._take()

    def end_remote(self) -> None:
        """No more candidates of the peer will come (RFC 8838 section 14); its checks may still show some."""
        self._remote_candidates.ended = True

    def _pair(self, socket: int, remote: Candidate) -> None:
        if self._sockets[socket].version == remote.version and self._table.find(socket, remote.address) is None:
            self._add_pair(socket, remote)

    def _add_pair(self, socket: int, remote: Candidate) -> Pair:
        pair = Pair(socket, self._sockets[socket], remote)
        self._table.add(pair, controlling=self.controlling, started=self._started)
        return pair

    def _pair_at(self, socket: int, address: Address, priority: int | None) -> Pair | None:
        """Return the pair of a socket and an address that something has shown; None where it is one too many."""
        remote = self._remote_candidates.show(address, priority)
        if remote is None:
            return None
        return self._table.find(socket, address) or self._add_pair(socket, remote)

    def open_holes(self, now: float) -> list[Effect]:
        """Send an opener to every remote candidate known, and from now on to each as it comes."""
        self._holes_open = True
        for remote in self._remote_candidates:
            for socket in self._sockets:
                self._open_hole(socket, remote, now)
        return self._take()

    def _open_hole(self, socket: int, remote: Candidate, now: float) -> None:
        same = self._sockets[socket].version == remote.version
        if self._holes_open and same and self._allowance.may_send(remote.host, now):
            self._effects.append(OpenHole(socket, remote.address))

    def adopt(self, socket: int, candidate: Candidate, remote: Address, method: str, now: float) -> list[Effect]:
        """Check a pair that `method` has found; from now on the socket, whose own is `candidate`, is used."""
        self._use(socket, candidate)
        pair = self._pair_at(socket, remote, None)
        if pair is not None:
            pair.method = method
            self._trigger(pair, now)
        return self._take()

    def _use(self, socket: int, candidate: Candidate) -> None:
        self._beside.pop(socket, None)
        self._sockets.setdefault(socket, candidate)

    # --- checks -------------------------------------------------------------------------------------------------------

    def start(self, now: float) -> list[Effect]:
        """Begin the connectivity checks; the peer's credentials must be known."""
        assert self._role.remote is not None
        self._started = True
        self._table.start()
        early = list(self._early)
        self._early.clear()
        for socket, source, check in early:
            if socket in self._sockets:
                self._act_on(socket, source, check, now)
        self._check_next(now)
        return self._take()

    def handle_timer(self, now: float) -> list[Effect]:
        """Do what is due by `now`."""
        for request in self._requests:
            due = request.transaction.handle_timer(now)
            if due == "send":
                self._send(request, now)
            elif due == "timeout":
                self._requests.remove(request)
                if not request.consent:
                    request.pair.state = PairState.FAILED
        self._keep_consent(now)
        self._check_next(now)
        return self._take()

    def _next_pair(self) -> Pair | None:
        if not self._started:
            return None
        return self._table.next_check(None if self._paths.searching else self.selected)

    def _check_next(self, now: float) -> None:
        """Start the next check, unless the last one was just now."""
        pair = self._next_pair()
        if pair is not None and now >= self._next_check_at:
            self._next_check_at = now + PACING
            self._check(pair, now)

    def _check(self, pair: Pair, now: float) -> None:
        """Check one pair (RFC 8445 section 7.2.5); the controlling side nominates with every check."""
        pair.state = PairState.IN_PROGRESS
        self._request(pair, CHECK_SCHEDULE, now, nominate=True, consent=False)

    def _trigger(self, pair: Pair, now: float) -> None:
        """Check a pair at once, or once more if it is being checked (RFC 8445 section 7.3.1.4)."""
        if not self._started or pair.state is PairState.SUCCEEDED:
            return
        request = self._requests.check_of(pair)
        if request is None:
            self._check(pair, now)
        elif request.transaction.may_repeat(now):
            self._send(request, now)

    def _message(self, pair: Pair, *, nominate: bool) -> Message:
        return self._role.request(peer_reflexive_priority(pair.local), nominate=nominate)

    def _request(self, pair: Pair, schedule: Sequence[float], now: float, *, nominate: bool, consent: bool) -> None:
        message = self._message(pair, nominate=nominate)
        transaction = Transaction(message.transaction_id, self._role.sign_request(message), schedule, now)
        request = Request(pair, transaction, self.controlling, consent)
        self._requests.add(request)
        transaction.handle_timer(now)
        self._send(request, now)

    def _send(self, request: Request, now: float) -> None:
        pair = request.pair
        if self._allowance.may_send(pair.remote.host, now):
            request.transaction.on_sent(now)
            self._effects.append(Transmit(pair.socket, request.transaction.data, pair.remote.address))

    def receive_datagram(self, socket: int, data: bytes, source: Address, now: float) -> list[Effect]:
        """Take what has the form of a STUN message, from anybody."""
        request = self._requests.get(data[_ID])
        if request is not None and request.pair.socket == socket:
            self._on_response(request, data, source, now)
        else:
            check = self._role.read_check(data)
            if check is not None:
                self._on_check(socket, source, check, now)
        return self._take()

    # --- responses ----------------------------------------------------------------------------------------------------

    def _on_response(self, request: Request, data: bytes, source: Address, now: float) -> None:
        response = self._role.read_response(data)
        if response is None:
            return
        self._requests.remove(request)
        pair = request.pair
        if response.error == messages.ROLE_CONFLICT:
            self._on_conflict(request)
        elif response.error is not None or source != pair.remote.address:
            if not request.consent:
                pair.state = PairState.FAILED
        elif request.consent:
            self._paths.on_answer(pair, request.transaction.round_trip(now), now)
        else:
            self._on_success(pair, response, request.transaction.round_trip(now), now)
        self._check_next(now)

    def _on_conflict(self, request: Request) -> None:
        """The peer has the same role and the better tie-breaker: take the other one, and check again in turn."""
        self._allowance.on_answer(request.pair.remote.host)
        if self.controlling is request.controlling:
            self.set_role(controlling=not self.controlling)
        if not request.consent:
            request.pair.state = PairState.WAITING

    def _on_success(self, pair: Pair, response: Response, round_trip: float, now: float) -> None:
        first = self.selected is None
        self._allowance.on_answer(pair.remote.host)
        pair.round_trip = round_trip
        pair.mapped = response.mapped or pair.mapped
        self._effects.append(Trust(pair.socket, pair.remote.address))
        pair.nominated = self.controlling or pair.remote_nominated
        pair.state = PairState.SUCCEEDED
        self._paths.on_heard(pair, now)
        self._table.thaw(pair.foundation)
        self._paths.select(now)
        if not first:
            self._paths.on_answer(pair, round_trip, now)

    # --- the peer's checks --------------------------------------------------------------------------------------------

    def _on_check(self, socket: int, source: Address, check: Check, now: float) -> None:
        """Answer a check (RFC 8445 section 7.3)."""
        if socket in self._beside:
            self._use(socket, self._beside[socket])  # opened beside: the peer has found it
        if socket not in self._sockets:
            return
        self._effects.append(Trust(socket, source))
        self._allowance.on_check(source[0])
        claim = self._role.settle(check)
        if claim == "keep":
            self._answer(socket, messages.conflict_response(check.transaction_id), source)
        else:
            if claim == "switch":
                self.set_role(controlling=not self.controlling)
            self._answer(socket, messages.success_response(check.transaction_id, source), source)
            if self._started:
                self._act_on(socket, source, check, now)
            else:
                self._early.append((socket, source, check))
        self._effects.append(CheckReceived())
        self._check_next(now)

    def _answer(self, socket: int, response: Message, source: Address) -> None:
        self._effects.append(Transmit(socket, self._role.sign_response(response), source))

    def _act_on(self, socket: int, source: Address, check: Check, now: float) -> None:
        """Trigger a check on the pair of the request, and take its nomination (sections 7.3.1.3 to 7.3.1.5)."""
        pair = self._pair_at(socket, source, check.priority)
        if pair is None:
            return
        if check.nominates and not self.controlling:
            pair.remote_nominated = True
            if pair.state is PairState.SUCCEEDED and not pair.nominated:
                pair.nominated = True
                self._paths.select(now)
        self._trigger(pair, now)
        self._paths.on_peer_check(pair, now)

    # --- consent ------------------------------------------------------------------------------------------------------

    def suspect(self, now: float) -> list[Effect]:
        """Ask the peer at once whether it still listens, and suspend the path sooner if it does not."""
        self._paths.suspect(now)
        self._keep_consent(now)
        return self._take()

    def _keep_consent(self, now: float) -> None:
        due_at = self._paths.due_at
        if due_at is None or now < due_at:
            return
        for pair in self._paths.give_up(now):
            self._give_up(pair)
        for pair in self._paths.handle_timer(now, self._randomness.random()):
            self._request(pair, CONSENT_SCHEDULE, now, nominate=pair is self.selected, consent=True)

    def _give_up(self, pair: Pair) -> None:
        """Use a pair no more, and forget with it what a NAT had made of the peer's address."""
        self._requests.forget(pair)
        pair.state = PairState.FAILED
        if pair.remote.type == "prflx":
            self._table.remove(pair)
            if all(other.remote is not pair.remote for other in self._table):
                self._remote_candidates.forget(pair.remote)

    # --- effects ------------------------------------------------------------------------------------------------------

    def _take(self) -> list[Effect]:
        effects = self._effects.copy()
        self._effects.clear()
        return effects
