"""The local side of an ICE session: its sockets, and the candidates that STUN and TURN servers find for them."""

from __future__ import annotations

import asyncio
import functools
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Sequence
from typing import Any, Final, Literal

from aioice.candidate import Candidate
from aioice.ice import Connection

from visavis_peer.core.addresses import LocalAddress
from visavis_peer.core.destinations import Allowance
from visavis_peer.core.discovery import StunAnswer
from visavis_peer.core.portmap import PortMapping
from visavis_peer.net.ice.callbacks import IceCallbacks
from visavis_peer.net.ice.candidates import host_candidate, server_reflexive_candidate
from visavis_peer.net.ice.gathering import keep_mappings, survey
from visavis_peer.net.ice.socket import IceSocket, ip_version, open_socket
from visavis_peer.net.ice.turn import ALLOCATION_PACKETS, TurnServer, allocate
from visavis_peer.net.portmap import MappedPort, PortMapper
from visavis_shared import limits
from visavis_shared.messages import IceCredentials
from visavis_shared.stun import Address
from visavis_shared.tasks import own

ANSWER_COUNT: Final = 16
"""STUN answers kept: three of each of five servers, and mapping behaviour needs three."""


class LocalSide(Connection, ABC):
    """Binds, gathers and reports; the peer is the business of the session, which takes the datagrams too."""

    def __init__(self, policy: Literal["auto", "relay"], servers: Allowance) -> None:
        """`servers` is what may go to STUN and TURN servers."""
        super().__init__(ice_controlling=False)
        self._loop = asyncio.get_running_loop()
        self._policy = policy
        self._servers = servers
        self._allocating = 0
        """TURN servers that have been asked for an address and have not answered."""
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

    @abstractmethod
    def datagrams_received(self, datagrams: list[bytes]) -> None:
        """Take datagrams of the peer."""

    @abstractmethod
    def _on_relayed_socket(self) -> None:
        """A socket on a TURN server can be paired from now on."""

    @property
    def hides_addresses(self) -> bool:
        """Whether peers are to learn no address of this machine."""
        return self._policy == "relay"

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

    @property
    def local_reflexive(self) -> list[Candidate]:
        """Server-reflexive candidates, the best local address first."""
        return [each for each in self._local_candidates if each.type == "srflx"]

    @property
    def base(self) -> IceSocket | None:
        """The socket behind this side's first server-reflexive candidate, or else its best one of IPv4."""
        reflexive = next(iter(self.local_reflexive), None)
        own = [each for each in self.sockets if ip_version(each.local_candidate.host) == 4]
        for sock in own:
            address = sock.local_candidate.host, sock.local_candidate.port
            if reflexive is not None and address == (reflexive.related_address, reflexive.related_port):
                return sock
        return self.answered_from if self.answered_from in own else next(iter(own), None)

    async def open_beside(self, base: IceSocket) -> IceSocket:
        """Return a new socket on the local address of `base`, of which ICE knows nothing; its closing is the caller's.

        Raises OSError.
        """
        sock = await open_socket(self, self, base.local_candidate.host, (0,))
        sock.local_candidate = host_candidate(sock.transport.get_extra_info("sockname")[:2], 0)
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
        if answer.mapped == (base.host, base.port) or base in self._bases_mapped:
            return  # no NAT, or already known: a mapping per destination says nothing about where a peer will arrive
        self._bases_mapped.append(base)
        self._add_reflexive(base, answer.mapped)

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
        if all((each.host, each.port) != address for each in self._local_candidates):
            self._add_reflexive(base, address)

    def _add_reflexive(self, base: Candidate, address: Address) -> None:
        candidate = server_reflexive_candidate(base, address)
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
        host = server.address[0]
        if self._servers.has_answered(host):
            await self._allocate_at(server)
            return
        async with server.unproven:
            if all(self._servers.may_send(host, self._loop.time()) for _ in range(ALLOCATION_PACKETS)):
                await self._allocate_at(server)

    async def _allocate_at(self, server: TurnServer) -> None:
        sock = await allocate(self, self, server)
        if sock is not None:
            self._servers.on_answer(server.address[0])
            self._take_relayed(sock)

    def _take_relayed(self, sock: IceSocket) -> None:
        self._protocols.append(sock)
        self._local_candidates.append(sock.local_candidate)
        if self._callbacks is not None and len(self._local_candidates) <= limits.CANDIDATE_COUNT:
            self._callbacks.candidate(sock.local_candidate.to_sdp())
        self._on_relayed_socket()

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = own(coroutine, bears=(OSError,))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Stop everything and close the sockets. Idempotent."""
        self._callbacks = None
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await asyncio.gather(*(each.close() for each in self._mapped_ports))
        self._mapped_ports.clear()
        await super().close()
        for sock in self._unused:
            await sock.close()
        self._unused.clear()
