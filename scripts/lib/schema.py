"""Write docs/schema/ or check it for drift (`--check`): messages as JSON Schema (2020-12), OpenAPI, and AsyncAPI."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel
from scripts.lib.asyncapi import asyncapi
from scripts.lib.openapi import openapi

from visavis_shared import messages

DIRECTORY: Final = Path(__file__).parent.parent.parent / "docs" / "schema"
MODELS: Final[dict[str, type[BaseModel]]] = {
    "join": messages.Join,
    "leave": messages.Leave,
    "discover": messages.Discover,
    "keep_alive": messages.KeepAlive,
    "resume": messages.Resume,
    "room": messages.GovernRoom,
    "kick": messages.Kick,
    "offer": messages.Offer,
    "answer": messages.Answer,
    "candidate": messages.CandidateMessage,
    "peer_joined": messages.PeerJoined,
    "peer_left": messages.PeerLeft,
    "peer_list": messages.PeerList,
    "error": messages.ErrorMessage,
    "ack": messages.Ack,
    "resume_refresh": messages.ResumeRefresh,
    "goaway": messages.GoAway,
    "notice": messages.Notice,
    # what the payload of an ACK is when it welcomes, and when it answers JOIN
    "ack_payload_welcome": messages.WelcomePayload,
    "ack_payload_join": messages.MembersPayload,
    "ack_payload_resume": messages.ResumedPayload,
}


def schemas() -> dict[str, str]:
    """Return the content of each file by its name."""
    documents = {name: _schema(model) for name, model in MODELS.items()}
    documents |= {"openapi": openapi(), "asyncapi": asyncapi(MODELS)}
    return {f"{name}.json": _written(document) for name, document in documents.items()}


def _written(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    document = {"$schema": "https://json-schema.org/draft/2020-12/schema", **model.model_json_schema()}
    if "type" in document["properties"]:
        # it has a default for who builds a message, and must be there for who reads one
        document["required"] = sorted({"type", *document.get("required", ())})
    return document


def drift() -> list[str]:
    """Return the names of files that are missing, outdated or left over."""
    wanted = schemas()
    found = {path.name: path.read_text(encoding="utf-8") for path in DIRECTORY.glob("*")}
    return sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))


def main(arguments: list[str]) -> int:
    """Return the exit code: 1 when a check finds drift."""
    if arguments == ["--check"]:
        for name in drift():
            print(f"docs/schema/{name} is not what the models say: run scripts/schema", file=sys.stderr)
        return 1 if drift() else 0
    if arguments:
        print("usage: scripts/schema [--check]", file=sys.stderr)
        return 2
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    for name in drift():
        (DIRECTORY / name).unlink(missing_ok=True)
    for name, text in schemas().items():
        (DIRECTORY / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
