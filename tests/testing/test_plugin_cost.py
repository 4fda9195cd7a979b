"""The pytest plugin costs a run that does not use aiotrack next to nothing."""

import subprocess
import sys

PROGRAM = """
import sys, time
import pytest
before = set(sys.modules)
start = time.process_time()
import aiotrack.pytest_plugin
took = time.process_time() - start
print(took, *sorted(name.split(".")[0] for name in set(sys.modules) - before))
"""


def test_what_pytest_loads_is_little_and_imports_none_of_what_the_library_stands_on():
    runs = [subprocess.check_output([sys.executable, "-c", PROGRAM], text=True).split() for _ in range(5)]
    loaded = set(runs[0][1:])
    assert loaded.isdisjoint({"aiohttp", "attr", "attrs", "cattrs", "orjson", "yarl", "asyncio", "sqlite3"})
    assert min(float(run[0]) for run in runs) < 0.05


def test_a_run_that_uses_nothing_of_it_imports_nothing_of_it(pytester):
    pytester.makepyfile("import sys\n\ndef test_nothing():\n    assert 'aiotrack.client' not in sys.modules\n")
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)
