"""What leaves, what does not, and that nobody sees what did not; always through a real client."""

import asyncio
import enum
import hashlib
import hmac
import logging
import re

import attrs
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

import aiotrack
from aiotrack import errors, hookimpl
from aiotrack.testing import Collector, Reply, check_plugin
from aiotrack_privacy import Privacy, Pseudonyms
from aiotrack_privacy.rules import short_address

KEY = b"a key of the test's own"
DAY = 86_400_000
USER = {
    "user_id": "ann@example.com",
    "attributes": {
        "plan": "gold",
        "email": "ann@example.com",
        "address": {"city": "Ghent", "street": "Secret Street 1"},
    },
    "user_agent": "SecretBrowser/1.0",
    "ip_address": "203.0.113.77",
    "session_id": "secret-session",
}
TAGS = {
    "revenue": 4200,
    "email": "ann@example.com",
    "items": [{"sku": "a", "buyer": {"email": "ann@example.com"}}, {"sku": "b"}],
    "a.b": "dotted",
}


async def sent(privacy, *plugins, tags=TAGS, user=USER, timestamp=5 * DAY, **options):
    """Return what a server gets of one event, or None; and the client's counters."""
    async with Collector() as server:
        client = aiotrack.Client(privacy, *plugins, aiotrack.HTTPDestination(server.url), **options)
        async with client:
            await client.create_user_context(**user).track_event("purchase", tags, timestamp=timestamp)
        events = server.events()
    return (events[0] if events else None), client.stats()


# -- what leaves --------------------------------------------------------------------------------------


async def test_by_default_only_the_address_is_shortened():
    event, _ = await sent(Privacy())
    assert event["ip_address"] == "203.0.113.0"
    assert {**event, "ip_address": "203.0.113.77"} | {"event_id": 0} == {
        "event_id": 0,
        "event": "purchase",
        "timestamp": 5 * DAY,
        "tags": TAGS,
        "revenue": 4200,
        **USER,
    }


async def test_what_is_dropped_is_gone_at_any_depth():
    paths = ["tags.email", "tags.items.*.buyer", "attributes.email", "attributes.address.street", "user_agent"]
    event, _ = await sent(Privacy(drop=[*paths, ("tags", "a.b"), "session_id"], truncate=[]))
    assert event["tags"] == {"revenue": 4200, "items": [{"sku": "a"}, {"sku": "b"}]}
    assert event["attributes"] == {"plan": "gold", "address": {"city": "Ghent"}}
    assert event["ip_address"] == "203.0.113.77"
    assert event.keys().isdisjoint({"user_agent", "session_id"})


async def test_only_what_is_allowed_leaves():
    allowed = ["tags.revenue", "tags.items.*.sku", "attributes.address.city", "ip_address"]
    event, _ = await sent(Privacy(allow=allowed, hash=["attributes.email"], key=KEY))
    assert event["tags"] == {"revenue": 4200, "items": [{"sku": "a"}, {"sku": "b"}]}
    assert event["attributes"].keys() == {"email", "address"}
    assert event["attributes"]["address"] == {"city": "Ghent"}
    assert event["ip_address"] == "203.0.113.0"
    assert event["user_id"] == "ann@example.com"
    assert event.keys().isdisjoint({"user_agent", "session_id"})


async def test_an_empty_list_allows_nothing():
    event, _ = await sent(Privacy(allow=[]))
    assert event.keys() == {"event_id", "event", "user_id", "timestamp", "attributes", "tags"}
    assert (event["attributes"], event["tags"]) == ({}, {})


