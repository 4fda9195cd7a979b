"""The ways to track an event that are compared: the bare loop, aiotrack, other SDKs as their docs advise.

Where an SDK drops events once its queue is full, it gets one that holds them all. Each runs in a process of its own.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import queue
from collections import deque
from collections.abc import Awaitable
from importlib import metadata
from typing import Any

import aiohttp

import aiotrack

from .work import ATTRIBUTES, BREATH, KEY, TAGS, USER, Listener, floor_entry

MOST = 10**6  # events that a bounded queue is to hold
INTERVAL = 0.5  # seconds until a batch that is not full is sent


class Contestant:
    """One way to track events. `track` queues one; `finish` returns when all are sent."""

    package = ""
    """Its name on PyPI; none for what is here."""
    events = 20_000
    """How many it sends end to end, at most."""

    def __init__(self, url: str, batch: int) -> None:
        self.url = url
        self.batch = batch

    async def start(self) -> None:
        """Make ready, in the event loop."""

    def track(self, user_id: str) -> Awaitable[object] | None:
        """Track one event, in the event loop. This one tracks none."""
        return None

    async def run(self, events: int) -> None:
        """Track many, and let other tasks run now and then."""
        for number in range(events):
            waiting = self.track(USER)
            if waiting is not None:
                await waiting
            if number % BREATH == 0:
                await asyncio.sleep(0)

    def close(self) -> None:
        """Flush and close, as an SDK that blocks does."""

    async def finish(self) -> None:
        await asyncio.to_thread(self.close)


class Floor(Contestant):
    """Append orjson's bytes to a deque; a task posts joined batches as they fill up, or after half a second."""

    async def start(self) -> None:
        self._entries: deque[bytes] = deque()
        self._full = asyncio.Event()
        self._done = False
        self._posting = asyncio.create_task(self._post())

    async def _post(self) -> None:
        headers = {"Content-Type": "application/json"}
        async with aiohttp.ClientSession() as session:
            while self._entries or not self._done:
                if len(self._entries) < self.batch and not self._done:
                    self._full.clear()
                    try:
                        async with asyncio.timeout(INTERVAL):
                            await self._full.wait()
                    except TimeoutError:
                        pass
                size = min(self.batch, len(self._entries))
                if size:
                    batch = [self._entries.popleft() for _ in range(size)]
                    body = b"[" + b",".join(batch) + b"]"
                    async with session.post(f"{self.url}/events", data=body, headers=headers) as response:
                        await response.read()

    def track(self, user_id: str) -> None:
        self._entries.append(floor_entry())
        if len(self._entries) >= self.batch:
            self._full.set()

    async def run(self, events: int) -> None:
        # `track` again, without a call for each event: a floor has none.
        entries, full, batch = self._entries, self._full, self.batch
        for number in range(events):
            entries.append(floor_entry())
            if len(entries) >= batch:
                full.set()
            if number % BREATH == 0:
                await asyncio.sleep(0)

    async def finish(self) -> None:
        self._done = True
        self._full.set()
        await self._posting


class Aiotrack(Contestant):
    """Tag checks, reserved tags and one listener."""

    async def start(self) -> None:
        destination = aiotrack.HTTPDestination(f"{self.url}/events")
        self._client = aiotrack.Client(destination, Listener(), batch_size=self.batch, flush_interval=INTERVAL)
        await self._client.start()

    def track(self, user_id: str) -> Awaitable[object]:
        return self._client.create_user_context(user_id, ATTRIBUTES).track_event(KEY, TAGS)

    async def run(self, events: int) -> None:
        user = self._client.create_user_context(USER, ATTRIBUTES)
        for _ in range(events):
            await user.track_event(KEY, TAGS)

    async def finish(self) -> None:
        report = await self._client.aclose(timeout=120)
        total = self._client.stats().total
        assert report.delivered == total.accepted, report


class Snowplow(Contestant):
    package = "snowplow-tracker"

    async def start(self) -> None:
        from snowplow_tracker import AsyncEmitter, Subject, Tracker

        host, port = self.url.removeprefix("http://").split(":")
        emitter = AsyncEmitter(
            host, protocol="http", port=int(port), batch_size=self.batch, buffer_capacity=MOST, byte_limit=None
        )
        self._tracker = Tracker("benchmark", emitter)
        self._subject = Subject().set_user_id(USER)

    def track(self, user_id: str) -> None:
        from snowplow_tracker import SelfDescribing, SelfDescribingJson

        data = {**TAGS, **ATTRIBUTES}
        schema = SelfDescribingJson("iglu:com.example/purchase/jsonschema/1-0-0", data)
        self._tracker.track(SelfDescribing(schema, event_subject=self._subject))

    def close(self) -> None:
        self._tracker.flush()


