"""The WebSockets as an AsyncAPI 3.0 document; what the messages are stands in the JSON Schema files beside it."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydantic import BaseModel

from visavis_server import __version__
from visavis_server.sockets import relay
from visavis_shared import limits
from visavis_shared.ids import PEER_ID_BYTES
from visavis_shared.messages import ClientMessage, ServerMessage

SCHEMA_FORMAT: Final = "application/schema+json;version=draft-2020-12"
_TITLE: Final = "visavis-server WebSockets"
_SUMMARY: Final = "Signaling between peers, and the relay of last resort; docs/protocol.md is the prose."


def asyncapi(schemas: Mapping[str, type[BaseModel]]) -> dict[str, Any]:
    """Return the document; `schemas` are the files of JSON Schema without their suffix, and their models."""
    from_clients, from_server = _models(ClientMessage), _models(ServerMessage)
    files = {model: name for name, model in schemas.items()}
    messages = {files[model]: model for model in (*from_clients, *from_server)}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": _TITLE,
            "version": __version__,
            "description": _SUMMARY,
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "visavis": {
                "host": "{host}",
                "pathname": "{prefix}",
                "protocol": "ws",
                "description": "`wss` with --tls-cert, or behind a proxy with TLS.",
                "variables": {
                    "host": {"default": "localhost:8080"},
                    "prefix": {"default": "", "description": "What `--path-prefix` says."},
                },
            }
        },
        "channels": {
            "signaling": {
                "address": "/ws",
                "description": f"A message is one text frame, towards the server at most {limits.MESSAGE_SIZE} bytes.",
                "servers": [{"$ref": "#/servers/visavis"}],
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
            },
            "relay": {
                "address": "/relay",
                "description": (
                    "Where the welcome offers it, with its token as bearer token,"
                    " or as `token.TOKEN` beside the subprotocol `visavis.relay`."
                ),
                "servers": [{"$ref": "#/servers/visavis"}],
                "messages": {
                    "datagrams": {"$ref": "#/components/messages/datagrams"},
                    "error": {"$ref": "#/components/messages/error"},
                },
            },
        },
        "operations": {
            "receive": _operation("receive", "signaling", (files[model] for model in from_clients)),
            "send": _operation("send", "signaling", (files[model] for model in from_server)),
            "relay_receive": _operation("receive", "relay", ("datagrams",)),
            "relay_send": _operation("send", "relay", ("datagrams", "error")),
        },
        "components": {
            "messages": {
                **{name: _message(name, model) for name, model in messages.items()},
                "datagrams": {
                    "name": "datagrams",
                    "contentType": "application/octet-stream",
                    "summary": f"A binary frame, at most {relay.MESSAGE_SIZE} bytes: the {PEER_ID_BYTES} bytes of a "
                    "peer id (to the server the target's, from it the sender's), then what is carried.",
                    "payload": {"type": "string", "format": "binary"},
                },
            }
        },
    }


def _models(union: Any) -> tuple[type[BaseModel], ...]:
    """Return the models of an annotated union."""
    found: tuple[type[BaseModel], ...] = typing.get_args(typing.get_args(union)[0])
    return found


def _operation(action: str, channel: str, names: Iterable[str]) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in names],
    }


def _message(name: str, model: type[BaseModel]) -> dict[str, Any]:
    return {
        "name": model.model_fields["type"].default,
        "title": name,
        "summary": " ".join((model.__doc__ or "").split()),
        "payload": {"schemaFormat": SCHEMA_FORMAT, "schema": {"$ref": f"./{name}.json"}},
    }
