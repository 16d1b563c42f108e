"""NAT behaviour in the words of RFC 4787, the report an agent makes of its own, and the oracle over two of them."""

from visavis_shared.nat.behaviour import Allocation, Filtering, Mapping, NatBehaviour
from visavis_shared.nat.explanation import explain_no_path
from visavis_shared.nat.kind import NatKind, nat_kind
from visavis_shared.nat.oracle import Method, Side, Verdict, expected_method, plain_ice_links, verdict
from visavis_shared.nat.report import NatReport

__all__ = [
    "Allocation",
    "Filtering",
    "Mapping",
    "Method",
    "NatBehaviour",
    "NatKind",
    "NatReport",
    "Side",
    "Verdict",
    "expected_method",
    "explain_no_path",
    "nat_kind",
    "plain_ice_links",
    "verdict",
]
