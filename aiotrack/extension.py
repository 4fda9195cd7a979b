"""For authors of destinations, buffers and plugins: what they import beside `aiotrack` and `aiotrack.errors`.

Everything else below `aiotrack` is the library's own and may change without notice. What stands here is documented in
docs/plugins/, and keeps its meaning.
"""

from .buffers.base import MIB, Buffer, BufferListener, Claim, Depth, LaneBuffer, Requeued
from .buffers.dead_letters import Cause, DeadLetter, DeadLetters
from .destinations.base import Destination, DestinationOptions, LaneHandle
from .destinations.credentials import Credential, Credentials, Secret, SecretText
from .destinations.http import HTTPDestination, HTTPOptions
from .destinations.local_store import EventSummary
from .destinations.polling import Fetch, Polling
from .hooks.hookspecs import Plugin
from .hooks.reserved_tags import BUILT_IN as BUILT_IN_TAGS
from .hooks.reserved_tags import EventSchema, ReservedTag
from .model.batch import Answer, Batch, Request
from .model.catalog import Catalog, Metric
from .model.clock import Clock, Timer, milliseconds, sleep
from .model.documents import CHECKED, Checked, json_object, shown, structure
from .model.encoding import check_attributes, dumps, encode_event, find_problems, is_flat_json
from .model.host import Host
from .model.identity import Identity
from .model.log import EpisodeLog, get_logger, printable
from .model.markers import hookimpl
from .model.mistakes import Mistakes
from .model.result import Receipt, SequenceNumber
from .model.settings import at_least, file_path, one_of, seconds
from .model.stats import LaneState
from .model.suggestions import near
from .model.urls import http_url, is_loopback, origin
from .model.verdict import Action, Verdict, judge

__all__ = [
    "BUILT_IN_TAGS",
    "CHECKED",
    "MIB",
    "Action",
    "Answer",
    "Batch",
    "Buffer",
    "BufferListener",
    "Catalog",
    "Cause",
    "Checked",
    "Claim",
    "Clock",
    "Credential",
    "Credentials",
    "DeadLetter",
    "DeadLetters",
    "Depth",
    "Destination",
    "DestinationOptions",
    "EpisodeLog",
    "EventSchema",
    "EventSummary",
    "Fetch",
    "HTTPDestination",
    "HTTPOptions",
    "Host",
    "Identity",
    "LaneBuffer",
    "LaneHandle",
    "LaneState",
    "Metric",
    "Mistakes",
    "Plugin",
    "Polling",
    "Receipt",
    "Request",
    "Requeued",
    "ReservedTag",
    "Secret",
    "SecretText",
    "SequenceNumber",
    "Timer",
    "Verdict",
    "at_least",
    "check_attributes",
    "dumps",
    "encode_event",
    "file_path",
    "find_problems",
    "get_logger",
    "hookimpl",
    "http_url",
    "is_flat_json",
    "is_loopback",
    "json_object",
    "judge",
    "milliseconds",
    "near",
    "one_of",
    "origin",
    "printable",
    "seconds",
    "shown",
    "sleep",
    "structure",
]
