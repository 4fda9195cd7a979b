"""Options of HTTP destinations that can't work are named when the destination is made; those that can, work."""

import asyncio
import ssl

import pytest
import trustme
from aiohttp import web

from aiotrack import Client, HTTPDestination
from aiotrack.errors import ConfigError
from aiotrack.testing import Collector
from aiotrack_optimizely import Optimizely
from aiotrack_posthog import PostHog
from aiotrack_vwo import VWO

URL = "http://127.0.0.1:9/events"

WRONG = {
    "no scheme": ({"url": "localhost:8000/x"}, "url: expected an http:// or https:// URL, got 'localhost:8000/x'; did"),
    "no scheme, remote": ({"url": "example.org/x"}, "got 'example.org/x'; did you mean 'https://example.org/x'?"),
    "another scheme": ({"url": "ftp://u:pa55@example.org/x"}, "got 'ftp://example.org/x'; no other kind is spoken"),
    "no host": ({"url": "http:///x"}, "with a host and a port above 0, got 'http:///x'"),
    "port 0": ({"url": "http://example.org:0/"}, "with a host and a port above 0"),
    "a port that is none": ({"url": "http://u:pa55@example.org:99999/"}, "got 'http://example.org:99999/'"),
    "a brace": ({"url": "http://{host}/"}, "with a host and a port above 0, got 'http://{host}/'"),
    "a line break": ({"url": f"{URL}\n"}, "url: expected an http:// or https:// URL, got one with spaces or"),
    "a space": ({"url": f" {URL}"}, "got one with spaces or line breaks around or in it"),
    "no text": ({"url": None}, "url: expected an http:// or https:// URL, got NoneType"),
    "a socks proxy": ({"proxy": "socks5://u:pa55@127.0.0.1:1"}, "proxy: expected an http:// or https:// URL, got a SO"),
    "a token's line break": ({"headers": {"Authorization": "Bearer pa55\n"}}, "headers.Authorization: expected"),
    "a zero byte": ({"headers": {"X-Key": "pa55\0"}}, "headers.X-Key: expected text on one line, got some with"),
    "a lone surrogate": ({"headers": {"X-Key": "\ud800"}}, "headers.X-Key: expected text that UTF-8 can carry"),
    "a header's name": ({"headers": {"X Key:": "a"}}, "headers: expected a name of letters, digits and"),
    "an empty name": ({"headers": {"": "a"}}, "headers: expected a name"),
    "a header's value": ({"headers": {"X-Key": 5}}, "headers.X-Key: expected text, or a function"),
    "a header twice": ({"headers": {"X-Key": "a", "x-key": "b"}}, "headers.x-key: is there twice, as 'X-Key', too"),
    "framing": ({"headers": {"Content-Length": "5"}}, "headers.Content-Length: is set by the sender"),
    "no headers": ({"headers": ["a"]}, "headers: expected a mapping of names to values, got list"),
    "two users": (
        {"url": "http://u:pa55@127.0.0.1/", "headers": {"authorization": "x"}},
        "url: has a user, beside headers.Authorization",
    ),
    "no verification": ({"ssl": False}, "got False; TLS is always verified: give the CA file of a private authority"),
    "ssl as a flag": ({"ssl": True}, "ssl: expected an ssl.SSLContext, the path of a CA file, or a table"),
    "ssl as a number": ({"ssl": 5}, "ssl: expected an ssl.SSLContext, the path of a CA file, or a table of ca_file"),
    "no CA file": ({"ssl": "/no/such.pem"}, "ssl.ca_file: can't be read: No such file or directory"),
    "no PEM": ({"ssl": __file__}, "ssl.ca_file: can't be used as PEM: "),
    "a TLS option": ({"ssl": {"ca_fiel": "x"}}, "ssl.ca_fiel: no such option; did you mean 'ca_file'?"),
    "a key alone": ({"ssl": {"key_file": "x"}}, "ssl.cert_file: needed for a key"),
    "an empty table": ({"ssl": {}}, "ssl: expected an ssl.SSLContext, the path of a CA file, or a table of ca_file, "),
    "trust_env": ({"trust_env": "yes"}, "trust_env: expected true or false, got str"),
    "session": ({"session": "x"}, "session: expected an aiohttp.ClientSession, got str"),
    "timeout": ({"timeout": 0}, "timeout: expected seconds > 0, got int 0"),
    "a function that wants something": ({"headers": {"X-Key": lambda name: name}}, "a function without arguments"),
}  # fmt: skip


