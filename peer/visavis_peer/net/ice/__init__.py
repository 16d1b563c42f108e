"""ICE: the one package that imports aioice."""

from visavis_peer.net.ice.callbacks import IceCallbacks
from visavis_peer.net.ice.session import IceSession
from visavis_peer.net.ice.turn import TurnServer

__all__ = ["IceCallbacks", "IceSession", "TurnServer"]
