"""Code from a plan: it means what the plan means, type checkers understand it, and drift is seen."""

import ast
import sys
import types
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from aiotrack.cli import main
from aiotrack_schema import Plan
from aiotrack_schema.checker import Checker
from aiotrack_schema.classes import schema_of
from aiotrack_schema.codegen import drift, generate
from aiotrack_schema.grammar import DIALECT

WORDS = [
    "a",
    "b b",
    "class",
    "track",
    "__x__",
    "é",
    "9",
    "$set",
    'q"uo\\te',
    "None",
    "event_key",
    "$ref",
    "a/b~c",
    "_1",
    "-1",
    "_class",
    "self",
    "order-id",
    "order_id",
    "int",
    "ﬁ",
    "fi",
]
names = st.sampled_from(WORDS)
notes = st.fixed_dictionaries({}, optional={"description": st.text(max_size=20), "private": st.booleans()})
scalars = st.one_of(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["integer", "number"])},
        optional={"minimum": st.integers(-5, 5), "exclusiveMaximum": st.integers(0, 9), "multipleOf": st.just(2)},
    ),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["string", ["string", "null"], ["null", "integer"]])},
        optional={"minLength": st.integers(0, 2), "maxLength": st.integers(2, 4), "pattern": st.just("^[a-z\\\\']*$")},
    ),
    st.just({"type": "boolean"}),
    st.just({}),
    st.just({"type": "object"}),
    st.just({"$ref": "#/$defs/shared"}),
    st.just({"oneOf": [{"type": "string"}, {"type": "integer"}]}),
    st.just({"const": 5}),
    st.lists(st.sampled_from(["x", 'y"', 1, True, None, 1.5]), min_size=1, unique_by=repr).map(
        lambda one: {"enum": one}
    ),
    st.just({"enum": ["x", 1], "type": ["string", "integer"]}),
    st.just({"enum": ["x", 1], "type": "string"}),
).flatmap(lambda one: notes.map(lambda said: {**one, **said}))


MORE = [
    {"minProperties": 1},
    {"required": ["a", "nobody"], "additionalProperties": True},
    {"additionalProperties": {"type": "integer"}},
    {"patternProperties": {"^a": {"type": "integer"}}, "additionalProperties": False},
    {"dependentRequired": {"a": ["b b"]}},
]


def objects(inner):
    def build(properties, closed, drawn):
        needed = [name for name, needs in zip(properties, drawn, strict=False) if needs]
        rest = {"additionalProperties": False} if closed else {}
        return {"type": "object", "properties": properties, **({"required": needed} if needed else {}), **rest}

    flags = st.lists(st.booleans(), min_size=5, max_size=5)
    plain = st.builds(build, st.dictionaries(names, inner, max_size=4), st.booleans(), flags)
    return st.builds(lambda one, more: {**one, **more}, plain, st.sampled_from([{}, {}, *MORE]))


def arrays(inner):
    return st.fixed_dictionaries({"type": st.just("array")}, optional={"items": inner, "maxItems": st.just(2)})


schemas = st.recursive(scalars, lambda inner: objects(inner) | arrays(inner), max_leaves=6)
plans = st.dictionaries(
    st.sampled_from(["purchase", "Signed Up", "9 lives", "event", "é", "none", "True", "sign-up", "sign up"]),
    objects(schemas),
    min_size=1,
    max_size=3,
)
values = st.recursive(
    st.sampled_from(["x", "y", "abc", "", 0, 1, 2, -4, 5, 1.5, True, None, 'y"']),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*WORDS, ""]), inner, max_size=3),
    max_leaves=8,
)
DEFS = {"shared": {"type": "integer", "minimum": 0, "description": "of all"}}


def classes(code):
    """Run a module; return its events by key."""
    module = sys.modules["generated"] = types.ModuleType("generated")
    exec(compile(code, "generated", "exec"), vars(module))  # noqa: S102 - it is what is tested
    return {kind.event_key: kind for kind in vars(module).values() if getattr(kind, "event_key", None)}


@settings(max_examples=60, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(plans, st.lists(st.dictionaries(st.sampled_from([*WORDS, ""]), values, max_size=4), min_size=5, max_size=20))
def test_generated_classes_mean_what_the_plan_means(events, samples):
    plan = Plan.load({"$defs": DEFS, "events": events})
    code = generate(plan)
    found = classes(code)
    assert found.keys() == plan.events.keys()
    assert drift(generate(plan), code) == ""
    for key, event in plan.events.items():
        theirs = Checker(event.schema)
        ours = Checker({"$schema": DIALECT, **schema_of(found[key])})
        for tags in samples:
            assert bool(ours.check(tags)) == bool(theirs.check(tags)), (key, tags, code)


PLAN = (Path(__file__).parent / "typed/plan.toml").read_text()


@pytest.fixture
def plan(tmp_path):
    (tmp_path / "plan.toml").write_text(PLAN)
    return tmp_path / "plan.toml"


def test_the_code_that_type_checkers_look_at_is_generated():
    """They do so with the rest of the repository: typed/use.py says what they must find."""
    typed = Path(__file__).parent / "typed"
    assert main(["schema", "generate", str(typed / "plan.toml"), "-o", str(typed / "shop_events.py"), "--check"]) == 0


def test_a_plan_is_checked_by_the_command(plan, capsys):
    assert main(["schema", "check", str(plan)]) == 0
    assert capsys.readouterr().out == f"{plan}: 1 events, nothing wrong\n"
    plan.write_text(PLAN.replace("minimum", "minimun").replace('"integer"', '"integr"'))
    assert main(["schema", "check", str(plan)]) == 1
    plan.write_text(PLAN.replace("minimum", "minimun").replace("description", "mode"))
    assert main(["schema", "check", str(plan)]) == 1
    said = capsys.readouterr().err
    assert f"{plan}: events.purchase.mode: expected one of refuse, warn, off, got str 'A paid order'" in said
    assert f"{plan}: events.purchase.properties.revenue.minimun: JSON Schema has no such word; did you mean" in said
    assert main(["schema", "check", "nowhere.toml"]) == 1
    assert "nowhere.toml: can't be read" in capsys.readouterr().err


def test_drift_between_plan_and_code_is_seen(plan, tmp_path, capsys):
    module = tmp_path / "events.py"
    check = ["schema", "generate", str(plan), "-o", str(module), "--check"]
    assert main(check) == 1
    assert main(["schema", "generate", str(plan), "-o", str(module)]) == 0
    assert main(check) == 0
    code = module.read_text()
    module.write_text(ast.unparse(ast.parse(code)))  # laid out in another way
    assert main(check) == 0
    capsys.readouterr()
    plan.write_text(PLAN.replace("minimum = 0", "minimum = 1"))
    assert main(check) == 1
    said = capsys.readouterr().err
    assert "+    revenue: Annotated[int, Property(minimum=1)]" in said
    assert "have drifted apart" in said
    assert main(["schema", "generate", str(plan), "--check"]) == 2
    assert main(["schema", "generate", str(plan)]) == 0
    assert "class Purchase(Event" in capsys.readouterr().out
    module.write_text("not python")
    assert main(check) == 1