class Mixpanel(Contestant):
    package = "mixpanel"

    async def start(self) -> None:
        import mixpanel

        consumer = mixpanel.BufferedConsumer(max_size=50, events_url=f"{self.url}/track")
        self._mixpanel = mixpanel.Mixpanel("token", consumer=consumer)
        self._consumer = consumer

    def track(self, user_id: str) -> None:
        self._mixpanel.track(user_id, KEY, {**TAGS, **ATTRIBUTES})

    def close(self) -> None:
        self._consumer.flush()


class Segment(Contestant):
    package = "segment-analytics-python"
    module = "segment.analytics.client"

    async def start(self) -> None:
        client = importlib.import_module(self.module).Client
        size = min(self.batch, 100)  # its own bound is 500 kB a batch; 100 is its default
        self._client = client("key", host=self.url, upload_size=size, max_queue_size=MOST)

    def track(self, user_id: str) -> None:
        self._client.track(user_id, KEY, dict(TAGS), {"traits": ATTRIBUTES})

    def close(self) -> None:
        self._client.shutdown()


class Rudder(Segment):
    package = "rudder-sdk-python"
    module = "rudderstack.analytics.client"


class Amplitude(Contestant):
    package = "amplitude-analytics"

    async def start(self) -> None:
        from amplitude import Amplitude as Client
        from amplitude import Config

        self._client = Client(
            "key", Config(server_url=f"{self.url}/2/httpapi", flush_queue_size=self.batch, flush_interval_millis=1000)
        )

    def track(self, user_id: str) -> None:
        from amplitude import BaseEvent

        self._client.track(
            BaseEvent(event_type=KEY, user_id=user_id, event_properties=dict(TAGS), user_properties=dict(ATTRIBUTES))
        )

    def close(self) -> None:
        for future in self._client.flush():
            if future is not None:
                future.result()
        self._client.shutdown()


class PostHog(Contestant):
    package = "posthog"

    async def start(self) -> None:
        from posthog import AsyncPosthog

        self._client = AsyncPosthog("key", host=self.url, flush_at=self.batch, max_queue_size=MOST)

    def track(self, user_id: str) -> None:
        self._client.capture(KEY, distinct_id=user_id, properties={**TAGS, **ATTRIBUTES})

    async def finish(self) -> None:
        await self._client.flush(timeout_seconds=120)
        await self._client.shutdown()


class Optimizely(Contestant):
    package = "optimizely-sdk"

    async def start(self) -> None:
        from optimizely.event.event_factory import EventFactory
        from optimizely.event.event_processor import BatchEventProcessor
        from optimizely.optimizely import Optimizely as Client

        EventFactory.EVENT_ENDPOINTS = {"US": f"{self.url}/v1/events", "EU": f"{self.url}/v1/events"}
        self._processor = BatchEventProcessor(
            batch_size=self.batch,
            flush_interval=1,
            timeout_interval=120,
            start_on_init=True,
            event_queue=queue.Queue(),
        )
        datafile = {
            **{key: [] for key in ("groups", "audiences", "rollouts", "experiments", "featureFlags")},
            **{"version": "4", "accountId": "1", "projectId": "1", "revision": "1"},
            "events": [{"id": "1", "key": KEY, "experimentIds": []}],
            "attributes": [{"id": "1", "key": "logged_in"}],
        }
        self._client = Client(json.dumps(datafile), event_processor=self._processor)

    def track(self, user_id: str) -> None:
        self._client.create_user_context(user_id, ATTRIBUTES).track_event(KEY, TAGS)

    def close(self) -> None:
        self._client.close()


class VWO(Contestant):
    package = "vwo-fme-python-sdk"
    events = 3_000

    async def start(self) -> None:
        import vwo

        self._client = vwo.init(
            {
                "account_id": "1",
                "sdk_key": "key",
                "proxy_url": self.url,
                "is_usage_stats_disabled": True,
                "batch_event_data": {"events_per_request": self.batch, "request_time_interval": 1},
            }
        )

    def track(self, user_id: str) -> None:
        self._client.track_event(KEY, {"id": user_id, "custom_variables": ATTRIBUTES}, TAGS)

    def close(self) -> None:
        self._client.flush_events()


CONTESTANTS: dict[str, type[Contestant]] = {
    "floor": Floor,
    "aiotrack": Aiotrack,
    **{one.package: one for one in (Snowplow, Mixpanel, Segment, Rudder, Amplitude, PostHog, Optimizely, VWO)},
}


def installed(names: dict[str, type[Contestant]]) -> dict[str, Any]:
    """Return those whose package is there, with its version."""
    found: dict[str, Any] = {}
    for name, one in names.items():
        try:
            found[name] = metadata.version(one.package) if one.package else aiotrack.__version__
        except metadata.PackageNotFoundError:
            continue
    return found


def quiet() -> None:
    """Keep what SDKs log out of the figures."""
    logging.disable(logging.CRITICAL)
