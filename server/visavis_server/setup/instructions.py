"""What an operator is told as the server starts: what clients run, and who reaches it."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from visavis_server.setup.addresses import reachable_address
from visavis_server.setup.settings import Settings
from visavis_shared.endpoints import is_numeric


def instructions(settings: Settings, address: str, port: int, stun_ports: Sequence[int]) -> list[str]:
    """Return a line on what clients run and one on what has to be reachable from outside.

    `address` and `port` are what the server listens on, `stun_ports` empty where it answers no STUN.
    """
    inside = _is_loopback(address)
    stun_inside = all(map(_is_loopback, settings.stun_address or (address,)))
    udp = [] if stun_inside else [f"UDP {each}" for each in stun_ports]
    told = [f"clients run: visavis pipe --server {_url(settings, address, port, inside=inside)}"]
    if not inside:
        return [*told, f"to be reached from outside: {', '.join([f'TCP {port}', *udp])}"]
    proxied = bool(settings.trusted_proxy)
    who = "a proxy on this machine has to pass it on" if proxied else "--host says where else to listen"
    text = f"only this machine can reach TCP {port} ({address}): {who}"
    if udp:
        text += f"; to be reached from outside: {', '.join(udp)}"
    elif stun_ports and proxied:
        text += "; nor does anybody else reach STUN: set --stun-address to an address of this machine, or 0.0.0.0"
    return [*told, text]


def _url(settings: Settings, address: str, port: int, *, inside: bool) -> str:
    if inside and settings.trusted_proxy:
        return f"https://{settings.public_host or 'NAME'}{settings.path_prefix} (the address of the proxy in front)"
    name = settings.public_host or (reachable_address(address) if is_numeric(settings.host) else settings.host)
    scheme = "http" if settings.tls_cert is None else "https"
    return f"{scheme}://{f'[{name}]' if ':' in name else name}:{port}{settings.path_prefix}"


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback
