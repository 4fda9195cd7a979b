"""What a destination knows of its events; and what may have been meant by one that it does not know."""

import time

import pytest

from aiotrack import Catalog

EVENTS = dict.fromkeys(("purchase", "add_to_cart", "sign_up", "Ünïque", "view"), 1)


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("purchse", "purchase"),
        ("Purchase", "purchase"),
        ("add-to-cart", "add_to_cart"),
        ("addToCart", "add_to_cart"),
        ("signup", "sign_up"),
        ("ünïque", "Ünïque"),
        ("something else", None),
        ("", None),
        ("x" * 10_000, None),
        ("\ud800", None),
    ],
)
def test_an_unknown_event_is_told_which_one_is_close(key, meant):
    catalog = Catalog("1", EVENTS)
    assert catalog.suggestion(key) == ("" if meant is None else f": did you mean {meant!r}?")
    assert catalog.suggestion(key) == catalog.suggestion(key)
    assert catalog == Catalog("1", EVENTS)


def test_it_costs_little_however_many_events_are_known_and_asked_for():
    catalog = Catalog("1", {f"event_number_{number}": number for number in range(5000)})
    began = time.perf_counter()
    for _ in range(1000):
        catalog.suggestion("event_nmber_19")
    assert time.perf_counter() - began < 1
    for number in range(300):
        Catalog("1", EVENTS).suggestion(f"odd {number}")
        catalog.suggestion(f"completely odd and far too long {number}")
    assert len(catalog._suggested) <= 256
    many = Catalog("1", {f"event_number_{number}": number for number in range(20_000)})
    assert many.suggestion("event_nmber_19") == ""
