"""The really trained run, for all tests of exports."""

import pytest

from engine.run.directory import RunDirectory


@pytest.fixture(scope="session")
def run(trained: RunDirectory) -> RunDirectory:
    return trained
