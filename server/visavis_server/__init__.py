"""The signaling server of visavis: rooms, routing, REST and STUN."""

from importlib.metadata import version

__version__ = version("visavis")
