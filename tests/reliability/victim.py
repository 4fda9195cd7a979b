"""A program that is killed: it tracks into a file buffer and says which events were accepted.

victim.py FOLDER URL track    track until killed; each line on stdout is the id of an accepted event
victim.py FOLDER URL drain    send what is left, and say how many events were found
"""

import asyncio
import sys

import aiotrack

TASKS = 20


def client(folder, url, batch_size):
    return aiotrack.Client(
        aiotrack.HTTPDestination(url), buffer=aiotrack.FileBuffer(folder), batch_size=batch_size, flush_interval=0.05
    )


async def track(folder, url):
    async with client(folder, url, 50) as tracking:
        user = tracking.create_user_context("u", {"plan": "gold"})

        async def one():
            while True:
                result = await user.track_event("k", {"text": "x" * 100})
                assert result, result.refused
                sys.stdout.write(result.event_id + "\n")
                sys.stdout.flush()

        await asyncio.gather(*(one() for _ in range(TASKS)))


async def drain(folder, url):
    async with client(folder, url, 500) as tracking:
        report = await tracking.flush(timeout=5)
        while report.pending:  # the server fails at random; a flush tries again at once
            report = await tracking.flush(timeout=5)
        total = tracking.stats().total
        assert total.accepted == total.delivered + total.dead + total.dropped + total.pending
        assert (report.pending, total.dead, total.dropped) == (0, 0, 0), report
        sys.stdout.write(f"{total.recovered}\n")


if __name__ == "__main__":
    _, folder, url, what = sys.argv
    asyncio.run({"track": track, "drain": drain}[what](folder, url))
