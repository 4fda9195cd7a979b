"""What an HTTP destination is made of: compression and name lookups."""

import asyncio
import gzip
import sys

import pytest
import zstandard

from aiotrack.destinations.http.compression import compressor
from aiotrack.destinations.http.resolver import Resolver
from aiotrack.errors import ConfigError


@pytest.mark.parametrize(("name", "unpack"), [("gzip", gzip.decompress), ("zstd", zstandard.decompress)])
def test_a_body_is_compressed_to_the_same_bytes_each_time(name, unpack):
    compress, body = compressor(name), b"an event, and another event, " * 100
    assert compress(body) == compress(body)
    assert unpack(compress(body)) == body


def test_a_compression_that_is_not_there_is_said(monkeypatch):
    with pytest.raises(ConfigError, match="compression: expected one of 'gzip', 'zstd', got 'brotli'"):
        compressor("brotli")
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(ConfigError, match="compression: 'zstd' needs the package zstandard"):
        compressor("zstd")


async def test_names_are_looked_up_and_those_who_ask_at_once_share_the_answer():
    resolver = Resolver()
    found = await asyncio.gather(*(resolver.resolve("localhost", 80) for _ in range(5)))
    assert {address["host"] for addresses in found for address in addresses} == {"127.0.0.1"}
    assert resolver._under_way == {}
    await resolver.close()


@pytest.mark.aiotrack(network=True)  # both are refused before anything is asked
@pytest.mark.parametrize("name", ["a..b", "x" * 300])
async def test_what_is_no_name_is_an_os_error(name):
    with pytest.raises(OSError, match=r"\w"):
        await Resolver().resolve(name, 80)
