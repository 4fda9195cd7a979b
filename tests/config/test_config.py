"""Configuration: what is wrong is named by its whole path, with what was expected and what came."""

import subprocess
import sys

import certifi
import pytest
from yarl import URL

from aiotrack import Client, HTTPDestination, MemoryBuffer, SyncClient, errors, hookimpl
from aiotrack.config import environment, load
from aiotrack.model.settings import Settings
from aiotrack_log import EventLog

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
        "destinations.a.headers.X: expected text, got int",
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
    "environment range": (
        {},
        {"AIOTRACK_BATCH_SIZE": "0"},
        "batch_size: expected an integer >= 1, got int 0 (from AIOTRACK_BATCH_SIZE)",
    ),
    "environment option": (
        {"destinations": {"a": HTTP}},
        {"AIOTRACK_DESTINATIONS__A__TIMEUOT": "5"},
        "destinations.a.timeuot: 'http' has no such option; did you mean 'timeout'? (from AIOTRACK_DESTINATIONS__A__",
    ),
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


# -- all at once ----------------------------------------------------------------------------------------


MEANT = "expected an http:// or https:// URL, got 'localhost:8000/x'; did you mean 'http://localhost:8000/x'?"


def test_all_that_is_wrong_is_said_at_once_each_by_its_path(tmp_path, monkeypatch):
    path = tmp_path / "aiotrack.toml"
    path.write_text("""
batch_size = 0
flush_intervall = 2

[buffer]
kind = "file"
path = "buffer"
sync = "sometimes"
max_bytes = 0

[destinations.web]
kind = "http"
url = "localhost:8000/x"
timeout = "5"
proxy = "socks5://127.0.0.1:1"
headers = { "X Key" = "a" }

[destinations.other]
kind = "htp"

[destinations.none]
kind = "http"
timeuot = 5

[plugins.log]
every = -1

[plugins.nothing]
""")
    monkeypatch.setenv("AIOTRACK_OVERFLOW", "never")
    with pytest.raises(errors.ConfigError) as caught:
        Client.from_config(path)
    assert [mistake.removeprefix(f"{path}: ") for mistake in caught.value.mistakes] == [
        "flush_intervall: no such setting; did you mean 'flush_interval'?",
        "plugins.log.every: expected seconds > 0, got int -1",
        "plugins.nothing: there is no plugin 'nothing'; there are log, privacy, schema",
        "destinations.web.timeout: expected a number, got str '5'",
        "destinations.web.url: " + MEANT,
        "destinations.web.headers: expected a name of letters, digits and dashes, got 'X Key'",
        "destinations.web.proxy: expected an http:// or https:// URL, got a SOCKS proxy; no other kind is spoken",
        "destinations.other.kind: there is no destination 'htp'; did you mean 'http'?",
        "destinations.none.timeuot: 'http' has no such option; did you mean 'timeout'?",
        "destinations.none.url: required by 'http', and missing",
        "batch_size: expected an integer >= 1, got int 0",
        "overflow: expected one of 'wait', 'drop_newest', 'drop_oldest', got str 'never' (from AIOTRACK_OVERFLOW)",
        "buffer.max_bytes: expected an integer >= 1, got int 0",
        "buffer.sync: expected one of 'full', 'normal', got str 'sometimes'",
    ]
    assert str(caught.value).startswith(f"14 mistakes\n- {path}: flush_intervall: ")


def test_arguments_that_are_wrong_are_all_said_too():
    with pytest.raises(errors.ConfigError) as caught:
        Client(batch_size=0, flush_interval="1", block="tags", buffer=MemoryBuffer)
    assert [mistake.partition(":")[0] for mistake in caught.value.mistakes] == [
        *("batch_size", "flush_interval", "block", "buffer"),
    ]
    assert "buffer: expected a Buffer, got the class MemoryBuffer: give an instance" in str(caught.value)


# -- the environment ------------------------------------------------------------------------------------


KUBERNETES = {
    "AIOTRACK_SERVICE_HOST": "10.0.0.7",
    "AIOTRACK_SERVICE_PORT": "80",
    "AIOTRACK_PORT": "tcp://10.0.0.7:80",
    "AIOTRACK_PORT_80_TCP_ADDR": "10.0.0.7",
    "AIOTRACK_BUFFER_SERVICE_HOST": "10.0.0.8",
}


def test_variables_of_others_are_passed_over_and_named_once(monkeypatch, caplog):
    monkeypatch.setattr(environment, "_warned", set())
    for variable, value in {**KUBERNETES, "AIOTRACK_BATCH_SIZ": "5", "AIOTRACK_CONSOLE": "0"}.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("AIOTRACK_DISABLED", "0")
    Client.from_config({})
    Client.from_config({"destinations": {"a": HTTP}})
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    for variable in KUBERNETES:
        assert variable in record.getMessage()
    assert "AIOTRACK_BATCH_SIZ (did you mean AIOTRACK_BATCH_SIZE?)" in record.getMessage()
    assert "CONSOLE" not in record.getMessage()
    assert "DISABLED" not in record.getMessage()
    assert "10.0.0" not in record.getMessage()


