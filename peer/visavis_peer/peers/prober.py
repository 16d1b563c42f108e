"""Looking for a path that connectivity checks cannot find: the plan of core.strategy, carried out for one session.

The checks go on beside it. What is found becomes a pair of the ICE session, which checks and nominates it as any other.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from typing import Any, Final, Protocol

from visavis_peer.core.nat import strategy
from visavis_peer.core.nat.destinations import Allowance
from visavis_peer.core.nat.probes import Seal, session_key
from visavis_peer.core.nat.probing import OPENER_INTERVAL, AddressNotSeen, Effect, PairFound, Probing, Send, shots
from visavis_peer.core.nat.strategy import Plan, Role, Situation
from visavis_peer.ice import IceSession, IceSocket, ask, ip_version
from visavis_shared.ids import printable
from visavis_shared.nat import Mapping, Method, NatReport
from visavis_shared.stun import Address
from visavis_shared.tasks import own

logger = logging.getLogger(__name__)

SURVEY_PATIENCE: Final = 2.0
"""Seconds that a side may take to learn its NAT before the other plans with what it knows."""
MEETING_PATIENCE: Final = 1.0
"""Seconds that the peer has to tell the port it has sampled for an attempt."""
_RANDOM: Final = random.SystemRandom()


class PunchOwner(Protocol):
    """What a puncher asks of its session."""

    session_id: str

    @property
    def told(self) -> NatReport:
        """The report on this side's NAT that the peer has."""

    def tell(self, report: NatReport) -> None:
        """Send the peer a report in the place of the one before."""

    def on_probing(self) -> None:
        """Probing begins."""

    def on_no_way(self, reason: str) -> None:
        """Nothing but a relay can be expected between these NATs."""


