"""The public names."""

import pytest

import aiotrack


def test_names_that_are_imported_later_are_there_as_any_other():
    assert aiotrack.errors.ConfigError.__doc__
    assert aiotrack.hookspecs.aiotrack_check_event.__doc__
    assert {name for name in aiotrack.__all__ if getattr(aiotrack, name) is None} == set()
    assert {"FileBuffer", "LocalStore", "SpillBuffer"} <= set(dir(aiotrack))
    with pytest.raises(AttributeError, match="Clietn"):
        _ = aiotrack.Clietn


def test_the_testing_kit_is_imported_by_name_too():
    assert {name for name in aiotrack.testing.__all__ if getattr(aiotrack.testing, name) is None} == set()
    assert set(aiotrack.testing.__all__) <= set(dir(aiotrack.testing))
    with pytest.raises(AttributeError, match="Colector"):
        _ = aiotrack.testing.Colector
