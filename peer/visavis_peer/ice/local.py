"""The local side of an ICE session: its sockets, and the candidates that STUN and TURN servers find for them."""

from __future__ import annotations

import asyncio
import functools
import random
import secrets
import string
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, Literal

from visavis_peer.core.ice import Candidate, Effect, IceAgent
from visavis_peer.core.nat.addresses import LocalAddress
from visavis_peer.core.nat.destinations import Allowance
from visavis_peer.core.nat.observations import StunAnswer
from visavis_peer.core.nat.portmap import PortMapping
from visavis_peer.host.portmap import MappedPort, PortMapper
from visavis_peer.ice.callbacks import IceCallbacks
from visavis_peer.ice.candidates import host_candidate, server_reflexive_candidate, to_line
from visavis_peer.ice.gathering import keep_mappings, survey
from visavis_peer.ice.socket import IceSocket, ip_version, open_socket
from visavis_peer.ice.turn import ALLOCATION_PACKETS, TurnServer, allocate
from visavis_shared import limits
from visavis_shared.messages import IceCredentials
from visavis_shared.stun import Address
from visavis_shared.tasks import own

ANSWER_COUNT: Final = 16
"""STUN answers kept: three of each of five servers, and mapping behaviour needs three."""


UFRAG_LENGTH: Final = 4
PASSWORD_LENGTH: Final = 22
"""Characters of 62 kinds: the fewest that RFC 8445 section 5.3 allows, 23 and 131 bits."""
_RANDOM: Final = random.SystemRandom()


