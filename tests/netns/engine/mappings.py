"""The mappings of a NAT and the permissions of its filter (RFC 4787 sections 4 and 5)."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, assert_never

from tests.netns.engine.allocation import PortAllocator
from tests.netns.engine.packets import ICMP, TCP, UDP, Endpoint
from tests.netns.engine.settings import NatSettings
from visavis_shared.nat import Filtering, Mapping

TCP_LIFETIME: Final = 7440.0
"""Seconds without a segment after which a connection is forgotten (RFC 5382 REQ-5)."""
TCP_TRANSITORY_LIFETIME: Final = 240.0
"""The same once one side has said goodbye, by FIN or RST (RFC 5382 REQ-5)."""
ICMP_LIFETIME: Final = 60.0
"""Seconds that an echo's mapping lasts (RFC 5508 REQ-2)."""
PERMISSIONS_MAX: Final = 4096
"""Remotes that one mapping lets in, the latest: twice what birthday probing sends to."""
_SWEEP_INTERVAL: Final = 5.0
"""Seconds between two searches for what has expired; until then it only occupies its port."""

_Key = tuple[int, Endpoint, int | Endpoint | None]


@dataclass(slots=True)
class MappingEntry:
    """An internal endpoint's external one, and whom it lets in."""

    protocol: int
    internal: Endpoint
    external: Endpoint
    key: _Key
    lifetime: float
    expires_at: float = 0.0
    permissions: dict[int | Endpoint, float] = field(default_factory=dict)
    """Remote address, or address and port, to when it expires; empty where filtering is endpoint-independent."""


