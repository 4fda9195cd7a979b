"""Plans from every source, what they refuse and how it is said; always at the call, in a real client."""

import dataclasses
import enum
import json
import logging
import time
from typing import Annotated, Any, Generic, Literal, NotRequired, TypedDict, TypeVar

import attrs
import orjson
import pytest

import aiotrack
from aiotrack import errors
from aiotrack.testing import check_plugin
from aiotrack_schema import Event, Mode, Plan, Property, Schema

PLAN = {
    "additionalProperties": False,
    "$defs": {"money": {"type": "integer", "minimum": 0}, "mail": {"type": "string", "private": True}},
    "events": {
        "purchase": {
            "required": ["category"],
            "properties": {
                "revenue": {"$ref": "#/$defs/money", "required": True},
                "category": {"enum": ["shoes", "hats"]},
                "email": {"type": "string", "pattern": "^[^@ ]+@[^@ ]+$", "private": True},
                "contact": {"$ref": "#/$defs/mail", "maxLength": 5},
                "items": {
                    "type": "array",
                    "maxItems": 2,
                    "items": {"type": "object", "properties": {"sku": {"type": "string", "required": True}}},
                },
                "when": {"type": "string", "format": "date"},
                "size": {"type": ["integer", "null"], "exclusiveMaximum": 60},
            },
        },
        "signup": {"mode": "warn", "properties": {"plan": {"type": "string"}}},
        "debug": {"mode": "off", "properties": {"level": {"type": "integer"}}},
    },
}
TOML = """
additionalProperties = false

["$defs".money]
type = "integer"
minimum = 0

[events.purchase]
required = ["category"]

[events.purchase.properties]
revenue = { "$ref" = "#/$defs/money", required = true }
category = { enum = ["shoes", "hats"] }
"""
YAML = """
additionalProperties: false
$defs:
  money: {type: integer, minimum: 0}
events:
  purchase:
    required: [category]
    properties:
      revenue: {$ref: "#/$defs/money", required: true}
      category: {enum: [shoes, hats]}
"""
GOOD = {"revenue": 4200, "category": "shoes"}


async def track(schema, key="purchase", tags=None, **options):
    async with aiotrack.Client(schema, aiotrack.HTTPDestination("https://example.com/"), **options) as client:
        return await client.create_user_context("u").track_event(key, tags)


async def refusal(schema, tags, key="purchase"):
    result = await track(schema, key, tags)
    return None if result else result.refused["http"]


# -- sources ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "text"), [("p.toml", TOML), ("p.yaml", YAML), ("p.yml", YAML), ("p.json", None)])
async def test_a_plan_can_be_in_any_of_three_languages(name, text, tmp_path):
    small = {**PLAN, "events": {"purchase": PLAN["events"]["purchase"]}}
    (tmp_path / name).write_text(json.dumps(small) if text is None else text)
    schema = Schema(tmp_path / name)
    assert await refusal(schema, GOOD) is None
    assert str(await refusal(Schema(str(tmp_path / name)), {"revenue": -1, "category": "shoes"})) == (
        "invalid tag: tags.revenue: expected at least 0, got less"
    )


class Size(enum.Enum):
    SMALL = "s"
    LARGE = "l"


@attrs.frozen
class Item:
    sku: str
    count: int = 1


class Purchase(Event):
    """A paid order."""

    revenue: Annotated[int, Property(minimum=0)]
    category: Literal["shoes", "hats"]
    size: Size | None = None
    items: list[Item] = attrs.field(factory=list)
    order_id: Annotated[str | None, Property(name="order id", private=True, max_length=5)] = None


class PurchaseDict(TypedDict):
    revenue: Annotated[int, Property(minimum=0)]
    category: Literal["shoes", "hats"]
    size: NotRequired[Size]


@dataclasses.dataclass
class PurchaseData:
    revenue: Annotated[int, Property(minimum=0)]
    category: Literal["shoes", "hats"]
    size: Size | None = None


@attrs.define
class PurchaseAttrs:
    revenue: Annotated[int, Property(minimum=0)]
    category: Literal["shoes", "hats"]
    size: Size | None = None


CLASSES = {
    "Event": lambda: Schema(Purchase),
    "TypedDict": lambda: Schema(classes={"purchase": PurchaseDict}),
    "dataclass": lambda: Schema(classes={"purchase": PurchaseData}),
    "attrs": lambda: Schema(classes={"purchase": PurchaseAttrs}),
    "a plan": lambda: Schema(PLAN),
}


