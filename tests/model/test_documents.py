"""Documents from outside: structured without silent conversions, and errors that name the path of the bad key."""

from typing import Any, Literal

import attrs
import pytest

from aiotrack.errors import DocumentError
from aiotrack.extension import CHECKED, Checked, json_object, near, shown, structure
from aiotrack.model.documents import FromEnv


@attrs.frozen
class Item:
    sku: str
    price: float = 0.0
    count: int | None = None


@attrs.frozen
class Order:
    id: str
    items: tuple[Item, ...] = ()
    gift: bool = False
    mode: Literal["fast", "slow"] = "fast"
    size: int | str = 0
    extra: dict[str, Any] = attrs.field(factory=dict)
    tables: dict[str, dict[str, Any]] = attrs.field(factory=dict)


def test_what_fits_is_structured_as_it_is():
    order = structure({"id": "a", "items": [{"sku": "x", "price": 5}], "size": "L", "more": 1}, Order)
    assert order == Order("a", (Item("x", 5),), size="L")


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ({}, "id: missing"),
        ({"id": 5}, "id: expected text, got int 5"),
        ({"id": "a", "items": 5}, "items: expected an array, got int 5"),
        ({"id": "a", "items": [{"sku": "x"}, {}]}, "items[1].sku: missing"),
        ({"id": "a", "items": [{"sku": "x", "price": "5"}]}, "items[0].price: expected a number, got str '5'"),
        ({"id": "a", "items": [{"sku": "x", "count": 1.5}]}, "items[0].count: expected "),
        ({"id": "a", "items": [5]}, "items[0]: expected an object, got int 5"),
        ({"id": "a", "gift": 1}, "gift: expected true or false, got int 1"),
        ({"id": "a", "size": 1.5}, "size: expected a number or text, got float 1.5"),
        ({"id": "a", "size": None}, "size: expected a number or text, got nothing"),
        ({"id": "a", "extra": []}, "extra: expected a table, got list"),
        ({"id": "a", "tables": {"x": 5}}, "tables.x: expected a table, got int 5"),
        (5, "the document: expected an object, got int 5"),
    ],
)
def test_what_does_not_fit_is_named_by_its_path(document, sentence):
    with pytest.raises(DocumentError) as caught:
        structure(document, Order)
    assert str(caught.value).startswith(sentence)


def test_a_closed_document_has_no_other_keys_and_suggests_what_was_meant():
    with pytest.raises(DocumentError, match=r"itmes: no such setting; did you mean 'items'\?"):
        structure({"id": "a", "itmes": []}, Order, closed=True)
    with pytest.raises(DocumentError, match=r"at\.the\.top\.zzz: no such setting; there are id, items,"):
        structure({"id": "a", "zzz": 1}, Order, "at.the.top", closed=True)


def env(text):
    value = FromEnv(text)
    value.variable = "MY_VARIABLE"
    return value


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"id": env("a"), "gift": env("yes")}, Order("a", gift=True)),
        ({"id": env("a"), "size": env("5")}, Order("a", size=5)),
        ({"id": env("a"), "size": env("L")}, Order("a", size="L")),
        ({"id": env("5")}, Order("5")),
    ],
)
def test_a_text_from_the_environment_is_read_as_what_its_setting_is(document, expected):
    assert structure(document, Order) == expected


def test_a_list_from_the_environment_has_commas():
    assert structure(env("a, b,,c"), tuple[str, ...]) == ("a", "b", "c")


def test_what_can_not_be_read_from_the_environment_names_its_variable():
    with pytest.raises(DocumentError, match="gift: expected true or false, got str 'maybe' from MY_VARIABLE"):
        structure({"id": "a", "gift": env("maybe")}, Order)
    with pytest.raises(DocumentError, match=r"items\[0\]\.count: expected .*, got str 'many' from MY_VARIABLE"):
        structure({"id": "a", "items": [{"sku": "x", "count": env("many")}]}, Order)


def test_a_type_that_no_document_can_hold_is_said():
    with pytest.raises(DocumentError, match="thing: can't be set in a config; give it in code"):
        structure(5, memoryview, "thing")


def test_what_is_no_object_is_said():
    assert json_object('{"a": 1}', "it is") == json_object(b'{"a": 1}', "it is") == json_object({"a": 1}, "it is")
    assert json_object(env('{"a": 1}'), "it is") == {"a": 1}
    with pytest.raises(DocumentError, match="it is not JSON"):
        json_object("{", "it is")
    with pytest.raises(DocumentError, match="it is no object, but list"):
        json_object("[]", "it is")
    with pytest.raises(DocumentError, match="it is no object, but int"):
        json_object(5, "it is")


def test_secrets_and_long_texts_are_not_shown():
    assert shown("api_key", "secret") == "str"
    assert shown("text", "x" * 50) == f"str '{'x' * 40}'..."
    assert shown("text", [1]) == "list"
    assert near("purchse", ["purchase", "view"]) == "did you mean 'purchase'?"
    assert near("zzz", ["purchase", "view"]) == "there are purchase, view"


@pytest.mark.parametrize("document", ['\ufeff{"a": 1}', b'\xef\xbb\xbf{"a": 1}'])
def test_a_byte_order_mark_is_skipped(document, tmp_path):
    assert json_object(document, "it is") == {"a": 1}


@attrs.frozen
class Crate:
    items: Checked[Item] = CHECKED
    names: tuple[str, ...] = ()


def test_an_array_can_be_checked_and_not_kept():
    assert structure({"items": [{"sku": "x"}]}, Crate) == Crate()
    with pytest.raises(DocumentError, match=r"items\[1\]\.price: expected a number, got str 'much'"):
        structure({"items": [{"sku": "x"}, {"sku": "y", "price": "much"}]}, Crate)
    with pytest.raises(DocumentError, match="items: expected an array, got int 5"):
        structure({"items": 5}, Crate)


@pytest.mark.parametrize("consume", [False, True])
def test_a_document_is_let_go_of_while_it_is_read_only_where_that_is_asked_for(consume):
    document = {"items": [{"sku": "x"}], "names": ["a", "b"]}
    assert structure(document, Crate, consume=consume) == Crate(names=("a", "b"))
    assert (document["items"], document["names"]) == (([None], [None] * 2) if consume else ([{"sku": "x"}], ["a", "b"]))