class MappingTable:
    """All mappings of a NAT; there are never more than ports."""

    def __init__(self, settings: NatSettings, external: Sequence[int], rng: random.Random) -> None:
        """`external` are the addresses of the pool, at least one."""
        self._settings = settings
        self._rng = rng
        self._pool = list(external)
        self._by_key: dict[_Key, MappingEntry] = {}
        self._by_external: dict[tuple[int, Endpoint], MappingEntry] = {}
        self._allocators: dict[tuple[int, int], PortAllocator] = {}
        self._pairs: dict[int, int] = {}
        self._count_by_host: Counter[int] = Counter()
        self._retired: frozenset[tuple[int, Endpoint]] = frozenset()
        self._sweep_at = 0.0

    def __len__(self) -> int:
        return len(self._by_key)

    @property
    def pool(self) -> Sequence[int]:
        return self._pool

    def entries(self) -> list[MappingEntry]:
        return list(self._by_key.values())

    def outbound(self, protocol: int, internal: Endpoint, remote: Endpoint, now: float) -> MappingEntry | None:
        """Return the mapping for what `internal` sends to `remote`, made if need be, with its timers restarted.

        None when there is no port for it, or no more for this host.
        """
        if now >= self._sweep_at:
            self._expire(now)
        key = (protocol, internal, self._distinguishes(remote))
        entry = self._by_key.get(key)
        if entry is not None and entry.expires_at <= now:
            self._remove(entry)
            entry = None
        if entry is None:
            entry = self._create(key, now)
            if entry is None:
                return None
        entry.expires_at = now + entry.lifetime
        self._permit(entry, remote, now)
        return entry

    def find(self, protocol: int, external: Endpoint, now: float) -> MappingEntry | None:
        """Return the mapping of an external endpoint, whoever asks."""
        entry = self._by_external.get((protocol, external))
        return entry if entry is not None and entry.expires_at > now else None

    def inbound(self, protocol: int, external: Endpoint, remote: Endpoint, now: float) -> MappingEntry | None:
        """Return the mapping by which a packet of `remote` gets in, or None where it does not."""
        entry = self.find(protocol, external, now)
        if entry is None or not self.admits(entry, remote, now):
            return None
        if self._settings.inbound_refresh or protocol == TCP:
            entry.expires_at = now + entry.lifetime
            self._permit(entry, remote, now)
        return entry

    def admits(self, entry: MappingEntry, remote: Endpoint, now: float) -> bool:
        """Whether the filter lets packets of `remote` in by this mapping."""
        who = self._filters_by(remote)
        return who is None or entry.permissions.get(who, now) > now

    def clear(self, *, protocol: int | None = None, retire: bool = False) -> None:
        """Forget all mappings, or those of one protocol.

        With `retire` no new mapping gets a port that one of these had, until the next such call: the NAT has rebound.
        """
        gone = [entry for entry in self._by_key.values() if protocol in (None, entry.protocol)]
        if retire:
            self._retired = frozenset((entry.protocol, entry.external) for entry in gone)
        for entry in gone:
            self._remove(entry)

    def move(self, external: Sequence[int]) -> None:
        """Have other external addresses; all mappings are gone."""
        self.clear()
        self._pool = list(external)
        self._pairs.clear()
        self._allocators.clear()

    def _distinguishes(self, remote: Endpoint) -> int | Endpoint | None:
        match self._settings.mapping:
            case Mapping.ENDPOINT_INDEPENDENT:
                return None
            case Mapping.ADDRESS_DEPENDENT:
                return remote.ip
            case Mapping.ADDRESS_AND_PORT_DEPENDENT:
                return remote
            case mapping:
                assert_never(mapping)

    def _filters_by(self, remote: Endpoint) -> int | Endpoint | None:
        match self._settings.filtering:
            case Filtering.ENDPOINT_INDEPENDENT:
                return None
            case Filtering.ADDRESS_DEPENDENT:
                return remote.ip
            case Filtering.ADDRESS_AND_PORT_DEPENDENT:
                return remote
            case filtering:
                assert_never(filtering)

    def _permit(self, entry: MappingEntry, remote: Endpoint, now: float) -> None:
        who = self._filters_by(remote)
        if who is None:
            return
        if who not in entry.permissions and len(entry.permissions) >= PERMISSIONS_MAX:
            del entry.permissions[next(iter(entry.permissions))]
        entry.permissions[who] = now + entry.lifetime

    def _create(self, key: _Key, now: float) -> MappingEntry | None:
        protocol, internal, _ = key
        quota = self._settings.mappings_per_host
        if quota is not None and self._count_by_host[internal.ip] >= quota:
            self._expire(now)
            if self._count_by_host[internal.ip] >= quota:
                return None
        external = self._allocate(protocol, internal, now)
        if external is None:
            return None
        entry = MappingEntry(protocol, internal, external, key, self._lifetime(protocol))
        self._by_key[key] = self._by_external[protocol, external] = entry
        self._count_by_host[internal.ip] += 1
        return entry

    def _allocate(self, protocol: int, internal: Endpoint, now: float) -> Endpoint | None:
        ip = self._address_for(internal.ip)
        allocator = self._allocators.get((protocol, ip))
        if allocator is None:
            allocator = self._allocators[protocol, ip] = PortAllocator(self._settings, self._rng)

        def is_free(port: int) -> bool:
            key = (protocol, Endpoint(ip, port))
            return key not in self._by_external and key not in self._retired

        port = allocator.allocate(internal.port, internal.ip, is_free)
        if port is None:
            self._expire(now)
            port = allocator.allocate(internal.port, internal.ip, is_free)
        return None if port is None else Endpoint(ip, port)

    def _address_for(self, host: int) -> int:
        if not self._settings.paired:
            return self._rng.choice(self._pool)
        if host not in self._pairs:
            self._pairs[host] = self._pool[len(self._pairs) % len(self._pool)]
        return self._pairs[host]

    def _lifetime(self, protocol: int) -> float:
        return {TCP: TCP_LIFETIME, UDP: self._settings.lifetime, ICMP: ICMP_LIFETIME}[protocol]

    def _expire(self, now: float) -> None:
        self._sweep_at = now + _SWEEP_INTERVAL
        for entry in [entry for entry in self._by_key.values() if entry.expires_at <= now]:
            self._remove(entry)

    def _remove(self, entry: MappingEntry) -> None:
        del self._by_key[entry.key]
        del self._by_external[entry.protocol, entry.external]
        self._count_by_host[entry.internal.ip] -= 1
