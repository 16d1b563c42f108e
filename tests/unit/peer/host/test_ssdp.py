"""The search for a UPnP gateway: which answers count."""

from __future__ import annotations

import pytest

from visavis_peer.host.ssdp import location_of

HERE = "192.0.2.1"
ANSWER = "HTTP/1.1 200 OK\r\nST: x\r\nlocation:  http://192.0.2.1:5000/root.xml \r\n\r\n"


def test_an_answer_tells_where_the_description_is() -> None:
    assert location_of(ANSWER.encode(), HERE) == "http://192.0.2.1:5000/root.xml"


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "\xff\xfe",
        ANSWER.replace("192.0.2.1", "192.0.2.2"),
        ANSWER.replace("200 OK", "404 Not Found"),
        ANSWER.replace("HTTP/1.1 200 OK", "NOTIFY * HTTP/1.1"),
        ANSWER.replace("location:", "location"),
        ANSWER.replace("http://192.0.2.1:5000/root.xml", "http://[192.0.2.1/"),
        ANSWER.replace("http://192.0.2.1:5000/root.xml", ""),
        ANSWER.replace("ST: x", "ST: " + "x" * 2048),
    ],
)
def test_what_leads_elsewhere_or_is_no_answer_is_none(answer: str) -> None:
    assert location_of(answer.encode("latin-1"), HERE) is None
