"""What holds for all tests: drawn examples are the same every time, and have no time of their own; where time is short,
the tests that are left are skipped, and say so.
"""

import importlib.util
import os
import time

import pytest

if importlib.util.find_spec("hypothesis") is not None:  # environments of single plug-ins do without
    from hypothesis import settings

    settings.register_profile("alike", derandomize=True, deadline=None)
    settings.load_profile("alike")

UNTIL = "TESTS_UNTIL"
"""Variable of the environment: seconds since 1970 after which no test begins. `.ci/run` sets it for its extras."""


def pytest_runtest_setup(item: pytest.Item) -> None:
    until = os.environ.get(UNTIL)
    if until is not None and time.time() > float(until):
        pytest.skip("NOT RUN: the time that .ci/run has is over")
