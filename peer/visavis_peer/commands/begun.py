"""An agent of a command, which connects before the rest of the program is imported."""

from __future__ import annotations

from visavis_peer.agent import Agent
from visavis_peer.settings import AgentSettings
from visavis_peer.signaling.connection import SignalingClient


class BegunAgent(Agent):
    """An agent whose first connection has been begun."""

    def __init__(self, settings: AgentSettings, client: SignalingClient, *, lean: bool = False) -> None:
        """`client` is a connection with these settings that has been begun, and becomes the agent's first one.

        `lean`: what links are made with is imported when somebody is there, not before; that saves 20 MiB, and costs
        the first link some 100 ms.
        """
        super().__init__(settings)
        self._begun = client
        self._lean = lean
