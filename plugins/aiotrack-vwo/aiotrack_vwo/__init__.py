"""VWO Feature Management and Experimentation's track event, as a destination for aiotrack."""

from .destination import VWO
from .settings import Settings
from .visitor import visitor_uuid
from .webhook import Webhook

__all__ = ["VWO", "Settings", "Webhook", "visitor_uuid"]
