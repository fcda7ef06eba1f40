"""Paths that lead Jenkins back to its root, where every action exists a second time.

Owns: where in a path Jenkins may begin at its root again. Stapler goes from object to object, one
segment at a time, and some objects lead back to where it began:

* ``/manage/x`` is ``/x``: ``ManageJenkinsAction`` falls back to ``Jenkins`` (2.360 and newer).
* A getter that returns the root: ``Jenkins.getItemGroup``; ``getOwner`` and ``getOwnerItemGroup``
  of a ``View`` (the primary one, to which ``Jenkins`` falls back, so ``/owner/x`` as well);
  ``AbstractItem.getParent``; ``Computer.getNode``, ``AbstractProject.getLastBuiltOn`` and
  ``AbstractBuild.getBuiltOn``, where the node is the built-in one. All of them return types that
  Stapler routes through (``TypedFilter``).
* ``/view/NAME/x`` is ``/x`` where x is a root action (``View.getActions`` had the owner's up
  to 2.513) or ``job/NAME`` (``View.getJob``); ``primaryView``, ``ownerPrimaryView`` and
  ``proxiedView`` are views, and those of users are below ``my-views``.
* ``context/jenkins`` of the credentials plugin, which most controllers have: its dialogs are below
  ``/descriptor/.../context/jenkins/``, which core's ``default-whitelist.txt`` allows.

Must not know: routes, what is at the root, how a path is spelled (it gets decoded segments).

Files are no objects: what is below ``/job/NAME/ws/``, ``/job/NAME/1/artifact/`` and
``/userContent/`` is passed over, since folders called ``node`` or ``parent`` are many.

The list is of Jenkins core. A plugin may add a getter of its own that leads to the root; for the
CLI there is a second line (``exposure``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway.errors import RemoteProtocolError

_MANAGE: Final = b"manage"
_GETTERS: Final = frozenset(
    {
        b"builtOn",
        b"itemGroup",
        b"lastBuiltOn",
        b"node",
        b"owner",
        b"ownerItemGroup",
        b"parent",
    }
)
_VIEW: Final = b"view"
_VIEWS: Final = frozenset({b"my-views", b"ownerPrimaryView", b"primaryView", b"proxiedView"})
_CONTEXT: Final = b"context"
# The segment behind one of these is a name of somebody's choice.
_NAMING: Final = frozenset({b"job", _VIEW})
NAMES: Final = _GETTERS | _VIEWS | {_MANAGE, _VIEW, _CONTEXT}
# Nobody goes back and forth; each costs a decision.
_MOST: Final = 8


@dataclass(frozen=True, slots=True)
class Alias:
    """``path`` is what Jenkins may serve as well; ``whole``: all of the root, not only actions."""

    path: bytes
    whole: bool


def aliases_of(path: bytes) -> list[Alias]:
    """Return what else a decoded path below the controller's prefix may be to Jenkins.

    Raises RemoteProtocolError for a path that goes back more than eight times.
    """
    segments = path.split(b"/")[1:]
    if NAMES.isdisjoint(segments):
        return []
    found = []
    roots = {0}
    for index, at, whole in _restarts(segments[: _end_of_objects(segments)]):
        if segments[index] == _MANAGE and (index not in roots or segments[at:] in ([], [b""])):
            continue  # a name like another, or the page itself
        roots.add(at)
        if len(roots) > _MOST:
            raise RemoteProtocolError("the path must be written plainly")
        found.append(Alias(b"/" + b"/".join(segments[at:]), whole))
    return found


def leads_to(segments: Sequence[bytes], names: frozenset[bytes]) -> bool:
    """Say whether one of ``names`` stands where Jenkins may begin at its root again.

    ``segments`` may begin with the controller's prefix; so ``manage`` counts wherever it is.
    """
    return any(at < len(segments) and segments[at] in names for _, at, _ in _restarts(segments))


def _end_of_objects(segments: Sequence[bytes]) -> int:
    """Return where the names of files begin, in a path from the root."""
    if segments[0] == b"userContent":
        return 0
    at, in_job = 0, False
    while at < len(segments) and segments[at] in _NAMING:
        in_job = segments[at] == b"job"
        at += 2
    if not in_job:
        return len(segments)
    if segments[at : at + 1] == [b"ws"]:
        return at
    if segments[at + 1 : at + 2] == [b"artifact"] and segments[at] not in NAMES:
        return at + 1
    return len(segments)


def _restarts(segments: Sequence[bytes]) -> list[tuple[int, int, bool]]:
    """Return the places of aliases, what is behind each, and whether all of the root is there."""
    found = []
    for index, segment in enumerate(segments):
        if segment == _MANAGE or (segment in _GETTERS and not _is_step(segments, index)):
            found.append((index, index + 1, True))
        elif segment in _VIEWS:
            found.append((index, index + 1, False))
        elif segment in {_VIEW, _CONTEXT} and index + 1 < len(segments):
            found.append((index, index + 2, segment == _CONTEXT))
    return found


def _is_step(segments: Sequence[bytes], index: int) -> bool:
    """Say whether this is ``execution/node``, a step of a pipeline and no object's node."""
    return index > 0 and segments[index - 1] == b"execution" and segments[index] == b"node"
