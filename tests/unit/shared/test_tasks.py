"""shared.tasks: whose failure ends a program."""

from __future__ import annotations

import asyncio
import errno
import gc

import pytest

from tests.support.conditions import until
from visavis_shared.errors import VisavisError
from visavis_shared.tasks import end, own, sentence, watch_failures


class Broken(Exception):
    pass


async def fail(error: Exception) -> None:
    raise error


@pytest.fixture
async def failures() -> list[BaseException]:
    found: list[BaseException] = []
    watch_failures(asyncio.get_running_loop(), found.append)
    return found


async def test_a_task_that_is_owned_tells_at_once_that_it_has_failed(failures: list[BaseException]) -> None:
    broken = Broken()
    task = own(fail(broken))
    await asyncio.wait([task])
    await until(lambda: failures == [broken])


async def test_only_the_first_failure_ends_the_program(failures: list[BaseException]) -> None:
    first = Broken()
    tasks = [own(fail(first)), own(fail(Broken()))]
    await asyncio.wait(tasks)
    await until(lambda: bool(failures))
    assert failures == [first]


async def test_a_failure_that_a_task_bears_ends_nothing(failures: list[BaseException]) -> None:
    borne, broken = own(fail(OSError()), bears=(OSError,)), own(fail(Broken()), bears=(OSError,))
    await asyncio.wait([borne, broken])
    await until(lambda: bool(failures))
    assert [type(error) for error in failures] == [Broken]


async def test_a_task_that_was_cancelled_has_not_failed(failures: list[BaseException]) -> None:
    cancelled = own(asyncio.Event().wait())
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.wait([cancelled])
    own_failure = own(fail(Broken()))
    await asyncio.wait([own_failure])
    await until(lambda: bool(failures))
    assert [type(error) for error in failures] == [Broken]


async def test_a_callback_that_fails_ends_the_program(failures: list[BaseException]) -> None:
    def fail_now() -> None:
        raise Broken

    asyncio.get_running_loop().call_soon(fail_now)
    await until(lambda: [type(error) for error in failures] == [Broken])


async def test_a_task_that_nobody_looked_at_ends_the_program_but_for_a_network_that_failed_it(
    failures: list[BaseException],
) -> None:
    tasks = [asyncio.create_task(fail(OSError())), asyncio.create_task(fail(Broken()))]
    await asyncio.wait(tasks)
    tasks.clear()
    gc.collect()
    await until(lambda: bool(failures))
    assert [type(error) for error in failures] == [Broken]


@pytest.mark.parametrize("member", ["protocol", "transport"])
async def test_what_a_stranger_can_cause_on_one_connection_ends_nothing(
    failures: list[BaseException], member: str
) -> None:
    asyncio.get_running_loop().call_exception_handler({"message": "x", "exception": Broken(), member: object()})
    assert not failures


def test_a_failure_is_told_in_one_line() -> None:
    assert sentence(Broken("a\nb")) == "internal error, please report it: Broken: a"
    assert sentence(Broken()) == "internal error, please report it: Broken"
    assert sentence(FileNotFoundError(errno.ENOENT, "No such file or directory", "/x")) == (
        "cannot use /x: No such file or directory"
    )
    assert sentence(OSError(errno.EMFILE, "x")) == "too many open files: allow more (ulimit -n), or close some"


async def test_tasks_that_are_ended_are_forgotten_by_nobody_and_tell_nothing(failures: list[BaseException]) -> None:
    """However they end: cancelled, done, or by an error that came first."""
    tasks = [asyncio.create_task(each) for each in (asyncio.Event().wait(), fail(Broken()), asyncio.sleep(0))]
    await asyncio.sleep(0)
    await end(*tasks)
    assert all(task.done() for task in tasks)
    del tasks
    gc.collect()
    await asyncio.sleep(0)
    assert failures == []


async def test_a_condition_that_nobody_waits_for_any_longer_ends_no_program(failures: list[BaseException]) -> None:
    async def forgotten(error: Exception) -> None:
        task = asyncio.create_task(fail(error))
        await asyncio.wait([task])

    await forgotten(VisavisError("the peer has gone"))
    gc.collect()
    await asyncio.sleep(0)
    assert failures == []
    await forgotten(Broken())
    gc.collect()
    await until(lambda: bool(failures))
    assert [type(error) for error in failures] == [Broken]
