"""A stand-in for W&B's server on loopback: as much of its GraphQL as the dashboard needs."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "0123456789abcdef" * 2 + "01234567"
ENTITY, PROJECT, PERSON = "me", "joystick", "myself"
PAGE = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}


def edges(*nodes: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"node": node, "cursor": str(i)} for i, node in enumerate(nodes)]


@dataclass
class Stub:
    """What the server has, and what it was asked."""

    protocols: tuple[str, ...] = ()
    """Of its runs."""
    artifacts: dict[str, list[str]] = field(default_factory=dict)
    views: list[dict[str, Any]] = field(default_factory=list)
    """As `upsertView` received them, with "id" and "user" added."""
    requests: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """The operations' names and variables."""
    refused: list[str] = field(default_factory=list)
    """Keys that were not `KEY`."""
    url: str = ""

    def answer(self, operation: str, asked: dict[str, Any]) -> dict[str, Any]:
        answers: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "Viewer": self.viewer,
            "GetViewer": self.viewer,
            "GetDefaultEntity": self.viewer,
            "ServerFeaturesQuery": lambda _: {"serverInfo": {"features": []}},
            "Runs": self.runs,
            "ProjectArtifactTypes": self.artifact_types,
            "ArtifactTypeArtifactCollections": self.collections,
            "ProjectArtifactCollections": self.collections,
            "GetProjects": self.projects,
            "ProjectInternalId": lambda _: {"project": {"id": "p", "internalId": "1"}},
            "Views": self.saved,
            "UpsertView2": self.save,
            "upsertView": self.save,
        }
        return answers[operation](asked)

    def viewer(self, asked: dict[str, Any]) -> dict[str, Any]:
        teams = {"edges": edges({"name": "team"})}
        who = {"id": "1", "name": "Me", "username": PERSON, "entity": ENTITY, "email": "me@x.org"}
        rest = {"flags": "{}", "admin": False, "deletedAt": None, "apiKeys": {"edges": []}}
        return {"viewer": {**who, **rest, "teams": teams}}

    def known(self, asked: dict[str, Any]) -> bool:
        name = asked.get("entity") or asked.get("entityName")
        return (name, asked.get("project") or asked.get("projectName")) == (ENTITY, PROJECT)

    def runs(self, asked: dict[str, Any]) -> dict[str, Any]:
        if not self.known(asked):
            return {"project": None}
        nodes = [
            {
                "id": str(i),
                "projectId": "1",
                "tags": [],
                "name": f"run{i}",
                "displayName": f"run {i}",
                "state": "finished",
                "config": json.dumps({"protocol": {"value": protocol}} if protocol else {}),
                "summaryMetrics": "{}",
                "systemMetrics": "{}",
                "historyKeys": None,
                "createdAt": "2026-11-22T00:00:00Z",
            }
            for i, protocol in enumerate(self.protocols)
        ]
        found = {"edges": edges(*nodes), "pageInfo": PAGE}
        count = {"internalId": "1", "runCount": len(nodes), "readOnly": False}
        return {"project": {**count, "runs": found}}

    def artifact_types(self, asked: dict[str, Any]) -> dict[str, Any]:
        rest = {"__typename": "ArtifactType", "description": None, "createdAt": "2026-11-22"}
        nodes = [{"id": name, "name": name, **rest} for name in self.artifacts]
        return {"project": {"artifactTypes": {"edges": edges(*nodes), "pageInfo": PAGE}}}

    def collections(self, asked: dict[str, Any]) -> dict[str, Any]:
        owner = {"id": "p", "internalId": "1", "name": PROJECT, "entity": {"name": ENTITY}}
        nodes = [
            {
                "__typename": "ArtifactSequence",
                "id": name,
                "name": name,
                "description": None,
                "createdAt": "2026-11-22",
                "updatedAt": None,
                "project": owner,
                "type": {"name": asked["type"]},
                "tags": {"edges": []},
            }
            for name in self.artifacts[asked["type"]]
        ]
        found = {"totalCount": len(nodes), "pageInfo": PAGE, "edges": edges(*nodes)}
        return {"project": {"artifactType": {"artifactCollections": found}}}

    def projects(self, asked: dict[str, Any]) -> dict[str, Any]:
        rest = {"createdAt": "2026-11-22", "isBenchmark": False, "user": None}
        node = {"__typename": "Project", "id": "p", "name": PROJECT, "entityName": ENTITY, **rest}
        return {"models": {"pageInfo": PAGE, "edges": edges(node)}}

    def saved(self, asked: dict[str, Any]) -> dict[str, Any]:
        found = [view for view in self.views if view["type"] == asked["type"]]
        return {"project": {"allViews": {"edges": edges(*found)}}}

    def save(self, asked: dict[str, Any]) -> dict[str, Any]:
        known = {view["id"]: view for view in self.views}
        inserted = not asked.get("id")
        view = {"id": f"view{len(known)}"} if inserted else known[asked["id"]]
        view |= {**asked, "id": view["id"], "user": {"username": PERSON}}
        if inserted:
            self.views.append(view)
        whose = {"id": "p", "name": asked["projectName"], "entityName": asked["entityName"]}
        return {"upsertView": {"view": {**view, "project": whose}, "inserted": inserted}}

    def spec(self, kind: str) -> dict[str, Any]:
        """What the only view of a kind shows."""
        (view,) = [view for view in self.views if view["type"] == kind]
        return json.loads(view["spec"])


def serve(stub: Stub) -> ThreadingHTTPServer:
    """Serve it on a free port; `shutdown` ends it."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path != "/graphql":  # W&B's client also tells how it fares.
                return self.reply(404, {})
            body = json.loads(data)
            given = base64.b64decode(self.headers["Authorization"].removeprefix("Basic ")).decode()
            named = re.search(r"(?:query|mutation)\s+(\w+)", body["query"])
            assert named
            asked = body.get("variables") or {}
            stub.requests.append((named[1], asked))
            if given != f"api:{KEY}":
                stub.refused.append(given)
                return self.reply(401, {"errors": [{"message": "user is not logged in"}]})
            return self.reply(200, {"data": stub.answer(named[1], asked)})

        def reply(self, status: int, values: dict[str, Any]) -> None:
            data = json.dumps(values).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stub.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
