"""pystun3's RFC 3489 verdict as a labelled second opinion.

It blocks for up to 16 s, crashes on unexpected datagrams, floods servers that refuse CHANGE-REQUEST, and measures a
socket of its own; so it runs in a child process with a deadline, only against a server that has just answered
CHANGE-REQUEST, and nothing is ever derived from it.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from typing import Final

from visavis_peer.nat.filtering import answers_change_request
from visavis_shared.stun import Address

DEADLINE: Final = 20.0
"""Seconds that the child has: its slowest right answer takes 16."""
_CHILD: Final = """
import json, socket, sys
import stun
local, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.settimeout(2)
sock.bind((local, 0))
kind, result = stun.get_nat_type(sock, local, sock.getsockname()[1], stun_host=host, stun_port=port)
print(json.dumps([kind, result.get("ExternalIP"), result.get("ExternalPort")]))
"""


@dataclass(frozen=True, slots=True)
class SecondOpinion:
    """What pystun3 says; `verdict` is None when there is none, and `note` says why."""

    verdict: str | None
    note: str


async def classify(local_ip: str, server: Address) -> SecondOpinion:
    """Ask pystun3 for the RFC 3489 type of the NAT before `local_ip` (IPv4), by `server`. Takes at most 21 s."""
    if not await answers_change_request(local_ip, server):
        return SecondOpinion(None, "not asked: needs a STUN server with two addresses that answers CHANGE-REQUEST")
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _CHILD, local_ip, server[0], str(server[1]),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(DEADLINE):
            output, errors = await child.communicate()
    except TimeoutError:
        return SecondOpinion(None, f"pystun3 gave no answer within {DEADLINE:.0f} s")
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode != 0:
        reason = errors.decode(errors="replace").strip().rpartition("\n")[2]
        return SecondOpinion(None, f"pystun3 failed: {reason}")
    kind = json.loads(output)[0]
    return SecondOpinion(str(kind), "RFC 3489 type by pystun3, measured on another socket")