@pytest.mark.parametrize(("options", "sentence"), WRONG.values(), ids=WRONG)
def test_an_option_that_cannot_work_is_named(options, sentence):
    with pytest.raises(ConfigError) as caught:
        HTTPDestination(**{"url": URL, **options})
    assert sentence in str(caught.value)
    assert "pa55" not in str(caught.value)


def test_all_that_is_wrong_is_said_at_once():
    with pytest.raises(ConfigError) as caught:
        HTTPDestination("nowhere", timeout=-1, max_in_flight=0, ssl=True, headers={"A B": "c", "D": "e\n"}, name="")
    assert [mistake.partition(":")[0] for mistake in caught.value.mistakes] == [
        *("name", "url", "headers", "headers.D", "timeout", "max_in_flight", "ssl"),
    ]
    assert str(caught.value).startswith("7 mistakes\n- name: expected text, got ''\n- url: ")


@pytest.mark.parametrize(
    ("make", "keys"),
    [
        (lambda: Optimizely(poll_interval=0, events_url="x"), ["events_url", "poll_interval", "sdk_key"]),
        (lambda: VWO("", "", brand="x", timeout=0), ["brand", "timeout", "account_id", "sdk_key"]),
        (lambda: PostHog("", host="x", geoip=1, max_retries=-1), ["host", "geoip", "max_retries", "api_key"]),
    ],
    ids=["optimizely", "vwo", "posthog"],
)  # fmt: skip
def test_vendors_say_all_at_once_too(make, keys):
    with pytest.raises(ConfigError) as caught:
        make()
    assert [mistake.partition(":")[0] for mistake in caught.value.mistakes] == keys


@pytest.mark.parametrize("url", ["https://x/{", "https://x/{sdk_key.foo}", "https://x/{0.bar}", "https://x/}"])
def test_a_template_has_no_other_braces(url):
    with pytest.raises(ConfigError, match=r"datafile_url: expected a URL with no field but \{sdk_key\}, got another"):
        Optimizely("k", datafile_url=url)


def test_a_template_needs_its_key():
    with pytest.raises(ConfigError, match=r"datafile_url: has the field \{sdk_key\}, and there is no sdk_key="):
        Optimizely(datafile_url="https://x/{sdk_key}")


# -- options that work ----------------------------------------------------------------------------------


async def track_one(destination):
    async with Client(destination, flush_interval=0.01) as client:
        assert await client.create_user_context("u").track_event("k")
        await client.flush(2)
        await client.aclose(0.2)
    return client.stats().total.delivered


