"""invite: what is pasted is what was made, and the secret is said nowhere else."""

from __future__ import annotations

import traceback

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.unit.shared.strategies import room_ids
from visavis_shared.invite import INVITE_LENGTH, SECRET_SIZE, InvalidInvite, Invite, decode_secret, encode_secret

SECRET = bytes(range(SECRET_SIZE))
TEXT = encode_secret(SECRET)
secrets = st.binary(min_size=SECRET_SIZE, max_size=SECRET_SIZE)
servers = st.builds(
    "{}://{}{}{}".format,
    st.sampled_from(("http", "https")),
    st.sampled_from(("example.net", "11.0.0.9", "[2001:db8::1]", "bücher.example")),
    st.sampled_from(("", ":8080")),
    st.sampled_from(("", "/meet", "/r/nested", "/a/r")),
)


@given(servers, room_ids, st.none() | secrets)
@example("https://example.net", "a/r/b", SECRET)
@example("https://example.net", "50%?#&", SECRET)
@example("https://example.net", "..", None)
def test_what_is_pasted_is_what_was_made(server: str, room: str, secret: bytes | None) -> None:
    invite = Invite(server, room, secret)
    assert Invite.parse(str(invite)) == invite
    assert Invite.parse(f"  {invite}\n") == invite


@given(secrets)
def test_a_secret_is_22_characters_that_need_no_quoting(secret: bytes) -> None:
    text = encode_secret(secret)
    assert len(text) == 22
    assert text.replace("-", "").replace("_", "").isalnum()
    assert decode_secret(f" {text}\n") == secret


def test_the_longest_room_fits_an_invite() -> None:
    invite = Invite("https://" + "h" * 253, "\U0001f511" * 128, SECRET)
    assert len(str(invite)) <= INVITE_LENGTH
    assert Invite.parse(str(invite)) == invite


@pytest.mark.parametrize(
    ("given_scheme", "meant"), [("ws", "http"), ("wss", "https"), ("HTTPS", "https"), ("http", "http")]
)
def test_a_web_socket_url_means_the_server_it_leads_to(given_scheme: str, meant: str) -> None:
    assert Invite.parse(f"{given_scheme}://h/r/den").server == f"{meant}://h"


MALFORMED = {
    "": "does not look like",
    "den": "does not look like",
    f"ftp://h/r/den#{TEXT}": "does not look like",
    f"https:///r/den#{TEXT}": "does not look like",
    f"https://h:0/r/den#{TEXT}": "does not look like",
    f"https://h/r/den?x=1#{TEXT}": "does not look like",
    f"https://eve@h/r/den#{TEXT}": "never holds a user name or a password",
    f"https://eve:pw@h/r/den#{TEXT}": "never holds a user name or a password",
    f"https://h:port/r/den#{TEXT}": "not a URL",
    f"https://h:65536/r/den#{TEXT}": "not a URL",
    f"https://[::1/r/den#{TEXT}": "not a URL",
    f"https://h/den#{TEXT}": "no /r/<room>",
    f"https://h/r#{TEXT}": "no /r/<room>",
    f"https://h/r/#{TEXT}": "not a valid room name",
    f"https://h/r/%20den#{TEXT}": "not a valid room name",
    f"https://h/r/a%0ab#{TEXT}": "not a valid room name",
    f"https://h/r/%ff#{TEXT}": "not a valid room name",
    f"https://h/r/{'x' * 129}#{TEXT}": "not a valid room name",
    f"https://h/r/{'x' * INVITE_LENGTH}#{TEXT}": "longer than",
    "https://h/r/den#": "copied whole",
    f"https://h/r/den#{TEXT[:-1]}": "copied whole",
    f"https://h/r/den#{TEXT}A": "copied whole",
    f"https://h/r/den#{TEXT}==": "copied whole",
    f"https://h/r/den#{TEXT[:-1]}x": "copied whole",
    f"https://h/r/den#{'+' * 22}": "copied whole",
    f"https://h/r/den#{'ä' * 22}": "copied whole",
    f"https://h/r/den#{TEXT[:11]} {TEXT[11:]}": "copied whole",
    f"https://h/r/den#{TEXT}#{TEXT}": "copied whole",
}


@pytest.mark.parametrize("text", MALFORMED)
def test_what_is_no_invite_is_refused_with_the_reason_and_without_the_secret(text: str) -> None:
    with pytest.raises(InvalidInvite) as caught:
        Invite.parse(text)
    assert MALFORMED[text] in str(caught.value)
    told = "".join(traceback.format_exception(caught.value, chain=True))
    assert TEXT[:-1] not in told.replace(text, "")
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@given(st.text(max_size=200))
@example("https://[/r/x")
@example("https://h/r/\ud800")
def test_any_text_is_an_invite_or_refused(text: str) -> None:
    try:
        invite = Invite.parse(text)
    except InvalidInvite:
        return
    assert Invite.parse(str(invite)) == invite


@given(secrets)
def test_the_secret_is_not_in_the_repr(secret: bytes) -> None:
    shown = repr(Invite("https://h", "den", secret))
    assert shown == "Invite(server='https://h', room='den')"
