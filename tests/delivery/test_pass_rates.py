"""Which size of a batch delivers most events with each request."""

import random

import pytest

from aiotrack.delivery.pass_rates import MOST_FAILURES, PassRates


def learn(rates, passes, requests=300):
    """Send so many batches of the best size, which pass by `passes(events)`; return the sizes of the last half."""
    sizes = []
    for _ in range(requests):
        events = rates.best()
        sizes.append(events)
        if passes(events):
            rates.passed(events, outage=False)
        else:
            rates.failed(events)
            rates.passed(None, outage=False)  # another did
    return sizes[requests // 2 :]


@pytest.mark.parametrize(("bad", "least", "most"), [(0, 500, 500), (0.01, 31, 125), (0.1, 3, 15), (0.5, 1, 3)])
def test_the_more_events_are_bad_the_smaller_batches_are(bad, least, most):
    dice = random.Random(1)
    sizes = learn(PassRates(500), lambda events: dice.random() < (1 - bad) ** events)
    usual = sorted(sizes)[len(sizes) // 2]
    assert least <= usual <= most


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5])
def test_a_server_that_fails_at_random_gets_large_batches(p):
    dice = random.Random(1)
    sizes = learn(PassRates(20), lambda events: dice.random() >= p)
    assert sum(sizes) / len(sizes) > 10


def test_when_no_more_events_are_bad_batches_grow_again():
    rates = PassRates(500)
    learn(rates, lambda events: events == 1)
    assert rates.best() == 1
    learn(rates, lambda events: True, requests=100)
    assert rates.best() == 500


def test_an_outage_says_nothing_of_sizes():
    rates = PassRates(100)
    for _ in range(50):
        rates.failed(100)
    rates.passed(100, outage=True)
    assert rates.best() == 100
    assert rates.by_chance(0.5) == 0


def test_how_many_failures_in_a_row_are_chance_depends_on_how_many_there_are():
    dice, few, many = random.Random(1), PassRates(20), PassRates(20)
    learn(few, lambda events: dice.random() >= 0.05)
    learn(many, lambda events: dice.random() >= 0.6)
    assert few.by_chance(0.1) <= 1 < many.by_chance(0.1) < many.by_chance(0.001) <= MOST_FAILURES


@pytest.mark.parametrize("most", [1, 2, 3, 7, 500, 10_000])
def test_all_sizes_are_known_and_none_is_larger_than_a_batch(most):
    rates = PassRates(most)
    for events in range(1, most + 1, max(most // 50, 1)):
        rates.failed(events)
    rates.passed(None, outage=False)
    assert 1 <= rates.best() <= most
    for _ in range(500):
        rates.failed(1)
        rates.passed(None, outage=False)
    assert rates.by_chance(1e-9) == MOST_FAILURES
