"""A laboratory of NATs made of kernel network namespaces; see `topology` for its shape and `kinds` for its NATs."""

from tests.netns.lab.kinds import KINDS, Kind
from tests.netns.lab.topology import SIGNALING, SIGNALING_V6, Client, Lab, Site

__all__ = ["KINDS", "SIGNALING", "SIGNALING_V6", "Client", "Kind", "Lab", "Site"]
