"""The server as a program: signals, failures, exit codes."""

from __future__ import annotations

import asyncio
import logging
import signal
from typing import Final

from visavis_server.app import SignalingServer
from visavis_server.core.errors import FAILED, OK, ServerError
from visavis_server.setup import descriptors, logs
from visavis_server.setup.settings import Settings
from visavis_shared.ids import printable
from visavis_shared.loops import fastest_loop, relax_collector
from visavis_shared.outlets import STATUS, announce, print_status
from visavis_shared.tasks import sentence, watch_failures

logger = logging.getLogger(__name__)

STOP_SIGNALS: Final = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name))
"""Those that drain: SIGHUP comes when a terminal is closed."""


def run(settings: Settings) -> int:
    """Run the server until SIGTERM or SIGINT; return the exit code (core/errors.py)."""
    descriptors.raise_limit()
    logs.configure(settings.log_level, settings.log_format)
    try:
        with asyncio.Runner(loop_factory=fastest_loop()) as runner:
            runner.run(serve(settings))
            # the loop takes its handlers with it: a second signal must not kill what has stopped in order
            signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    except ServerError as error:
        print_status(f"visavis-server: {error}")
        return error.exit_code
    except Exception as error:
        logger.info("the traceback", exc_info=error)
        print_status(f"visavis-server: {printable(sentence(error))}")
        return FAILED
    finally:
        STATUS.finish(lambda: True)
    return OK


async def serve(settings: Settings) -> None:
    """Serve until a signal asks to stop; says on standard output when connections are accepted.

    Raises CannotListen, KeyFileError, SettingsError.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    failures: list[BaseException] = []

    def fail(error: BaseException) -> None:
        failures.append(error)
        stop.set()

    watch_failures(loop, fail)
    for number in STOP_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            loop.add_signal_handler(number, stop.set)
    async with SignalingServer(settings, stop.set) as server:
        relax_collector()
        announce(server.announcement)
        for line in server.instructions:
            logger.info("%s", line)
        await stop.wait()
    if failures:
        raise failures[0]