def test_the_environment_alone_is_enough(monkeypatch):
    monkeypatch.setenv("AIOTRACK_BATCH_SIZE", "7")
    monkeypatch.setenv("AIOTRACK_DESTINATIONS__MAIN__KIND", "http")
    monkeypatch.setenv("AIOTRACK_DESTINATIONS__MAIN__URL", "http://127.0.0.1:1/")
    monkeypatch.setenv("AIOTRACK_PLUGINS__LOG__EVERY", "5")
    client = Client.from_config()
    assert list(client.stats().plugins) == ["tags", "log", "main"]
    assert client._lifecycle._settings.batch_size == 7


def test_names_are_met_in_any_case_and_with_dashes(monkeypatch):
    document = {"destinations": {"My-Warehouse": {**HTTP, "headers": {"X-Api-Key": "below"}}}}
    table = "AIOTRACK_DESTINATIONS__MY_WAREHOUSE"
    monkeypatch.setenv(f"{table}__HEADERS__X_API_KEY", "above")
    monkeypatch.setenv(f"{table}__HEADERS__X_TEAM", "growth")
    monkeypatch.setenv(f"{table}__SSL__CA_FILE", certifi.where())
    (destination,), _ = load(document)
    assert destination.name == "My-Warehouse"
    headers = destination._headers.now()
    assert {headers["X-Api-Key"], headers["x-team"]} == {"above", "growth"}
    assert {type(value) for value in headers.values()} == {str}


def test_a_table_may_be_one_variable_of_json(monkeypatch):
    monkeypatch.setenv("AIOTRACK_DESTINATIONS__MAIN__HEADERS", '{"X-Api-Key": "k"}')
    (destination,), _ = load({"destinations": {"main": HTTP}})
    assert destination._headers.now()["X-Api-Key"] == "k"
    monkeypatch.setenv("AIOTRACK_DESTINATIONS__MAIN__HEADERS", "pa55")
    with pytest.raises(
        errors.ConfigError, match=r"destinations\.main\.headers: expected a table, as JSON, got str from A"
    ):
        load({"destinations": {"main": HTTP}})


# -- code beside it -------------------------------------------------------------------------------------


def test_plugins_and_options_in_code_go_with_a_configuration(monkeypatch):
    monkeypatch.setenv("AIOTRACK_BATCH_SIZE", "7")
    client = Client.from_config({"strict": True, "destinations": {"a": HTTP}}, EventLog(), batch_size=9, strict=False)
    assert list(client.stats().plugins) == ["tags", "a", "log"]
    assert client._lifecycle._settings == Settings(batch_size=9)
    with pytest.raises(errors.ConfigError, match="two destinations are called 'a'"):
        Client.from_config({"destinations": {"a": HTTP}}, HTTPDestination("http://127.0.0.1:9/", name="a"))
    with pytest.raises(errors.ConfigError, match="expected the path of a TOML file, a mapping or None, got EventLog"):
        Client.from_config(EventLog())
    with SyncClient.from_config({"destinations": {"a": {**HTTP, "only": ["x"]}}}, EventLog(), batch_size=9) as sync:
        assert list(sync.stats().plugins) == ["tags", "a", "log"]


# -- plugins --------------------------------------------------------------------------------------------


def test_plugins_come_from_a_table_each(tmp_path):
    plan = tmp_path / "plan.toml"
    plan.write_text('[events.buy.properties]\nitems = { type = "integer", required = true }\n')
    path = tmp_path / "aiotrack.toml"
    path.write_text(f"""
[plugins.log]
every = 30

[plugins.schema]
sources = ["{plan}"]
unlisted = "refuse"

[plugins.people]
kind = "privacy"
drop = ["tags.email", ["attributes", "a.b"]]
hash = ["user_id"]
key = "a secret of sixteen bytes"
""")
    plugins, _ = load(path)
    log, schema, people = plugins
    assert (log.name, schema.name, people.name) == ("log", "schema", "people")
    assert log._every == 30
    assert list(schema.events) == ["buy"]
    assert repr(people) == "<Privacy 'people'>"
    assert list(Client.from_config(path).stats().plugins) == ["tags", "log", "schema", "people"]


class Own:
    """A plugin without a name."""

    def __init__(self, level: int = 1):
        self.level = level

    @hookimpl
    def aiotrack_event_tracked(self, event):
        pass


an_object = Own(5)


def test_a_plugin_of_ones_own_is_named_by_its_module():
    own, given = load(
        {"plugins": {"a": {"kind": f"{__name__}:Own", "level": 3}, "b": {"kind": f"{__name__}:an_object"}}}
    )[0]
    assert (own.level, given.level) == (3, 5)
    with pytest.raises(
        errors.ConfigError, match=r"plugins\.b\.level: '.*:an_object' is an object already, and takes no"
    ):
        load({"plugins": {"b": {"kind": f"{__name__}:an_object", "level": 3}}})
    with pytest.raises(
        errors.ConfigError, match=r"plugins\.privacy\.consent: can't be set in a config; give it in code"
    ):
        load({"plugins": {"privacy": {"consent": "yes"}}})