async def test_whole_sections_can_be_allowed_and_dropped():
    event, _ = await sent(Privacy(allow=["tags", "attributes.*"], drop=["tags.*.buyer", "tags.email"]))
    assert event["tags"] == {"revenue": 4200, "items": [{"sku": "a"}, {"sku": "b"}], "a.b": "dotted"}
    assert event["attributes"] == USER["attributes"]
    assert "email" not in str(event["tags"])
    event, _ = await sent(Privacy(drop=["tags"]))
    assert event["tags"] == {}


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({"allow": ["tags.a", "tags.*.x"], "drop": ["tags.*.email"]}, {"a": {"x": 1}, "b": {"x": 2}}),
        ({"allow": ["tags.b"], "drop": ["tags.*"]}, {}),
        ({"drop": ["tags.a.*"], "allow": ["tags.*.email"]}, {"a": {}, "b": {"email": 2}}),
        ({"drop": ["tags.a"], "allow": ["tags.a.x", "tags.b"]}, {"b": {"email": 2, "x": 2}}),
        (
            {"allow": ["tags"], "truncate": ["tags.ip"]},
            {"a": {"email": 1, "x": 1}, "b": {"email": 2, "x": 2}, "ip": "1.2.3.0"},
        ),
        ({"truncate": ["tags.ip"], "drop": ["tags.*"]}, {}),
    ],
)
async def test_of_several_rules_that_fit_the_strictest_counts(options, left):
    tags = {"a": {"email": 1, "x": 1}, "b": {"email": 2, "x": 2}, "ip": "1.2.3.4"}
    event, _ = await sent(Privacy(**options), tags=tags)
    assert event["tags"] == left


class Number(int, enum.Enum):
    ONE = 1


class Shouting(str):
    """A text that takes itself for another."""

    __slots__ = ()

    def __eq__(self, other):
        return str(other).upper() == str.__str__(self).upper()

    def __hash__(self):
        return hash(str.__str__(self).upper())


async def test_keys_are_those_that_are_sent():
    tags = {
        True: "secret",
        None: "secret",
        Number.ONE: "secret",
        Shouting("email"): "secret",
        "caf\u0065\u0301": "secret",
    }
    paths = ["tags.true", "tags.null", "tags.1", "tags.email", "tags.caf\u00e9"]
    event, _ = await sent(Privacy(drop=paths), tags=tags)
    assert event["tags"] == {}


async def test_names_reach_through_lists_and_places_count():
    tags = {"user": [{"email": "a", "x": 1}, [{"email": "b"}], "c"]}
    event, _ = await sent(Privacy(drop=["tags.user.email"]), tags=tags)
    assert event["tags"] == {"user": [{"x": 1}, [{}], "c"]}
    event, _ = await sent(Privacy(drop=["tags.user.0", "tags.user.2"]), tags=tags)
    assert event["tags"] == {"user": [[{"email": "b"}]]}
    event, _ = await sent(Privacy(allow=["tags.user.x"]), tags=tags)
    assert event["tags"] == {"user": [{"x": 1}, [{}]]}


async def test_reserved_tags_are_made_anew_of_what_is_left():
    class Sets:
        @hookimpl
        def aiotrack_process_event(self, event):
            return attrs.evolve(event, reserved={"email": "hidden", "user_id": "hidden", "revenue": 1})

    for privacy in (Privacy(drop=["tags.email"]), Privacy(hash=["user_id"], key=KEY), Privacy(allow=["tags.revenue"])):
        event, _ = await sent(Sets(), privacy, tags={"revenue": 4200})
        assert "hidden" not in str(event)
        assert event["revenue"] == 4200


async def test_pseudonyms_are_the_same_within_a_period_and_can_be_made_elsewhere():
    hashed = ["user_id", "tags.email", "attributes.email", "tags.items", "session_id"]
    event, _ = await sent(Privacy(hash=hashed, key=KEY), timestamp=5 * DAY)
    later, _ = await sent(Privacy(hash=hashed, key=KEY), timestamp=6 * DAY - 1)
    next_day, _ = await sent(Privacy(hash=hashed, key=KEY), timestamp=6 * DAY)
    assert event["user_id"] == event["tags"]["email"] == event["attributes"]["email"] == later["user_id"]
    assert event["user_id"] != next_day["user_id"]
    assert all(re.fullmatch("[0-9a-f]{32}", event["tags"][name]) for name in ("email", "items"))
    of_day = hmac.new(KEY, b"aiotrack-privacy 5", hashlib.sha256).digest()
    expected = hmac.new(of_day, b"ann@example.com", hashlib.sha256).hexdigest()[:32]
    assert event["user_id"] == expected


