"""ICE: the one package that imports aioice."""

from visavis_peer.ice.callbacks import IceCallbacks
from visavis_peer.ice.gathering import ask, is_server_of
from visavis_peer.ice.session import IceSession
from visavis_peer.ice.socket import IceSocket, ip_version
from visavis_peer.ice.turn import TurnServer

__all__ = ["IceCallbacks", "IceSession", "IceSocket", "TurnServer", "ask", "ip_version", "is_server_of"]
