"""A tracking plan for aiotrack: what an event may hold, checked when it is tracked."""

from .fields import Property
from .grammar import Mode
from .plan import EventPlan, Plan
from .plugin import Schema
from .typed import Event

__all__ = ["Event", "EventPlan", "Mode", "Plan", "Property", "Schema"]
