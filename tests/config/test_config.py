"""Configuration: what is wrong is named by its whole path, with what was expected and what came."""

import subprocess
import sys

import pytest

from aiotrack import Client, HTTPDestination, errors
from aiotrack.model.settings import Settings

HTTP = {"kind": "http", "url": "https://example.org/events"}

WRONG = {
    "integer from text": ({"batch_size": "ten"}, {}, "batch_size: expected an integer, got str 'ten'"),
    "integer from bool": ({"batch_size": True}, {}, "batch_size: expected an integer, got bool True"),
    "too small": ({"batch_size": 0}, {}, "batch_size: expected an integer >= 1, got int 0"),
    "no seconds": ({"flush_interval": -1}, {}, "flush_interval: expected seconds > 0, got int -1"),
    "not finite": ({"flush_interval": float("nan")}, {}, "flush_interval: expected seconds > 0, got float nan"),
    "a word": ({"overflow": "spill"}, {}, "overflow: expected one of 'wait', 'drop_newest', 'drop_oldest', got str"),
    "flag": ({"strict": 1}, {}, "strict: expected true or false, got int 1"),
    "list": ({"block": "tags"}, {}, "block: expected an array, got str 'tags'"),
    "list item": ({"block": ["a", 5]}, {}, "block[1]: expected text, got int 5"),
    "misspelt": ({"batchsize": 5}, {}, "batchsize: no such setting; did you mean 'batch_size'?"),
    "table": ({"destinations": 5}, {}, "destinations: expected a table, got int 5"),
    "inner table": ({"destinations": {"a": 5}}, {}, "destinations.a: expected a table, got int 5"),
    "no kind": ({"destinations": {"a": {}}}, {}, "destinations.a.kind: expected text, got nothing"),
    "kind": (
        {"destinations": {"a": {"kind": "htp"}}},
        {},
        "destinations.a.kind: there is no destination 'htp'; did you mean",
    ),
    "kind by path": (
        {"destinations": {"a": {"kind": "no.such:Thing"}}},
        {},
        "destinations.a.kind: 'no.such:Thing' can't be imported: No module named 'no'",
    ),
    "kind of another kind": (
        {"destinations": {"a": {"kind": "aiotrack:Client"}}},
        {},
        "destinations.a.kind: 'aiotrack:Client' is not a Destination class",
    ),
    "missing": ({"destinations": {"a": {"kind": "http"}}}, {}, "destinations.a.url: required by 'http', and missing"),
    "bad url": (
        {"destinations": {"a": {**HTTP, "url": "x"}}},
        {},
        "destinations.a.url: expected an http:// or https://",
    ),
    "unknown option": (
        {"destinations": {"a": {**HTTP, "tiemout": 5}}},
        {},
        "destinations.a.tiemout: 'http' has no such",
    ),
    "option's type": (
        {"destinations": {"a": {**HTTP, "timeout": "5"}}},
        {},
        "destinations.a.timeout: expected a number, got str '5'",
    ),
    "nested": (
        {"destinations": {"a": {**HTTP, "headers": {"X": 5}}}},
        {},
        "destinations.a.headers.X: expected text, or a function that returns it, got int",
    ),
    "code only": (
        {"destinations": {"a": {**HTTP, "session": "x"}}},
        {},
        "destinations.a.session: can't be set in a config; give it in code",
    ),
    "buffer": ({"buffer": {"kind": "disk"}}, {}, "buffer.kind: there is no buffer 'disk'"),
    "buffer option": ({"buffer": {"kind": "memory", "max_bytes": 0}}, {}, "buffer.max_bytes: expected an integer >= 1"),
    "environment": (
        {},
        {"AIOTRACK_BATCH_SIZE": "x"},
        "batch_size: expected an integer, got str 'x' from AIOTRACK_BATCH_SIZE",
    ),
    "environment range": ({}, {"AIOTRACK_BATCH_SIZE": "0"}, "batch_size: expected an integer >= 1, got int 0"),
    "environment key": ({}, {"AIOTRACK_BATCHSIZE": "5"}, "batchsize: no such setting; did you mean 'batch_size'?"),
}


@pytest.mark.parametrize(("document", "environment", "sentence"), WRONG.values(), ids=WRONG)
def test_a_wrong_setting_is_named_by_its_path(document, environment, sentence, monkeypatch):
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(errors.ConfigError) as caught:
        Client.from_config(document)
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(
    "name",
    ["batch_size", "batch_bytes", "flush_interval", "overflow", "strict", "autoload", "shutdown_timeout", "block"],
)
def test_arguments_are_checked_like_configuration(name):
    with pytest.raises(errors.ConfigError, match=rf"{name}: expected .*, got "):
        Client(**{name: object()})
    with pytest.raises(errors.ConfigError, match="buffer: expected a Buffer, got str"):
        Client(buffer="memory")


def test_a_secret_is_not_shown_in_an_error():
    document = {"destinations": {"a": {**HTTP, "headers": {"Authorization": ["Bearer s3cret"]}}}}
    with pytest.raises(errors.ConfigError) as caught:
        Client.from_config(document)
    assert "s3cret" not in str(caught.value)


