"""What the tests of the integrations share."""

import pytest

from aiotrack.integrations import visitors
from aiotrack.model.log import EpisodeLog


@pytest.fixture(autouse=True)
def fresh_log(monkeypatch):
    """A log in which no episode runs."""
    monkeypatch.setattr(visitors, "_log", EpisodeLog(lambda: 0.0))
