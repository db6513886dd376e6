"""One call of a client's method, as its attempts need it.

Every method of these clients, with all their helpers, ends in one door: `client.request(cast_to, options)`. What
stands here is what may pass through that door more than once: the options, copied for each attempt because the
SDK changes them; a body that can be sent again, or is known not to be; and what the answer must look like.
"""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from holdfast._completion.shape import field, is_a
from holdfast._exceptions import Truncated
from holdfast.clients._substitutes import ClientCall, item_type_of, stand_in

if TYPE_CHECKING:
    from holdfast.clients._streams import ClientCompletion

_RAW = "x-stainless-raw-response"
_SENT_TWICE = (str, bytes, bytearray, list, tuple, type(None))
"""Bodies that can be sent again as they are. Of other iterables it is not known that they begin anew."""


class Call:
    """One call: what was asked, and how its answer is looked at.

    Args:
        client: Whose method was called.
        request: What an attempt calls: `(client, cast_to, options, **more)`.
        cast_to: The type that the answer is to have.
        options: The SDK's description of the request. It is not changed.
        stream: Is a stream of events asked for?
        stream_cls: Its type.
        completion: Looks at answers.
        single: Is one attempt all there may be?

    Attributes:
        events: Is a stream of events asked for?
        raw: How the response itself was asked for: "true" or "raw" (read), "stream" (not read), or not at all.
        opened: The stream of the attempt that is running, or ran last.
        handed_out: The guarded stream that the caller has.
        once: An iterator if the call cannot be repeated, for the driver to see.
    """

    __slots__ = ("__weakref__", "_cast_to", "_client", "_completion", "_options", "_positions", "_request",
                 "_stream_cls", "attempts", "events", "handed_out", "once", "opened", "raw")  # fmt: skip

    def __init__(
        self,
        client: Any,
        request: Callable[..., Any],
        cast_to: Any,
        options: Any,
        stream: bool,
        stream_cls: Any,
        completion: ClientCompletion,
        *,
        single: bool = False,
    ) -> None:
        self._client = client
        self._request = request
        self._cast_to = cast_to
        self._options = options
        self._stream_cls = stream_cls
        self._completion = completion
        self.attempts = 0
        self.opened: Any = None
        self.handed_out: weakref.ref[Any] | None = None
        self.raw = _raw_mode(options)
        self.events = stream and not is_lines(cast_to)
        positions = _positions(options)
        self._positions: list[tuple[Any, int]] = positions or []
        # An argument that is an iterator tells the driver that the call cannot be repeated (A8).
        self.once: Iterator[None] | None = iter(()) if single or positions is None else None

    @property
    def __holdfast_call__(self) -> ClientCall | None:
        """What a fallback asks of the call. A response itself has no substitute."""
        if self.raw is not None:
            return None
        return ClientCall(self, self._client, self._cast_to, self._options, item_type_of(self._stream_cls))

    def stand_in(self) -> Any:
        """A stream for what a fallback answers, where no attempt has opened one."""
        return stand_in(self._client, self._stream_cls)

    def send(self, client: Any, model: str | Mapping[str, str] | None = None) -> Any:
        """One attempt on this client; the answer, or an awaitable of it.

        Args:
            client: Any guarded client of the SDK that the options are from.
            model: The name of the model there, or names by the name that was asked for.
        """
        if self.attempts:
            for content, position in self._positions:
                content.seek(position)
        self.attempts += 1
        more: dict[str, Any] = {} if not self._streams else {"stream": True, "stream_cls": self._stream_cls}
        options = _with_model(self._options, model) if model else self._options.model_copy()
        return self._request(client, self._cast_to, options, **more)

    def change(self, changed: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        """Has each attempt call ``changed(request)``."""
        self._request = changed(self._request)

    @property
    def _streams(self) -> bool:
        return self.events or is_lines(self._cast_to)

    def parsed(self, answer: Any) -> Any:
        """What is in the answer, or an awaitable of it; the answer itself where its body is not read yet."""
        return answer.parse() if self.raw in ("true", "raw") else answer

    def check(self, parsed: Any) -> None:
        """Looks at a whole answer.

        Raises:
            Truncated: It must not be believed.
        """
        if self.raw != "stream":
            self._look(parsed)

    def watched(self, answer: Any) -> Any:
        """The answer. If it is a response whose body is read later, what is parsed from it is looked at then."""
        if self.raw == "stream" and not self._streams:
            answer.parse = _looking(answer, self._look)
        return answer

    def _look(self, parsed: Any) -> None:
        if not self._completion.checks or not _is_model(self._cast_to):
            return
        if self._options.method.lower() == "post":
            self._completion.validate(parsed)
            self._count_vectors(parsed)
        elif isinstance(parsed, str):
            raise Truncated("The answer is no answer but a str.", received=parsed)

    def _count_vectors(self, answer: Any) -> None:
        """As many embeddings as texts: a server that drops one would shift all those after it."""
        if not is_a(answer, "CreateEmbeddingResponse"):
            return
        asked = field(self._options.json_data, "input")
        one = isinstance(asked, str) or (isinstance(asked, list) and asked and isinstance(asked[0], int))
        expected = 1 if one else len(asked) if isinstance(asked, list | tuple) else None
        vectors = [field(one, "embedding") for one in field(answer, "data") or ()]
        if not all(vectors) or (expected is not None and len(vectors) != expected):
            raise Truncated(f"The answer has {len(vectors)} embeddings, some of which may be empty.")


def _looking(response: Any, look: Callable[[Any], None]) -> Any:
    """The response's `parse`; its answer is looked at. What is parsed into another type is the caller's own business.

    On the instance and not in a subclass: whoever asks for the response asks for its type too.
    """
    seen, parse = weakref.ref(response), type(response).parse

    def parsed(**asked: Any) -> Any:
        made = parse(seen(), **asked)
        if not asked:
            look(made)
        return made

    async def aparsed(**asked: Any) -> Any:
        made = await parse(seen(), **asked)
        if not asked:
            look(made)
        return made

    return functools.wraps(parse)(aparsed if inspect.iscoroutinefunction(parse) else parsed)


def is_lines(cast_to: Any) -> bool:
    """Is it one of the SDKs' decoders of JSON lines? They read the body in the consumer's time."""
    return "JSONLDecoder" in getattr(getattr(cast_to, "__origin__", cast_to), "__name__", "")


def _is_model(cast_to: Any) -> bool:
    origin = getattr(cast_to, "__origin__", cast_to)
    return inspect.isclass(origin) and hasattr(origin, "model_fields")


def _raw_mode(options: Any) -> str | None:
    """How the response itself was asked for: "true" or "raw" (read), "stream" (not read), or not at all."""
    headers = options.headers
    if not isinstance(headers, Mapping):
        return None
    return next((value for name, value in headers.items() if name.lower() == _RAW), None)


def _with_model(options: Any, model: str | Mapping[str, str]) -> Any:
    body = options.json_data
    if not isinstance(body, Mapping) or "model" not in body:
        return options.model_copy()
    name = model if isinstance(model, str) else model.get(body["model"], body["model"])
    return options.model_copy(update={"json_data": {**body, "model": name}})


def _positions(options: Any) -> list[tuple[Any, int]] | None:
    """Where the files of the request begin, so that they can be sent again; None if one of them cannot be."""
    found: list[tuple[Any, int]] = []
    for content in _contents(options):
        if isinstance(content, _SENT_TWICE) or hasattr(content, "__fspath__"):
            continue
        try:
            if not content.seekable():
                return None
            found.append((content, content.tell()))
        except (AttributeError, OSError, ValueError):
            return None
    return found


def _contents(options: Any) -> Iterator[Any]:
    yield getattr(options, "content", None)
    files = options.files
    if not isinstance(files, Mapping | list | tuple):
        return
    for _name, file in files.items() if isinstance(files, Mapping) else files:
        yield file[1] if isinstance(file, tuple) and len(file) > 1 else file
