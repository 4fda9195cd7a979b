"""VWO: one tracked event with 200 features in the settings, here and with the official SDK.

`python plugins/aiotrack-vwo/benchmarks/track.py`. The SDK's settings come from a loopback server, and its events stay
in its batch queue; nothing is sent while the clock runs.
"""

from __future__ import annotations

import asyncio
import http.server
import json
import logging
import os
import statistics
import sys
import threading
import time
from typing import Any

import vwo

import aiotrack
from aiotrack_vwo import VWO

ROUNDS, FEATURES = 5, 200
CONTEXT = {"id": "user123", "user_agent": "Mozilla/5.0", "ip_address": "203.0.113.5"}
PROPERTIES = {"amount": 42.5, "category": "shoes"}


def document() -> dict[str, Any]:
    def feature(number: int) -> dict[str, Any]:
        metrics = [{"id": number, "type": "CUSTOM_GOAL", "identifier": f"event {number}"} for _ in range(3)]
        rules = [{"type": "FLAG_TESTING", "ruleKey": "r", "campaignId": number, "variationId": 1}]
        name = f"feature {number}"
        return {
            "id": number,
            "key": name,
            "status": "ON",
            "name": name,
            "type": "FEATURE_FLAG",
            "metrics": metrics,
            "rules": rules,
        }

    features = [feature(number) for number in range(FEATURES)]
    quiet = {"sdkMetaInfo": {"wasInitializedEarlier": True}}
    return {"version": 1, "accountId": 1, "sdkKey": "k", "campaigns": [], "features": features, **quiet}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps(document()).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


async def ours(calls: int) -> float:
    destination = VWO(1, "k", settings=document(), base_url="http://127.0.0.1:9")
    options: dict[str, Any] = {"batch_size": 10**6, "batch_bytes": 10**9, "flush_interval": 60, "shutdown_timeout": 0}
    async with aiotrack.Client(destination, **options) as client:
        started = time.perf_counter()
        for _ in range(calls):
            await client.track_event("event 150", CONTEXT, PROPERTIES)
        return (time.perf_counter() - started) / calls * 1e6


def official(client: Any, calls: int) -> float:
    started = time.perf_counter()
    for _ in range(calls):
        assert client.track_event("event 150", CONTEXT, PROPERTIES) == {"event 150": True}
    return (time.perf_counter() - started) / calls * 1e6


def main() -> None:
    logging.disable(logging.ERROR)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    client = vwo.init(
        {
            "account_id": "1",
            "sdk_key": "k",
            "proxy_url": f"http://127.0.0.1:{server.server_address[1]}",
            "batch_event_data": {"events_per_request": 5000, "request_time_interval": 10**6},
            "is_usage_stats_disabled": True,
        }
    )
    here, there = [], []
    for _ in range(ROUNDS):
        here.append(asyncio.run(ours(3000)))
        there.append(official(client, 20))
    print(f"{'one tracked event, ' + str(FEATURES) + ' features in the settings':50} {'us':>10}")
    print(f"{'aiotrack-vwo':50} {statistics.median(here):10.1f}")
    print(f"{'vwo-fme-python-sdk':50} {statistics.median(there):10.1f}")
    sys.stdout.flush()
    os._exit(0)  # the SDK's timers would keep the process alive


if __name__ == "__main__":
    main()
