"""Which validator: one event's tags, valid, by jsonschema-rs and fastjsonschema; and what a check costs here.

python plugins/aiotrack-schema/benchmarks/validators.py
"""

import timeit
from collections.abc import Callable
from typing import Any

import fastjsonschema
import jsonschema_rs

from aiotrack_schema.checker import Checker

ITEM = {"type": "object", "properties": {"sku": {"type": "string"}, "n": {"type": "integer"}}, "required": ["sku"]}
SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "revenue": {"type": "integer", "minimum": 0},
        "category": {"type": "string", "enum": ["shoes", "hats"]},
        "email": {"type": "string", "pattern": "^[^@]+@[^@]+$"},
        "currency": {"type": "string", "minLength": 3, "maxLength": 3},
        "items": {"type": "array", "items": ITEM},
    },
    "required": ["revenue", "category"],
    "additionalProperties": False,
}
SMALL = {"revenue": 4200, "category": "shoes"}
LARGE = {**SMALL, "email": "a@b.c", "currency": "EUR", "items": [{"sku": "a", "n": 1}] * 5}


def microseconds(check: Callable[[dict[str, Any]], object], tags: dict[str, Any]) -> float:
    return min(timeit.repeat(lambda: check(tags), number=20_000, repeat=5)) / 20_000 * 1e6


def main() -> None:
    contestants = {
        "jsonschema-rs": jsonschema_rs.validator_for(SCHEMA).is_valid,
        "fastjsonschema": fastjsonschema.compile(SCHEMA),
        "aiotrack-schema (jsonschema-rs)": Checker(SCHEMA).check,
    }
    print(f"{'us a check':34}{'2 tags':>8}{'5 tags, nested':>16}")
    for name, check in contestants.items():
        print(f"{name:34}{microseconds(check, SMALL):8.2f}{microseconds(check, LARGE):16.2f}")


if __name__ == "__main__":
    main()
