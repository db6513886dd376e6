"""The validator and the governors of one guard, and what they remember of its nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from holdfast._completion import anthropic, langchain, openai
from holdfast._completion.governor import Governor, withheld
from holdfast._completion.rules import MARKED, fault
from holdfast._exceptions import Truncated, refuse

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast._completion.governor import Reader
    from holdfast._completion.rules import Answer


class Kind(NamedTuple):
    """How the answers of one kind of client are read.

    Attributes:
        read: What a whole answer shows; None if it is nothing that we know.
        reader: Makes the reader of one stream.
        message: What a user's own validator is given of a whole answer.
        without_calls: The answer without its tool calls, for `Truncated.received`.
    """

    read: Callable[[Any], Answer | None]
    reader: Callable[[], Reader]
    message: Callable[[Any], Any]
    without_calls: Callable[[Any], Any]


def _itself(answer: Any) -> Any:
    return answer


_KINDS: Final = {
    "langchain": Kind(langchain.read, langchain.ChunkReader, langchain.message_of, langchain.without_calls),
    "openai": Kind(openai.read, openai.StreamReader, _itself, openai.text_of),
    "anthropic": Kind(anthropic.read, anthropic.EventReader, _itself, anthropic.text_of),
}


class Completion:
    """The validator and the governors of one guard.

    Args:
        kind: ``"langchain"``, ``"openai"`` or ``"anthropic"``.
        check: Are answers checked? If not, only empty beginnings are held back.
        own: The user's validator, asked after ours: it is given what the user would get, and raises or
            returns ``False`` to refuse it. Of a stream it is asked at the end, where its chunks add up to
            what it would be given of a whole answer: LangChain's do.
        demanding: Is something that is no answer of this kind refused? Not where plain functions may
            answer too.

    Raises:
        ConfigurationError: There is no such kind.
    """

    def __init__(
        self,
        kind: str,
        *,
        check: bool = True,
        own: Callable[[Any], object] | None = None,
        demanding: bool = True,
    ) -> None:
        found = _KINDS.get(kind)
        if found is None:
            raise refuse("kind", f"be one of {', '.join(map(repr, _KINDS))}", kind)
        self._kind = found
        self._check = check
        self._own = own
        self._demanding = demanding
        self._told: dict[str | None, bool] = {}
        # Nodes (and the provider that answered there) that have shown an end marker. As many as there are.
        self._shown: set[tuple[str | None, str | None]] = set()

    def tell(self, node: str | None, marks: bool) -> None:
        """Tells whether every answer of a node has an end marker, where it is known beforehand."""
        self._told[node] = marks

    def validate(self, value: Any) -> None:
        """Looks at a whole answer.

        Raises:
            Truncated: It must not be believed.
        """
        answer = self._kind.read(value)
        if answer is None:
            if self._demanding and (value is None or isinstance(value, str | bytes)):
                raise Truncated(f"The answer is no answer but {_what(value)}.", received=value)
            self._ask_own(value, value)
            return
        try:
            self._judge(answer)
        except Truncated as refused:
            refused.received = self._kind.without_calls(value)
            raise
        self._ask_own(self._kind.message(value), value)

    def governor(self) -> Governor:
        """The governor of one attempt at a stream."""
        return Governor(
            self._kind.reader(),
            self._judge_stream if self._check else None,
            demanding=self._demanding,
            withhold=withheld.get() is self,
        )

    def _judge_stream(self, answer: Answer, whole: Callable[[], Any]) -> None:
        self._judge(answer)
        said = None if self._own is None else whole()
        if said is not None:
            self._ask_own(said, None)

    def _judge(self, answer: Answer) -> None:
        where = (answer.node, answer.provider)
        told = self._told.get(answer.node)
        required = told if told is not None else answer.provider in MARKED
        why = fault(answer, required or where in self._shown)
        if why is not None:
            raise Truncated(f"The answer {why}.")
        if answer.ended:
            self._shown.add(where)

    def _ask_own(self, said: Any, received: Any) -> None:
        if self._own is not None and self._own(said) is False:
            raise Truncated("The answer was refused by validate.", received=received)


def _what(value: Any) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"
