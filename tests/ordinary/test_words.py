"""What the two programs make of words that are no text: bytes that are not UTF-8, files of settings that hold such."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import pytest

from tests.support.commands import run
from tests.support.server_running import server_process, spawn

pytestmark = pytest.mark.timeout(120)

LATIN: Final = "gr\udcfc"
"""What Python makes of `$'gr\\xfc'` where the locale's encoding is UTF-8 or ASCII; as an argument it is that again."""
PLACE: Final = ("--server", "http://127.0.0.1:1", "--room", "r", "--timeout", "1")
BAD_SETTINGS: Final = {
    "latin": (b'name = "gr\xfc"\nhost = "gr\xfc"\n', "it is not UTF-8"),
    "nul": (b'name = "a\\u0000b"\nhost = "a\\u0000b"\n', "it holds a NUL character"),
    "nul-in-a-path": (b'secret_file = "a\\u0000b"\nkey_file = "a\\u0000b"\n', "it holds a NUL character"),
    "nul-in-a-list": (b'stun = ["a\\u0000b"]\nallowed_host = ["a\\u0000b"]\n', "it holds a NUL character"),
    "deep": (b"stun = " + 5000 * b"[" + 5000 * b"]", "nested too deeply"),
    "digits": (b"port = " + 5000 * b"9", "Exceeds the limit"),
}


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
async def test_each_flag_with_bytes_that_are_no_utf_8_is_named(locale: str) -> None:
    cases = {
        "--message": ("agent", *PLACE, "--message", LATIN),
        "--name": ("agent", *PLACE, "--name", LATIN),
        "--peer": ("ping", *PLACE, "--peer", LATIN),
        "--stun": ("ping", *PLACE, "--stun", "192.0.2.1", "--stun", LATIN),
        "--interface": ("pipe", *PLACE, "--interface", LATIN),
        "--room": ("pipe", *PLACE, "--room", LATIN),
        "--server": ("discover", "--server", f"http://{LATIN}.example"),
        "--token": ("doctor", *PLACE[:2], "--token", LATIN),
        "--proxy": ("agent", *PLACE, "--proxy", LATIN),
        "--with": ("doctor", "--with", LATIN),
        "INVITE": ("ping", LATIN),
    }
    ended = await asyncio.gather(*(run(*words, LC_ALL=locale) for words in cases.values()))
    for flag, (code, output, errors) in zip(cases, ended, strict=True):
        assert (code, output, errors) == (2, "", f"visavis: {flag}: its bytes are not UTF-8\n")


async def test_each_variable_with_bytes_that_are_no_utf_8_is_named() -> None:
    names = ("VISAVIS_SERVER", "VISAVIS_ROOM", "VISAVIS_NAME", "VISAVIS_STUN", "VISAVIS_INTERFACE", "VISAVIS_TIMEOUT")
    ended = await asyncio.gather(*(run("ping", given=None, LC_ALL="C", **{name: LATIN}) for name in names))
    for name, (code, output, errors) in zip(names, ended, strict=True):
        assert (code, output, errors) == (2, "", f"visavis: {name}: its bytes are not UTF-8\n")


async def test_text_in_utf_8_is_taken_whatever_the_locale_is() -> None:
    """Python itself is kept from choosing UTF-8 here."""
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    code, _, errors = await run("agent", *PLACE, "--name", "Grüße", "--message", "grün", given=None, **plain)
    assert (code, "cannot reach" in errors) == (5, True), errors


async def test_a_number_in_a_file_is_no_host_and_an_empty_name_is_none(tmp_path: Path) -> None:
    file = tmp_path / "visavis.toml"
    for name, value in (("server", "5"), ("room", "5"), ("name", "true"), ("token", "1.5"), ("stun", "[5]")):
        file.write_text(f"{name} = {value}\n")
        code, output, errors = await run("ping", "--config", str(file))
        assert (code, output, errors) == (2, "", f"visavis: {file}: {name}: must be text, in quotes\n")
    code, _, errors = await run("agent", *PLACE, "--name", "", "--message", "x", given=None)
    assert (code, "cannot reach" in errors) == (5, True), "as without a name"


async def test_a_file_with_such_a_name_is_a_file_like_any_other(tmp_path: Path) -> None:
    file = tmp_path / LATIN
    file.write_text("no invite")
    code, _, errors = await run("ping", "--invite-file", str(file), LC_ALL="C")
    assert (code, "does not look like" in errors) == (2, True), errors
    code, _, errors = await run("ping", "--invite-file", f"{file}.txt", LC_ALL="C")
    assert (code, "gr\\udcfc.txt: No such file" in errors) == (2, True), errors


