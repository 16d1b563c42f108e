"""The page behind an invite: what to run, for a person who has opened `https://host/r/<room>#<secret>` in a browser."""

from __future__ import annotations

import base64
import hashlib
import html
from typing import Final

from visavis_shared.ids import printable

_STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 44rem; margin: 3rem auto; padding: 0 1rem; }
input { box-sizing: border-box; width: 100%; font: 1rem ui-monospace, monospace; padding: .6rem; }
.small { font-size: .9rem; }
pre { background: #8882; padding: .8rem 1rem; border-radius: .4rem; white-space: pre-wrap; overflow-wrap: anywhere; }
:root { color-scheme: light dark; }
"""
# the invite is the value of a field, not text of the page: what is saved of the page does not have it
_SCRIPT: Final = """
const field = document.getElementById("invite");
const served = location.protocol === "https:" || location.protocol === "http:";
if (!served) document.getElementById("saved").hidden = false;
else if (!location.hash) document.getElementById("bare").hidden = false;
else field.value = location.href;
field.addEventListener("focus", () => field.select());
"""
_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="referrer" content="no-referrer">
<meta name="viewport" content="width=device-width">
<title>visavis: invite to {room}</title>
<style>{style}</style>
</head>
<body>
<h1>You are invited to link with another machine</h1>
<p>This page's address is an invite to the room <b>{room}</b>. Its last part, behind the <code>#</code>, is the secret
by which the two machines recognize each other; your browser has not sent it to anybody. Whoever has the whole address
can take part, so keep it to yourselves.</p>
<p id="bare" hidden><b>This address has no secret</b>: was it copied whole? Ask for the whole of it, what follows the
<code>#</code> included.</p>
<p id="saved" hidden><b>This is a saved copy</b>: the invite is the address that the page was opened by, not that of
this file.</p>
<p>On the machine that is to be linked you need the program <b>visavis</b>: {install}.</p>
<p>Join its standard input and output to those of the other machine, or measure the way there:</p>
<pre>visavis pipe
visavis ping</pre>
<p>Either asks for the invite. Paste this:</p>
<p><input id="invite" readonly autocomplete="off" placeholder="the whole address of this page"></p>
<p class="small">This page is the server's own, and whoever runs the server must not know the secret: where you do not
trust them to leave the page as it is, paste the address at the program's question without opening it.</p>
<script>{script}</script>
</body>
</html>
"""


def _source(text: str) -> str:
    """Return the hash by which a Content-Security-Policy lets `text` run or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        f"script-src {_source(_SCRIPT)}",
        f"style-src {_source(_STYLE)}",
        "base-uri 'none'",
        "form-action 'none'",
    )
)
HEADERS: Final = {
    "Content-Security-Policy": f"{_POLICY}; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}
"""For an answer with the page: nothing else runs in it, nobody frames it, its address goes nowhere."""


def invite_page(room: str, install: str) -> str:
    """Return the page for a valid room id; `install` is the operator's word on where the program comes from."""
    return _PAGE.format(
        room=html.escape(printable(room)), install=html.escape(install), policy=_POLICY, style=_STYLE, script=_SCRIPT
    )
