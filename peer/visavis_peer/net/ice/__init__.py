"""ICE: the one package that imports aioice."""

from visavis_peer.net.ice.session import IceCallbacks, IceSession

__all__ = ["IceCallbacks", "IceSession"]
