"""A descriptor that is written to without waiting: what waits, what is lost, what is told."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import pty
from collections.abc import Iterator

import pytest
from blockbuster import BlockBuster

from tests.support.conditions import until
from visavis_shared.outlets import OUTPUT, STATUS, Outlet, encoded, lost_lines, outlet_of

BOUND = 1000
FILLER = bytes(4096)


class FullPipe:
    """A pipe that takes nothing more until it is read."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        os.set_blocking(self.writing, False)
        with contextlib.suppress(BlockingIOError):
            while os.write(self.writing, FILLER):
                pass
        os.set_blocking(self.writing, True)  # nothing but asking keeps a write from sleeping now
        os.set_blocking(self.reading, False)

    def read(self) -> bytes:
        """Return all that is there, without what it was filled with."""
        parts = b""
        while True:
            try:
                parts += os.read(self.reading, 1 << 16)
            except BlockingIOError:
                return parts.lstrip(b"\0")


@pytest.fixture
def pipe() -> Iterator[FullPipe]:
    full = FullPipe()
    yield full
    for descriptor in (full.reading, full.writing):
        os.close(descriptor)


def test_what_waits_is_written_in_order_once_it_is_read(pipe: FullPipe) -> None:
    outlet = Outlet(pipe.writing, BOUND, dispensable=False)
    for number in range(3):
        outlet.write(b"%d\n" % number)
    assert repr(outlet) == f"<Outlet {pipe.writing}: 6 bytes wait, 0 lines lost>"
    assert pipe.read() == b""
    outlet.write(b"3\n")
    assert pipe.read() == b"0\n1\n2\n3\n"


def test_the_newest_beyond_the_bound_are_lost_counted_and_told_in_their_place(pipe: FullPipe) -> None:
    outlet = Outlet(pipe.writing, BOUND, dispensable=False)
    for _ in range(13):
        outlet.write(b"x" * 99 + b"\n")
    pipe.read()
    outlet.flush()
    outlet.write(b"late\n")
    assert pipe.read() == (b"x" * 99 + b"\n") * 10 + b"3 lines were lost here, for nobody read on\nlate\n"
    assert lost_lines(1) == "1 line was lost here, for nobody read on"


def test_one_line_beyond_the_bound_waits_whole(pipe: FullPipe) -> None:
    outlet = Outlet(pipe.writing, BOUND, dispensable=False)
    outlet.write(b"y" * 10_000)
    pipe.read()
    outlet.flush()
    assert pipe.read() == b"y" * 10_000


def test_what_is_offered_is_left_out_where_it_is_not_taken(pipe: FullPipe) -> None:
    outlet = Outlet(pipe.writing, BOUND, dispensable=True)
    assert not outlet.offer(b"progress")
    pipe.read()
    assert outlet.offer(b"more")
    assert pipe.read() == b"more"


@pytest.fixture
def writes_allowed(blocking_calls_fail: BlockBuster) -> None:
    """Let os.write pass, which the guard takes for blocking: that it does not is what an outlet asks for first."""
    blocking_calls_fail.functions["os.write"].deactivate()


@pytest.mark.usefixtures("writes_allowed")
async def test_a_timer_of_the_loop_writes_what_waits(pipe: FullPipe) -> None:
    outlet = Outlet(pipe.writing, BOUND, dispensable=False)
    outlet.write(b"one\n")
    outlet.write(b"two\n")
    pipe.read()
    seen = b""

    def came() -> bool:
        nonlocal seen
        seen += pipe.read()
        return seen == b"one\ntwo\n"

    await until(came)


@pytest.mark.usefixtures("writes_allowed")
async def test_an_error_of_what_was_written_later_is_told(pipe: FullPipe) -> None:
    outlet = Outlet(pipe.writing, BOUND, dispensable=False)
    failures: list[OSError] = []
    outlet.on_failure = failures.append
    outlet.write(b"one\n")
    os.close(pipe.reading)
    try:
        await until(lambda: failures)
        assert failures[0].errno == errno.EPIPE
    finally:
        pipe.reading = os.open(os.devnull, os.O_RDONLY)


@pytest.mark.parametrize("dispensable", [True, False])
def test_an_error_is_raised_unless_it_is_dispensable(dispensable: bool) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        outlet = Outlet(full, BOUND, dispensable=dispensable)
        if dispensable:
            outlet.write(b"x")
        else:
            with pytest.raises(OSError, match="No space left"):
                outlet.write(b"x")
        assert ": 0 bytes wait" in repr(outlet)
    finally:
        os.close(full)


def test_the_end_waits_for_a_reader_until_it_is_stopped(pipe: FullPipe) -> None:
    outlet = Outlet(pipe.writing, BOUND, dispensable=False)
    outlet.write(b"last\n")
    outlet.finish(lambda: True)
    assert ": 5 bytes wait" in repr(outlet)
    asked = []

    def read() -> bool:
        asked.append(pipe.read())
        return False

    outlet.finish(read)
    assert len(asked) == 1
    assert pipe.read() == b"last\n"


def test_a_terminal_is_written_to_without_waiting_and_its_flags_stay() -> None:
    ours, theirs = pty.openpty()
    try:
        outlet = Outlet(theirs, BOUND, dispensable=False)
        outlet.write(b"shown\n")
        assert os.read(ours, 100) == b"shown\r\n"
        outlet.write(b"z" * (1 << 20))  # nobody reads on
        assert os.get_blocking(theirs)
        assert ": 0 bytes wait" not in repr(outlet)  # the colon: what a terminal leaves may end in a 0
    finally:
        os.close(ours)
        os.close(theirs)


def test_streams_have_the_outlet_of_their_descriptor() -> None:
    assert outlet_of(io.StringIO()) is None
    with open(1, "w", closefd=False) as output, open(2, "w", encoding="ascii", closefd=False) as status:
        assert outlet_of(output) is OUTPUT
        assert outlet_of(status) is STATUS
        assert encoded(status, "é") == b"\\xe9"
