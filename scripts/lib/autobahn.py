"""Runs the Autobahn suite's fuzzing client against an echo on each engine and compares; see scripts/autobahn."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Final

from aiohttp import web

from visavis_server.core import frames
from visavis_server.sockets.connections import Connections
from visavis_server.sockets.outbox import Outbox
from visavis_server.sockets.websocket import WebSocketEndpoint
from visavis_server.sockets.websocket_aiohttp import AiohttpEndpoint
from visavis_shared.closing import CloseCode

SIZE: Final = 32 << 20
"""Bytes of a message: the suite's largest has 16 MiB."""
LEFT_OUT: Final = ["12.*", "13.*"]
"""Compression, which this server does not offer."""
ENGINES: Final[dict[str, type[WebSocketEndpoint]]] = {"own": WebSocketEndpoint, "aiohttp": AiohttpEndpoint}
PASSED: Final = frozenset({"OK", "NON-STRICT", "INFORMATIONAL"})


class Echo(Connections):
    """Sends back what comes in, on either engine."""

    def __init__(self) -> None:
        super().__init__(self)
        self.delivered = 0
        self._open: dict[str, Outbox] = {}

    def connect(
        self, _request: object, transport: asyncio.Transport, preamble: bytes, _authorization: str, _address: str
    ) -> Outbox:
        """Take over a connection whose upgrade is accepted."""
        outbox = Outbox(str(id(transport)), transport, self._loop)
        self._open[outbox.peer_id] = outbox
        self.put(outbox, preamble)
        return outbox

    def receive(self, outbox: Outbox, data: frames.Payload, *, text: bool) -> None:
        """Echo one message; text must be UTF-8 (RFC 6455 section 8.1)."""
        if not outbox.open:
            return
        if text:
            try:
                data.decode()
            except UnicodeDecodeError:
                self.dismiss(outbox, CloseCode.INVALID_DATA, "no UTF-8")
                outbox.finish()
                return
        self.put(outbox, frames.frame(frames.TEXT if text else frames.BINARY, data))

    def on_alive(self, outbox: Outbox) -> None:
        """Nothing is due to those who are silent here."""

    def on_gone(self, outbox: Outbox) -> None:
        """Forget a connection."""
        self._open.pop(outbox.peer_id, None)

    @property
    def outboxes(self) -> Collection[Outbox]:
        """Those of the open connections."""
        return self._open.values()


async def serve(engine: type[WebSocketEndpoint], runners: list[web.AppRunner]) -> int:
    """Serve `/` and return the port."""
    echo = Echo()
    endpoint = engine(echo, echo.connect, SIZE)
    app = web.Application()
    app.router.add_get("/", lambda request: endpoint.handle(request, ""))
    runner = web.AppRunner(app, handler_cancellation=True)
    runners.append(runner)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return int(runner.addresses[0][1])


async def main(wstest: str, cases: list[str]) -> int:
    """Run the suite and print; the exit code is 1 where ours fails what the other passes."""
    runners: list[web.AppRunner] = []
    ports = {name: await serve(engine, runners) for name, engine in ENGINES.items()}
    with tempfile.TemporaryDirectory() as directory:
        specification = {
            "outdir": directory,
            "servers": [{"agent": name, "url": f"ws://127.0.0.1:{port}/"} for name, port in ports.items()],
            "cases": cases or ["*"],
            "exclude-cases": LEFT_OUT,
        }
        path = Path(directory) / "spec.json"
        path.write_text(json.dumps(specification))
        command = [wstest, "--mode", "fuzzingclient", "--spec", str(path)]
        environment = os.environ | {"PYTHONWARNINGS": "ignore"}
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL, env=environment)
        if await process.wait():
            return 1
        results = json.loads((Path(directory) / "index.json").read_text())
    for runner in runners:
        await runner.cleanup()
    return report(results)


def report(results: dict[str, dict[str, dict[str, str]]]) -> int:
    """Print how many cases came out how, and those that came out otherwise for the two."""
    ours, theirs = results["own"], results["aiohttp"]
    for name, outcomes in results.items():
        counts = Counter(each["behavior"] for each in outcomes.values())
        closes = Counter(each["behaviorClose"] for each in outcomes.values())
        print(f"{name}: {dict(counts)}; closing: {dict(closes)}")
    worse = 0
    for case in sorted(ours, key=lambda name: [int(part) for part in name.split(".")]):
        pair = [(each[case]["behavior"], each[case]["behaviorClose"]) for each in (ours, theirs)]
        if pair[0] != pair[1]:
            print(f"{case}: own {'/'.join(pair[0])}, aiohttp {'/'.join(pair[1])}")
        failed = [not set(each) <= PASSED for each in pair]
        worse += failed[0] and not failed[1]
    print(f"{worse} cases that aiohttp's engine passes and ours does not")
    return 1 if worse else 0


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main(sys.argv[1], sys.argv[2:])))
