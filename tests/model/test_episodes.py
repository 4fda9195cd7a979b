"""Log lines: one an episode."""

import logging

import pytest

from aiotrack.extension import EpisodeLog, get_logger, printable


def test_an_episode_ends_after_a_minute_and_the_next_says_how_often(caplog):
    now = [0.0]
    log = EpisodeLog(lambda: now[0])
    for _ in range(3):
        log.once(logging.WARNING, "a", "%s went wrong", "it")
    now[0] = 61.0
    log.once(logging.WARNING, "a", "%s went wrong", "it")
    for number in range(2000):
        log.once(logging.DEBUG, number, "another")
    assert [record.message for record in caplog.records if record.levelno == logging.WARNING] == [
        "it went wrong",
        "it went wrong (and 2 times before)",
    ]
    assert len(log._episodes) <= 1024


def test_of_many_episodes_of_one_kind_some_are_said_and_then_that_there_are_more(caplog):
    now = [0.0]
    log = EpisodeLog(lambda: now[0])
    for number in range(10):
        log.one_of(3, logging.WARNING, "refused", number, "event %d refused", number)
        log.one_of(3, logging.WARNING, "other", 0, "another kind")
    said = [record.message for record in caplog.records]
    assert said == [
        "event 0 refused",
        "another kind",
        "event 1 refused",
        "event 2 refused",
        "event 3 refused; and others, that are only counted for a while",
    ]
    now[0] = 61.0
    log.one_of(3, logging.WARNING, "refused", 20, "event %d refused", 20)
    assert caplog.records[-1].message == "event 20 refused"


@pytest.mark.parametrize("text", ["a\nb", "\x1b[31m", "\u2028", "\r\n100% %s", "\x00\ud800"])
def test_a_line_is_one_line_whatever_is_in_it(text, caplog):
    logger = get_logger("aiotrack.of_a_test")
    assert get_logger("aiotrack.of_a_test") is logger
    assert len(logger.filters) == 1
    logger.warning("got %s, 100%%", text)
    logger.warning(text)
    for record in caplog.records:
        assert record.getMessage().isprintable()
    assert caplog.records[0].getMessage() == f"got {printable(text)}, 100%"


def test_a_line_that_needs_no_escapes_keeps_its_arguments(caplog):
    get_logger("aiotrack").warning("%s: %d events", "http", 3)
    assert (caplog.records[0].msg, caplog.records[0].args) == ("%s: %d events", ("http", 3))