async def test_nobody_and_nothing_have_no_pseudonym():
    event, _ = await sent(
        Privacy(hash=["user_id", "tags.a", "tags.b", "session_id"], key=KEY),
        tags={"a": None, "b": ""},
        user={"user_id": ""},
    )
    assert (event["user_id"], event["tags"]) == ("", {"a": None, "b": ""})
    assert "session_id" not in event


def test_keys_come_from_a_function_too_and_rotate_as_told():
    periods = []

    def key(start):
        periods.append(start)
        return b"%032d" % start

    pseudonyms = Pseudonyms(key, rotate=3600)
    names = {pseudonyms.of("ann", hour * 3_600_000) for hour in range(20) for _ in range(3)}
    assert len(names) == 20
    assert periods == [hour * 3600 for hour in range(20)]
    assert Pseudonyms(KEY, None).of("ann", 0) == Pseudonyms(KEY.decode(), None).of("ann", 10**15)
    assert Pseudonyms(KEY).of("ann", -5) == Pseudonyms(KEY).of("ann", -DAY)


@pytest.mark.parametrize(
    ("address", "short"),
    [
        ("203.0.113.77", "203.0.113.0"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1::"),
        ("::ffff:203.0.113.77", "::ffff:203.0.113.0"),
        ("fe80::1%eth0", "fe80::"),
        ("2002:cb00:714d::1", "2002:cb00:7100::"),
        ("203.0.113.77:80", None),
        ("ann@example.com", None),
        ("203.0.113", None),
        ("\ud800", None),
        ("1.2.3.4\0", None),
        (5, None),
    ],
)
async def test_addresses_lose_their_last_part_and_what_is_none_is_removed(address, short):
    assert short_address(address) == short
    event, _ = await sent(Privacy(truncate=["tags.from"]), tags={"from": address} if address != "\ud800" else {})
    assert event["tags"] == ({} if short is None else {"from": short})


@given(st.ip_addresses())
def test_a_short_address_is_an_address_and_stays_as_it_is(address):
    short = short_address(str(address))
    assert short is not None
    assert short_address(short) == short


# -- the last step ------------------------------------------------------------------------------------


class Adds:
    """Other plugins, which bring what must not leave."""

    @hookimpl
    def aiotrack_process_event(self, event):
        return attrs.evolve(event, tags={**event.tags, "email": "sync@example.com"})

    @hookimpl(trylast=True)
    async def aiotrack_enrich_event(self, event):
        await asyncio.sleep(0)
        return attrs.evolve(event, attributes={**event.attributes, "email": "async@example.com"})


async def test_what_other_plugins_bring_is_scrubbed_too():
    event, _ = await sent(Adds(), Privacy(drop=["tags.email", "attributes.email"]))
    assert "email" not in event["tags"] | event["attributes"]


async def test_nothing_that_was_removed_is_seen_anywhere(tmp_path, caplog):
    """Not in a buffer, a dead letter, a log line or a listener."""
    caplog.set_level(logging.DEBUG)
    drop = ["tags.email", "tags.items", "attributes.email", "attributes.address", "user_agent", "session_id"]
    privacy = Privacy(drop=drop, hash=["user_id"], key=KEY)
    heard = []
    async with Collector(default=Reply(status=400)) as server:
        buffer = aiotrack.FileBuffer(tmp_path)
        async with aiotrack.Client(privacy, aiotrack.HTTPDestination(server.url), buffer=buffer) as client:
            client.on("aiotrack_event_tracked", lambda event: heard.append(repr(attrs.asdict(event))))
            client.on("aiotrack_batch_failed", lambda batch, answer: heard.append(repr(attrs.asdict(batch))))
            assert await client.create_user_context(**USER).track_event("purchase", TAGS)
            await client.flush()
            letters = await client.dead_letters()
            seen = "".join([*heard, caplog.text, repr(client), repr(privacy), *(str(one.entry) for one in letters)])
        seen += "".join(path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file())
        seen += "".join(request.body.decode() for request in server.requests)
    assert len(letters) == 1
    assert len(heard) == 2
    for secret in ("ann@example.com", "Secret", "secret-session", "203.0.113.77", KEY.decode()):
        assert secret not in seen
    assert "203.0.113.0" in seen


async def test_what_a_caller_adds_while_an_event_waits_does_not_leave():
    class Waits(aiotrack.HTTPDestination):
        needs_catalog = True

    address = {"city": "Ghent"}
    async with Collector() as server:
        destination = Waits(server.url)
        async with aiotrack.Client(Privacy(drop=["attributes.address.street"]), destination) as client:
            tracking = asyncio.ensure_future(client.create_user_context("u", {"address": address}).track_event("k"))
            await asyncio.sleep(0)
            address["street"] = "Secret Street 1"
            destination.update_catalog(aiotrack.Catalog("1"))
            assert await tracking
        assert server.events()[0]["attributes"] == {"address": {"city": "Ghent"}}


# -- consent ------------------------------------------------------------------------------------------


def asks(answer):
    def consent(event):
        assert event.user_id == "ann@example.com"  # as it was, so that it can be looked up
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def later(event):
        await asyncio.sleep(0)
        return consent(event)

    return consent, later


@pytest.mark.parametrize("colour", [0, 1], ids=["sync", "async"])
@pytest.mark.parametrize(
    ("answer", "leaves"), [(True, True), (False, False), (None, False), ("yes", False), (KeyError("ann"), False)]
)
async def test_only_a_clear_yes_is_consent(answer, leaves, colour, caplog):
    privacy = Privacy(hash=["user_id"], key=KEY, consent=asks(answer)[colour])
    event, stats = await sent(privacy)
    assert (event is not None) is leaves
    assert stats.plugins["privacy"].dropped == (0 if leaves else 1)
    assert stats.plugins["privacy"].errors == 0
    assert ("KeyError" in caplog.text) is isinstance(answer, Exception)
    assert "ann" not in caplog.text


async def test_who_hears_of_an_event_without_consent_hears_no_more_than_its_key():
    heard = []

    class Listener:
        @hookimpl
        def aiotrack_event_refused(self, event, refusal):
            heard.append(event)

    await sent(Privacy(consent=lambda event: False), Listener())
    (event,) = heard
    assert (event.key, event.user_id, event.attributes, event.tags, event.ip_address) == ("purchase", "", {}, {}, None)


async def test_consent_that_does_not_come_is_none():
    """Cut short by the client's deadline for plugins, which lets events go on; this one must not."""

    async def never(event):
        await asyncio.Event().wait()

    event, stats = await sent(Privacy(consent=never), plugin_timeout=0.05)
    assert event is None
    assert stats.plugins["privacy"].errors == 1
    assert stats.plugins["privacy"].dropped == 1


async def test_consent_is_asked_for_each_event_of_many_at_once():
    async def consent(event):
        await asyncio.sleep(0)
        return event.tags["n"] % 2 == 0

    async with Collector() as server:
        async with aiotrack.Client(Privacy(consent=consent), Adds(), aiotrack.HTTPDestination(server.url)) as client:
            user = client.create_user_context("u")
            results = await asyncio.gather(*(user.track_event("k", {"n": n}) for n in range(50)))
            assert [bool(result) for result in results] == [n % 2 == 0 for n in range(50)]
            assert not user.track_event_nowait("k", {"n": 0})
        assert sorted(event["tags"]["n"] for event in server.events()) == list(range(0, 50, 2))


async def test_an_earlier_yes_for_an_id_is_none_for_a_later_event_of_it():
    async def consent(event):
        if event.user_id == "bob":
            await asyncio.Event().wait()
        return True

    async with Collector() as server:
        destination = aiotrack.HTTPDestination(server.url)
        async with aiotrack.Client(Privacy(consent=consent), destination, plugin_timeout=0.05) as client:
            for user in ("ann", "bob"):
                await client.create_user_context(user).track_event("k", event_id="order-1")
        assert [event["user_id"] for event in server.events()] == ["ann"]


async def test_a_plugin_that_tracks_an_event_of_its_own_meanwhile_takes_no_consent_away():
    async def consent(event):
        return True

    class Tracks:
        @hookimpl
        async def aiotrack_enrich_event(self, event):
            if event.key == "outer":
                assert await client.create_user_context("u").track_event("inner")
            return event

    async with aiotrack.Client(
        Privacy(consent=consent), Tracks(), aiotrack.HTTPDestination("https://example.com")
    ) as client:
        assert await client.create_user_context("u").track_event("outer")


async def test_a_consent_that_tracks_events_gets_none_of_its_own_through():
    inner = []

    def consent(event):
        inner.append(client.create_user_context("u").track_event_nowait("inner"))
        return True

    async with aiotrack.Client(Privacy(consent=consent), aiotrack.HTTPDestination("https://example.com")) as client:
        assert await client.create_user_context("u").track_event("outer")
    assert len(inner) == 1
    assert not inner[0]


@pytest.mark.parametrize("raised", [asyncio.CancelledError, RecursionError])
async def test_nothing_that_is_raised_lets_an_event_through(raised, monkeypatch):
    def consent(event):
        raise raised

    def broken(*_):
        raise ValueError

    monkeypatch.setattr(logging.getLogger("aiotrack.privacy"), "error", broken)
    event, _ = await sent(Privacy(consent=consent))
    assert event is None


async def test_a_sync_consent_that_returns_a_coroutine_is_a_mistake_and_drops():
    async def later():
        return True

    event, _ = await sent(Privacy(consent=lambda event: later()))
    assert event is None


async def test_without_an_async_consent_nothing_is_awaited():
    assert check_plugin(Privacy(drop=["tags.category"])) == ("aiotrack_finalize_event",)
    async with aiotrack.Client(Privacy(), aiotrack.HTTPDestination("https://example.com/")) as client:
        assert client.create_user_context("u").track_event_nowait("k")


async def test_what_can_not_be_scrubbed_does_not_leave(caplog):
    def broken(start):
        raise RuntimeError("ann@example.com")

    event, stats = await sent(Privacy(hash=["user_id"], key=broken))
    assert event is None
    assert stats.plugins["privacy"].dropped == 1
    assert "an event can't be scrubbed, and is dropped: RuntimeError" in caplog.text
    assert "ann" not in caplog.text


# -- options ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"drop": ["email"]}, "drop: expected user_id, user_agent, ip_address, session_id, tags.NAME, attributes.NAME"),
        ({"drop": ["user_agent.x"]}, "drop: expected user_id"),
        ({"drop": "tags.email"}, "drop: expected a list of paths, got str 'tags.email'"),
        ({"drop": [5]}, "drop: expected paths such as 'tags.email', got 5"),
        ({"drop": [("tags", 5)]}, "drop: expected paths such as 'tags.email', got ('tags', 5)"),
        ({"drop": ["user_id"]}, "drop: an event needs a user_id: hash it instead"),
        ({"hash": ["user_id"]}, "key: needed to hash"),
        ({"hash": ["user_id"], "key": b"short"}, "key: expected at least 16 bytes, got 5"),
        ({"hash": ["user_id"], "key": 5}, "key: expected bytes, text or a plain function, got int"),
        ({"hash": ["user_id"], "key": asyncio.sleep}, "key: expected bytes, text or a plain function"),
        ({"hash": ["user_id"], "key": "a key" * 9 + "\ud800"}, "key: expected text that UTF-8 can carry"),
        ({"hash": ["tags"], "key": KEY}, "hash: 'tags' is all of them: tags.NAME, or tags.*"),
        ({"hash": None}, "hash: expected a list of paths, got NoneType"),
        ({"allow": 5}, "allow: expected a list of paths, got int 5"),
        ({"key": KEY, "rotate": float("inf")}, "rotate: expected seconds >= 1 or None, got inf"),
        ({"key": KEY, "rotate": 0}, "rotate: expected seconds >= 1 or None, got 0"),
        ({"drop": ["tags.a"], "allow": ["tags.a"]}, "allow: 'tags.a' is in drop, too"),
        ({"drop": ["tags.a"], "hash": ["tags.a"], "key": KEY}, "hash: 'tags.a' is in drop, too"),
        ({"consent": True}, "consent: expected a function of the event, got bool"),
    ],
)
def test_a_bad_option_is_named(options, sentence):
    with pytest.raises(errors.ConfigError) as caught:
        Privacy(**options)
    assert str(caught.value).startswith(sentence)
    assert "a key" not in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab.", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, max_size=3),
    max_leaves=10,
)
PATHS = st.lists(
    st.lists(st.sampled_from(["a", "b", "*"]), min_size=1, max_size=3).map(lambda steps: ("tags", *steps)), max_size=3
)


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), JSON), PATHS)
def test_no_value_on_a_dropped_path_is_left(tags, paths):
    """And all others are, unchanged."""
    privacy = Privacy(drop=paths)
    event = privacy.aiotrack_finalize_event(aiotrack.Event("k", "u", tags=tags))

    def without(value, left):
        if isinstance(value, dict):
            pairs = {key: [path[1:] for path in left if path[0] in (key, "*")] for key in value}
            return {key: without(value[key], rest) for key, rest in pairs.items() if () not in rest}
        if isinstance(value, list):
            rest = [path[1:] if path[0] == "*" else path for path in left]
            return [without(item, rest) for item in value if () not in rest]
        return value

    assert orjson.loads(orjson.dumps(event.tags)) == without(tags, [path[1:] for path in paths])


