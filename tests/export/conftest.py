"""One really trained run for all tests of exports."""

import pytest
from hypothesis import settings
from trained_run import trained_run

from engine.run.directory import RunDirectory

settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return trained_run(tmp_path_factory.mktemp("trained"))
