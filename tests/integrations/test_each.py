"""What each framework has of its own, within one process."""

import asyncio
import threading
from types import SimpleNamespace
from typing import Annotated

import django
import flask
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from django.conf import settings
from django.http import HttpResponse
from django.test import RequestFactory, override_settings
from fastapi import Depends, FastAPI, Header, HTTPException
from test_asgi import Here, alive, call, kept, make_client, scope  # noqa: F401 - a fixture

import aiotrack
import aiotrack.integrations.aiohttp
import aiotrack.integrations.django
import aiotrack.integrations.flask
from aiotrack.errors import ConfigError
from aiotrack.integrations import fastapi as fast
from aiotrack.integrations.litestar import TrackingPlugin
from aiotrack.model.log import EpisodeLog

# -- aiohttp.web ------------------------------------------------------------------------------------------


async def test_aiohttp_has_the_client_and_the_user_under_keys_and_subapplications_too(kept):  # noqa: F811
    found = []

    async def handle(request):
        found.append(
            (request.config_dict[aiotrack.integrations.aiohttp.CLIENT], request[aiotrack.integrations.aiohttp.USER])
        )
        await aiotrack.track_event("handled")
        return web.json_response({})

    inner, app = web.Application(), web.Application()
    inner.router.add_get("/", handle)
    app.add_subapp("/inner", inner)
    aiotrack.integrations.aiohttp.setup(app, make_client, user=lambda request: request.headers.get("X-User"))
    async with TestClient(TestServer(app)) as client:
        assert (await client.get("/inner/", headers={"X-User": "ann"})).status == 200
        assert (await client.get("/inner/")).status == 200
    (own, user), (_, nobody) = found
    assert isinstance(own, aiotrack.Client)
    assert (user.user_id, user.ip_address) == ("ann", "127.0.0.1")
    assert nobody is None
    assert kept == ["ann handled"]