@pytest.mark.parametrize("make", CLASSES.values(), ids=CLASSES)
@pytest.mark.parametrize(
    ("tags", "problem"),
    [
        (GOOD, None),
        ({"category": "shoes"}, "tags.revenue: expected "),
        ({"revenue": "4200", "category": "shoes"}, "tags.revenue: expected an integer, got text of 4 characters"),
        ({"revenue": True, "category": "shoes"}, "tags.revenue: expected an integer, got a bool"),
        ({"revenue": -1, "category": "shoes"}, "tags.revenue: expected at least 0, got less"),
        ({"revenue": 1, "category": "boots"}, "tags.category: expected one of 'shoes', 'hats', got text of 5"),
        ({**GOOD, "categroy": 1}, "tags.categroy: expected no such property (did you mean 'category'?), got an int"),
    ],
)
async def test_every_kind_of_source_refuses_the_same(make, tags, problem):
    refused = await refusal(make(), tags)
    if problem is None:
        assert refused is None
    else:
        assert refused.plugin == "schema"
        assert refused.message.startswith(problem)


async def test_a_typed_event_is_tracked_as_its_tags():
    order = Purchase(revenue=4200, category="shoes", size=Size.LARGE, items=[Item("a"), Item("b", 2)], order_id="17")
    assert order.tags() == {
        "revenue": 4200,
        "category": "shoes",
        "size": "l",
        "items": [{"sku": "a", "count": 1}, {"sku": "b", "count": 2}],
        "order id": "17",
    }
    heard = []
    async with aiotrack.Client(Schema(Purchase), aiotrack.HTTPDestination("https://example.com/")) as client:
        client.on("aiotrack_event_tracked", heard.append)
        user = client.create_user_context("u")
        assert await order.track(user, event_id="one", timestamp=5)
        assert Purchase(revenue=1, category="hats").track_nowait(user)
        refused = (await Purchase(revenue=1, category="hats", order_id="123456").track(user)).refused["http"]
    assert str(refused) == "invalid tag: tags.order id: expected text of at most 5 characters, got text of 6 characters"
    assert (heard[0].key, heard[0].event_id, heard[0].timestamp) == ("purchase", "one", 5)
    assert Purchase.of(heard[0]) == order
    assert heard[1].tags == {"revenue": 1, "category": "hats", "items": []}
    with pytest.raises(ValueError, match="expected an event 'purchase', got 'signup'"):
        Purchase.of(aiotrack.Event("signup", "u"))
    with pytest.raises(ValueError, match=r"tags\.category: expected one of 'shoes', 'hats', got nothing"):
        Purchase.of(aiotrack.Event("purchase", "u", tags={"revenue": 1}))


def test_the_key_of_a_typed_event_is_its_classs_name_unless_it_says_so():
    class OrderCompleted(Event):
        pass

    class Other(Event, key="Signed Up", mode="warn", additional=True):
        plan: str

    assert (OrderCompleted.event_key, Other.event_key, Other.event_mode) == ("order_completed", "Signed Up", Mode.WARN)
    assert "additionalProperties" not in Schema(Other).events["Signed Up"].schema
    with pytest.raises(TypeError, match=r"Bad.track is a method's name: .*Property\(name='track'\)"):
        type("Bad", (Event,), {"__annotations__": {"track": str}})


def test_typed_events_are_inherited_generic_and_nested():
    class Base(Event, mode="warn", additional=True):
        shop: str = "web"

    class Order(Base, key="order"):
        lines: list[Line] = attrs.field(factory=list)
        note: str | None = "none"

    assert (Order.event_mode, Order.event_additional, Order.event_key) == (Mode.WARN, True, "order")
    order = Order(lines=[Line(amount=5, sku=None)], note=None)
    assert order.tags() == {"shop": "web", "lines": [{"the amount": 5}]}
    assert Order(note="none").tags() == {"shop": "web", "lines": [], "note": "none"}
    assert Order.of(aiotrack.Event("order", "u", tags=order.tags())).lines == order.lines

    class Box(Event, Generic[T]):
        value: int | str

    assert Box[int](value=5).tags() == {"value": 5}


@dataclasses.dataclass
class Line:
    amount: Annotated[int, Property(name="the amount")]
    sku: str | None = None


