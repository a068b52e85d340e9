"""Makes the helpers in this folder importable from every test, and one trained run for all that need one."""

import pytest

from engine.run.directory import RunDirectory


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A home with the run `tiny`; see trained_run.py."""
    from trained_run import trained_run

    return trained_run(tmp_path_factory.mktemp("trained"))
