"""A worker's question to all the others.

Owns: that the first answer is enough, and that a question nobody waits for any more is withdrawn.

Must not know: what is asked.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import trio

from gateway.server.children import Child, State
from gateway.server.control import Message


async def ask_others(
    asker: Child, message: Message, children: Iterable[Child], tasks: trio.Nursery
) -> Message:
    """Answer a worker's question: what the first of the others has to say, or how many of them
    have not answered. Where nobody waits for the rest any more, that is withdrawn.

    ``tasks`` outlive the asker.
    """
    question = str(message.get("question"))
    more = {k: v for k, v in message.items() if k not in ("type", "id", "question")}
    more["by"] = f"{asker.process.pid}:{message.get('id')}"
    found: Message = {"session": None, "unanswered": 0}
    others = {
        child for child in children if child is not asker and child.state is not State.STARTING
    }
    open_ones = set(others)
    done = trio.Event()

    async def ask(child: Child) -> None:
        answer = await child.ask(question, **more)
        open_ones.discard(child)
        if answer is None or "error" in answer:
            found["unanswered"] += 1
        elif answer.get("session") is not None:  # one that is gone has none
            found.update(session=answer["session"], worker=child.process.pid)
        if not open_ones or found["session"] is not None:
            done.set()

    for child in others:
        tasks.start_soon(ask, child)
    try:
        if others:
            await done.wait()
    finally:
        for child in open_ones:
            tasks.start_soon(partial(child.tell, "withdraw", by=more["by"]))
    return found
