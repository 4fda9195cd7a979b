"""ASGI, within one process: WebSockets, background tasks, lifespans one after the other, and within each other."""

import asyncio
import contextlib
from typing import ClassVar

import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route, WebSocketRoute

import aiotrack
from aiotrack.errors import ConfigError
from aiotrack.integrations.asgi import TrackingMiddleware, client_of, lifespan
from aiotrack.integrations.starlette import setup


class Here(aiotrack.Destination):
    """Keeps who tracked what."""

    kind = "here"
    kept: ClassVar[list] = []

    def encode(self, event):
        return f"{event.user_id} {event.key}".encode()

    def frame(self, entries, batch_header):
        return aiotrack.Request(url="here:", body=b"")

    async def send(self, batch):
        self.kept += [entry.decode() for entry in batch.entries]
        return aiotrack.Answer()


@pytest.fixture(autouse=True)
def kept(monkeypatch):
    monkeypatch.setattr(Here, "kept", [])
    return Here.kept


def make_client():
    return aiotrack.Client(Here())


def scope(path="/", kind="http", user="ann", **more):
    return {
        "type": kind,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "method": "GET",
        "query_string": b"",
        "headers": [(b"x-user", user.encode()), (b"user-agent", b"agent")],
        "client": ("203.0.113.9", 5000),
        "server": ("127.0.0.1", 80),
        "scheme": "http",
        "subprotocols": [],
        **more,
    }


async def call(app, scope, *messages):
    """Send messages to an application; return what it sends."""
    waiting, sent = asyncio.Queue(), []
    for message in messages or ({"type": "http.request", "body": b""},):
        waiting.put_nowait(message)
    await app(scope, waiting.get, lambda message: append(sent, message))
    return sent


async def append(sent, message):
    sent.append(message)


@contextlib.asynccontextmanager
async def alive(app):
    """Run an application's lifespan as a server does."""
    waiting, sent = asyncio.Queue(), asyncio.Queue()
    task = asyncio.create_task(
        app({"type": "lifespan", "state": {}, "asgi": {"version": "3.0"}}, waiting.get, sent.put)
    )
    waiting.put_nowait({"type": "lifespan.startup"})
    started = await sent.get()
    if started["type"] != "lifespan.startup.complete":
        await asyncio.wait({task})
        raise AssertionError(started) from task.exception()
    yield
    waiting.put_nowait({"type": "lifespan.shutdown"})
    assert (await sent.get())["type"] == "lifespan.shutdown.complete"
    await task


async def track(request):
    await aiotrack.track_event("handled")

    async def later():
        await aiotrack.track_event("in the background")

    asyncio.create_task(later())  # noqa: RUF006 - as a handler would
    return JSONResponse({}, background=BackgroundTask(aiotrack.track_event, "after the answer"))


async def talk(socket):
    await socket.accept()
    await aiotrack.track_event("connected")
    await socket.receive_text()
    await aiotrack.track_event("said")
    await socket.close()


def user_of(request):
    return request.headers["x-user"]


async def test_background_tasks_and_websockets_keep_the_user(kept):
    app = setup(Starlette(routes=[Route("/", track), WebSocketRoute("/talk", talk)]), make_client, user=user_of)
    async with alive(app):
        await call(app, scope())
        connect, text = {"type": "websocket.connect"}, {"type": "websocket.receive", "text": "hello"}
        await call(app, scope("/talk", "websocket", "bob"), connect, text)
    assert sorted(kept) == [
        *("ann after the answer", "ann handled", "ann in the background", "bob connected", "bob said"),
    ]
    assert aiotrack.current_user() is None


async def test_an_async_user_is_awaited_and_one_that_raises_costs_nothing(kept, caplog):
    async def user(request):
        return {"ann": 5, "bob": None}[request.headers["x-user"]]

    app = setup(Starlette(routes=[Route("/", track)]), make_client, user=user)
    async with alive(app):
        for who in ("ann", "bob", "eve"):
            sent = await call(app, scope(user=who))
            assert sent[0]["status"] == 200
    assert sorted(set(kept)) == ["5 after the answer", "5 handled", "5 in the background"]
    assert "requests are tracked for nobody: user= raised KeyError" in caplog.text


async def test_the_applications_own_lifespan_is_within_the_clients_and_yields_what_it_yields(kept):
    states = []

    @contextlib.asynccontextmanager
    async def own(app):
        user = client_of({"app": app}).create_user_context("the application")
        await user.track_event("starts")
        yield {"database": 5}
        assert await user.track_event("ends")

    async def read(request):
        states.append(request.state.database)
        return JSONResponse({})

    app = setup(Starlette(routes=[Route("/", read)], lifespan=own), make_client, user=user_of)
    async with alive(app):
        await call(app, scope(state={"database": 5}))
    assert states == [5]
    assert kept == ["the application starts", "the application ends"]


async def test_each_lifespan_has_a_client_of_its_own(kept):
    made = []

    def make():
        made.append(make_client())
        return made[-1]

    app = setup(Starlette(routes=[Route("/", track)]), make, user=user_of)
    for _ in range(2):
        async with alive(app):
            assert client_of({"app": app}) is made[-1]
            await call(app, scope())
    assert len(made) == 2
    assert all(str(client.health().status) == "failing" for client in made)
    assert kept.count("ann handled") == 2
    assert client_of({"app": app}) is None


async def test_two_applications_on_a_loop_have_a_client_each():
    first, second = Starlette(), Starlette()
    async with lifespan(make_client)(first), lifespan(make_client)(second):
        assert client_of({"app": first}) is not client_of({"app": second})
        assert client_of({}) is client_of({"app": second})


async def test_a_mounted_application_has_that_of_the_one_around_it(kept):
    inner = Starlette(routes=[Route("/", track)])
    inner.add_middleware(TrackingMiddleware, user=lambda scope: "inside")
    app = setup(Starlette(routes=[Mount("/inner", inner)]), make_client)
    async with alive(app):
        await call(app, scope("/inner/"))
    assert "inside handled" in kept


def test_a_wrong_option_is_named_at_the_setup():
    with pytest.raises(ConfigError, match="user: expected a function of the request, got str"):
        setup(Starlette(), make_client, user="ann")
    with pytest.raises(ConfigError, match="trusted_proxies: expected a list"):
        setup(Starlette(), make_client, trusted_proxies="10.0.0.1")


async def test_a_client_that_cannot_start_stops_the_application(tmp_path):
    (tmp_path / "file").touch()
    app = setup(Starlette(), lambda: aiotrack.Client(aiotrack.LocalStore(tmp_path / "file" / "a.db")))
    with pytest.raises(AssertionError, match=r"startup\.failed"):
        async with alive(app):
            pass
