"""The REST API as an OpenAPI 3.1 document, from the routes and models that the server names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from visavis_server import __version__
from visavis_server.core.rest.documents import ROUTES, Answer, Route
from visavis_shared import limits

REFERENCE: Final = "#/components/schemas/{model}"
Mode = Literal["validation", "serialization"]
_PHRASES: Final = {HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "Content Too Large"}
"""Where Python's word depends on its version (RFC 9110 section 15.5.14)."""


def openapi() -> dict[str, Any]:
    """Return the document."""
    wanted: list[tuple[type[BaseModel], Mode]] = []
    for route in ROUTES:
        if route.body is not None:
            wanted.append((route.body, "validation"))
        wanted.extend((answer, "serialization") for answer in route.answers.values() if not isinstance(answer, str))
    names, definitions = models_json_schema(list(dict.fromkeys(wanted)), ref_template=REFERENCE)
    paths: dict[str, Any] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method] = _operation(route, names)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "visavis-server",
            "version": __version__,
            "summary": "What a signaling server shows over HTTP, and how its operator governs it.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [
            {
                "url": "{origin}{prefix}",
                "variables": {
                    "origin": {"default": "http://localhost:8080"},
                    "prefix": {"default": "", "description": "What `--path-prefix` says."},
                },
            }
        ],
        "paths": paths,
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {
                "operator": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token of `--admin-token-file`, or a JSON Web Token with the grant `admin`.",
                }
            },
        },
    }


def _operation(route: Route, names: Mapping[Any, dict[str, Any]]) -> dict[str, Any]:
    def content(answer: Answer) -> dict[str, Any]:
        if isinstance(answer, str):
            return {answer: {"schema": {"type": "string"}}}
        return {"application/json": {"schema": names[answer, "serialization"]}}

    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "responses": {
            str(status.value): {"description": _PHRASES.get(status, status.phrase), "content": content(answer)}
            for status, answer in sorted(route.answers.items())
        },
    }
    parameters = [_parameter(name) for name in re.findall(r"\{(\w+)\}", route.path)]
    parameters += [{"name": name, "in": "query", "schema": dict(schema)} for name, schema in route.query.items()]
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        schema = names[route.body, "validation"]
        is_required = bool(route.body.model_fields)
        operation["requestBody"] = {"required": is_required, "content": {"application/json": {"schema": schema}}}
    if route.is_admin:
        operation["security"] = [{"operator": []}]
    return operation


def _parameter(name: str) -> dict[str, Any]:
    schema = {"type": "string", "minLength": 1, "maxLength": limits.ROOM_ID_LENGTH}
    return {"name": name, "in": "path", "required": True, "schema": schema}