async def test_own_headers_go_over_ours_in_any_case(collector):
    headers = {"content-type": "application/x", "X-Team": "gr\u00f6wth"}
    assert await track_one(HTTPDestination(collector.url, headers=headers)) == 1
    (request,) = collector.requests
    assert request.headers["Content-Type"] == "application/x"
    assert request.headers["X-Team"].encode("utf-8", "surrogateescape").decode() == "gr\u00f6wth"


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
async def secure(authority):
    """Serve HTTPS to clients that show a certificate; says what it got."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_OPTIONAL
    got = []

    async def take(request):
        got.append(request.transport.get_extra_info("peercert"))
        return web.Response()

    app = web.Application()
    app.router.add_post("/{path:.*}", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    yield f"https://127.0.0.1:{runner.addresses[0][1]}/events", got
    await runner.cleanup()


async def test_a_private_authority_and_a_certificate_of_ones_own_are_files(tmp_path, authority, secure):
    url, got = secure
    ca, key = tmp_path / "ca.pem", tmp_path / "client.pem"
    authority.cert_pem.write_to_path(ca)
    authority.issue_cert("client@example.org").private_key_and_cert_chain_pem.write_to_path(key)
    context = ssl.create_default_context(cafile=ca)
    for given in (ca, str(ca), context, {"ca_file": ca}):
        assert await track_one(HTTPDestination(url, ssl=given)) == 1
    assert not any(got)
    assert await track_one(HTTPDestination(url, ssl={"ca_file": ca, "cert_file": key})) == 1
    assert got[-1]["subjectAltName"] == (("email", "client@example.org"),)
    assert await track_one(HTTPDestination(url)) == 0


async def test_posthog_and_vwo_have_them_too(tmp_path, authority, secure):
    url, got = secure
    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca)
    base = url.removesuffix("/events")
    assert await track_one(PostHog("k", host=base, ssl=ca)) == 1
    assert len(got) == 1


def test_a_key_with_a_password_needs_it_and_never_asks_for_it(tmp_path, authority):
    key = tmp_path / "client.pem"
    text = authority.issue_cert("client@example.org").private_key_and_cert_chain_pem.bytes()
    key.write_bytes(text)
    HTTPDestination(URL, ssl={"cert_file": key, "key_password": "unused"})
    key.write_text("-----BEGIN NOTHING-----")
    with pytest.raises(ConfigError, match=r"ssl\.cert_file: can't be used as PEM"):
        HTTPDestination(URL, ssl={"cert_file": key})


@pytest.fixture
async def proxy():
    """A proxy that answers itself; knows what it was asked for."""
    asked = []

    async def serve(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        asked.append(head.split(b"\r\n")[0].decode())
        size = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(size)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked
    server.close()


@pytest.mark.aiotrack(network=True)
async def test_the_environments_proxy_is_used_where_it_is_trusted(proxy, collector, monkeypatch):
    address, asked = proxy
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.lower(), raising=False)
    monkeypatch.setenv("http_proxy", address)
    assert await track_one(HTTPDestination(collector.url)) == 1
    assert not asked
    assert await track_one(HTTPDestination(collector.url, trust_env=True)) == 1
    assert asked == [f"POST {collector.url} HTTP/1.1"]
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert await track_one(HTTPDestination(collector.url, trust_env=True)) == 1
    monkeypatch.delenv("http_proxy")
    monkeypatch.delenv("no_proxy")
    monkeypatch.setenv("ALL_PROXY", address.removeprefix("http://"))
    assert await track_one(HTTPDestination(collector.url, trust_env=True)) == 1
    assert len(asked) == 2
    assert len(collector.requests) == 2


@pytest.mark.aiotrack(network=True)
@pytest.mark.parametrize(
    "make",
    [
        lambda base, proxy: PostHog("k", host="http://events.invalid", proxy=proxy),
        lambda base, proxy: HTTPDestination("http://events.invalid/x", proxy=proxy),
    ],
    ids=["posthog", "http"],
)
async def test_a_given_proxy_is_used(make, proxy):
    address, asked = proxy
    assert await track_one(make(address, address)) == 1
    assert asked[0].startswith("POST http://events.invalid/")


def test_a_proxy_of_the_environment_that_cannot_work_is_named(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "socks5://u:pa55@127.0.0.1:1")
    HTTPDestination(URL)
    with pytest.raises(
        ConfigError, match=r"trust_env: HTTPS_PROXY: expected an http:// .* got a SOCKS proxy"
    ) as caught:
        HTTPDestination(URL, trust_env=True)
    assert "pa55" not in str(caught.value)
    HTTPDestination(URL, trust_env=True, proxy="http://127.0.0.1:9")


async def test_a_user_in_the_url_is_sent(collector):
    assert await track_one(HTTPDestination(collector.url.replace("http://", "http://user:pa%20ss@"))) == 1
    assert collector.requests[0].headers["Authorization"].startswith("Basic ")


async def test_every_collector_has_its_own_certificate_check(secure):
    async with Collector():
        assert await track_one(HTTPDestination(secure[0])) == 0
