"""Log lines: one an episode."""

import logging

from aiotrack.extension import EpisodeLog


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
