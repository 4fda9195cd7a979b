"""The same input to the vendor's SDK and to this destination: what each would send, compared to the letter."""

import asyncio
import json
import math

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optimizely import optimizely as vendor
from optimizely.event.event_processor import ForwardingEventProcessor
from optimizely.logger import NoOpLogger
from stand_ins import as_json, as_python, stand_ins

import aiotrack
from aiotrack.errors import DocumentError
from aiotrack_optimizely import Datafile, Optimizely

NOT_COMPARED = ("client_name", "client_version")


class Dispatcher:
    """The vendor's last step: keeps what it is given."""

    def __init__(self):
        self.sent = []

    def dispatch_event(self, event):
        self.sent.append((event.url, event.http_verb, dict(event.headers), event.params))


class Captured(Optimizely):
    """Our last step: keeps what would go out."""

    def __init__(self, **options):
        super().__init__(**options)
        self.sent = []

    async def send(self, batch):
        request = batch.request
        self.sent.append((request.url, request.method, dict(request.headers), orjson.loads(request.body)))
        return aiotrack.Answer(status=204)


def normal(sent):
    """Take out what differs by its nature; what is left is compared as text, so order and number types count."""
    url, verb, headers, params = sent
    params = {key: value for key, value in params.items() if key not in NOT_COMPARED}
    for visitor in params["visitors"]:
        for event in visitor["snapshots"][0]["events"]:
            assert len(event["uuid"]) == 36
            assert type(event["timestamp"]) is int
            event["uuid"] = event["timestamp"] = "..."
    return url, verb, headers, json.dumps(params)


# -- generated input ------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
keys = st.sampled_from(
    ["purchase", "view", "PURCHASE", "", "a", "$opt_user_agent", "$opt_x", "$opt_bot_filtering", "plan"]
)
keys |= texts
numbers = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | numbers | texts
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=6
)
reserved = st.sampled_from(
    [
        0,
        -5,
        4200,
        10**15,
        42.0,
        42.5,
        "4200",
        "13.37",
        "1e3",
        " 7 ",
        "1_000",
        "1,234",
        "",
        "nan",
        "inf",
        True,
        None,
        [1],
        {},
        2**60,
    ]
)
tag_keys = st.sampled_from(["revenue", "value", "tags", "decisions", "Revenue", "$opt_event_properties"]) | texts
tag_keys |= st.integers(-5, 5) | st.booleans() | st.none() | st.sampled_from(["1", "true", "null", 1e16, 1e-7, 10**30])
deep = st.recursive(
    scalars | stand_ins,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(tag_keys, inner, max_size=3),
    max_leaves=8,
)
plain_tags = st.dictionaries(tag_keys, deep, max_size=5)
promoted = st.fixed_dictionaries({}, optional={"revenue": reserved, "value": reserved, "category": texts})
tags = st.none() | plain_tags | promoted | promoted | st.sampled_from(["text", 5, ("a",), {1}])
attribute_values = (
    values
    | stand_ins
    | st.sampled_from([math.nan, math.inf, 2**53, -(2**53), 2**53 + 1, float(2**53), b"x", (1,), 10**400])
)
attributes = st.none() | st.dictionaries(keys | st.integers() | st.none(), attribute_values, max_size=5)
event_keys = st.sampled_from(["purchase"] * 6 + ["view", "", "PURCHASE", 5, None]) | texts

identifiers = st.text(st.characters(categories=["Nd", "Ll"]), min_size=1, max_size=5)
items = st.fixed_dictionaries({"id": identifiers, "key": keys})
odd = st.sampled_from([True, False, None, "yes", 1, "EU", "eu", "US", "XX", ""])


@st.composite
def datafiles(draw):
    events = [*draw(st.lists(items, max_size=4)), {"id": "901", "key": "purchase"}]
    document = {
        "version": draw(st.sampled_from(["2", "3", "4"])),
        "accountId": draw(identifiers),
        "projectId": draw(identifiers),
        "revision": draw(identifiers),
        "events": [{**event, "experimentIds": []} for event in events],
        "attributes": [*draw(st.lists(items, max_size=4)), {"id": "77", "key": "plan"}],
        **{key: [] for key in ("groups", "experiments", "audiences", "featureFlags", "rollouts")},
    }
    for key in ("anonymizeIP", "botFiltering", "region"):
        if draw(st.booleans()):
            document[key] = draw(odd)
    return document


users = st.lists(
    st.tuples(texts, attributes, st.lists(st.tuples(event_keys, tags), min_size=1, max_size=4)), min_size=1, max_size=3
)
compared = {True: 0, False: 0}  # by whether the event was accepted


