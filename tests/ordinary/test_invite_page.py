"""The page behind an invite in a real browser: what a person who opens the address sees."""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
from pathlib import Path
from typing import Final

import pytest
from aiohttp import web

from tests.support.http_server import http_server
from tests.support.server_running import http, server_process
from visavis_shared.invite import Invite

pytestmark = pytest.mark.timeout(120)

BROWSER: Final = shutil.which("chromium") or shutil.which("google-chrome") or ""
SECRET: Final = bytes(range(16))
# what the script has put into the field is no part of the page's text, so that a copy of it may be read out here
PROBE: Final = '<script>document.body.append("FIELD:" + document.getElementById("invite").value + ":")</script></body>'


async def shown(address: str) -> str:
    """Return the page as the browser has it after its script has run."""
    with tempfile.TemporaryDirectory() as profile:
        process = await asyncio.create_subprocess_exec(
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            f"--user-data-dir={profile}", "--virtual-time-budget=2000", "--dump-dom", address,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        output, _ = await process.communicate()
        return output.decode()


def is_hidden(page: str, part: str) -> bool:
    match = re.search(rf'<p id="{part}"([^>]*)>', page)
    assert match
    return "hidden" in match[1]


async def test_the_page_says_where_to_get_the_program_in_the_operators_words() -> None:
    async with server_process() as plain, server_process("--invite-install", "apt install <visavis>") as told:
        pages = [(await http(each.port, "/r/den")).body.decode() for each in (plain, told)]
        for page in pages:
            assert "pip install" not in page
            assert "<pre>visavis pipe\nvisavis ping</pre>" in page
        assert "project visavis" in pages[0]
        assert "apt install &lt;visavis&gt;" in pages[1]
        turned = (await http(plain.port, "/r/%E2%80%AEevil")).body.decode()
        assert "\u202e" not in turned
        assert "u202eevil" in turned


@pytest.mark.skipif(not BROWSER, reason="no chromium here")
async def test_a_browser_shows_the_invite_to_copy_and_a_saved_copy_keeps_no_secret(tmp_path: Path) -> None:
    async with server_process() as server:
        invite = str(Invite(f"http://127.0.0.1:{server.port}", "den", SECRET))
        bare, _, secret = invite.partition("#")
        whole, lost = await asyncio.gather(shown(invite), shown(bare))
        assert is_hidden(whole, "bare")
        assert is_hidden(whole, "saved")
        assert secret not in whole  # so no copy of the page that is saved has it
        assert not is_hidden(lost, "bare")
        copy = tmp_path / "invite.html"
        copy.write_text(whole)
        saved = await shown(copy.as_uri())
        assert is_hidden(saved, "bare")
        assert not is_hidden(saved, "saved")
        # the same page, with one script more that its policy would not let run
        served = (await http(server.port, "/r/den")).body.decode()
        open_to_all = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", served)
        assert open_to_all != served
        assert "FIELD:http" not in await shown_with_probe(served, "#" + secret)
        assert f"#{secret}:" in await shown_with_probe(open_to_all, "#" + secret)


async def shown_with_probe(page: str, fragment: str) -> str:
    """Return a page with PROBE as a browser shows it from a server."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=page.replace("</body>", PROBE), content_type="text/html")

    async with http_server(answer, "/r/den") as url:
        return await shown(f"http{url.removeprefix('ws')}{fragment}")