async def test_aiohttps_websockets_keep_the_user(kept):  # noqa: F811
    async def talk(request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await aiotrack.track_event(message.data)
        return socket

    app = web.Application()
    app.router.add_get("/", talk)
    aiotrack.integrations.aiohttp.setup(app, make_client, user=lambda request: request.query["user"])
    async with TestClient(TestServer(app)) as client:
        sockets = [await client.ws_connect(f"/?user={user}") for user in ("ann", "bob")]
        for socket in sockets:
            await socket.send_str("said")
        for socket in sockets:
            await socket.close()
    assert sorted(kept) == ["ann said", "bob said"]


# -- FastAPI ----------------------------------------------------------------------------------------------


def get_user_id(x_user: Annotated[str, Header()]):
    if x_user == "nobody":
        raise HTTPException(401)
    return x_user


Tracked = Annotated[aiotrack.UserContext, Depends(fast.tracked_user(get_user_id))]


async def test_fastapis_dependency_makes_whom_another_knows_the_current_user(kept):  # noqa: F811
    app = fast.setup(FastAPI(), make_client)
    threads = []

    @app.get("/async")
    async def handle(user: Tracked):
        assert aiotrack.current_user() is user
        await user.track_event("handled")

    @app.get("/plain")
    def handle_in_a_thread(user: Tracked):
        threads.append(threading.current_thread())
        assert aiotrack.current_user() is user
        user.track_event_threadsafe("in a thread").result(5)

    async with alive(app):
        statuses = [
            (
                await call(
                    app, scope(path, user=user), {"type": "http.request", "body": b""}, {"type": "http.disconnect"}
                )
            )[0]["status"]
            for path, user in (("/async", "ann"), ("/plain", "bob"), ("/async", "nobody"))
        ]
    assert statuses == [200, 200, 401]
    assert kept == ["ann handled", "bob in a thread"]
    assert threads != [threading.main_thread()]


def test_a_client_in_place_of_a_function_that_makes_one_is_refused():
    for give in (
        lambda client: fast.setup(FastAPI(), client),
        lambda client: aiotrack.integrations.aiohttp.setup(web.Application(), client),
        lambda client: aiotrack.integrations.flask.setup(flask.Flask(__name__), client),
        TrackingPlugin,
    ):
        with pytest.raises(ConfigError, match=r"make_client: expected a function that returns a \w*Client, got Client"):
            give(make_client())
    with pytest.raises(ConfigError, match="a function that returns a SyncClient, and it returned Client"):
        aiotrack.integrations.flask.setup(flask.Flask(__name__), make_client)


async def test_a_function_that_makes_another_client_stops_the_application():
    for make, got in ((sync_client, "SyncClient"), (lambda: None, "NoneType")):
        with pytest.raises(AssertionError) as caught:
            async with alive(fast.setup(FastAPI(), make)):
                pass
        assert f"make_client: expected a function that returns a Client, and it returned {got}" in str(caught.value)


# -- Flask ------------------------------------------------------------------------------------------------


def sync_client():
    return aiotrack.SyncClient(Here())


def test_flask_has_a_user_within_a_request_only_and_one_that_raises_costs_nothing(kept, caplog):  # noqa: F811
    app = flask.Flask(__name__)
    aiotrack.integrations.flask.setup(app, sync_client, user=lambda request: request.headers.environ["HTTP_X_USER"])

    @app.get("/")
    def handle():
        user = aiotrack.current_user()
        if user is not None:
            assert user.track_event("handled")
        return {}

    @app.get("/async")
    async def handle_async():
        assert await aiotrack.track_event("handled async")
        return {}

    @app.get("/fails")
    def fail():
        raise KeyError

    web = app.test_client()
    assert web.get("/", headers={"X-User": "ann"}).status_code == 200
    assert aiotrack.current_user() is None
    assert web.get("/async", headers={"X-User": "bob"}).status_code == 200
    assert web.get("/fails", headers={"X-User": "eve"}).status_code == 500
    assert aiotrack.current_user() is None
    assert web.get("/").status_code == 200
    assert "requests are tracked for nobody: user= raised KeyError" in caplog.text
    aiotrack.integrations.flask.client_of(app).close()
    assert kept == ["ann handled", "bob handled async"]


# -- Django -----------------------------------------------------------------------------------------------


@pytest.fixture
def djangos():
    """Django's settings; a client of this test's own."""
    if not settings.configured:
        settings.configure(ALLOWED_HOSTS=["*"], DEFAULT_CHARSET="utf-8")
        django.setup()
    aiotrack.integrations.django.get_client.cache_clear()
    with override_settings(AIOTRACK={"CLIENT": sync_client}):
        yield
        aiotrack.integrations.django.get_client().close()
    aiotrack.integrations.django.get_client.cache_clear()


def request_of(user=None, cookie=True):
    request = RequestFactory().get("/", headers={"User-Agent": "agent"})
    if cookie:
        request.COOKIES[settings.SESSION_COOKIE_NAME] = "s"
    request.user = SimpleNamespace(pk=17, is_authenticated=user is not None)

    async def auser():
        await asyncio.sleep(0)
        return request.user

    request.auser = auser
    return request


def view(request):
    user = aiotrack.current_user()
    if user is not None:
        assert user.track_event("seen")
    return HttpResponse(str(getattr(user, "user_id", None)))


async def view_async(request):
    result = await aiotrack.track_event("seen async")
    return HttpResponse(str(bool(result)))


async def test_djangos_authenticated_user_is_the_default_in_views_of_both_colours(djangos, kept):  # noqa: F811
    sync = aiotrack.integrations.django.TrackingMiddleware(view)
    assert sync(request_of("ann")).content == b"17"
    assert sync(request_of()).content == b"None"
    assert sync(request_of("ann", cookie=False)).content == b"None"
    awaited = aiotrack.integrations.django.TrackingMiddleware(view_async)
    assert (await awaited(request_of("ann"))).content == b"True"
    assert (await awaited(request_of())).content == b"False"
    await asyncio.to_thread(aiotrack.integrations.django.get_client().flush)
    assert kept == ["17 seen", "17 seen async"]
    assert aiotrack.current_user() is None


async def test_djangos_client_is_closed_with_the_server(djangos, kept):  # noqa: F811
    app = aiotrack.integrations.django.get_asgi_application()
    async with alive(app):
        middleware = aiotrack.integrations.django.TrackingMiddleware(view_async)
        await middleware(request_of("ann"))
    assert kept == ["17 seen async"]
    assert str(aiotrack.integrations.django.get_client().health().status) == "failing"


async def test_an_asgi_application_of_djangos_own_is_warned_of(djangos, kept, caplog, monkeypatch):  # noqa: F811
    monkeypatch.setattr(aiotrack.integrations.django, "_applications", [])
    monkeypatch.setattr(aiotrack.integrations.django, "_log", EpisodeLog(lambda: 0.0))
    middleware = aiotrack.integrations.django.TrackingMiddleware(view_async)
    request = request_of("ann")
    await middleware(request)
    assert "get_asgi_application" not in caplog.text  # an async view under WSGI
    request.scope = {"type": "http"}
    await middleware(request)
    await middleware(request)
    assert caplog.text.count("asgi.py has Django's get_asgi_application") == 1
    aiotrack.integrations.django.get_asgi_application()
    assert len(aiotrack.integrations.django._applications) == 1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([], "AIOTRACK: expected a dict, got list"),
        ({"CLIANT": {}}, "AIOTRACK['CLIANT']: no such setting; did you mean 'CLIENT'?"),
        ({"CLIENT": dict}, "make_client: expected a function that returns a SyncClient, and it returned dict"),
        ({"CLIENT": {"batch_size": 0}}, "batch_size: expected an integer >= 1, got int 0"),
        ({"CLIENT": sync_client, "USER": 5}, "user: expected a function of the request, got int"),
        ({"CLIENT": sync_client, "TRUSTED_PROXIES": "x"}, "trusted_proxies: expected a list of addresses"),
    ],
)
def test_wrong_settings_are_named(djangos, options, sentence):
    with override_settings(AIOTRACK=options), pytest.raises(ConfigError) as caught:
        aiotrack.integrations.django.TrackingMiddleware(view)
    assert str(caught.value).startswith(sentence)


def test_djangos_functions_may_be_dotted_paths(djangos, kept):  # noqa: F811
    with override_settings(AIOTRACK={"CLIENT": f"{__name__}.sync_client", "USER": f"{__name__}.somebody"}):
        assert aiotrack.integrations.django.TrackingMiddleware(view)(request_of()).content == b"somebody"


def somebody(request):
    return "somebody"