async def both(datafile, users, **options):
    dispatcher = Dispatcher()
    processor = ForwardingEventProcessor(dispatcher, logger=NoOpLogger())
    theirs = vendor.Optimizely(json.dumps(datafile), event_processor=processor, logger=NoOpLogger())
    ours = Captured(datafile=datafile, **options)
    async with aiotrack.Client(ours, flush_interval=60) as client:
        for user_id, attributes, calls in users:
            their_user = theirs.create_user_context(user_id, as_json(attributes))
            our_user = client.create_user_context(user_id, as_python(attributes))
            for key, tags in calls:
                before = len(dispatcher.sent)
                their_user.track_event(key, as_json(tags))
                result = await our_user.track_event(key, as_python(tags))
                accepted = len(dispatcher.sent) > before
                assert bool(result) == accepted, (key, tags, result)
                yield client, ours, dispatcher, accepted


@settings(max_examples=700, deadline=None, suppress_health_check=list(HealthCheck))
@given(datafiles(), users)
def test_every_event_is_the_one_that_the_vendors_sdk_would_send(datafile, users):
    async def main():
        async for client, ours, dispatcher, accepted in both(datafile, users):
            compared[accepted] += 1
            if accepted:
                await client.flush()
                assert normal(ours.sent[-1]) == normal(dispatcher.sent[-1])

    asyncio.run(main())


def test_at_least_two_thousand_calls_were_compared(request):
    if not any(compared.values()):
        pytest.skip("the comparison above was not run")
    assert sum(compared.values()) >= 2000
    assert min(compared.values()) >= 300


REFUSED_HERE = [
    {"a": math.nan},
    {"a": [math.inf]},
    {"a": b"x"},
    {"a": [object()]},
    {"a": 10**400},
    {"a": object()},
    {"value": 10**400},
]


@pytest.mark.parametrize("tags", REFUSED_HERE)
async def test_what_breaks_the_vendors_sdk_is_refused_here_and_its_neighbours_go_out(tags):
    ours = Captured(datafile=DATAFILE)
    async with aiotrack.Client(ours) as client:
        user = client.create_user_context("u")
        assert await user.track_event("purchase", {"n": 1})
        result = await user.track_event("purchase", tags)
        assert result.refused["optimizely"].path.startswith("tags.")
        assert await user.track_event("purchase", {"n": 2})
    (sent,) = ours.sent
    assert [visitor["snapshots"][0]["events"][0]["tags"] for visitor in sent[3]["visitors"]] == [{"n": 1}, {"n": 2}]


# -- datafiles --------------------------------------------------------------------------------------------

DATAFILE = {
    "version": "4",
    "accountId": "12001",
    "projectId": "555",
    "revision": "7",
    "events": [{"id": "901", "key": "purchase", "experimentIds": []}],
    "attributes": [{"id": "77", "key": "plan"}],
    **{key: [] for key in ("groups", "experiments", "audiences", "featureFlags", "rollouts")},
}
REQUIRED = [key for key in DATAFILE if key not in {"featureFlags", "rollouts"}]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=3,
)


@st.composite
def mutated(draw):
    document = json.loads(json.dumps(DATAFILE))
    kind = draw(st.sampled_from(["none", "missing", "other", "item", "extra", "version"]))
    key = draw(st.sampled_from(REQUIRED))
    if kind == "missing":
        del document[key]
    elif kind == "other":
        document[key] = draw(json_values)
    elif kind == "item":
        table = draw(st.sampled_from(["events", "attributes", "experiments", "groups", "audiences", "integrations"]))
        document[table] = [
            draw(
                st.dictionaries(st.sampled_from(["id", "key", "experimentIds", "name", "conditions", "x"]), json_values)
            )
        ]
    elif kind == "extra":
        document[draw(texts.filter(lambda text: text not in DATAFILE))] = draw(json_values)
    elif kind == "version":
        document["version"] = draw(st.sampled_from(["1", "2", "3", "4", "5", 4, None]))
    return document


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(mutated())
def test_a_datafile_is_usable_here_where_it_is_for_the_vendors_sdk(document):
    theirs = vendor.Optimizely(json.dumps(document), logger=NoOpLogger())
    usable = theirs.config_manager.get_config() is not None
    theirs.close()
    try:
        Datafile.parse(json.dumps(document))
        why = None
    except DocumentError as exc:
        why = str(exc)
    assert (why is None) == usable, why
    assert why is None or ":" in why or "no object" in why


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"events": [{"id": 5, "key": "a", "experimentIds": []}]}, "events[0].id: expected text, got int 5"),
        ({"events": [{"id": "5", "key": "a"}]}, "events[0].experimentIds: missing"),
        ({"events": {}}, "events: expected an array, got dict"),
        ({"revision": 7}, "revision: expected text, got int 7"),
        ({"version": "5"}, 'version: expected "2", "3" or "4", got str \'5\''),
        ({"attributes": ["plan"]}, "attributes[0]: expected an object, got str 'plan'"),
    ],
)
def test_a_broken_datafile_is_refused_with_the_path(change, sentence):
    with pytest.raises(DocumentError) as caught:
        Datafile.parse({**DATAFILE, **change})
    assert str(caught.value).startswith(sentence)
    with pytest.raises(aiotrack.errors.ConfigError, match=r"^datafile: "):
        Optimizely(datafile={**DATAFILE, **change})
