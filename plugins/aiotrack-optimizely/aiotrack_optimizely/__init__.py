"""Optimizely Feature Experimentation's track event, as a destination for aiotrack."""

from .datafile import Datafile
from .destination import Optimizely

__all__ = ["Datafile", "Optimizely"]
