"""What the plugin does to events, in a real client; `tracked` comes with aiotrack."""

from pathlib import Path

import aiotrack
import pytest
from aiotrack.testing import Tracked, check_plugin

from {{cookiecutter.package}} import {{cookiecutter.class_name}}


def test_it_is_a_good_plugin() -> None:
    assert check_plugin({{cookiecutter.class_name}}()) == ("aiotrack_check_event", "aiotrack_process_event")


async def test_the_source_is_added(tracked: Tracked, tmp_path: Path) -> None:
    async with aiotrack.Client({{cookiecutter.class_name}}("web"), aiotrack.LocalStore(tmp_path / "events.db")) as client:
        await client.create_user_context("ann").track_event("purchase", {"revenue": 4200})
    tracked.one("purchase", user_id="ann", revenue=4200, source="web")


async def test_a_negative_amount_is_refused(tracked: Tracked, tmp_path: Path) -> None:
    store = aiotrack.LocalStore(tmp_path / "events.db")
    async with aiotrack.Client({{cookiecutter.class_name}}(), store, strict=True) as client:
        with pytest.raises(aiotrack.errors.EventRefused, match=r"tags\.revenue: expected an amount of 0 or more"):
            await client.create_user_context("ann").track_event("purchase", {"revenue": -1})
    tracked.none("purchase")
