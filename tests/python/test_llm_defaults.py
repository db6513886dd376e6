"""`llm_defaults`: the numbers that docs/policies/llm-defaults.md gives reasons for."""

from __future__ import annotations

from typing import Any

import pytest

import holdfast as hf


def test_the_defaults_are_those_of_the_docs() -> None:
    """Three attempts, a breaker of five, clocks of 120, 30, 30 and 600 seconds."""
    pipeline = hf.llm_defaults()
    assert pipeline.retry is not None
    assert pipeline.retry.attempts == 3
    assert pipeline.timeout == hf.Timeout(600.0, attempt=120.0, first_item=30.0, idle=30.0)
    assert pipeline.breaker is not None
    assert pipeline.breaker.state == "closed"


def test_a_number_changes_the_first_field_only() -> None:
    """`timeout=30` is a total of 30 seconds with the other clocks as they were; likewise the others."""
    pipeline = hf.llm_defaults(timeout=45, retry=5)
    assert pipeline.timeout == hf.Timeout(45.0, attempt=120.0, first_item=30.0, idle=30.0)
    assert pipeline.retry is not None
    assert pipeline.retry.attempts == 5


def test_none_turns_a_policy_off_and_default_does_not() -> None:
    """`None` always means off; `DEFAULT` is the default."""
    pipeline = hf.llm_defaults(retry=None, breaker=None, timeout=None)
    assert (pipeline.retry, pipeline.breaker, pipeline.timeout) == (None, None, None)
    assert hf.llm_defaults(breaker=hf.DEFAULT).breaker is not None


def test_policies_of_one_s_own_stand_as_they_are() -> None:
    """What is given is used, not copied."""
    breaker = hf.CircuitBreaker("mine")
    assert hf.llm_defaults(breaker=breaker).breaker is breaker


def test_nothing_is_shared_between_two() -> None:
    """Every call makes a breaker and a budget of its own."""
    assert hf.llm_defaults().breaker is not hf.llm_defaults().breaker


@pytest.mark.parametrize("fields", [{"retry": 0}, {"breaker": "five"}, {"timeout": -1}, {"validate": 1}])
def test_bad_fields_are_refused_by_name(fields: dict[str, Any]) -> None:
    """The same rules as `Pipeline`'s."""
    with pytest.raises(hf.ConfigurationError):
        hf.llm_defaults(**fields)


def test_an_unknown_field_is_a_type_error() -> None:
    """As for any function."""
    with pytest.raises(TypeError, match="retries"):
        hf.llm_defaults(retries=3)


def test_errors_are_judged_by_the_classifier_for_llm_calls() -> None:
    """A bug is not retried, unlike under the rule for plain functions; a rule of one's own comes first."""
    calls: list[int] = []

    def buggy() -> None:
        calls.append(1)
        raise TypeError("a bug")

    with pytest.raises(TypeError):
        hf.llm_defaults(retry=hf.Retry(3, backoff=0)).call(buggy)
    assert len(calls) == 1
    own = hf.llm_defaults(retry=hf.Retry(3, backoff=0), classify=("TypeError", None, None, None, "fail"))
    with pytest.raises(TypeError):
        own.call(buggy)
    assert len(calls) == 4


def test_the_breaker_opens_after_five_failures_for_ten_seconds_give_or_take() -> None:
    """Five in a row; then refused, with a retry time of 10 s ± 20 %."""
    pipeline = hf.llm_defaults(retry=None)

    def down() -> None:
        raise ConnectionError

    for _ in range(5):
        with pytest.raises(ConnectionError):
            pipeline.call(down)
    with pytest.raises(hf.CircuitOpen) as refused:
        pipeline.call(down)
    assert refused.value.retry_after is not None
    assert 7.9 < refused.value.retry_after < 12.1
