"""One exchange as people read it: the request, the answer, what it means; and as a curl command.

Owns: the layout, and that no secret is in it: values of fields that hold one are masked in what is
shown, and come from a file in the curl command.

Must not know: how the exchange was made.
"""

from __future__ import annotations

import shlex
from typing import Final

from gateway.demo.agent_http import Answer
from gateway.doctor.question import MASK, Question
from gateway.doctor.render import safe

_SECRET: Final = frozenset(
    {"secret-key", "connection-cookie", "cookie", "set-cookie", "authorization"}
)
_MOST_BODY: Final = 400


def request_lines(request: bytes) -> list[str]:
    """Return a request's head, secrets masked."""
    first, *rest = request.decode("latin-1").split("\r\n\r\n")[0].split("\r\n")
    return [safe(first), *(_field(*line.partition(":")[::2]) for line in rest)]


def answer_lines(answer: Answer) -> list[str]:
    """Return an answer's head, secrets masked, and the beginning of its body."""
    lines = [f"HTTP/1.1 {answer.status} {safe(answer.reason)}".rstrip()]
    lines += [_field(name, value) for name, value in answer.headers]
    body = answer.body.decode("utf-8", "replace").strip()
    if body:
        shown = body if len(body) <= _MOST_BODY else f"{body[:_MOST_BODY]}..."
        lines += ["", *(safe(line) for line in shown.splitlines())]
    return lines


def _field(name: str, value: str) -> str:
    shown = MASK if name.strip().lower() in _SECRET else safe(value.strip())
    return f"{safe(name.strip())}: {shown}"


def curl_command(question: Question, request: bytes) -> str:
    """Return the curl command that sends the same request; the secret is read from $SECRET_FILE.

    The secret goes to curl in a file of headers, so that it is not seen in the list of processes.
    """
    _, *lines = request.decode("latin-1").split("\r\n\r\n")[0].split("\r\n")
    fields = [line.partition(":")[::2] for line in lines]
    command = ["curl --http1.1 --include --no-buffer --max-time 10"]
    if question.ca_file is not None:
        command.append(f"--cacert {shlex.quote(str(question.ca_file))}")
    if question.connect_to is not None:
        host, port = question.connect_to
        command.append(f"--connect-to {shlex.quote(f'::{host}:{port}')}")
    for name, value in fields:
        if name.lower() == "secret-key":
            command.append('-H @<(printf \'Secret-Key: %s\' "$(cat "$SECRET_FILE")")')
        elif name.lower() != "host":
            command.append(f"-H {shlex.quote(f'{name}: {value.strip()}')}")
    command.append(shlex.quote(question.url_of("wsagents/")))
    return " \\\n  ".join(command)
