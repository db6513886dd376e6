"""What makes two inputs the same: a digest of arguments by value.

Only the digest leaves this module: it goes into caches, and arguments must not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_DEEPEST = 50
"""Nesting beyond which a value counts as one without a value of its own (it may hold itself)."""


class _NoValueError(Exception):
    """An argument has no value that could be compared: an open file, a lock, an object of no known kind."""


def fingerprint(value: Any) -> str | None:
    """The digest of a value; ``None`` if some part of it has no value of its own."""
    import hashlib

    digest = hashlib.sha256()
    try:
        for part in _parts(value, 0):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
    except _NoValueError:
        return None
    return digest.hexdigest()


def _parts(value: Any, depth: int) -> Iterator[bytes]:
    """The value, flattened; each part is preceded by its length, so that none runs into the next."""
    if depth > _DEEPEST:
        raise _NoValueError
    kind = type(value)
    yield f"{kind.__module__}.{kind.__qualname__}".encode()
    if value is None or kind in (bool, int, float, complex):
        yield repr(value).encode()
    elif kind is str:
        yield value.encode("utf-8", "surrogatepass")
    elif kind in (bytes, bytearray):
        yield bytes(value)
    elif kind in (list, tuple):
        yield str(len(value)).encode()
        for item in value:
            yield from _parts(item, depth + 1)
    elif kind is dict:
        pairs = [(b"".join(_framed(key, depth)), item) for key, item in value.items()]
        yield str(len(pairs)).encode()
        for key, item in sorted(pairs, key=lambda pair: pair[0]):
            yield key
            yield from _parts(item, depth + 1)
    elif kind in (set, frozenset):
        yield from sorted(b"".join(_framed(item, depth)) for item in value)
    else:
        yield from _of_object(value, depth)


def _framed(value: Any, depth: int) -> Iterator[bytes]:
    for part in _parts(value, depth + 1):
        yield len(part).to_bytes(8, "big")
        yield part


def _of_object(value: Any, depth: int) -> Iterator[bytes]:
    """Enums, dataclasses, pydantic models, classes and functions, and what pickles."""
    import enum
    from dataclasses import fields, is_dataclass

    if isinstance(value, type) or hasattr(value, "__code__"):
        if "<" in value.__qualname__:
            raise _NoValueError  # one name for many functions
        yield f"{value.__module__}.{value.__qualname__}".encode()
    elif isinstance(value, enum.Enum):
        yield value.name.encode()
    elif is_dataclass(value):
        yield from _parts({field.name: getattr(value, field.name) for field in fields(value)}, depth + 1)
    elif hasattr(type(value), "model_fields") and hasattr(value, "__dict__"):
        # The id of a message is its place in a conversation, not what it says.
        given = {k: v for k, v in value.__dict__.items() if k != "id" or not hasattr(value, "lc_id")}
        yield from _parts(given, depth + 1)
        yield from _parts(getattr(value, "__pydantic_extra__", None), depth + 1)
    else:
        yield _pickled(value)


def _pickled(value: Any) -> bytes:
    import pickle

    try:
        return pickle.dumps(value, protocol=4)
    except Exception as error:  # a foreign `__reduce__` may raise anything
        raise _NoValueError from error
