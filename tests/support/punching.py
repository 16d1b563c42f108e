"""Two agents' part in a plan, played in a NatWorld as the network shell plays it: reports, brackets, plans, engines."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from tests.support.nat_world import Host, ModelNat, NatWorld
from visavis_peer.core.nat.probes import Seal, session_key
from visavis_peer.core.nat.probing import OPENER_INTERVAL, Probing, shots
from visavis_peer.core.nat.strategy import Plan, Role, plan
from visavis_shared.nat import Allocation, NatBehaviour, NatReport
from visavis_shared.nat import Mapping as NatMapping
from visavis_shared.stun import Address

STUN: Address = ("11.0.0.1", 3478)
LEFT, RIGHT = "12.0.0.1", "13.0.0.1"
KEY = session_key("left", "right")


def report_of(nat: NatBehaviour, members: Mapping[str, object] | None = None) -> NatReport:
    """Return the report of an agent that knows its NAT."""
    dependent = nat.mapping is not NatMapping.ENDPOINT_INDEPENDENT
    sequential = dependent and nat.allocation is Allocation.SEQUENTIAL
    known: dict[str, object] = {
        "udp": nat.udp,
        "mapping": nat.mapping,
        "filtering": nat.filtering,
        "allocation": nat.allocation,
        "allocation_step": 1 if sequential else None,
        "foreign_rate": 0.0 if sequential else None,
        "probing": True,
    }
    return NatReport.model_validate(known | dict(members or {}), strict=False)


@dataclass
class Agent:
    """One side."""

    host: Host
    report: NatReport
    reflexive: Address
    plan: Plan | None = None


class Punching:
    """One round between two agents; the left one is controlling."""

    def __init__(
        self,
        left: ModelNat,
        right: ModelNat,
        rng: random.Random,
        *,
        delay: float = 0.02,
        loss: float = 0.0,
        signaling_delay: float = 0.05,
        foreign_rate: float = 0.0,
        members: Mapping[str, object] | None = None,
    ) -> None:
        self.world = NatWorld(left, right, rng, delay=delay, loss=loss)
        self._rng = rng
        self._signaling_delay = signaling_delay
        self._attempts = 0
        self.agents = [
            Agent(host, report_of(host.nat.behaviour, members), host.nat.outbound(0, STUN)) for host in self.world.hosts
        ]
        for agent in self.agents:
            if foreign_rate and agent.host.nat.behaviour.predictable:
                agent.report = agent.report.model_copy(update={"foreign_rate": foreign_rate})
                self._foreign(agent.host.nat, foreign_rate)

    def run(self, patience: float = 6.0) -> bool:
        """Play the round; return whether both found a pair, which is checked to be the same."""
        deadline = self.world.now + patience
        while True:
            self._attempt()
            self.world.run(deadline)
            if not all(agent.host.gave_up for agent in self.agents):
                break
            if self._attempts == max(agent.plan.attempts for agent in self.agents if agent.plan):
                break
        left, right = (agent.host for agent in self.agents)
        if left.found is None or right.found is None:
            return False
        assert left.nat.owners[right.found.remote[1]] == left.found.socket
        assert right.nat.owners[left.found.remote[1]] == right.found.socket
        return True

    def _attempt(self) -> None:
        """Sample where ports follow one another, tell, and plan on both sides once that has crossed."""
        self._attempts += 1
        for agent in self.agents:
            agent.plan, agent.host.gave_up = None, False
            if self._attempts > 1:
                agent.host.nat.close()
            if agent.host.nat.behaviour.predictable:
                self._tell(agent, last_port=self._sample(agent, 1))
        for side in (0, 1):
            self._later(partial(self._replan, side))

    def _replan(self, side: int) -> None:
        agent, other = self.agents[side], self.agents[1 - side]
        if agent.host.found is not None:
            return
        before, agent.plan = agent.plan, plan(agent.report, other.report, side == 0)
        if agent.plan.role is Role.NONE or agent.plan.targets is None:
            return
        if before is not None and before.targets == agent.plan.targets:
            return
        first_port = self._sample(agent, 2) if agent.plan.bracket else 0
        schedule = shots(agent.plan, other.reflexive, {other.reflexive[0]}, self._rng.sample)
        seal = Seal(KEY, "session", controlling=side == 0)
        engine = Probing(schedule, agent.plan.duration, seal, controlling=side == 0, now=self.world.now)
        self.world.start(side, engine)
        if agent.plan.bracket:
            opened_at = self.world.now + agent.plan.sockets * OPENER_INTERVAL
            self.world.at(opened_at, lambda: self._close_bracket(side, first_port))

    def _close_bracket(self, side: int, first_port: int) -> None:
        self._tell(self.agents[side], port_bracket=(first_port, self._sample(self.agents[side], 3)))
        self._later(partial(self._replan, 1 - side))

    def _sample(self, agent: Agent, number: int) -> int:
        """Return the port of a new mapping towards a STUN server, from a socket of its own."""
        return agent.host.nat.outbound(-number, STUN)[1]

    def _tell(self, agent: Agent, **members: object) -> None:
        agent.report = agent.report.model_copy(update=members)

    def _later(self, action: Callable[[], None]) -> None:
        self.world.at(self.world.now + self._signaling_delay, action)

    def _foreign(self, nat: ModelNat, rate: float) -> None:
        """Let others behind the NAT allocate a port now and then: a Poisson process."""

        def allocate() -> None:
            nat.allocate()
            self._foreign(nat, rate)

        self.world.at(self.world.now + self._rng.expovariate(rate), allocate)


def punch(left: NatBehaviour, right: NatBehaviour, seed: int) -> bool:
    """Play one round between ideal NATs; return whether a pair was found."""
    rng = random.Random(seed)
    return Punching(ModelNat(LEFT, left, rng), ModelNat(RIGHT, right, rng), rng).run()
