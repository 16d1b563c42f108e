"""TUN and TAP devices: network devices whose other end is a program (Documentation/networking/tuntap.rst)."""

from __future__ import annotations

import fcntl
import os
import struct
from typing import Final

from tests.netns.lab.namespaces import Namespace

_TUNSETIFF: Final = 0x400454CA  # linux/if_tun.h
_IFF_TUN, _IFF_TAP, _IFF_NO_PI = 0x0001, 0x0002, 0x1000
_QUEUE_COUNT: Final = 10_000
"""Packets that wait for the program: 0.6 s of 20 MB/s in 1,200-byte datagrams, should a busy machine not run it."""


def open_tun(namespace: Namespace, name: str) -> int:
    """Make a device of IP packets and return its non-blocking descriptor; with that closed the device is gone."""
    return _open(namespace, name, _IFF_TUN)


def open_tap(namespace: Namespace, name: str) -> int:
    """Make a device of Ethernet frames; as `open_tun`."""
    return _open(namespace, name, _IFF_TAP)


def _open(namespace: Namespace, name: str, kind: int) -> int:
    with namespace.entered():
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), kind | _IFF_NO_PI))
        except OSError:
            os.close(descriptor)
            raise
    namespace.configure(f"link set {name} txqueuelen {_QUEUE_COUNT}")
    return descriptor
