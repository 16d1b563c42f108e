"""The page behind an invite: what to run, for a person who has opened `https://host/r/<room>#<secret>` in a browser."""

from __future__ import annotations

import base64
import hashlib
import html
from typing import Final

_STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 44rem; margin: 3rem auto; padding: 0 1rem; }
pre { background: #8882; padding: .8rem 1rem; border-radius: .4rem; white-space: pre-wrap; overflow-wrap: anywhere; }
:root { color-scheme: light dark; }
"""
# the address is put in as text, never as markup, and quoted for a shell
_SCRIPT: Final = """
const invite = "'" + location.href.replaceAll("'", "'\\\\''") + "'";
for (const place of document.querySelectorAll(".invite")) place.textContent = invite;
if (!location.hash) document.getElementById("bare").hidden = false;
"""
_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>visavis: invite to {room}</title>
<style>{style}</style>
</head>
<body>
<h1>You are invited to link with another machine</h1>
<p>This page's address is an invite to the room <b>{room}</b>. Its last part, behind the <code>#</code>, is the secret
by which the two machines recognize each other; your browser has not sent it to anybody. Whoever has the whole address
can take part, so keep it to yourselves.</p>
<p id="bare" hidden><b>This address has no secret</b>: was it copied whole? The link would be encrypted, but nobody
could be sure whom it leads to.</p>
<p>On the machine that is to be linked, with Python 3.11 or later:</p>
<pre>pip install visavis</pre>
<p>Join its standard input and output to those of the other machine:</p>
<pre>visavis pipe <span class="invite">'the whole address of this page'</span></pre>
<p>Or measure the way there:</p>
<pre>visavis ping <span class="invite">'the whole address of this page'</span></pre>
<script>{script}</script>
</body>
</html>
"""


def _source(text: str) -> str:
    """Return the hash by which a Content-Security-Policy lets `text` run or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


HEADERS: Final = {
    "Content-Security-Policy": (
        f"default-src 'none'; script-src {_source(_SCRIPT)}; style-src {_source(_STYLE)}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}
"""For an answer with the page: nothing else runs in it, nobody frames it, its address goes nowhere."""


def invite_page(room: str) -> str:
    """Return the page for a valid room id."""
    return _PAGE.format(room=html.escape(room), style=_STYLE, script=_SCRIPT)
