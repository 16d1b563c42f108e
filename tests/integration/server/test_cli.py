"""The command `visavis-server` as an operator meets it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import re
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from tests.support.server_running import http, running_server, server_process, spawn
from tests.support.ws_raw import TIMEOUT, RawClient
from visavis_server import cli
from visavis_server.app import SignalingServer
from visavis_server.setup.settings import Settings
from visavis_server.sockets.listening import CannotListen
from visavis_shared import loops


async def run(*arguments: str, **environment: str) -> tuple[int, str, str]:
    """Run the command to its end; return exit code, standard output and standard error."""
    process = await spawn(*arguments, **environment)
    async with asyncio.timeout(TIMEOUT):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_it_says_where_it_listens_and_stops_on_sigterm() -> None:
    async with server_process() as server:
        assert server.announcement == (
            f"listening on http://127.0.0.1:{server.port} (WebSocket /ws), STUN udp/{server.stun_port}\n"
        )
        assert (await http(server.port, "/health")).status == 200
        code, err = await server.stop()
        assert code == 0
        clients, ports = err.splitlines()
        assert clients.endswith(f" clients run: visavis pipe --server http://127.0.0.1:{server.port}")
        assert server.stun_port is not None
        text = f" only this machine can reach TCP {server.port} (127.0.0.1): --host says where else to listen"
        assert ports.endswith(text)


async def test_stun_can_be_off() -> None:
    async with server_process("--stun", "off") as server:
        assert server.announcement.endswith("(WebSocket /ws), STUN off\n")


async def test_an_ipv6_host_stands_in_brackets() -> None:
    async with server_process("--host", "::1") as server:
        assert server.host == "[::1]"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_signal_ends_it_within_two_seconds_whatever_clients_do(number: signal.Signals) -> None:
    """Section 6, fix: 1001 to all, then exit; clients that never answer do not hold it up."""
    async with server_process() as server:
        polite, rude = await RawClient.connect(server.port), await RawClient.connect(server.port)
        _, idle = await asyncio.open_connection("127.0.0.1", server.port)
        begun = time.monotonic()
        closing = asyncio.ensure_future(polite.closed())
        code, err = await server.stop(number)
        assert time.monotonic() - begun < 2
        assert code == 0
        assert (await closing).code == 1001
        assert (await rude.closed(answer=False)).code == 1001
        for client in (polite, rude):
            client.abort()
        idle.transport.abort()
        assert "Traceback" not in err


def is_ignored(pid: int, number: signal.Signals) -> bool:
    """Whether a process (of Linux) ignores a signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    return bool(int(re.findall(r"^SigIgn:\s+(\w+)$", status, re.MULTILINE)[0], 16) >> (number - 1) & 1)


async def test_a_signal_that_is_ignored_stays_so() -> None:
    """As nohup starts it: a terminal that is closed does not end the server."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        async with server_process() as server:
            server.process.send_signal(signal.SIGHUP)
            assert (await http(server.port, "/health")).status == 200
            assert is_ignored(server.pid, signal.SIGHUP)
            assert (await server.stop())[0] == 0
    finally:
        signal.signal(signal.SIGHUP, before)


async def test_a_taken_port_is_exit_1_and_one_clear_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, out, err = await run("--host", "127.0.0.1", "--port", str(port), "--stun", "off")
    assert (code, out) == (1, "")
    assert err == (
        f"visavis-server: cannot listen on http://127.0.0.1:{port}: Address already in use (see --host, --port)\n"
    )


@pytest.mark.parametrize(
    "arguments", [["--port", "x"], ["--nope"], ["--config", "/nonexistent.toml"], ["--stale-timeout", "1"]]
)
async def test_a_mistake_of_the_operator_is_exit_2(arguments: list[str]) -> None:
    code, out, err = await run(*arguments)
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith("visavis-server: ")
    assert "Traceback" not in err


async def test_version() -> None:
    code, out, _ = await run("--version")
    assert code == 0
    assert re.fullmatch(r"visavis-server \d+\.\d+\.\d+\n", out)


async def test_environment_and_file_are_read(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text("room_capacity = 3\n")
    async with (
        server_process(VISAVIS_CONFIG=str(file), VISAVIS_EXPOSURE="counts") as server,
        await RawClient.connect(server.port),
    ):
        assert (await http(server.port, "/api/rooms")).status == 403


async def test_a_name_is_resolved() -> None:
    async with running_server(host="localhost") as server:
        assert server.announcement.startswith("listening on http://localhost:")
        assert (await http(server.port, "/health", host="localhost")).status == 200


async def test_a_name_that_does_not_exist_is_named() -> None:
    with pytest.raises(CannotListen, match=r"cannot resolve host 'no\.such\.host\.invalid'"):
        await SignalingServer(Settings(host="no.such.host.invalid")).start()


async def test_signals_beyond_the_first_change_nothing_until_the_very_end() -> None:
    async with server_process() as server:
        while server.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                # not send_signal: it looks whether the process has ended, and so takes the exit code from asyncio
                os.kill(server.process.pid, signal.SIGTERM)
            await asyncio.sleep(0.0005)
        code, err = await server.stop()
        assert (code, "Traceback" in err) == (0, False), err


async def test_an_address_of_another_host_is_refused() -> None:
    with pytest.raises(CannotListen, match=r"cannot listen on http://\[2001:db8::1\]:0: "):
        await SignalingServer(Settings(host="2001:db8::1", port=0)).start()


def test_main_serves_until_a_signal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """In this process, so that coverage sees it."""
    thresholds: list[tuple[int, ...]] = []
    monkeypatch.setattr(gc, "freeze", lambda: os.kill(os.getpid(), signal.SIGTERM))
    monkeypatch.setattr(gc, "set_threshold", lambda *values: thresholds.append(values))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        assert cli.main(["--host", "127.0.0.1", "--port", "0", "--stun-port", "0"]) == 0
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert capsys.readouterr().out.startswith("listening on http://127.0.0.1:")
    assert thresholds == [loops.GC_THRESHOLDS]


def test_main_returns_the_exit_code(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """In this process, so that coverage sees the paths of failure."""
    assert cli.main(["--port", "x"]) == 2
    assert capsys.readouterr().err.startswith("visavis-server: --port: Input should be a valid integer")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr(sys, "argv", ["visavis-server", "--host", "127.0.0.1", "--stun", "off"])
        monkeypatch.setenv("VISAVIS_PORT", str(taken.getsockname()[1]))
        assert cli.main() == 1
    assert "cannot listen" in capsys.readouterr().err
