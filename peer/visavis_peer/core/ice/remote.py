"""The peer's candidates: those that it has named, and those that its checks have shown (RFC 8838, RFC 8445 7.3.1.3).

Candidates trickle: they come before the checks, meanwhile and after; one that is named again is ignored (RFC 8838
section 9), and after the end of candidates (section 14) none is taken. A peer-reflexive one that is named later takes
the name (section 11).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from visavis_peer.core.ice.candidates import ADDRESS_COUNT, Candidate, is_reachable_from, is_usable, peer_reflexive
from visavis_shared import limits
from visavis_shared.stun import Address

TOTAL_COUNT: Final = 2 * limits.CANDIDATE_COUNT
"""Remote candidates at most, with those that only checks have shown: who has an endless supply is no peer of ours."""


class RemoteCandidates:
    """All of them, in the order in which they became known."""

    def __init__(self) -> None:
        self._candidates: list[Candidate] = []
        self.ended = False
        """Whether the peer has said that no more will come; its checks may still show some."""

    def __iter__(self) -> Iterator[Candidate]:
        return iter(self._candidates)

    def at(self, address: Address) -> Candidate | None:
        """Return the candidate at an address."""
        return next((each for each in self._candidates if each.address == address), None)

    def name(self, candidate: Candidate, own_hosts: Sequence[str], *, loopback: bool) -> bool:
        """Take a candidate that the peer names; return whether it is news, and one that may be checked.

        `own_hosts` are the addresses of this machine that are in use, `loopback` whether peers are looked for there.
        """
        known = self.at(candidate.address)
        if self.ended or (known is not None and known.type != "prflx"):
            return False
        same = sum(each.host == candidate.host for each in self._candidates if each is not known)
        if len(self._candidates) >= limits.CANDIDATE_COUNT or same >= ADDRESS_COUNT or not is_usable(candidate):
            return False
        if not is_reachable_from(candidate.host, own_hosts, loopback=loopback):
            return False
        if known is None:
            self._candidates.append(candidate)
        else:
            self._candidates[self._candidates.index(known)] = candidate
        return True

    def show(self, address: Address, priority: int | None) -> Candidate | None:
        """Return the candidate at an address, which is peer-reflexive if nobody has named it; None if it is too many.

        `priority` is what the peer's check has said, None where something else has shown it.
        """
        known = self.at(address)
        if known is not None:
            return known
        if len(self._candidates) >= TOTAL_COUNT:
            return None
        candidate = peer_reflexive(address, priority)
        self._candidates.append(candidate)
        return candidate

    def forget(self, candidate: Candidate) -> None:
        """Forget one that only a check has shown: a NAT has another by now. Idempotent."""
        if candidate in self._candidates:
            self._candidates.remove(candidate)
