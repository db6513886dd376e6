"""What an exception and the chain behind it say, collected without importing any client.

Every attribute is read guarded and every value is checked by its real type, because what arrives
here is anybody's: properties that raise, mocks whose every attribute is a mock, causes in a circle.
Nothing is awaited, called over the network or read from a socket: of a response only what its
client has already read.
"""

from __future__ import annotations

from .body import read_body
from .words import TELLING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any, Final

MOST_LINKS: Final = 9
"""Exceptions of a chain that are looked at."""
LONGEST_TEXT: Final = 2_000
"""Characters of one message that are looked at: errors are short, echoed prompts are not."""
MOST_HEADERS: Final = 256

_STATUS_ATTRIBUTES = ("status_code", "status", "http_status", "code")
_CODE_ATTRIBUTES = ("code", "error_code", "type", "status", "grpc_status_code")
_INNER_ATTRIBUTES = ("original_exception", "inner", "reason")
_DELAY_HEADERS = frozenset({"retry-after", "retry-after-ms", "x-amz-retry-after", "x-should-retry"})
_LIMIT_HEADERS = ("x-ratelimit-", "anthropic-ratelimit-", "ratelimit-")


class Facts:
    """The facts of one exception and its chain; of each kind the nearest to the top comes first."""

    __slots__ = (
        "codes", "errnos", "headers", "links", "messages", "names", "numbers", "quota_ids",
        "retry_after", "retry_delay", "said_200", "status", "text", "top", "top_names",
    )  # fmt: skip

    def __init__(self, top: BaseException) -> None:
        self.top: BaseException = top
        self.top_names: tuple[str, ...] = mro_names(top)
        self.links: list[BaseException] = []
        self.names: dict[str, None] = {}
        """Of all links, the nearest first."""
        self.status: int | None = None
        self.said_200: bool = False
        self.codes: list[str] = []
        self.numbers: list[int] = []
        self.errnos: set[int] = set()
        self.headers: dict[str, str] = {}
        self.messages: list[str] = []
        self.quota_ids: list[str] = []
        self.retry_delay: str | float | None = None
        self.retry_after: float | None = None
        self.text: str = ""
        """All messages, lower-case."""


def collect(top: BaseException, *, context: bool = True) -> Facts:
    """The facts of `top` and of what is behind it.

    Args:
        top: The exception.
        context: Look also at what was being handled when it was raised (`__context__`). Asked last,
            and only while nothing nearer has said anything: it may have nothing to do with `top`.
    """
    facts = Facts(top)
    waiting: list[BaseException] = [top]
    later: list[BaseException] = []
    while len(facts.links) < MOST_LINKS:
        if not waiting:
            if not (context and later) or _said_something(facts):
                break
            waiting, later = later, []
        link = waiting.pop(0)
        if any(link is seen for seen in facts.links):
            continue
        _read_link(facts, link)
        waiting.extend(_explicitly_behind(link))
        later.extend(_implicitly_behind(link))
    facts.text = "\n".join(facts.messages).lower()
    return facts


def mro_names(exc: object) -> tuple[str, ...]:
    """The names of an object's class and of its ancestors, the nearest first, but the commonest."""
    return tuple(name for name in names_of(type(exc)) if name not in _EVERYONE)


def names_of(cls: type) -> list[str]:
    """The names of a class and of all its ancestors."""
    return [_name_of(ancestor) for ancestor in _mro_of(cls)]


def attributes_of(cls: type) -> set[str]:
    """The names that a class and its ancestors define."""
    return {name for ancestor in _mro_of(cls) for name in _dict_of(ancestor)}


_EVERYONE = frozenset({"object", "BaseException", "Exception"})
# The interpreter's own descriptors: a metaclass cannot come between.
_name_of: Callable[[type], str] = type.__dict__["__name__"].__get__
_mro_of: Callable[[type], tuple[type, ...]] = type.__dict__["__mro__"].__get__
_dict_of: Callable[[type], Mapping[str, object]] = type.__dict__["__dict__"].__get__


def class_name(exc: object) -> str:
    """The name of an object's class, whatever its metaclass says."""
    return _name_of(type(exc))


def read(holder: object, name: str) -> Any:
    """An attribute, or None if there is none or if reading it raises."""
    try:
        return getattr(holder, name, None)
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 a property may raise anything, and it must not hide the user's error
        return None


def is_exception(value: object) -> bool:
    """By the real type: a mock may claim any `__class__`."""
    return issubclass(type(value), BaseException)


def _said_something(facts: Facts) -> bool:
    return facts.status is not None or not TELLING.isdisjoint(facts.names)


def _explicitly_behind(link: BaseException) -> Iterator[BaseException]:
    """What `link` was raised from, or wraps."""
    cause = read(link, "__cause__")
    if is_exception(cause):
        yield cause
    for name in _INNER_ATTRIBUTES:
        inner = read(link, name)
        if is_exception(inner):
            yield inner
    args = read(link, "args")
    for arg in args[:3] if type(args) is tuple else ():
        if is_exception(arg):
            yield arg  # requests wraps urllib3's errors so
    if issubclass(type(link), BaseExceptionGroup):
        yield from members(link)[:1]