class Puncher:
    """One session's search beyond the connectivity checks: `start`, `on_change`, `close`."""

    def __init__(
        self,
        owner: PunchOwner,
        ice: IceSession,
        remote_pwd: str,
        *,
        controlling: bool,
        failures: int,
        seen: str | None,
        turn: asyncio.Semaphore,
    ) -> None:
        """`seen` is the IP address by which the server sees the peer; `turn` lets so many sessions probe at a time."""
        self.plan: Plan | None = None
        """The latest plan."""
        self._trouble: str | None = None
        """Why nothing was sent, in words."""
        self._count = 0
        """Packets sent in runs that are over."""
        self._found = False
        self._owner = owner
        self._ice = ice
        self._controlling = controlling
        self._failures = failures
        self._seen = seen
        ice.allowance.see(seen)
        self._turn = turn
        pwd = ice.credentials.pwd
        self._key = session_key(pwd, remote_pwd) if controlling else session_key(remote_pwd, pwd)
        self._remote = NatReport()
        self._changed = asyncio.Event()
        self._run: _Run | None = None
        self._sockets: list[IceSocket] = []
        """Those opened for probing, as long as they are open."""
        self._task: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()

    @property
    def outcome(self) -> str | None:
        """What came of it so far, in words; None where a path was found, and where none was looked for."""
        if self._trouble is not None or self._found or self.plan is None:
            return self._trouble
        count = self._count + (self._run.count if self._run is not None else 0)
        if count:
            return f"{self.plan.reason}; {count} probes have found nothing"
        return self.plan.reason if self.plan.method is Method.RELAY else None

    def start(self, remote: NatReport | None) -> None:
        """Begin as soon as both NATs are known well enough; `remote` is what the peer has told of its own."""
        self._remote = remote or NatReport()
        self._task = own(self._work())

    def on_change(self, remote: NatReport | None = None) -> None:
        """Plan again: this side has told a new report, or the peer has (`remote`), or says that it takes part."""
        if remote is not None:
            self._remote = remote
        self._changed.set()

    def stop(self) -> None:
        """End it: there is a direct path. Idempotent."""
        if self._task is not None:
            self._task.cancel()

    async def close(self) -> None:
        """End it; sockets that the ICE session has taken stay. Idempotent."""
        if self._task is not None:
            self.stop()
            await asyncio.wait([self._task])

    # --- the plan -----------------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        try:
            plan = await self._first_plan()
            async with self._turn:
                self._owner.on_probing()
                await (self._meet(plan) if plan.role is Role.MEET else self._aim(plan))
        except AddressNotSeen as error:
            self._trouble = str(error)
        except OSError as error:
            self._trouble = f"no sockets to probe from: {error.strerror or error}"
        finally:
            self._release()
        if self.outcome is not None:
            logger.info("session %s: %s", self._owner.session_id, self.outcome)

    async def _first_plan(self) -> Plan:
        """Wait for a plan that can be carried out."""
        patient_until = self._loop.time() + SURVEY_PATIENCE
        while True:
            self._changed.clear()
            self.plan = plan = self._planned()
            patient = self._loop.time() < patient_until
            settled = not patient or all(map(_is_settled, (self._owner.told, self._remote)))
            if settled and _workable(plan) and self._ice.allowance.confirmed and (not patient or self._is_seen()):
                return plan
            if settled and plan.method is Method.RELAY:
                self._owner.on_no_way(plan.reason)
            try:
                async with asyncio.timeout_at(patient_until if patient else None):
                    await self._changed.wait()
            except TimeoutError:
                pass

    def _planned(self) -> Plan:
        local = self._owner.told
        remote_address = self._remote_address()
        mapped = {each.host for each in self._ice.local_reflexive}
        situation = Situation(
            same_public_address=remote_address is not None and remote_address[0] in mapped,
            families=self._families(),
            round=self._failures,
        )
        return strategy.plan(local, self._remote, self._controlling, situation)

    def _families(self) -> frozenset[int]:
        """Return the IP versions in which both sides have an address that may lead beyond their own network."""
        remote = {ip_version(each.host) for each in self._ice.remote_candidates if _may_be_routed(each.host)}
        if not remote:
            return frozenset({4})  # none yet
        local = {
            ip_version(each.local_candidate.host)
            for each in self._ice.sockets
            if _may_be_routed(each.local_candidate.host)
        }
        return frozenset(remote & local)

    def _remote_address(self) -> Address | None:
        """Return where the peer's NAT is: its first server-reflexive candidate, or a host candidate without a NAT.

        Where the server has seen the peer by one of them, that one.
        """
        known = [
            each
            for kind in ("srflx", "host")
            for each in self._ice.remote_candidates
            if each.type == kind and ip_version(each.host) == 4
        ]
        seen = [each for each in known if each.host == self._seen]
        return next(((each.host, each.port) for each in (*seen, *known)), None)

    def _is_seen(self) -> bool:
        """Whether the peer has named an address by which the server sees it; candidates may be on their way."""
        address = self._remote_address()
        return address is not None and address[0] == self._seen

    def _target(self) -> Address:
        """Return the address to probe.

        Raises AddressNotSeen.
        """
        address = self._remote_address()
        if address is None or not self._is_seen():
            raise AddressNotSeen(address or (printable(self._seen or "?"), 0))
        return address

    # --- opening and probing ------------------------------------------------------------------------------------------

    async def _aim(self, plan: Plan) -> None:
        """Open mappings or probe them; aim anew when the peer tells its ports."""
        sockets = await self._probing_sockets(plan)
        bracket = [await self._open_socket() for _ in range(2)] if plan.bracket else []
        first = self._ask(bracket[0]) if bracket else None
        await asyncio.sleep(0)  # the request has left when this returns
        run = self._begin(plan, sockets)
        closing = asyncio.create_task(self._close_bracket(first, bracket[1], plan)) if first is not None else None
        try:
            while True:
                self._changed.clear()
                found = await self._found_or_changed(run)
                if found is not None:
                    await self._take(plan, sockets, run, found)
                    return
                if run.over:
                    return
                former, plan = plan, self._planned()
                if plan.role is not former.role or plan.targets is None:
                    plan = former  # what is under way is not made worse by what is known less well
                elif plan.targets != former.targets:
                    run.close()
                    run = self._begin(plan, sockets)
        finally:
            if closing is not None:
                closing.cancel()

    async def _probing_sockets(self, plan: Plan) -> list[IceSocket]:
        if plan.role is Role.PROBE and not plan.bracket:
            base = self._ice.base
            if base is None:
                raise OSError("no IPv4 address")
            return [base]
        return [await self._open_socket() for _ in range(plan.sockets)]

    async def _open_socket(self) -> IceSocket:
        base = self._ice.base
        if base is None:
            raise OSError("no IPv4 address")
        sock = await self._ice.open_beside(base)
        self._sockets.append(sock)
        return sock

    def _ask(self, sock: IceSocket) -> asyncio.Task[int | None]:
        """Make a mapping towards a STUN server; the result is its external port."""

        async def port() -> int | None:
            response = await ask(sock, self._ice.answers[0].server) if self._ice.answers else None
            return None if response is None else response.mapped[1]

        return asyncio.create_task(port())

    async def _close_bracket(self, first: asyncio.Task[int | None], sock: IceSocket, plan: Plan) -> None:
        """Make the second mapping of a bracket once the first packets are out, and tell the peer both ports."""
        await asyncio.sleep(plan.sockets * OPENER_INTERVAL)
        before, after = await asyncio.gather(first, self._ask(sock))
        if before is not None and after is not None:
            self._owner.tell(self._owner.told.model_copy(update={"port_bracket": (before, after)}))

    # --- meeting ------------------------------------------------------------------------------------------------------

    async def _meet(self, plan: Plan) -> None:
        """Both allocate in sequence: promise a port and aim at the other's, again and again with fresh samples."""
        attempt = 1
        while attempt <= plan.attempts:
            port = await self._ask(await self._open_socket())
            if port is None:
                break
            self._owner.tell(self._owner.told.model_copy(update={"last_port": port, "attempt": attempt}))
            theirs = await self._remote_attempt(attempt)
            if theirs is None:
                break
            if theirs > attempt:
                attempt = theirs
                continue
            plan = self._planned()
            if plan.role is not Role.MEET or plan.targets is None:
                break
            sockets = [await self._open_socket() for _ in range(plan.sockets)]
            run = self._begin(plan, sockets)
            found = await run.found
            if found is not None:
                await self._take(plan, sockets, run, found)
                return
            self._release()
            attempt += 1

    async def _remote_attempt(self, attempt: int) -> int | None:
        """Return the number of the peer's attempt once it is at least `attempt`; None when it does not come."""
        try:
            async with asyncio.timeout(MEETING_PATIENCE):
                while (self._remote.attempt or 0) < attempt:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return None
        return self._remote.attempt

    # --- the engine ---------------------------------------------------------------------------------------------------

    def _begin(self, plan: Plan, sockets: Sequence[IceSocket]) -> _Run:
        self.plan = plan
        if self._run is not None:
            self._count += self._run.count
        schedule = shots(plan, self._target(), {self._seen or ""}, _RANDOM.sample)
        seal = Seal(self._key, self._owner.session_id, controlling=self._controlling)
        engine = Probing(schedule, plan.duration, seal, controlling=self._controlling, now=self._loop.time())
        self._run = _Run(sockets, engine, self._ice.allowance)
        return self._run

    async def _found_or_changed(self, run: _Run) -> PairFound | None:
        """Wait for the end of a run or for news; return the pair that was found, None for both others."""
        changed = asyncio.ensure_future(self._changed.wait())
        either: list[asyncio.Future[Any]] = [run.found, changed]
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            changed.cancel()
        return run.found.result() if run.found.done() else None

    async def _take(self, plan: Plan, sockets: Sequence[IceSocket], run: _Run, found: PairFound) -> None:
        """Give the pair to the ICE session, and say so to the peer until it must know."""
        logger.info(
            "session %s: %s found a pair after %.0f ms and %d probes",
            self._owner.session_id, plan.method, found.elapsed * 1000, found.probe_count,
        )  # fmt: skip
        self._found = True
        self._ice.adopt(sockets[found.socket], found.remote, plan.method)
        self._release()
        await run.finished

    def _release(self) -> None:
        """Close what was opened and not taken by the ICE session, and end a run that has found nothing."""
        if self._run is not None and not (self._run.found.done() and self._run.found.result() is not None):
            self._run.close()
        released, self._sockets = self._sockets, []
        for sock in released:
            if not self._ice.holds(sock):
                sock.transport.close()  # at once: a cancellation in between would leave the others open