T = TypeVar("T")


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (object, "Holder.it: a tag can't hold bytes"),
        (int, "int: expected an attrs class, a dataclass or a TypedDict"),
    ],
)
def test_a_class_that_can_not_be_tags_is_refused(kind, sentence):
    @attrs.define
    class Holder:
        it: bytes

    with pytest.raises(errors.ConfigError, match=sentence):
        Schema(classes={"k": Holder if kind is object else kind})


async def test_types_of_every_kind_become_a_schema():
    @attrs.define
    class Everything:
        anything: Any
        numbers: list[int | None]
        by_name: dict[str, float]
        some: tuple[str, ...] = ()
        either: int | Literal["none"] = 0
        flag: bool = False

    schema = Schema(classes={"k": Everything})
    good = {"anything": {"a": []}, "numbers": [1, None], "by_name": {"a": 1.5}, "either": "none", "flag": True}
    assert await refusal(schema, good, "k") is None
    for name, bad in {"numbers": ["1"], "by_name": {"a": "x"}, "some": [1], "either": "some", "flag": 1}.items():
        assert (await refusal(schema, {**good, name: bad}, "k")).path.startswith(f"tags.{name}")


# -- problems -----------------------------------------------------------------------------------------


async def test_all_problems_are_named_with_their_paths():
    bad = {
        "revenue": 1,
        "category": "shoes",
        "items": [{"sku": "a"}, {"sku": 3}, {}],
        "when": "tomorrow",
        "size": 60,
    }
    found = await refusal(Schema(PLAN), bad)
    assert sorted(map(str, found.problems)) == [
        "tags.items: expected a list of at most 2, got a list of 3",
        "tags.items[1].sku: expected text, got an int",
        "tags.items[2].sku: expected text, got nothing",
        "tags.size: expected less than 60, got that or more",
        "tags.when: expected text in the format 'date', got text of 8 characters",
    ]


@pytest.mark.parametrize("show_values", [False, True])
async def test_a_private_value_is_shown_nowhere(show_values, caplog):
    """Nor any other, unless that is asked for."""
    bad = {"revenue": -77, "category": "boots", "email": "secret-1", "contact": "secret-2"}
    found = await refusal(Schema(PLAN, show_values=show_values), bad)
    assert {problem.path for problem in found.problems} == {f"tags.{name}" for name in bad}
    assert "secret" not in str(found) + repr(found) + caplog.text
    assert ("-77" in str(found)) is show_values
    assert ("'boots'" in str(found)) is show_values


async def test_values_that_json_spells_are_looked_at_as_they_will_be_sent():
    class Number(int):
        pass

    assert await refusal(Schema(PLAN), {"revenue": Number(5), "category": "shoes"}) is None
    assert (await refusal(Schema(PLAN), {"revenue": Number(-5), "category": "shoes"})).path == "tags.revenue"
    assert (await refusal(Schema(PLAN), {**GOOD, 5: "x"})).path == "tags.5"


async def test_tags_that_are_left_out_are_no_tags():
    assert (await refusal(Schema(PLAN), None)).problems[0].path == "tags.category"


@pytest.mark.parametrize(
    ("schema", "tags"),
    [
        ({"properties": {"type": False, "n": {"type": "integer"}}}, {"type": 1, "n": "bad"}),
        ({"properties": {"enum": False}}, {"enum": 1}),
        ({"properties": {"a": {"unevaluatedItems": False}}}, {"a": [1, 2]}),
        ({"propertyNames": {"maxLength": 3}}, {"long name": 1}),
        ({"minProperties": 2}, {"a": 1}),
        ({"properties": {"a": {"not": {"type": "string"}}}}, {"a": "x"}),
        ({"additionalProperties": {"additionalProperties": {"type": "integer"}}}, {"a": {"": "x"}}),
    ],
)
async def test_whatever_does_not_fit_is_refused_even_where_it_is_hard_to_explain(schema, tags):
    refused = await refusal(Schema({"events": {"k": schema}}), tags, "k")
    assert refused.plugin == "schema"


SECRET = {"type": "string", "maxLength": 3, "private": True}


