"""VWO's real SDK: one client for all tests of a process, since its state is the process's."""

import threading

import pytest
import vwo
from vendor_sdk import ACCOUNT, DOCUMENT, KEY, QUIET, Server


@pytest.fixture(scope="session")
def server():
    server = Server()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def theirs(server):
    """The vendor's client. One for all: its state is the process's, so that a second one would share it."""
    server.settings = {**DOCUMENT, **QUIET}
    batches = {"events_per_request": 5000, "request_time_interval": 10**6}
    options = {"account_id": ACCOUNT, "sdk_key": KEY, "proxy_url": server.url, "is_usage_stats_disabled": True}
    client = vwo.init({**options, "batch_event_data": batches})
    yield client
    for thread in threading.enumerate():  # its timers are no daemons, and would keep the interpreter from ending
        if isinstance(thread, threading.Timer):
            thread.cancel()
