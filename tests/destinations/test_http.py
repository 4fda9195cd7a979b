"""What the HTTP destination adds: compression, names, options."""

import asyncio
import gzip
import socket

import orjson
import pytest
import zstandard
from support import assert_conserved

from aiotrack import Client, HTTPDestination
from aiotrack.destinations.http.resolver import Resolver
from aiotrack.errors import ConfigError
from aiotrack.testing import Collector, Reply, until


@pytest.mark.parametrize(
    ("compression", "unpack"),
    [("gzip", gzip.decompress), ("zstd", lambda body: zstandard.ZstdDecompressor().decompress(body))],
)
async def test_large_bodies_are_compressed_to_the_same_bytes_on_each_retry(compression, unpack, unused_tcp_port):
    bodies = []

    async def serve(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        size = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        bodies.append((head, await reader.readexactly(size)))
        status = b"503 No" if len(bodies) == 1 else b"200 OK"
        writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", unused_tcp_port)
    destination = HTTPDestination(f"http://127.0.0.1:{unused_tcp_port}/", compression=compression)
    async with Client(destination, batch_size=20) as client:
        user = client.create_user_context("u")
        for n in range(20):
            assert await user.track_event("k", {"n": n})
        await client.flush()
        await client.flush()
        assert assert_conserved(client).total.delivered == 20
        assert await user.track_event("small")
        await client.flush()
    server.close()
    (head, body), (_, again), (plain_head, plain) = bodies
    assert body == again
    assert f"content-encoding: {compression}".encode() in head.lower()
    assert [event["tags"]["n"] for event in orjson.loads(unpack(body))] == list(range(20))
    assert len(body) < len(unpack(body)) / 2
    assert b"content-encoding" not in plain_head.lower()
    assert orjson.loads(plain)[0]["event"] == "small"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"compression": "brotli"}, "compression: expected one of 'gzip', 'zstd', got 'brotli'"),
        ({"max_in_flight": 0}, "max_in_flight: expected an integer >= 1, got int 0"),
        ({"max_in_flight": 1.5}, "max_in_flight: expected an integer >= 1, got float 1.5"),
    ],
)
def test_a_wrong_option_is_named(options, message):
    with pytest.raises(ConfigError, match=message.replace("'", ".")):
        HTTPDestination("http://127.0.0.1/", **options)


async def test_names_are_looked_up_once_for_all_who_ask_and_errors_are_oserrors():
    resolver = Resolver()
    found = await asyncio.gather(*(resolver.resolve("localhost", 80, socket.AF_INET) for _ in range(5)))
    assert {(address["host"], address["port"]) for addresses in found for address in addresses} == {("127.0.0.1", 80)}
    for name in ("no-such-name.invalid", "x" * 70 + ".example"):
        with pytest.raises(OSError):  # noqa: PT011 - of several kinds
            await resolver.resolve(name, 80)


async def test_a_name_is_resolved_for_a_request():
    async with Collector() as collector:
        url = collector.url.replace("127.0.0.1", "localhost")
        async with Client(HTTPDestination(url)) as client:
            assert await client.create_user_context("u").track_event("k")
        assert len(collector.events()) == 1


async def test_an_answer_that_takes_its_time_does_not_hold_up_the_others():
    async with Collector() as collector:
        collector.script(Reply(hang=True))
        destination = HTTPDestination(collector.url, max_in_flight=3, timeout=30)
        async with Client(destination, batch_size=1, shutdown_timeout=0.2) as client:
            user = client.create_user_context("u")
            for _ in range(10):
                assert await user.track_event("k")
            await until(lambda: client.stats().total.delivered == 9)
            assert assert_conserved(client).total.pending == 1
