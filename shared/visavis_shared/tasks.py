"""Tasks, timers and callbacks that fail: no failure is forgotten, and one that nobody handles ends the program.

A program calls `watch_failures` once, as its loop starts. What is a stranger's doing, the failure of one connection's
protocol, ends no program: whoever can cause it could end it at will.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from visavis_shared.errors import VisavisError

logger = logging.getLogger(__name__)

T = TypeVar("T")

_OWNED: Final = "visavis_owned"
"""Member of a context for the loop's handler: a task of this program has failed, and nothing does its work now."""
_OURS: Final = ("task", "future", "handle")
"""Members of a context that tell whose failure it is: a task's, or a timer's or another callback's."""


def own(work: Coroutine[Any, Any, T], *, bears: tuple[type[Exception], ...] = ()) -> asyncio.Task[T]:
    """Run `work` as a task whose failure goes to the loop's handler at once, not when somebody looks or never.

    For work that goes on beside everything else; the task is still the caller's to keep and to cancel. Errors that it
    `bears` are logged and end nothing: the program goes on without that work, as it does on a network that fails it.
    """
    task = asyncio.get_running_loop().create_task(work)
    task.add_done_callback(functools.partial(_tell, bears))
    return task


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and wait for their end; how they ended matters no longer, for the caller has seen what counts."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # else the loop would tell of it as of one that is forgotten


def _tell(bears: tuple[type[Exception], ...], task: asyncio.Task[Any]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is None:
        return
    name = getattr(task.get_coro(), "__qualname__", task.get_name())
    if isinstance(error, bears):
        logger.info("%s was given up: %s", name, type(error).__name__, exc_info=error)
        return
    context = {"message": f"{name} has failed", "exception": error, "task": task, _OWNED: True}
    task.get_loop().call_exception_handler(context)


def watch_failures(loop: asyncio.AbstractEventLoop, end: Callable[[BaseException], None]) -> None:
    """Call `end` with the first unhandled failure that leaves the program incomplete; the others are logged."""
    ended = False

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        nonlocal ended
        error = context.get("exception")
        if isinstance(error, VisavisError) and not context.get(_OWNED):
            # a condition that has its place in the program, and was told there: of a task that nobody needed any longer
            logger.info("%s", context.get("message"), exc_info=error)
            return
        if not isinstance(error, BaseException) or not _is_ours(context, error):
            loop.default_exception_handler(context)
            return
        logger.info("%s", context.get("message"), exc_info=error)
        if not ended:
            ended = True
            end(error)

    loop.set_exception_handler(handle)


def _is_ours(context: dict[str, Any], error: BaseException) -> bool:
    """Whether a failure is of this program's own work; a network that fails a library's task is nobody's mistake."""
    if context.get(_OWNED):
        return True
    if "transport" in context or "protocol" in context or isinstance(error, OSError):
        return False
    return any(name in context for name in _OURS)


def sentence(error: BaseException) -> str:
    """Return what a person is told of a failure that ends a program; its text is not escaped."""
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return "too many open files: allow more (ulimit -n), or close some"
    if isinstance(error, OSError) and error.filename is not None:
        return f"cannot use {error.filename}: {error.strerror}"
    told = str(error).splitlines()
    return f"internal error, please report it: {type(error).__name__}{f': {told[0]}' if told else ''}"
