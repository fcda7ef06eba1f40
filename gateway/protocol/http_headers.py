"""Header fields of one message, in the order and the case in which they came (RFC 9110 section 5).

Owns: case-insensitive look-up over an ordered list that is never reordered, merged or re-cased,
and the edits a gateway makes to such a list.

Must not know: which fields mean what, and whether they are well-formed: the gate (``http_head``)
has seen to that for everything that was received.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

Field = tuple[bytes, bytes]
"""A field name and its value, without the colon and the white space around the value."""


class Headers:
    """An immutable, ordered list of fields. Names are looked up without regard to case.

    By looking through the list: at the ten fields of most heads that takes less than making an
    index would, and the gate lets no more than some hundred pass.
    """

    __slots__ = ("_fields", "_names")

    def __init__(self, fields: Iterable[Field] = ()) -> None:
        self._fields: tuple[Field, ...] = tuple(fields)
        self._names: list[bytes] = [name.lower() for name, _ in self._fields]

    def with_lowered_names(self) -> Iterator[tuple[Field, bytes]]:
        """Return each field together with its name in lower case."""
        return zip(self._fields, self._names, strict=True)

    def get(self, name: bytes) -> bytes | None:
        """Return the value of the first field called ``name``, or None where there is none."""
        name = name.lower()
        if name not in self._names:
            return None
        return self._fields[self._names.index(name)][1]

    def get_all(self, name: bytes) -> list[bytes]:
        """Return the values of all fields called ``name``, in order."""
        name = name.lower()
        count = self._names.count(name)
        if count < 2:
            return [self._fields[self._names.index(name)][1]] if count else []
        return [field[1] for field, each in self.with_lowered_names() if each == name]

    def elements(self, name: bytes) -> list[bytes]:
        """Return the members of a comma-separated list that may be spread over several fields.

        Lower-cased, without white space and empty members; quoted strings are not understood.
        """
        values = self.get_all(name)
        if not values:
            return []
        stripped = (element.strip(b" \t") for value in values for element in value.split(b","))
        return [element.lower() for element in stripped if element]

    def without(self, names: Iterable[bytes]) -> Headers:
        """Return a copy that lacks every field called one of ``names``."""
        unwanted = {name.lower() for name in names}
        return Headers(field for field in self._fields if field[0].lower() not in unwanted)

    def with_(self, *fields: Field) -> Headers:
        """Return a copy in which each of ``fields`` takes the place of the first of its name.

        Further fields of that name disappear; a field that was not there is appended.
        """
        pending = {name.lower(): (name, value) for name, value in fields}
        replaced = set(pending)
        result: list[Field] = []
        for field in self._fields:
            key = field[0].lower()
            if key not in replaced:
                result.append(field)
            elif key in pending:
                result.append(pending.pop(key))
        return Headers([*result, *pending.values()])

    def __contains__(self, name: bytes) -> bool:
        return name.lower() in self._names

    def __iter__(self) -> Iterator[Field]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __eq__(self, other: object) -> bool:
        return self._fields == other._fields if isinstance(other, Headers) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._fields)

    def __repr__(self) -> str:
        # Values hold secrets (Secret-Key, Authorization, Cookie): names are enough to recognise a
        # head.
        return f"<Headers {', '.join(name.decode('latin-1') for name, _ in self._fields)}>"