async def test_a_consent_is_for_the_user_who_was_asked_about():
    class Changes:
        @aiotrack.hookimpl
        async def aiotrack_enrich_event(self, event):
            return attrs.evolve(event, user_id="bob")

    async def consent(event):
        return event.user_id == "ann"

    destination = aiotrack.HTTPDestination("http://127.0.0.1:9")
    async with aiotrack.Client(destination, Privacy(consent=consent), Changes()) as client:
        result = await client.create_user_context("ann").track_event("k")
        assert result.refused["http"].reason == "dropped by plugin"


async def test_answers_that_are_not_asked_for_do_not_add_up():
    class Refuses:
        @aiotrack.hookimpl
        async def aiotrack_enrich_event(self, event):
            return None

    async def consent(event):
        return True

    privacy = Privacy(consent=consent)
    async with aiotrack.Client(aiotrack.HTTPDestination("http://127.0.0.1:9"), privacy, Refuses()) as client:
        user = client.create_user_context("ann")
        for _ in range(50):
            assert not await user.track_event("k")
        assert len(privacy._agreed.get()) <= 8


LOOKS_LIKE_EMAIL = {
    "capitals": "EMail",
    "fullwidth": "\uff45mail",
    "ligature": "ema\u2170l",
    "joiner": "em\u200dail",
    "soft hyphen": "e\u00admail",
    "variation selector": "email\ufe0f",
    "zero byte": "em\0ail",
    "spaces": " email\t",
}