@pytest.mark.parametrize(
    ("schema", "tags"),
    [
        ({"properties": {"email": SECRET}, "additionalProperties": False}, {"emial": "secret"}),
        ({"properties": {"a": {"items": {"anyOf": [SECRET, {"type": "null"}]}}}}, {"a": ["secret"]}),
        ({"patternProperties": {"^e": SECRET, "l$": {"maxLength": 2}}}, {"email": "secret"}),
        ({"additionalProperties": SECRET}, {"email": "secret"}),
        ({"if": {}, "then": {"properties": {"e": SECRET}}, "properties": {"e": {"type": "integer"}}}, {"e": "secret"}),
        ({"properties": {"e": {"allOf": [SECRET, {"pattern": "^x"}]}}}, {"e": "secret"}),
    ],
)
async def test_private_values_are_shown_nowhere_however_they_are_marked(schema, tags):
    refused = await refusal(Schema({"events": {"k": schema}}, show_values=True), tags, "k")
    assert refused.problems
    assert "secret" not in repr(refused)


def test_a_typed_events_repr_and_errors_show_no_values():
    Mail = Annotated[str, Property(max_length=3)]  # noqa: N806 - a type

    class Secret(Event):
        email: Annotated[Mail, Property(private=True)]

    assert repr(Secret(email="private")) == "<Secret 'secret'>"
    assert Schema(Secret).events["secret"].schema["properties"]["email"]["private"] is True
    with pytest.raises(
        ValueError, match=r"tags\.email: expected text of at most 3 characters, got text of 7"
    ) as caught:
        Secret.of(aiotrack.Event("secret", "u", tags={"email": "private"}))
    assert "'private'" not in repr(caught.value)


async def test_many_problems_are_cut_short():
    many = {f"unknown {number}" * 20: number for number in range(1000)}
    started = time.perf_counter()
    refused = await refusal(Schema(PLAN), {**GOOD, **many})
    assert len(refused.problems) == 10
    assert all(len(str(problem)) < 300 for problem in refused.problems)
    assert time.perf_counter() - started < 1


async def test_a_name_that_would_break_a_log_line_is_quoted():
    refused = await refusal(Schema(PLAN), {**GOOD, "a\nb": 1})
    assert refused.problems[0].path == r"tags.'a\nb'"


# -- modes --------------------------------------------------------------------------------------------


async def test_an_event_is_refused_warned_of_or_let_through_by_its_mode(caplog):
    schema = Schema(PLAN)
    for _ in range(3):
        assert await track(schema, "signup", {"plan": 5, "secret": "x"})
    assert await track(schema, "debug", {"level": "high"})
    assert not await track(schema, "purchase", {})
    warned = [record for record in caplog.records if record.name == "aiotrack.schema"]
    assert [record.levelno for record in warned] == [logging.WARNING] * 2
    assert "event 'signup' does not fit its schema: tags.plan: expected text, got an int" in caplog.text
    assert schema.warnings == {"signup": 6}


async def test_the_plugins_mode_holds_where_the_plan_does_not_say():
    assert await track(Schema(PLAN, mode="warn"), "purchase", {})
    assert not await track(Schema({**PLAN, "mode": "refuse"}, mode="warn"), "purchase", {})
    assert await track(Schema(Purchase, mode="off"), "purchase", {})


@pytest.mark.parametrize(("unlisted", "passes"), [("allow", True), ("warn", True), ("refuse", False)])
async def test_events_that_no_plan_lists(unlisted, passes, caplog):
    for schema in (Schema(PLAN, unlisted=unlisted), Schema({**PLAN, "unlisted": unlisted})):
        result = await track(schema, "purchsae", GOOD)
        assert bool(result) is passes
        assert await track(schema, "purchase", GOOD)
        if not passes:
            sentence = "refused by plugin: key: expected an event of the tracking plan, got one that it does not list"
            sentence += ": did you mean 'purchase'?"
            assert str(result.refused["http"]) == sentence
        assert ("event 'purchsae' does not fit" in caplog.text) is (unlisted == "warn")


async def test_strict_raises_with_the_reasons():
    with pytest.raises(errors.EventRefused, match=r"tags\.revenue: expected at least 0"):
        await track(Schema(PLAN), "purchase", {"revenue": -1, "category": "hats"}, strict=True)


# -- plans that are wrong -----------------------------------------------------------------------------


def changed(**event):
    return {"events": {"k": event}}


