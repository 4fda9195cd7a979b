"""The same input to VWO's real SDK, through its proxy_url, and to this destination: what each sends, compared."""

import asyncio
import json
import re
from urllib.parse import parse_qsl, urlsplit

import orjson
import pytest
import vwo
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stand_ins import as_json, as_python, stand_ins
from vendor_sdk import ACCOUNT, DOCUMENT, KEY, QUIET
from wingify.services.settings_manager import SettingsManager
from wingify.services.url_service import UrlService

import aiotrack
from aiotrack.errors import DocumentError
from aiotrack_vwo import VWO, Settings, visitor_uuid


class Captured(VWO):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.sent = []

    async def start(self, client):
        """Leave the settings alone."""

    async def send(self, batch):
        self.sent.append((batch.request.url, dict(batch.request.headers), batch.request.body))
        return aiotrack.Answer(status=200)


def data_of(sent):
    """Take out what differs by its nature; the rest is compared as text, so that order and number types count."""
    data = json.loads(json.dumps(sent["d"]))
    assert re.fullmatch(r"[^-]*-\d{13}", data["msgId"]), data["msgId"]
    data["msgId"] = data["msgId"].split("-")[0]
    assert type(data["event"]["time"]) is int
    data["event"]["time"] = "..."
    if type(data["sessionId"]) is int and data["sessionId"] > 1_600_000_000:
        data["sessionId"] = "now"
    return json.dumps(data)


# -- generated input ------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
plain = st.text("abcXYZ0 9._", min_size=1, max_size=8).filter(lambda text: text == text.strip())
names = st.sampled_from(["purchase", "purchase", "purchase", "view", "Purchase", "purchase "])
scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | texts
scalars |= st.floats(allow_nan=False, allow_infinity=False)
prop_keys = st.sampled_from(["vwo_sdkName", "vwo_envKey", "isCustomEvent", "variation", "id", "revenue"]) | texts
values = st.recursive(
    scalars | stand_ins,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(prop_keys, inner, max_size=3),
    max_leaves=6,
)
properties = st.dictionaries(prop_keys | st.integers(-5, 5) | st.none(), values, max_size=5)
web_ids = st.sampled_from(
    ["D" + "0aF" * 10 + "12", "J" + "f" * 32, "D" + "f" * 31, "X" + "f" * 32, "D" + "f" * 32 + "\n"]
)
user_ids = texts.filter(bool) | plain | web_ids | st.sampled_from(["u", "v", "w", 5.5, None])
metrics = st.fixed_dictionaries(
    {"id": st.integers(1, 99), "type": st.just("REVENUE_TRACKING"), "identifier": names},
    optional={"hasProps": st.booleans(), "revenueProp": st.just("revenue"), "mca": st.integers(0, 9)},
)
features = st.fixed_dictionaries(
    {
        "id": st.integers(1, 99),
        "key": texts,
        "status": st.sampled_from(["ON", "OFF"]),
        "name": texts,
        "type": st.just("FEATURE_FLAG"),
        "metrics": st.lists(metrics, min_size=1, max_size=4),
        "rules": st.just([]),
    }
)
holdouts = st.fixed_dictionaries(
    {
        "metrics": st.lists(metrics, max_size=2),
        "segments": st.just({}),
        "featureIds": st.just([]),
        "isGlobal": st.booleans(),
        "name": texts,
        "id": st.integers(1, 99),
        "percentTraffic": st.integers(0, 100),
    }
)
documents = st.fixed_dictionaries(
    {
        "version": st.integers(1, 9),
        "accountId": st.just(int(ACCOUNT)),
        "sdkKey": st.just(KEY),
        "campaigns": st.sampled_from([[], {}]),
        "features": st.lists(features, min_size=1, max_size=2) | st.lists(features, max_size=3) | st.just({}),
    },
    optional={
        "holdouts": st.lists(holdouts, max_size=2) | st.just({}),
        "collectionPrefix": st.sampled_from(["", " "]) | st.integers(),  # a real one it reads at its start only
        "isWebConnectivityEnabled": st.booleans(),
        "unknown": values.map(as_json),
    },
)
calls = st.lists(
    st.tuples(
        names | names | texts,
        user_ids,
        texts | st.none(),
        texts | st.none(),
        st.integers(0, 9) | texts | st.none(),
        properties,
    ),
    min_size=12,
    max_size=20,
)
compared = {True: 0, False: 0}