@pytest.mark.parametrize("key", LOOKS_LIKE_EMAIL.values(), ids=LOOKS_LIKE_EMAIL)
async def test_what_must_not_leave_is_met_in_every_form(key):
    tags = {key: "secret", "items": [{key: "secret"}], "mail": "x"}
    event, _ = await sent(Privacy(drop=["tags.email", "tags.items.*.email"]), tags=tags)
    assert event["tags"] == {"items": [{}], "mail": "x"}
    event, _ = await sent(Privacy(hash=["tags.email"], key="k" * 16), tags={key: "secret"})
    assert "secret" not in str(event["tags"])
    (event, _) = await sent(Privacy(allow=["tags.email"]), tags={key: "secret", "email": "x"})
    assert event["tags"] == {"email": "x"}


async def test_a_name_with_dots_is_met_too():
    tags = {"a.b": "secret", "a": {"b": "secret", "c.d": "secret", "c": {"d": "secret", "e": 1}}, "a.b.c": "x"}
    event, _ = await sent(Privacy(drop=["tags.a.b", "tags.a.c.d"]), tags=tags)
    assert event["tags"] == {"a": {"c": {"e": 1}}, "a.b.c": "x"}
    event, _ = await sent(Privacy(allow=["tags.a.b"]), tags=tags)
    assert event["tags"] == {"a": {"b": "secret"}}


def test_forms_from_outside_do_not_add_up():
    privacy = Privacy(drop=["tags.email.x"])
    for number in range(100):
        key = "email" + "\u200d" * number
        event = privacy.aiotrack_finalize_event(aiotrack.Event("k", "u", tags={key: {"x": 1, "y": 2}}))
        assert event.tags == {key: {"y": 2}}
    assert len(privacy._rules.root.exact["tags"]._below) == 1