def test_a_plan_that_is_wrong_is_named_by_its_place(tmp_path):
    with pytest.raises(errors.ConfigError, match=r"plugins\.schema\.sources: expected an array, got str"):
        load({"plugins": {"schema": {"sources": "plan.toml"}}})
    with pytest.raises(errors.ConfigError, match=r"plugins\.schema: .*no\.toml: can't be read: No such file"):
        load({"plugins": {"schema": {"sources": [str(tmp_path / "no.toml")]}}})


# -- what a hostile reader of the documents tried ---------------------------------------------------------


class Raises(HTTPDestination):
    def __init__(self, url, **options):
        raise RuntimeError("s3cret")


def makes_a_number(a: int = 1):
    return 5


ODD = {
    "a table's name twice": (
        {"destinations": {"a": {**HTTP, "name": "b"}}},
        "destinations.a.name: the table's name is the name: [destinations.NAME]",
    ),
    "a key that is no text": ({"destinations": {"a": {**HTTP, 5: "b"}}}, "destinations.a.5: 'http' has no such option"),
    "capitals": (
        {"destinations": {"a": {**HTTP, "kind": "HTTP"}}},
        "destinations.a.kind: there is no destination 'HTTP'; did you mean 'http'?",
    ),
    "a constructor that raises": (
        {"destinations": {"a": {**HTTP, "kind": f"{__name__}:Raises"}}},
        f"destinations.a: '{__name__}:Raises' raised RuntimeError",
    ),
    "a plugin that is none": (
        {"plugins": {"a": {"kind": f"{__name__}:makes_a_number"}}},
        "plugins.a: plugin 'int' (a value of type int) implements no aiotrack hook",
    ),
    "an array of tables": ({"destinations": [HTTP]}, "destinations: expected a table, got list"),
    "a word for a table": ({"buffer": "memory"}, "buffer: expected a table, got str 'memory'"),
}


@pytest.mark.parametrize(("document", "sentence"), ODD.values(), ids=ODD)
def test_odd_configurations_are_named_too(document, sentence):
    with pytest.raises(errors.ConfigError) as caught:
        Client.from_config(document)
    assert str(caught.value).startswith(sentence)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("code", ["raise RuntimeError('s3cret')", "def f(:"])
def test_a_module_that_breaks_when_it_is_imported_is_named(code, tmp_path, monkeypatch):
    (tmp_path / "broken.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "broken", raising=False)
    with pytest.raises(
        errors.ConfigError, match=r"destinations\.a\.kind: 'broken:X' can't be imported: \w+Error"
    ) as caught:
        load({"destinations": {"a": {"kind": "broken:X"}}})
    assert "s3cret" not in str(caught.value)


def test_a_buffer_that_is_no_table_hides_no_other_mistake():
    with pytest.raises(errors.ConfigError) as caught:
        load({"buffer": "memory", "batch_size": 0, "destinations": {"a": 5}})
    assert len(caught.value.mistakes) == 3


def test_a_path_that_is_empty_is_named():
    with pytest.raises(
        errors.ConfigError, match="expected the path of a TOML file, a mapping or None, got an empty path"
    ):
        load("")


def test_whole_tables_of_the_environment_are_json_and_never_shown(monkeypatch):
    monkeypatch.setenv("AIOTRACK_BUFFER", '{"kind": "memory", "max_bytes": 5000}')
    monkeypatch.setenv("AIOTRACK_DESTINATIONS__A", '{"kind": "http", "url": "http://127.0.0.1:9", "timeout": 5}')
    (destination,), options = load()
    assert (destination.name, options["buffer"].max_bytes) == ("a", 5000)
    monkeypatch.setenv("AIOTRACK_DESTINATIONS__A", "kind=http;token=s3cret")
    with pytest.raises(
        errors.ConfigError, match=r"destinations\.a: expected a table, as JSON, got other text"
    ) as caught:
        load()
    assert "s3cret" not in str(caught.value)
    assert "AIOTRACK_DESTINATIONS__A" in str(caught.value)


def test_words_of_the_environment_are_those_that_people_write(monkeypatch):
    for variable, text in {"STRICT": "on", "AUTOLOAD": "OFF", "MAX_RETRIES": "none", "MAX_AGE": ""}.items():
        monkeypatch.setenv(f"AIOTRACK_{variable}", text)
    assert load()[1] == {"strict": True, "autoload": False, "max_retries": None, "max_age": None}


def test_a_url_may_be_yarls():
    assert repr(HTTPDestination(URL("http://127.0.0.1:9/in"))) == "<HTTPDestination 'http' http://127.0.0.1:9>"
