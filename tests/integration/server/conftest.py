"""What reads frames: modules that prove how the server behaves on the wire prove it of both engines.

They say `pytestmark = pytest.mark.usefixtures("engine")`. aiohttp's reader (3.14.5) does otherwise in these points: it
accepts frames without a mask and close codes from 5000 on, names offences in its own words, and its answer to an
upgrade has two more headers.
"""

from __future__ import annotations

import pytest

from tests.support import server_running


@pytest.fixture(params=["own", pytest.param("aiohttp", marks=pytest.mark.campaign)])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let the servers of this test run on one engine, in the campaign then on the other; return its name."""
    monkeypatch.setitem(server_running.DEFAULTS, "engine", request.param)
    return str(request.param)