WRONG = [
    ({}, "events: expected a table of events, got nothing"),
    ({"events": {}}, "events: expected a table of events, got dict"),
    ({"event": {"k": {}}}, "event: no such key; did you mean 'events'?"),
    ({"events": {"k": 5}}, "events.k: expected a table, got int 5"),
    ({"events": {5: {}}}, "events.5: expected a text as the event's key, got int 5"),
    ({**PLAN, "mode": "reject"}, "mode: expected one of refuse, warn, off, got str 'reject'"),
    ({**PLAN, "unlisted": 5}, "unlisted: expected one of allow, warn, refuse, got int 5"),
    ({**PLAN, "additionalProperties": 5}, "additionalProperties: expected true or false"),
    (changed(mode="refsue"), "events.k.mode: expected one of refuse, warn, off, got str 'refsue'"),
    (changed(type="array"), "events.k.type: expected 'object', since an event has tags, got 'array'"),
    (changed(properties={"a": {"type": "integr"}}), "events.k.properties.a.type: "),
    (changed(properties={"a": {"minimun": 5}}), "events.k.properties.a.minimun: JSON Schema has no such word; did you"),
    (changed(properties={"a": {"items": [{"minimun": 5}]}}), "events.k.properties.a.items: "),
    (changed(properties={"a": {"anyOf": [{"minimun": 5}]}}), "events.k.properties.a.anyOf[0].minimun: "),
    (changed(properties={"a": {"private": "yes"}}), "events.k.properties.a.private: expected true or false, got str"),
    (changed(properties={"a": {"pattern": "("}}), "events.k.properties.a.pattern: "),
    (changed(properties={"a": {"$ref": "#/$defs/none"}}), "events.k: "),
    (changed(properties={"a": {"$ref": "https://example.com/a.json"}}), "events.k: "),
    (changed(properties={"": {}}), "events.k.properties: a property needs a name, got an empty one"),
    (changed(required=True), "events.k.required: only a property can be required = true"),
    (changed(properties={"a": {"items": {"required": True}}}), "events.k.properties.a.items.required: only a property"),
    (
        changed(properties={"a": {"format": "emial"}}),
        "events.k.properties.a.format: 'emial' is no format; did you mean",
    ),
    ({**PLAN, "$defs": None}, "$defs: expected a table of schemas, got nothing"),
    (
        {**changed(required=["revnue"]), "additionalProperties": False},
        "events.k.required: 'revnue' is no property of it",
    ),
    (changed(additionalProperties=False, required=["a"]), "events.k.required: 'a' is no property of it"),
    (changed(properties={"a": {"const": {1, 2}}}), "events.k: expected JSON's values alone"),
    ({**changed(), "$defs": {"money": {"minimun": 5}}}, "$defs.money.minimun: JSON Schema has no such word"),
]