class _Run:
    """An engine on its sockets, driven by the loop's timers."""

    def __init__(self, sockets: Sequence[IceSocket], engine: Probing, allowance: Allowance) -> None:
        self.count = 0
        """Packets sent."""
        self._allowance = allowance
        self._sockets = sockets
        self._engine = engine
        self._loop = asyncio.get_running_loop()
        self.found: asyncio.Future[PairFound | None] = self._loop.create_future()
        self.finished: asyncio.Future[None] = self._loop.create_future()
        """Done when there is nothing left to send."""
        self._numbers = {sock: number for number, sock in enumerate(sockets)}
        self._timer: asyncio.TimerHandle | None = None
        for sock in sockets:
            sock.take_probe = self._take
        self._on_timer()

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        return self.found.done()

    def _take(self, sock: IceSocket, data: bytes, source: Address) -> None:
        self._perform(self._engine.receive_datagram(self._numbers[sock], data, source, self._loop.time()))

    def _on_timer(self) -> None:
        self._perform(self._engine.handle_timer(self._loop.time()))

    def _perform(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                self._send(effect)
                continue
            if not self.found.done():
                self.found.set_result(effect if isinstance(effect, PairFound) else None)
        if self._timer is not None:
            self._timer.cancel()
        due = self._engine.next_timer()
        if due is not None:
            self._timer = self._loop.call_at(due, self._on_timer)
        else:
            self.close()

    def _send(self, effect: Send) -> None:
        if not self._allowance.may_probe(effect.destination[0], self._loop.time()):
            return
        self.count += 1
        sock = self._sockets[effect.socket]
        if effect.ttl is None:
            sock.send_datagrams([effect.data], effect.destination)
        else:
            sock.send_opener(effect.destination, effect.ttl, effect.data)

    def close(self) -> None:
        """Send and take nothing more. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
        for sock in self._sockets:
            if sock.take_probe == self._take:
                sock.take_probe = None
        for future in (self.found, self.finished):
            if not future.done():
                future.set_result(None)


def _workable(plan: Plan) -> bool:
    """Whether a plan says where to send; at a meeting that is told later."""
    return plan.role is not Role.NONE and (plan.targets is not None or plan.role is Role.MEET)


def _is_settled(report: NatReport) -> bool:
    """Whether a report says all that a plan needs, or never will."""
    return report.mapping is Mapping.ENDPOINT_INDEPENDENT or report.allocation is not None or not report.probing


def _may_be_routed(ip: str) -> bool:
    """Whether an address is neither link-local nor an IPv6 address of some private network (RFC 4193)."""
    return not ip.lower().startswith(("fe80:", "fc", "fd", "169.254."))