def context_of(user_id, agent, address, session):
    context = {"id": user_id, "user_agent": agent, "ip_address": address, "session_id": session}
    return {key: value for key, value in context.items() if key == "id" or value is not None}


@settings(max_examples=90, deadline=None, suppress_health_check=list(HealthCheck))
@given(document=documents, calls=calls)
def test_every_batch_is_the_one_that_the_vendors_sdk_would_send(server, theirs, document, calls):
    client = theirs
    client.update_settings({**document, **QUIET}, False)
    server.posts.clear()

    async def main():
        ours = Captured(ACCOUNT, KEY, settings=document, base_url=server.url)
        async with aiotrack.Client(ours, flush_interval=60) as tracking:
            accepted = 0
            for name, user_id, agent, address, session, props in calls:
                context = context_of(user_id, agent, address, session)
                expected = client.track_event(name, context, as_json(props))
                result = await tracking.track_event(name, context, as_python(props))
                assert {result.key: bool(result)} == expected, (name, context, props)
                compared[bool(result)] += 1
                accepted += bool(result)
            await tracking.flush()
            return ours.sent, accepted

    sent, accepted = asyncio.run(main())
    if not accepted:
        assert sent == []
        return
    client.flush_events()
    their_url, their_headers, their_body = server.wait_for("batch-events-v2")
    ((our_url, our_headers, our_body),) = sent
    assert urlsplit(our_url).path == urlsplit(their_url).path
    assert parse_qsl(urlsplit(our_url).query) == parse_qsl(urlsplit(their_url).query)
    for header in ("Authorization", "Content-Type"):
        assert our_headers[header] == their_headers[header]
    assert set(our_headers) == {"Authorization", "Content-Type"}
    assert list(map(data_of, orjson.loads(our_body)["ev"])) == list(map(data_of, json.loads(their_body)["ev"]))


def test_at_least_a_thousand_calls_were_compared():
    if not any(compared.values()):
        pytest.skip("the comparison above was not run")
    assert sum(compared.values()) >= 1000
    assert min(compared.values()) >= 100


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    user_id=plain,
    agent=plain | st.none(),
    address=plain | st.none(),
    props=properties,
)
def test_a_single_event_is_the_one_that_the_vendors_sdk_would_send(server, theirs, user_id, agent, address, props):
    document = DOCUMENT
    client = theirs
    client.update_settings({**document, **QUIET}, False)
    server.posts.clear()
    queue, client.batch_event_queue = client.batch_event_queue, None
    context = context_of(user_id, agent, address, 5)
    assert client.track_event("purchase", context, as_json(props)) == {"purchase": True}
    their_url, their_headers, their_body = server.wait_for("/events/t")
    client.batch_event_queue = queue

    async def main():
        ours = Captured(ACCOUNT, KEY, settings=document, base_url=server.url, batch=False)
        async with aiotrack.Client(ours) as tracking:
            assert await tracking.track_event("purchase", context, as_python(props))
        return ours.sent

    ((our_url, our_headers, our_body),) = asyncio.run(main())
    assert data_of(orjson.loads(our_body)) == data_of(json.loads(their_body))
    assert urlsplit(our_url).path == urlsplit(their_url).path
    ours, their = (dict(parse_qsl(urlsplit(url).query, keep_blank_values=True)) for url in (our_url, their_url))
    for query in (ours, their):
        assert len(query.pop("eTime")) == 13
        assert 0 <= float(query.pop("random")) < 1
    for key, value in (("visitor_ua", agent), ("visitor_ip", address)):
        assert their.pop(key) == str(value)  # the SDK writes None as text; here it is left out
        assert ours.pop(key, None) == value
    assert ours == their
    for header in ("X-Device-User-Agent", "VWO-X-Forwarded-For", "Authorization"):
        assert our_headers.get(header) == their_headers.get(header)