def _implicitly_behind(link: BaseException) -> Iterator[BaseException]:
    if read(link, "__cause__") is None and read(link, "__suppress_context__") is False:
        context = read(link, "__context__")
        if is_exception(context):
            yield context


def members(group: object) -> tuple[BaseException, ...]:
    """The members of an exception group, whatever a subclass says of them."""
    found: tuple[BaseException, ...] = BaseExceptionGroup.exceptions.__get__(group)
    return found


def _read_link(facts: Facts, link: BaseException) -> None:
    facts.links.append(link)
    facts.names.update(dict.fromkeys(mro_names(link)))
    for name in _STATUS_ATTRIBUTES:
        _take_status(facts, read(link, name))
    for name in _CODE_ATTRIBUTES:
        _take_code(facts, read(link, name))
    if "RpcError" in facts.names:
        _take_rpc_code(facts, link)
    errno = _whole(read(link, "errno"))
    if errno is not None:
        facts.errnos.add(errno)
    _take_headers(facts, read(link, "headers"))
    _read_response(facts, read(link, "response"))
    _read_response(facts, read(link, "raw_response"))
    for name in ("body", "details", "error"):
        read_body(facts, read(link, name))
    _take_messages(facts, link)
    if facts.retry_after is None:
        facts.retry_after = _seconds(read(link, "retry_after"))


def _read_response(facts: Facts, response: Any) -> None:
    if response is None:
        return
    if issubclass(type(response), dict):  # botocore
        meta: Any = dict.get(response, "ResponseMetadata")
        if issubclass(type(meta), dict):
            _take_status(facts, dict.get(meta, "HTTPStatusCode"))
            _take_headers(facts, dict.get(meta, "HTTPHeaders"))
        read_body(facts, response)
        return
    _take_status(facts, read(response, "status_code"))
    _take_status(facts, read(response, "status"))
    _take_headers(facts, read(response, "headers"))
    # Only what has been read already: `.text` of an unread response of `requests` asks the network.
    own = read(response, "__dict__")
    if type(own) is dict:
        for name in ("_content", "content", "_body", "text"):
            read_body(facts, own.get(name))


def _take_status(facts: Facts, value: object) -> None:
    status = _whole(value)
    if status is None:
        text = _text(value)
        status = int(text) if text and len(text) == 3 and text.isascii() and text.isdigit() else None
    if status is None:
        return
    if 300 <= status <= 599:
        facts.status = facts.status or status
    elif status == 200:
        facts.said_200 = True


def _take_code(facts: Facts, value: object) -> None:
    text = _text(value)
    if text is None and "Enum" in mro_names(value):
        text = _text(read(value, "name"))  # gRPC's status codes
    if text and len(text) <= 100:
        facts.codes.append(text)


def _take_rpc_code(facts: Facts, link: BaseException) -> None:
    """gRPC's errors tell their code by a method."""
    method = read(link, "code")
    if callable(method):
        try:
            _take_code(facts, method())
        except Exception:  # noqa: BLE001 then it has no code to tell
            return


def _take_headers(facts: Facts, headers: Any) -> None:
    if headers is None:
        return
    try:
        pairs = headers if type(headers) in (list, tuple) else headers.items()
        for _, (key, value) in zip(range(MOST_HEADERS), pairs, strict=False):
            name, text = _text(key), _text(value)
            if name is None:
                continue
            name = name.lower()
            if name in _DELAY_HEADERS or name.startswith(_LIMIT_HEADERS):
                text = text if text is not None else _numeral(value)
                if text is not None:
                    facts.headers.setdefault(name, text.strip()[:100])
    except Exception:  # noqa: BLE001 not a mapping after all
        return


def _take_messages(facts: Facts, link: BaseException) -> None:
    found = [_text(read(link, "message"))]
    args = read(link, "args")
    for arg in args[:3] if type(args) is tuple else ():
        found.append(_text(arg))
        if issubclass(type(arg), dict):
            read_body(facts, arg)  # langchain-openai raises ValueError(error of the body)
    if not any(found):
        try:
            found.append(_text(str(link)))
        except Exception:  # noqa: BLE001 a `__str__` that raises says nothing
            return
    facts.messages.extend(text[:LONGEST_TEXT] for text in found if text)


def _text(value: object) -> str | None:
    """An exact `str` from a string of any subclass, or from bytes."""
    if issubclass(type(value), str):
        return str.__str__(value)
    if type(value) is bytes:
        return value.decode("latin-1")
    return None


def _whole(value: object) -> int | None:
    if issubclass(type(value), int) and type(value) is not bool:
        return int.__int__(value)  # type: ignore[arg-type]
    return None


def number(value: object) -> float | None:
    """A float from an int or a float of any subclass, but not from a bool."""
    if issubclass(type(value), float):
        return float.__float__(value)  # type: ignore[arg-type]
    whole = _whole(value)
    if whole is None or abs(whole) > 10**15:
        return None
    return float(whole)


def _seconds(value: object) -> float | None:
    """A number of seconds, or a `timedelta` (a pure look: a mock has every method, but is none)."""
    from datetime import timedelta

    return value.total_seconds() if isinstance(value, timedelta) else number(value)


def _numeral(value: object) -> str | None:
    found = number(value)
    return None if found is None else repr(found)
