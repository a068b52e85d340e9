"""The environment of all tests, the marker `slow`, and one trained run for the tests that need one."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

from engine.run.directory import RunDirectory

# Settings of the shell must not affect the tests, and the servers that tests start are on this machine.
for _name in ("NANOSOLO_HOME", "HF_ENDPOINT", "HF_HUB_OFFLINE", "HF_TOKEN", "TRANSFORMERS_OFFLINE"):
    os.environ.pop(_name, None)
os.environ["NANOSOLO_COMMIT"] = "0123456789ab"  # nor must uncommitted changes
ON_GPU = os.environ.get("NANOSOLO_TEST_GPU") == "1"
if not ON_GPU:
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the same result with and without a GPU
os.environ["OMP_NUM_THREADS"] = "1"  # tests run in parallel and share the cores
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"

# The same examples every time and no deadlines, so that only the code can make a test fail.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")

HERE = Path(__file__).parent
# Folders and modules that take more than 3 s, one per line. `tests/run.sh --quick` leaves them out.
SLOW = frozenset((HERE / "slow.txt").read_text().split())


def _is_slow(path: Path) -> bool:
    name = path.relative_to(HERE).with_suffix("")
    return not SLOW.isdisjoint((name.parent.as_posix(), name.as_posix()))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import slow modules where they are left out: it takes longer than many of the tests."""
    return True if config.option.markexpr == "not slow" and _is_slow(collection_path) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of SLOW, and skip those that need a GPU."""
    for item in items:
        if _is_slow(item.path):
            item.add_marker(pytest.mark.slow)
        if not ON_GPU and item.get_closest_marker("gpu") is not None:
            item.add_marker(pytest.mark.skip(reason="needs a GPU: NANOSOLO_TEST_GPU=1"))


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A home with the run `tiny`; see `tests/helpers/trained_run.py`."""
    from tests.helpers.trained_run import trained_run

    return trained_run(tmp_path_factory.mktemp("trained"))