@pytest.mark.parametrize(("document", "sentence"), WRONG, ids=[sentence for _, sentence in WRONG])
def test_a_plan_that_is_wrong_names_the_path(document, sentence):
    with pytest.raises(errors.ConfigError) as caught:
        Schema(document)
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("p.toml", "a = ", "p.toml: is not TOML: "),
        ("p.json", "{", "p.json: is not JSON: "),
        ("p.yaml", "a: [", "p.yaml: is not YAML: "),
        ("p.yaml", "- a", "p.yaml: expected a table with `events`, got list"),
        ("p.yaml", "events: {k: {}, k: {}}", "p.yaml: is not YAML: the key 'k' is there twice"),
        ("p.json", '{"events": {"k": {}, "k": {}}}', "p.json: is not JSON: the key 'k' is there twice"),
        ("p.ini", "", "p.ini: expected a file that ends in .toml, .json, .yaml, .yml"),
        ("p.json", b"\xff", "p.json: is not JSON: "),
        ("p.json", '{"events": {"k": {"type": 5}}}', "p.json: events.k.type: "),
    ],
)
def test_a_file_that_is_wrong_is_named(name, text, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(errors.ConfigError) as caught:
        Schema(name)
    assert str(caught.value).startswith(sentence)


YAML_WORDS = """
mode: off
events:
  k:
    properties:
      country: {enum: [NO, SE]}
      on: {type: string}
      day: {const: 2026-01-01}
"""


async def test_yaml_has_the_words_of_its_second_edition(tmp_path):
    """In its first, `off` and `NO` are false, and a date is no text."""
    (tmp_path / "p.yaml").write_text(YAML_WORDS.replace("mode: off", "mode: refuse"))
    schema = Schema(tmp_path / "p.yaml")
    assert await refusal(schema, {"country": "NO", "on": "x", "day": "2026-01-01"}, "k") is None
    (tmp_path / "p.yaml").write_text(YAML_WORDS)
    assert Plan.load(tmp_path / "p.yaml").mode is Mode.OFF


def test_shared_schemas_may_have_required_properties_and_are_compiled_where_they_are_used():
    item = {"type": "object", "properties": {"sku": {"type": "string", "required": True}}}
    shared = {f"item{number}": item for number in range(300)} | {"chain": {"$ref": "#/$defs/item7"}}
    events = {f"k{number}": {"properties": {"item": {"$ref": "#/$defs/chain"}}} for number in range(300)}
    started = time.perf_counter()
    schema = Schema({"$defs": shared, "events": events})
    assert time.perf_counter() - started < 5
    assert schema.events["k5"].schema["$defs"].keys() == {"chain", "item7"}
    assert schema.events["k5"].schema["$defs"]["item7"]["required"] == ["sku"]


def test_warnings_of_events_from_outside_are_bounded():
    schema = Schema(PLAN, unlisted="warn")
    for number in range(3000):
        schema.aiotrack_check_event(aiotrack.Event(f"k{number}", "u"))
    assert len(schema.warnings) <= 1024


def test_other_mistakes_are_named():
    class Bad(Event):
        a: Annotated[str, Property(pattern="(")]

    with pytest.raises(errors.ConfigError, match=r'events\.bad: "\(" is not a "regex"'):
        Schema(Bad)
    with pytest.raises(errors.ConfigError, match="int: no subclass of Event"):
        Schema(int)
    with pytest.raises(errors.ConfigError, match="Bad: mode: expected one of refuse, warn, off, got 'refsue'"):
        type("Bad", (Event,), {}, mode="refsue")
    nested: dict = {"events": {"k": {}}}
    nested["events"]["k"]["properties"] = nested["events"]
    with pytest.raises(errors.ConfigError, match="is nested too deeply, or contains itself"):
        Schema(nested)
    with pytest.raises(errors.ConfigError, match=r"none\.toml: can't be read: No such file"):
        Schema("none.toml")
    with pytest.raises(errors.ConfigError, match=r"events\.purchase: described twice"):
        Schema(PLAN, Purchase)
    with pytest.raises(errors.ConfigError, match="mode: expected one of refuse, warn, off, got 'no'"):
        Schema(PLAN, mode="no")
    with pytest.raises(errors.ConfigError, match="unlisted: expected one of allow, warn, refuse, got 'no'"):
        Schema(PLAN, unlisted="no")


def test_a_plan_can_be_read_without_a_client():
    plan = Plan.load({**PLAN, "mode": "warn"})
    assert plan.mode is Mode.WARN
    assert plan.events["signup"].mode is Mode.WARN
    assert plan.events["purchase"].description == ""
    assert orjson.loads(orjson.dumps(plan.events["purchase"].schema))["required"] == ["category", "revenue"]


def test_it_is_a_good_plugin():
    assert check_plugin(Schema(PLAN), events=[("purchase", GOOD)]) == ("aiotrack_event_schemas",)
    assert check_plugin(Schema(PLAN, unlisted="warn")) == ("aiotrack_event_schemas", "aiotrack_check_event")


@pytest.mark.parametrize(
    "broken",
    [
        {"$defs": {"money": {"minimun": 5}}},
        {"$defs": {"money": {"type": "intger"}}},
        {"event": {}},
        {"mod": "off"},
        {"events": {"k": {"properties": {"a": {"type": "nubmer"}}}}},
    ],
)
def test_one_mistake_is_one_line(broken):
    document = {"events": {"k": {"properties": {"a": {"$ref": "#/$defs/money"}}}}, "$defs": {"money": {}}, **broken}
    if "event" in broken:
        del document["events"]
    with pytest.raises(errors.ConfigError) as caught:
        Schema(document)
    assert len(caught.value.mistakes) == 1


def test_several_mistakes_are_several_lines():
    with pytest.raises(errors.ConfigError) as caught:
        Schema({"mod": "off", "events": {"k": {"properties": {"a": {"minimun": 1, "maximun": 2}}}}})
    assert [mistake.partition(":")[0] for mistake in caught.value.mistakes] == [
        *("mod", "events.k.properties.a.minimun", "events.k.properties.a.maximun"),
    ]