@pytest.mark.parametrize("case", BAD_SETTINGS)
async def test_a_file_of_settings_that_holds_no_text_is_named_by_both_programs(case: str, tmp_path: Path) -> None:
    content, part = BAD_SETTINGS[case]
    file = tmp_path / "settings.toml"
    file.write_bytes(content)
    for code, output, errors in (
        await run("ping", *PLACE, "--config", str(file)),
        await run_server("--port", "0", "--config", str(file)),
    ):
        assert (code, output) == (2, "")
        assert str(file) in errors
        assert part in errors


async def test_a_setting_that_is_no_text_and_no_number_is_named(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    for content, name in (("token = 1979-05-27", "token"), ("name = {a = 1}", "name"), ("room = ['a']", "room")):
        file.write_text(content)
        code, _, errors = await run("ping", *PLACE[:2], "--config", str(file))
        assert (code, f"{file}: {name}: must be" in errors) == (2, True), errors


async def test_each_flag_of_the_server_with_bytes_that_are_no_utf_8_is_named() -> None:
    flags = ("--host", "--public-host", "--allowed-host", "--allowed-origin", "--invite-install", "--trusted-proxy")
    for flag, ended in zip(
        flags, await asyncio.gather(*(run_server("--port", "0", flag, LATIN) for flag in flags)), strict=True
    ):
        assert ended == (2, "", f"visavis-server: {flag}: its bytes are not UTF-8\n")
    code, _, errors = await run_server("--port", "0", VISAVIS_ALLOWED_HOST=LATIN)
    assert (code, errors) == (2, "visavis-server: VISAVIS_ALLOWED_HOST: its bytes are not UTF-8\n")


async def test_a_host_that_can_be_none_is_named_by_its_flag() -> None:
    reason = "is neither an address nor a name that can be looked up"
    for flag in ("--host", "--metrics-host"):
        for host in ("a..b", "a" * 300, "a\nb", "a b", "ü..x"):
            ended = await run_server("--port", "0", "--stun", "off", "--metrics-port", "0", flag, host)
            assert ended == (2, "", f"visavis-server: {flag}: {reason}\n")


async def run_server(*arguments: str, **environment: str) -> tuple[int | None, str, str]:
    process = await spawn(*arguments, **({"LC_ALL": "C"} | environment))
    async with asyncio.timeout(30):
        output, errors = await process.communicate()
    return process.returncode, output.decode(), errors.decode()


async def test_a_server_without_a_scheme_is_https_but_on_this_machine_and_at_private_addresses() -> None:
    async with server_process() as server:
        for host in ("127.0.0.1", "localhost"):
            code, output, errors = await run("discover", "--interface", "lo", "--server", f"{host}:{server.port}")
            assert (code, errors) == (0, ""), errors
            assert "public endpoint" in output
    brief = ("--room", "r", "--timeout", "0.5")
    code, _, errors = await run("ping", *brief, "--server", "meet.invalid")
    assert (code, "cannot reach https://meet.invalid: " in errors) == (5, True), errors
    code, _, errors = await run("pipe", *brief, VISAVIS_SERVER="meet.invalid:8080/signal")
    assert (code, "cannot reach https://meet.invalid:8080/signal: " in errors) == (5, True), errors
    code, output, _ = await run("pipe", "--help")
    assert "without a scheme https is meant" in " ".join(output.split())


async def test_a_file_that_the_environment_names_and_nobody_can_write_is_told_by_its_name() -> None:
    missing = "/nonexistent/keys"
    code, _, errors = await run("ping", "--server", "http://127.0.0.1:1", "--room", "r", SSLKEYLOGFILE=missing)
    assert (code, errors) == (1, f"visavis: cannot use {missing}: No such file or directory\n")
    server = await spawn("--port", "0", SSLKEYLOGFILE=missing)
    _, told = await server.communicate()
    assert (server.returncode, told) == (
        1,
        b"visavis-server: cannot use %b: No such file or directory\n" % missing.encode(),
    )


async def test_names_of_stun_servers_that_lead_nowhere_are_told() -> None:
    code, _, errors = await run("discover", "--stun", "nobody.invalid", "--stun", "a..b", "--interface", "lo")
    assert code == 7
    assert errors.endswith("none of these can be reached: nobody.invalid:3478, a..b:3478\n")
