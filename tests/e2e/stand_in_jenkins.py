"""A stand-in Jenkins that tests the reverse proxy before it as Jenkins does (PROTOCOLS I.1 to I.3).

Owns: the management page with its session, the crumb, and the two steps of the test: a redirect to
the *configured* root URL with the page's URL, percent-encoded, as one path segment; and there a
comparison with the root URL that the *request* comes to.
"""

from __future__ import annotations

import hashlib
import json
from typing import Final
from urllib.parse import quote, unquote

from tests.peers.raw_origin import OriginConnection, Recorded

MONITOR: Final = "administrativeMonitor/hudson.diagnosis.ReverseProxySetupMonitor"
_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}


class StandInJenkins:
    """The script of a ``RawOrigin``. ``root``: the URL that is set in Jenkins, with its slash.

    ``prefix``: its context path. ``requests``: the request lines it has seen.
    """

    def __init__(self, root: str, prefix: str) -> None:
        self.root = root
        self.prefix = prefix
        self.requests: list[str] = []

    async def __call__(self, connection: OriginConnection) -> None:
        """Answer one request."""
        request = await connection.read_request()
        line = request.line.decode()
        self.requests.append(line)
        method, target, _ = line.split(" ")
        await connection.send(self._answer(method, target, request))

    def _answer(self, method: str, target: str, request: Recorded) -> bytes:
        if not target.startswith(f"{self.prefix}/"):
            return _answer(404, f"not below {self.prefix}")
        path = target.removeprefix(f"{self.prefix}/")
        session = self._session(request)
        crumb = hashlib.sha256(f"admin;{session}".encode()).hexdigest()
        test = f"{MONITOR}/testForReverseProxySetup/"
        if (method, path) == ("GET", "manage/"):
            cookie = f"JSESSIONID.5e55104e=made-up; Path={self.prefix or '/'}; HttpOnly"
            return _answer(200, "Manage Jenkins", f"Set-Cookie: {cookie}")
        if (method, path) == ("GET", "crumbIssuer/api/json"):
            body = {"crumbRequestField": "Jenkins-Crumb", "crumb": crumb}
            return _answer(200, json.dumps(body))
        if (method, path) == ("POST", f"{MONITOR}/test"):
            if _get(request, "Jenkins-Crumb") != crumb:
                return _answer(403, "No valid crumb was included in the request")
            referer = quote(_get(request, "Referer"), safe="")
            return _answer(302, "", f"Location: {self.root}{test}{referer}/")
        if method == "GET" and path.startswith(test):
            # Stapler hands over one segment, decoded; what follows it is another matter.
            page = unquote(path.removeprefix(test).split("/")[0])
            inferred = f"{self.root_of(request)}manage"
            if page.startswith(inferred):
                return _answer(200, "")
            return _answer(404, f"{inferred} vs. {page}")
        return _answer(404, path)

    def _session(self, request: Recorded) -> str:
        cookies = dict(
            part.strip().partition("=")[::2] for part in _get(request, "Cookie").split(";")
        )
        return cookies.get("JSESSIONID.5e55104e", "none yet")

    def root_of(self, request: Recorded) -> str:
        """Return the root URL that the request comes to, as ``getRootUrlFromRequest`` does."""
        scheme = _get(request, "X-Forwarded-Proto").partition(",")[0].strip() or "http"
        host = _get(request, "X-Forwarded-Host").partition(",")[0].strip() or _get(request, "Host")
        host, _, port = host.partition(":")
        port = _get(request, "X-Forwarded-Port").partition(",")[0].strip() or port
        default = _DEFAULT_PORTS[scheme]
        authority = host if (port or default) == default else f"{host}:{port}"
        return f"{scheme}://{authority}{self.prefix}/"


def _get(request: Recorded, name: str) -> str:
    value = request.get(name.encode())
    return "" if value is None else value.decode("latin-1")


def _answer(status: int, body: str, *fields: str) -> bytes:
    lines = [
        f"HTTP/1.1 {status} -",
        *fields,
        "X-Jenkins: 2.516",
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode() + body.encode()
