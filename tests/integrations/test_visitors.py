"""Whom a request is from: what the framework tells, behind proxies that are trusted; mistakes cost no request."""

import asyncio

import attrs
import pytest

import aiotrack
from aiotrack.errors import ConfigError
from aiotrack.integrations.visitors import Visitors


@attrs.frozen
class Request:
    peer: str | None = "203.0.113.9"
    forwarded_for: str = ""
    user_agent: str | None = "agent"


@pytest.fixture
def client():
    return aiotrack.Client(aiotrack.HTTPDestination("http://127.0.0.1:9/"))


PROXIES = ["10.0.0.0/8", "2001:db8::1", "unix"]
ADDRESSES = {
    "no proxy": ([], Request(forwarded_for="1.1.1.1"), "203.0.113.9"),
    "not one that is trusted": (PROXIES, Request(forwarded_for="1.1.1.1"), "203.0.113.9"),
    "one that is": (PROXIES, Request("10.0.0.1", "1.1.1.1"), "1.1.1.1"),
    "two": (PROXIES, Request("10.0.0.1", "1.1.1.1, 10.2.3.4"), "1.1.1.1"),
    "what a visitor made up": (PROXIES, Request("10.0.0.1", "6.6.6.6, 1.1.1.1"), "1.1.1.1"),
    "none told": (PROXIES, Request("10.0.0.1"), "10.0.0.1"),
    "all are proxies": (PROXIES, Request("10.0.0.1", "10.0.0.2"), "10.0.0.2"),
    "a port": (PROXIES, Request("10.0.0.1", "1.1.1.1:5000"), "1.1.1.1"),
    "IPv6": (PROXIES, Request("2001:db8::1", "[2001:db8::5]:443"), "2001:db8::5"),
    "IPv6 without brackets": (PROXIES, Request("10.0.0.1", "2001:db8::5"), "2001:db8::5"),
    "a Unix socket": (PROXIES, Request(None, "1.1.1.1"), "1.1.1.1"),
    "one that is not trusted": (["10.0.0.0/8"], Request(None, "1.1.1.1"), None),
    "nonsense": (PROXIES, Request("10.0.0.1", ", nonsense"), "nonsense"),
}


@pytest.mark.parametrize(("trusted", "request_", "address"), ADDRESSES.values(), ids=ADDRESSES)
def test_the_address_is_the_last_that_is_no_trusted_proxy(trusted, request_, address, client):
    with Visitors(None, trusted).use(client, "ann", request_):
        user = aiotrack.current_user()
    assert (user.user_id, user.ip_address, user.user_agent) == ("ann", address, "agent")


@pytest.mark.parametrize(
    ("user", "proxies", "sentence"),
    [
        ("ann", (), "user: expected a function of the request, got str"),
        (None, "10.0.0.1", "trusted_proxies: expected a list of addresses or networks, got text"),
        (None, ["nginx"], "trusted_proxies: expected an address or a network, got 'nginx'"),
    ],
)
def test_a_wrong_option_is_named(user, proxies, sentence):
    with pytest.raises(ConfigError) as caught:
        Visitors(user, proxies)
    assert str(caught.value) == sentence


def test_attributes_may_come_with_the_id(client):
    with Visitors(None, ()).use(client, (17, {"plan": "gold"}), Request()):
        user = aiotrack.current_user()
    assert (user.user_id, dict(user.attributes), user.user_agent) == ("17", {"plan": "gold"}, "agent")


async def test_a_user_context_and_nobody_are_as_they_are(client):
    own = client.create_user_context("bob")
    with Visitors(None, ()).use(None, own, Request()):
        assert aiotrack.current_user() is own
        with Visitors(None, ()).use(client, None, Request()):
            assert aiotrack.current_user() is None


@pytest.mark.parametrize("raised", [KeyError("ann@example.com"), asyncio.CancelledError()])
async def test_what_asking_raises_means_nobody_and_is_said_once(raised, caplog):
    def user(request):
        raise raised

    async def user_async(request):
        raise raised

    for ask in (user, user_async):
        assert await Visitors(ask, ()).ask(Request()) is None
    assert Visitors(user, ()).ask_now(Request()) is None
    (record,) = caplog.records
    assert record.getMessage() == f"requests are tracked for nobody: user= raised {type(raised).__name__}"


async def test_a_cancelled_request_is_cancelled(client):
    async def user(request):
        await asyncio.sleep(60)

    task = asyncio.create_task(Visitors(user, ()).ask(Request()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_an_async_function_where_nobody_can_wait_is_said(caplog):
    async def user(request):
        return "ann"

    assert Visitors(user, ()).ask_now(Request()) is None
    assert "user= is `async def`, and nobody can wait for it here" in caplog.text


def test_without_a_client_nobody_is_the_user_and_it_is_said(caplog):
    with Visitors(None, ()).use(None, "ann", Request()):
        assert aiotrack.current_user() is None
    assert "there is no client here: is its lifespan, or setup, that of this application?" in caplog.text