# -- settings ---------------------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
FULL = {
    **DOCUMENT,
    "campaigns": [
        {
            "id": 3,
            "type": "FLAG_TESTING",
            "key": "c",
            "status": "RUNNING",
            "name": "c",
            "segments": {},
            "percentTraffic": 100,
            "isForcedVariationEnabled": False,
            "variations": [
                {
                    "id": 1,
                    "name": "v",
                    "weight": 100,
                    "segments": {},
                    "startRangeVariation": 0,
                    "variables": [{"id": 1, "type": "string", "key": "k", "value": "x"}],
                }
            ],
        }
    ],
    "features": [
        {
            **DOCUMENT["features"][0],
            "impactCampaign": {},
            "rules": [{"type": "FLAG_TESTING", "ruleKey": "r", "campaignId": 3, "variationId": 1}],
            "variables": [{"id": "1", "type": "string", "key": "k", "value": {"a": 1}}],
        }
    ],
    "holdouts": [
        {
            "metrics": [{"id": 1.5, "type": "t", "identifier": "view", "revenueProp": "r", "hasProps": True}],
            "segments": {},
            "featureIds": [1],
            "isGlobal": True,
            "name": "h",
            "id": "5",
            "percentTraffic": 5,
        }
    ],
    "groups": {"1": {"name": "g", "campaigns": ["1", "2"], "et": 1, "p": ["1"], "wt": {"1": 50}}},
    "campaignGroups": {"1_2": 1},
}


def places(document, path=()):
    """Return the path of every value in a document."""
    found = [path] if path else []
    inner = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in inner:
        found += places(value, (*path, key))
    return found


@st.composite
def changed(draw):
    document = json.loads(json.dumps(FULL))
    for _ in range(draw(st.integers(0, 2))):
        found = places(document)
        if not found:
            break
        *above, key = draw(st.sampled_from(found))
        place = document
        for step in above:
            place = place[step]
        kind = draw(st.sampled_from(["delete", "replace", "empty", "extra"]))
        if kind == "delete":
            del place[key]
        elif kind == "extra" and isinstance(place, dict):
            place[draw(texts)] = draw(json_values)
        else:
            place[key] = draw(st.sampled_from([{}, []])) if kind == "empty" else draw(json_values)
    return document


verdicts = {True: 0, False: 0}


@settings(max_examples=600, deadline=None, suppress_health_check=list(HealthCheck))
@given(changed())
def test_settings_load_where_the_vendors_schema_takes_them(document):
    expected = SettingsManager.is_settings_valid(document)
    try:
        Settings.parse(json.dumps(document))
        why = None
    except DocumentError as exc:
        why = str(exc)
    assert (why is None) == expected, why
    verdicts[expected] += 1


def test_both_verdicts_were_compared():
    if not any(verdicts.values()):
        pytest.skip("the comparison above was not run")
    assert min(verdicts.values()) >= 50


@pytest.mark.parametrize(
    ("account", "user", "expected"),
    [
        ("123456", "user-123", "CC25A368ADA0542699EAD62489811105"),
        ("123456", "üser 日本", "86A18DFD008950E88452FFD7E9422EA7"),
        ("777", "a@b.com", "10685C8C2058521A9A956BA1A49D3FFD"),
        ("123456", "u", "E0ED74B6DD5F581A829392689658A081"),
    ],
)
def test_the_visitors_id(account, user, expected):
    assert visitor_uuid(user, account) == expected == vwo.getUUID(user, account)


PREFIXES = ["eu01", "/eu01/", "//eu01", "eu 01", "eu%2001", "100%", "ü", "a/b", "a:b@c", "'(a)!*,;=&$+~[]"]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_the_prefix_of_a_data_centre_is_requested_as_by_the_vendors_sdk(prefix, server, theirs):
    client = theirs
    client.update_settings({**DOCUMENT, **QUIET}, False)
    server.posts.clear()
    queue, client.batch_event_queue = client.batch_event_queue, None
    UrlService(prefix)  # as the SDK does when it starts
    try:
        assert client.track_event("purchase", {"id": "u"}, {}) == {"purchase": True}
        their_url, _, _ = server.wait_for("/events/t")
    finally:
        UrlService(None)
        client.batch_event_queue = queue

    async def main():
        ours = VWO(ACCOUNT, KEY, settings={**DOCUMENT, "collectionPrefix": prefix}, base_url=server.url, batch=False)
        server.posts.clear()
        async with aiotrack.Client(ours) as tracking:
            assert await tracking.track_event("purchase", {"id": "u"}, {})
            await tracking.flush(10)

    asyncio.run(main())
    our_url, _, _ = server.wait_for("/events/t")
    assert urlsplit(our_url).path == urlsplit(their_url).path


