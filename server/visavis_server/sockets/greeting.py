"""What every client is told of this server when it connects."""

from __future__ import annotations

from visavis_server import __version__
from visavis_server.setup.settings import Settings
from visavis_server.sockets.listening import offered_stun
from visavis_server.sockets.relay import MESSAGE_SIZE
from visavis_server.sockets.stun import StunResponder
from visavis_shared import limits
from visavis_shared.messages import RelayOffer, ServerLimits, WelcomePayload


def welcome(settings: Settings, instance: str, stun: StunResponder | None) -> WelcomePayload:
    """Return the welcome, without what is each client's own; `instance` names this process."""
    return WelcomePayload(
        message="connected",
        server=f"visavis/{__version__}",
        ping_interval=settings.ping_interval,
        private_rooms=True,
        instance=instance,
        limits=ServerLimits(
            message_size=limits.MESSAGE_SIZE,
            room_id_length=limits.ROOM_ID_LENGTH,
            display_name_length=limits.DISPLAY_NAME_LENGTH,
            room_capacity=settings.room_capacity,
            stale_timeout=settings.stale_timeout,
            message_rate=settings.message_rate,
            pair_rate=settings.pair_rate,
            join_timeout=settings.join_timeout,
        ),
        stun=() if stun is None else offered_stun(stun, settings),
    )


def relay_offer(settings: Settings) -> RelayOffer | None:
    """Return what clients are told of the relay, their token aside; None where there is none."""
    if settings.relay == "never":
        return None
    return RelayOffer(
        url=settings.relay_url,
        mode=settings.relay,
        token="-",  # noqa: S106 -- each client gets its own
        message_size=MESSAGE_SIZE,
        rate=settings.relay_rate,
        volume=settings.relay_volume,
    )
