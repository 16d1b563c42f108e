"""Mutated messages through the hub: `scripts/bench mutations --count 1000000`.

Fails when one of them raises inside the hub, and prints what became of them and how memory grew. With `--sockets` they
go to a server process beside the messages of 500 others: see `rogues`.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections import Counter
from itertools import islice

from scripts.benches import rogues

from tests.support.mutation import mutated
from visavis_server.core.signaling.effects import Close, Report, Send
from visavis_server.core.signaling.hub import Hub
from visavis_server.setup.settings import Settings, hub_rules, new_buckets
from visavis_shared import limits
from visavis_shared.messages import ServerLimits, WelcomePayload

WARM = 50_000
"""Messages after which memory is looked at first: tables and caches have their size."""
STAY = 50
"""Messages of one connection."""


def main() -> None:
    """Feed the hub and print the outcome."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000, help="messages (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the mutations (default: %(default)s)")
    parser.add_argument("--sockets", action="store_true", help="to a server process, with others beside")
    options = parser.parse_args()
    if options.sockets:
        rogues.run(options.count, options.seed)
        return
    settings = Settings(message_rate=0, address_rate=0, pair_rate=0)
    hub = Hub(hub_rules(settings), None, buckets=new_buckets(settings))
    told = ServerLimits(
        message_size=limits.MESSAGE_SIZE,
        room_id_length=limits.ROOM_ID_LENGTH,
        display_name_length=limits.DISPLAY_NAME_LENGTH,
        room_capacity=settings.room_capacity,
        stale_timeout=settings.stale_timeout,
    )
    welcome = WelcomePayload(message="connected", server="-", ping_interval=25, limits=told, stun=())
    outcome: Counter[str] = Counter()
    warm, begun = 0, time.monotonic()
    for number, data in enumerate(islice(mutated(options.seed), options.count)):
        now = number / 1000
        peer_id = f"{number // STAY:016x}"
        if peer_id not in hub.rooms.peers:
            hub.connect(peer_id, welcome, now, number)
        for effect in hub.receive(peer_id, data, now, number):
            match effect:
                case Report(error=error):
                    sys.exit(f"{data!r} raises {error!r}")
                case Send(data=answer):
                    outcome["refused" if b'"type":"ERROR"' in answer else "other answers"] += 1
                case Close():
                    outcome["closed"] += 1
        if number % STAY == STAY - 1 and peer_id in hub.rooms.peers:
            hub.disconnect(peer_id, now, number, leaving=True)
        if number == min(WARM, options.count - 1):
            warm = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - warm
    print(f"{options.count} messages in {time.monotonic() - begun:.1f} s: {dict(outcome)}")
    print(f"no exception; peak memory grew by {grown} KiB since message {WARM}; {len(hub.rooms.peers)} peers left")


if __name__ == "__main__":
    main()
