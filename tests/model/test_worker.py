"""A thread for work that blocks."""

import pytest

from aiotrack.model.worker import Worker


async def test_a_job_that_raises_is_named_and_the_next_is_done(caplog):
    def fails():
        raise OSError("disk")

    worker = Worker("test")
    worker.submit(fails)
    assert await worker.run(lambda: 7) == 7
    assert "aiotrack test: a job failed with OSError" in caplog.text
    worker.stop()


async def test_what_a_job_raises_belongs_to_who_waits_for_it(caplog):
    def fails():
        raise OSError("disk")

    worker = Worker("test")
    with pytest.raises(OSError, match="disk"):
        await worker.run(fails)
    assert not caplog.text
    worker.stop()
