"""As much of a Kubernetes API server as a client needs that only looks: who it is, which kinds it
has, and that nothing is there yet. Whatever would change something is refused, and counted.

Written from the public API conventions (discovery: ``/version``, ``/api``, ``/apis``; a missing
object is 404 with a Status).
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import trio

VERSION: Final = {"major": "1", "minor": "34", "gitVersion": "v1.34.0"}
# By group and version: kind and name in paths.
KINDS: Final[Mapping[str, Sequence[tuple[str, str]]]] = {
    "v1": (
        ("ConfigMap", "configmaps"),
        ("Secret", "secrets"),
        ("Service", "services"),
        ("ServiceAccount", "serviceaccounts"),
    ),
    "apps/v1": (("Deployment", "deployments"),),
}


class KubernetesApi:
    """An empty cluster. ``url``: where it is; ``changes``: request lines that would change it."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.changes: list[str] = []

    async def serve(self, stream: trio.SocketStream) -> None:
        """Answer one request and close."""
        async with stream:
            head = b""
            while b"\r\n\r\n" not in head:
                data = await stream.receive_some()
                if not data:
                    return
                head += data
            line = head.partition(b"\r\n")[0].decode()
            method, target, _ = line.split(" ")
            status, body = self._answer(method, target.partition("?")[0])
            if method != "GET":
                self.changes.append(line)
            content = json.dumps(body).encode()
            fields = (
                f"HTTP/1.1 {status} -",
                "Content-Type: application/json",
                f"Content-Length: {len(content)}",
                "Connection: close",
            )
            await stream.send_all("".join(f"{each}\r\n" for each in (*fields, "")).encode())
            await stream.send_all(content)

    def _answer(self, method: str, path: str) -> tuple[int, dict[str, Any]]:
        found = _discovery(path) if method == "GET" else None
        if found is not None:
            return 200, found
        status = 404 if method == "GET" else 403
        reason = "NotFound" if method == "GET" else "Forbidden"
        return status, {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "reason": reason,
            "code": status,
        }


def _discovery(path: str) -> dict[str, Any] | None:
    if path == "/version":
        return VERSION
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        groups = [each.split("/") for each in KINDS if "/" in each]
        versions = {
            group: {"groupVersion": f"{group}/{name}", "version": name} for group, name in groups
        }
        return {
            "kind": "APIGroupList",
            "apiVersion": "v1",
            "groups": [
                {"name": group, "versions": [each], "preferredVersion": each}
                for group, each in versions.items()
            ],
        }
    found = re.fullmatch(r"/apis?/(.+)", path)
    if found is None or found[1] not in KINDS:
        return None
    resources = [
        {"name": name, "singularName": kind.lower(), "kind": kind, "namespaced": True, "verbs": []}
        for kind, name in KINDS[found[1]]
    ]
    return {"kind": "APIResourceList", "groupVersion": found[1], "resources": resources}


@asynccontextmanager
async def empty_cluster() -> AsyncIterator[KubernetesApi]:
    """Serve one inside the block."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    api = KubernetesApi(listener.socket.getsockname()[1])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(trio.serve_listeners, api.serve, [listener]))
        yield api
        nursery.cancel_scope.cancel()
