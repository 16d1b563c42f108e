"""A laboratory of NATs made of kernel network namespaces; see `topology` for its shape and `kinds` for its NATs."""

from tests.netns.engine.impairment import PERFECT, Impairment
from tests.netns.engine.settings import NatSettings
from tests.netns.lab.kinds import KINDS, MATRIX_KINDS, Kind, user_kind
from tests.netns.lab.links import NotImpairable
from tests.netns.lab.site import Client, Site
from tests.netns.lab.topology import SIGNALING, SIGNALING_V6, Lab

__all__ = [
    "KINDS",
    "MATRIX_KINDS",
    "PERFECT",
    "SIGNALING",
    "SIGNALING_V6",
    "Client",
    "Impairment",
    "Kind",
    "Lab",
    "NatSettings",
    "NotImpairable",
    "Site",
    "user_kind",
]