class LocalSide(ABC):
    """Binds, gathers and reports; the peer is the business of the session, which takes the datagrams too."""

    def __init__(self, policy: Literal["auto", "relay"], servers: Allowance, allowance: Allowance) -> None:
        """`servers` is what may go to STUN and TURN servers, `allowance` what may go to addresses of the peer."""
        credentials = IceCredentials(ufrag=_token(UFRAG_LENGTH), pwd=_token(PASSWORD_LENGTH))
        self.agent = IceAgent(credentials, allowance, _RANDOM)
        self.allowance = allowance
        self._policy = policy
        self._servers = servers
        self._allocating = 0
        """TURN servers that have been asked for an address and have not answered."""
        self._sockets: dict[int, IceSocket] = {}
        """Open sockets that the agent knows, by number; those opened beside with them."""
        self._unused: list[IceSocket] = []
        """Sockets that only ask STUN servers, by policy."""
        self.answers: list[StunAnswer] = []
        """What STUN servers have said on the socket that was answered first, in order; at most ANSWER_COUNT."""
        self.answered_from: IceSocket | None = None
        self.answered = asyncio.Event()
        """Set when the first STUN server has answered."""
        self.asked = False
        """Whether there were STUN servers to ask."""
        self.gathered = asyncio.Event()
        """Set when every STUN server has answered or had its time."""
        self._callbacks: IceCallbacks | None = None
        self._bases_mapped: list[Candidate] = []
        self._mapped_ports: list[MappedPort] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        self._loop = asyncio.get_running_loop()

    @property
    @abstractmethod
    def receiver(self) -> Callable[[list[bytes]], None]:
        """See SocketOwner."""

    @abstractmethod
    def stun_received(self, sock: IceSocket, data: bytes, source: Address) -> None:
        """See SocketOwner."""

    @abstractmethod
    def _perform(self, effects: Sequence[Effect]) -> None:
        """Carry out what the agent wants done."""

    def socket_lost(self, sock: IceSocket) -> None:
        """See SocketOwner."""
        self._sockets.pop(sock.number, None)
        if not self._closing:
            self._perform(self.agent.remove_socket(sock.number))

    @property
    def hides_addresses(self) -> bool:
        """Whether peers are to learn no address of this machine."""
        return self._policy == "relay"

    @property
    def credentials(self) -> IceCredentials:
        """User name fragment and password of this agent."""
        return self.agent.credentials

    @property
    def candidates(self) -> list[str]:
        """Local candidates found so far, as SDP lines."""
        return [to_line(candidate) for candidate in self.agent.local_candidates[: limits.CANDIDATE_COUNT]]

    @property
    def all_found(self) -> bool:
        """Whether no more local candidates will come."""
        return self.gathered.is_set() and not self._allocating

    @property
    def sockets(self) -> list[IceSocket]:
        """The sockets of this machine, best local address first."""
        used = [each for each in self._sockets.values() if each.sock is not None and self.agent.uses(each.number)]
        return used + self._unused

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
                sock = await open_socket(self, address.ip, ports)
            except OSError as error:
                problems.append(f"{address.ip} ({address.interface}): {error.strerror or error}")
                continue
            sock.local_candidate = host_candidate(sock.transport.get_extra_info("sockname")[:2], address.preference)
            if self._policy == "relay":
                self._unused.append(sock)
                continue
            self._sockets[sock.number] = sock
            # told by nobody: there is no peer yet, and whoever describes this side lists its `candidates`
            self.agent.add_socket(sock.number, sock.local_candidate, self._loop.time())
        return problems

    @property
    def local_reflexive(self) -> list[Candidate]:
        """Server-reflexive candidates, the best local address first."""
        return [each for each in self.agent.local_candidates if each.type == "srflx"]

    @property
    def base(self) -> IceSocket | None:
        """The socket behind this side's first server-reflexive candidate, or else its best one of IPv4."""
        reflexive = next(iter(self.local_reflexive), None)
        own = [each for each in self.sockets if ip_version(each.local_candidate.host) == 4]
        for sock in own:
            if reflexive is not None and sock.local_candidate.address == reflexive.related:
                return sock
        return self.answered_from if self.answered_from in own else next(iter(own), None)

    async def open_beside(self, base: IceSocket) -> IceSocket:
        """Return a new socket on the local address of `base`, on which ICE sends nothing; its closing is the caller's.

        Once the peer is found on it, by `adopt` or a check of the peer, it is the session's (`holds`). Raises OSError.
        """
        sock = await open_socket(self, base.local_candidate.host, (0,))
        sock.local_candidate = host_candidate(sock.transport.get_extra_info("sockname")[:2], 0)
        self._sockets[sock.number] = sock
        if not self.hides_addresses:
            self.agent.add_beside(sock.number, sock.local_candidate)
        return sock

    def gather(self, servers: Sequence[Address]) -> None:
        """Ask all STUN `servers` (numeric addresses) from every socket at once; candidates come by callback."""
        self.asked = bool(servers)
        self._spawn(self._gather(servers))

    async def _gather(self, servers: Sequence[Address]) -> None:
        await survey(self.sockets, servers, self._on_stun_answer, self._servers)
        self.gathered.set()
        if self._callbacks is not None:
            self._callbacks.gathered()
        await keep_mappings(self.sockets, servers, self._on_stun_answer, self._servers)

    def _on_stun_answer(self, sock: IceSocket, answer: StunAnswer) -> None:
        if self.answered_from is None:
            self.answered_from = sock
        if sock is self.answered_from and len(self.answers) < ANSWER_COUNT:
            self.answers.append(answer)
            self.answered.set()
        base = sock.local_candidate
        if self._policy == "relay":
            return
        if answer.mapped == base.address or base in self._bases_mapped:
            return  # no NAT, or already known: a mapping per destination says nothing about where a peer will arrive
        self._bases_mapped.append(base)
        self._perform(self.agent.add_reflexive(server_reflexive_candidate(base, answer.mapped)))

    @property
    def gateway_external(self) -> str | None:
        """The external address that a gateway has told (PCP, NAT-PMP)."""
        return next((each.external_ip for each in self._mapped_ports if each.external_ip is not None), None)

    @property
    def gateway_note(self) -> str | None:
        """Why the gateway gives no port, where it has said or shown."""
        return next((each.note for each in self._mapped_ports if each.note is not None), None)

    async def ports_settled(self) -> None:
        """Wait until the gateway has given ports, or has been given up."""
        await asyncio.gather(*(each.settled.wait() for each in self._mapped_ports))

    def map_ports(self, mapper: PortMapper) -> None:
        """Ask the gateway for a port for each socket; candidates come by callback, and nothing waits for them."""
        for sock in self.sockets:
            base = sock.local_candidate
            if ip_version(base.host) == 4 and not self.hides_addresses:
                take = functools.partial(self._on_port_mapped, base)
                mapped = mapper.map(base.host, base.port, take)
                if mapped is not None:
                    self._mapped_ports.append(mapped)

    def _on_port_mapped(self, base: Candidate, mapping: PortMapping) -> None:
        address = mapping.external_ip, mapping.external_port
        self._perform(self.agent.add_reflexive(server_reflexive_candidate(base, address)))

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
        host = server.address[0]
        if self._servers.has_answered(host):
            await self._allocate_at(server)
            return
        async with server.unproven:
            if all(self._servers.may_send(host, self._loop.time()) for _ in range(ALLOCATION_PACKETS)):
                await self._allocate_at(server)

    async def _allocate_at(self, server: TurnServer) -> None:
        sock = await allocate(self, server)
        if sock is not None:
            self._servers.on_answer(server.address[0])
            self._take_relayed(sock)

    def _take_relayed(self, sock: IceSocket) -> None:
        self._sockets[sock.number] = sock
        self._perform(self.agent.add_socket(sock.number, sock.local_candidate, self._loop.time()))

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = own(coroutine, bears=(OSError,))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Stop everything and close the sockets. Idempotent."""
        self._closing = True
        self._callbacks = None
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await asyncio.gather(*(each.close() for each in self._mapped_ports))
        self._mapped_ports.clear()
        for sock in [each for each in self._sockets.values() if self.agent.uses(each.number)] + self._unused:
            await sock.close()
        self._unused.clear()


def _token(length: int) -> str:
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(length))
