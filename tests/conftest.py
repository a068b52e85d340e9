"""The environment of all tests, and one trained run for those that need one."""

import os

import pytest
from hypothesis import settings

from engine.run.directory import RunDirectory

# what the shell is set to must not decide what is tested: servers of the tests are on this machine, and answer
for _name in ("NANOSOLO_HOME", "HF_ENDPOINT", "HF_HUB_OFFLINE", "HF_TOKEN", "TRANSFORMERS_OFFLINE"):
    os.environ.pop(_name, None)
os.environ["NANOSOLO_COMMIT"] = "0123456789ab"  # the state of this checkout must not decide what is tested
os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the same everywhere; bench/gpu.sh checks what a GPU does
os.environ["OMP_NUM_THREADS"] = "1"  # tests share the cores with one another: threads of each would only wait in turn
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"

# the same examples every time, however slow the machine: a failure is one of the code
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A home with the run `tiny`; see trained_run.py."""
    from tests.helpers.trained_run import trained_run

    return trained_run(tmp_path_factory.mktemp("trained"))
