"""Verdicts: a pure function of the answer and the time of day."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotrack.model.batch import Answer
from aiotrack.model.verdict import BACKOFF_CAP, Action, Verdict, backoff, judge

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


@pytest.mark.parametrize(
    ("status", "action"),
    [
        *[(status, Action.DELIVERED) for status in (200, 201, 202, 204, 299)],
        *[(status, Action.RETRY) for status in (402, 403, 406, 408, 409, 418, 425, 429, 500, 501, 502, 503, 504, 599)],
        *[(status, Action.BISECT) for status in (400, 422)],
        *[(status, Action.PAUSE) for status in (301, 302, 304, 307, 308, 401, 404, 405, 407, 410)],
        (413, Action.SPLIT),
    ],
)
def test_the_status_decides(status, action):
    assert judge(Answer(status=status), NOW).action is action


def test_no_answer_is_retried_and_silence_without_error_is_success():
    assert judge(Answer(error="ClientConnectorError"), NOW) == Verdict(Action.RETRY)
    assert judge(Answer(), NOW) == Verdict(Action.DELIVERED)


@pytest.mark.parametrize(
    ("text", "delay"),
    [
        ("3", 3.0),
        ("0", 0.0),
        (" 7 ", 7.0),
        ("86400", 300.0),
        ("Tue, 14 Nov 2023 22:13:50 GMT", 30.0),
        ("Tue, 14 Nov 2023 22:00:00 GMT", 0.0),
        ("Tue, 14 Nov 2023 22:13:50 -0000", 30.0),
        ("Tue, 14 Nov 2033 22:13:20 GMT", 300.0),
        ("soon", None),
        ("-5", None),
        ("1.5", 1.5),
        ("1.", 1.0),
        ("1e3", None),
        ("٣", None),
        ("", None),
        ("99999999999999999999999999", 300.0),
        ("Tue, 99 Nov 2023 22:13:50 GMT", None),
    ],
)
@pytest.mark.parametrize("name", ["Retry-After", "retry-after"])
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_read_in_both_its_forms_and_bounded(status, name, text, delay):
    assert judge(Answer(status=status, headers={name: text}), NOW) == Verdict(Action.RETRY, delay)


@given(st.integers(100, 999), st.text(max_size=40))
def test_no_answer_breaks_the_judge(status, text):
    verdict = judge(Answer(status=status, headers={"Retry-After": text}), NOW)
    assert verdict.delay is None or 0 <= verdict.delay <= 300


@given(st.integers(0, 100_000), st.integers())
def test_backoff_is_jittered_and_bounded(failures, seed):
    assert 0.1 <= backoff(failures, random.Random(seed)) <= min(BACKOFF_CAP, 0.5 * 2 ** min(failures, 7))


@pytest.mark.parametrize(
    ("given", "delay"),
    [(float("nan"), None), (-1, 0.0), (float("inf"), 300.0), (10**9, 300.0), (None, None), (2, 2.0)],
)
def test_a_delay_of_a_foreign_verdict_can_be_waited_for(given, delay):
    assert Verdict("retry", given).delay == delay
