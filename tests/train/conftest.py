"""One tokenized corpus for all tests of training, and one run that nothing disturbed."""

import pytest

from engine.run.directory import RunDirectory
from tests.helpers import tiny_run


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> tiny_run.Base:
    return tiny_run.Base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def undisturbed(base: tiny_run.Base, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    run = base.run(tmp_path_factory.mktemp("undisturbed") / "run")
    done = tiny_run.train(run)
    assert done.returncode == 0, done.stderr
    return run