@pytest.mark.parametrize("prefix", ["eu01?x=1", "eu01#x", "a\nb", "\ud800"])
def test_a_prefix_stays_a_part_of_the_path(prefix):
    """Where the vendor's own SDK would send to another address, or not at all."""
    destination = VWO(ACCOUNT, KEY, settings={**DOCUMENT, "collectionPrefix": prefix})
    url = destination.frame([b"{}"], destination.batch_header).url
    assert url.isascii()
    assert urlsplit(url).path.endswith("/server-side/batch-events-v2")


@pytest.mark.parametrize(
    ("prefix", "path"), [("eu01", "/eu01"), ("/eu01/", "/eu01/"), (" ", ""), ("", ""), (None, ""), (5, "")]
)
def test_the_data_centres_prefix(prefix, path):
    destination = VWO(ACCOUNT, KEY, settings={**DOCUMENT, "collectionPrefix": prefix})
    url = destination.frame([b"{}"], destination.batch_header).url
    assert url.startswith(f"https://dev.visualwebsiteoptimizer.com{path}/server-side/batch-events-v2?a=123456&env=")


WEB_ID = "D" + "0aF" * 10 + "12"
ALIASES = [
    ("u", [{"aliasId": "u", "userId": "somebody"}]),
    ("ü/ x", [{"aliasId": "x", "userId": "nobody"}, {"aliasId": "ü/ x", "userId": "sömebody"}]),
    ("u", [{"aliasId": "x", "userId": "nobody"}]),
    ("u", [{"aliasId": "u", "userId": None}]),
    (WEB_ID, [{"aliasId": WEB_ID, "userId": WEB_ID}]),
    (WEB_ID, [{"aliasId": WEB_ID, "userId": "somebody"}]),
]


@pytest.mark.parametrize(("user_id", "aliases"), ALIASES)
def test_by_way_of_a_gateway_an_event_is_that_of_the_user_behind_an_alias(user_id, aliases, server, theirs):
    client, manager = theirs, SettingsManager.get_instance()
    client.update_settings({**DOCUMENT, **QUIET}, False)
    server.posts.clear()
    server.lookups.clear()
    server.aliases = aliases
    queue, client.batch_event_queue = client.batch_event_queue, None
    client.options["is_aliasing_enabled"] = manager.is_gateway_service_provided = True
    UrlService("eu01")  # which a gateway does without
    try:
        assert client.track_event("purchase", {"id": user_id}, {"a": 1}) == {"purchase": True}
        their_url, _, their_body = server.wait_for("/events/t")
    finally:
        UrlService(None)
        client.options["is_aliasing_enabled"] = manager.is_gateway_service_provided = False
        client.batch_event_queue = queue
    their_lookups = list(server.lookups)
    server.posts.clear()
    server.lookups.clear()

    async def main():
        options = {"gateway_service": {"url": server.url}, "is_aliasing_enabled": True}
        ours = VWO(ACCOUNT, KEY, settings={**DOCUMENT, "collectionPrefix": "eu01"}, **options)
        async with aiotrack.Client(ours) as tracking:
            assert await tracking.track_event("purchase", {"id": user_id}, {"a": 1})
            assert await tracking.track_event("purchase", {"id": user_id}, {"a": 1})
            await tracking.flush(10)

    asyncio.run(main())
    our_url, _, our_body = server.wait_for("/events/t")
    assert data_of(json.loads(our_body)) == data_of(json.loads(their_body))
    assert urlsplit(our_url).path == urlsplit(their_url).path == "/events/t"
    ours, their = (
        [(urlsplit(path).path, sorted(parse_qsl(urlsplit(path).query))) for path in lookups]
        for lookups in (server.lookups, their_lookups)
    )
    assert ours == their
    assert len(server.posts) == 2
