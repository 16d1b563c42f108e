"""What an agent needs to know, in one frozen object made by the CLI or by the program that embeds it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from visavis_peer.errors import UsageError
from visavis_shared.invite import SECRET_SIZE
from visavis_shared.limits import PATIENCE_MAX, TOKEN_LENGTH
from visavis_shared.messages import DisplayName, RoomId

PATIENCE = 600.0
"""Seconds: a walk from one desk to another with the laptop's lid closed."""
PORT_COUNT = 32
"""UDP ports that `port` opens from: one per link and one to spare; firewalls are configured for a range."""


class AgentSettings(BaseModel):
    """Settings of an Agent; making them raises UsageError that names the setting."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    server: str
    """URL of the signaling server: http(s) or ws(s), with a path prefix if need be."""
    room: RoomId
    name: DisplayName | None = None
    """Shown to the other members of the room."""
    secret: Annotated[bytes | None, Field(min_length=SECRET_SIZE, max_length=SECRET_SIZE, repr=False)] = None
    """The room's secret, which authenticates the peers to each other; None: they stay unauthenticated."""
    token: Annotated[str | None, Field(max_length=TOKEN_LENGTH, pattern=r"^[!-~]+$", repr=False)] = None
    """A room token or JSON Web Token, for a server that asks for one."""
    proxy: Annotated[str | None, Field(repr=False)] = None
    """URL of the HTTP or SOCKS proxy through which the signaling server and its relay are reached, with a user name and
    a password if need be; None: directly. The environment is not read here (`visavis --proxy`)."""
    relay: Literal["auto", "never", "only"] = "auto"
    """Whether links may, must not, or must go by a relay."""
    port_mapping: Literal["auto", "never"] = "auto"
    """Whether to ask the gateway for ports (PCP, NAT-PMP, UPnP-IGD)."""
    probing: Literal["auto", "never"] = "auto"
    """Whether to take part in prediction and birthday probing where connectivity checks find no path."""
    stun: Annotated[tuple[str, ...], Field(max_length=8)] = ()
    """STUN servers as `host[:port]` (3478); empty: those that the signaling server offers."""
    interfaces: Annotated[tuple[str, ...], Field(max_length=32)] = ()
    """Names of the network interfaces to use; empty: all that lead anywhere."""
    port: Annotated[int, Field(ge=1024, le=65535 - PORT_COUNT)] | None = None
    """First of the UDP ports to bind to; None: any."""
    report: bool = True
    """Whether to tell the signaling server how links turn out (direct, relayed or failed, why, kinds of NAT)."""
    patience: Annotated[float, Field(ge=0, le=PATIENCE_MAX)] = PATIENCE
    """Seconds for which a link waits for a peer that has fallen silent, as one that is asleep: the smaller of what both
    sides say. Below 26 s, as in rooms without a secret, it does not wait: so much silence is the end then."""
    connect_timeout: Annotated[float | None, Field(gt=0, le=86_400)] = 30.0
    """Seconds within which the first connection to the signaling server must succeed; None: it is tried until it does,
    as lost ones are."""

    if not TYPE_CHECKING:  # type checkers know the fields by the annotations

        def __init__(self, **members: object) -> None:
            try:
                super().__init__(**members)
            except ValidationError as error:
                first = error.errors(include_url=False, include_input=False)[0]
                field = ".".join(str(part) for part in first["loc"])
                raise UsageError(f"{field}: {first['msg'].removeprefix('Value error, ')}") from None

    @property
    def ports(self) -> tuple[int, ...]:
        """The UDP ports to try in order."""
        return (0,) if self.port is None else tuple(range(self.port, self.port + PORT_COUNT))