async def test_a_toml_file_makes_a_client(tmp_path):
    path = tmp_path / "aiotrack.toml"
    path.write_text(f"""
batch_size = 20
flush_interval = 2
overflow = "drop_oldest"
block = ["noisy"]

[buffer]
kind = "memory"
max_bytes = 1_000_000

[destinations.archive]
kind = "local"
path = "{tmp_path}/archive.db"

[destinations.web]
kind = "aiotrack:HTTPDestination"
url = "http://127.0.0.1:9/events"
headers = {{ X-Team = "growth" }}
""")
    client = Client.from_config(path)
    assert client._lifecycle._settings == Settings(
        batch_size=20, flush_interval=2, overflow="drop_oldest", block=("noisy",)
    )
    async with client:
        assert list(client.stats().lanes) == ["archive", "web"]
        assert (tmp_path / "archive.db").exists()
        await client.aclose(timeout=0)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(errors.ConfigError, match=r"missing\.toml: can't be read: No such file"):
        Client.from_config(tmp_path / "missing.toml")
    (tmp_path / "bad.toml").write_text("batch_size = =\n")
    with pytest.raises(errors.ConfigError, match=r"bad\.toml: is not TOML: .*line 1"):
        Client.from_config(str(tmp_path / "bad.toml"))


def test_the_environment_goes_over_the_document(monkeypatch):
    for variable, value in {
        "AIOTRACK_BATCH_SIZE": "7",
        "AIOTRACK_FLUSH_INTERVAL": "0.5",
        "AIOTRACK_STRICT": "yes",
        "AIOTRACK_BLOCK": "a, b",
        "AIOTRACK_DESTINATIONS__MAIN__URL": "http://127.0.0.1:1/other",
        "AIOTRACK_DESTINATIONS__MAIN__TIMEOUT": "3",
        "AIOTRACK_BUFFER__KIND": "memory",
        "AIOTRACK_BUFFER__MAX_BYTES": "5000",
    }.items():
        monkeypatch.setenv(variable, value)
    client = Client.from_config({"batch_size": 5, "destinations": {"Main": HTTP}})
    assert client._lifecycle._settings == Settings(batch_size=7, flush_interval=0.5, strict=True, block=("a", "b"))
    assert "Main" in client.stats().plugins


def test_only_the_environment_is_enough(monkeypatch):
    monkeypatch.setenv("AIOTRACK_DESTINATIONS__MAIN__KIND", "http")
    monkeypatch.setenv("AIOTRACK_DESTINATIONS__MAIN__URL", "http://127.0.0.1:1/")
    assert "main" in Client.from_config({}).stats().plugins


def test_an_environment_that_contradicts_itself_is_named(monkeypatch):
    monkeypatch.setenv("AIOTRACK_BUFFER", "memory")
    monkeypatch.setenv("AIOTRACK_BUFFER__KIND", "memory")
    with pytest.raises(errors.ConfigError, match="AIOTRACK_BUFFER__KIND: 'buffer' is set as a value and as a table"):
        Client.from_config({})


def test_configuration_is_imported_only_by_those_who_use_it():
    code = "import sys, aiotrack; print('cattrs' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.mark.parametrize("kind", ["http", "optimizely", "vwo", "posthog"])
def test_every_http_destination_has_the_options_of_all(kind):
    own = {
        "http": {"url": "http://127.0.0.1:9/"},
        "optimizely": {"sdk_key": "k"},
        "vwo": {"account_id": 5, "sdk_key": "k"},
        "posthog": {"api_key": "k"},
    }
    options = {"timeout": 3.5, "max_in_flight": 2, "compression": "gzip", "proxy": "http://127.0.0.1:9"}
    client = Client.from_config({"destinations": {"a": {"kind": kind, **own[kind], **options}}})
    assert "a" in client.stats().plugins
    with pytest.raises(
        errors.ConfigError, match=r"destinations\.a\.max_in_flight: expected an integer >= 1, got int 0"
    ):
        Client.from_config({"destinations": {"a": {"kind": kind, **own[kind], "max_in_flight": 0}}})
    with pytest.raises(errors.ConfigError, match=r"destinations\.a\.timout: .* did you mean 'timeout'\?"):
        Client.from_config({"destinations": {"a": {"kind": kind, **own[kind], "timout": 0}}})


async def test_a_spilling_buffer_comes_from_a_configuration(tmp_path):
    table = {"kind": "spill", "path": str(tmp_path), "max_bytes": 1000, "file_max_bytes": 5000, "sync": "normal"}
    client = Client.from_config({"buffer": table, "destinations": {"a": HTTP}})
    assert repr(client._lifecycle._buffer) == (
        f"SpillBuffer(FileBuffer({str(tmp_path)!r}, max_bytes=5000, sync='normal'), max_bytes=1000)"
    )
    with pytest.raises(errors.ConfigError, match=r"buffer\.file_max_bytes: expected an integer >= 1, got int 0"):
        Client.from_config({"buffer": {**table, "file_max_bytes": 0}})


class TakesAnything(HTTPDestination):
    def __init__(self, url, **options):
        super().__init__(url, **options)


def test_a_destination_that_takes_any_option_can_be_named():
    client = Client.from_config({"destinations": {"a": {**HTTP, "kind": f"{__name__}:TakesAnything"}}})
    assert "a" in client.stats().plugins
