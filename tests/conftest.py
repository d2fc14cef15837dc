"""What holds for all tests: where time is short, those that are left are skipped, and say so."""

import os
import time

import pytest

UNTIL = "TESTS_UNTIL"
"""Variable of the environment: seconds since 1970 after which no test begins. `.ci/run` sets it for its extras."""


def pytest_runtest_setup(item: pytest.Item) -> None:
    until = os.environ.get(UNTIL)
    if until is not None and time.time() > float(until):
        pytest.skip("NOT RUN: the time that .ci/run has is over")
