"""The really trained run, for all tests of exports."""

import pytest
from hypothesis import settings

from engine.run.directory import RunDirectory

settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")


@pytest.fixture(scope="session")
def run(trained: RunDirectory) -> RunDirectory:
    return trained
