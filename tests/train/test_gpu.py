"""What needs a real GPU: NANOSOLO_TEST_GPU=1 python -m pytest -m gpu. `bench/gpu.sh` checks memory and speed."""

import subprocess
import sys

import msgspec
import pytest

from engine.hardware.device_faults import Attempt


@pytest.mark.gpu
def test_the_device_can_be_used_and_triton_can_compile() -> None:
    command = (sys.executable, "-m", "engine.device.try_device", "cuda", "compile")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    attempt = msgspec.json.decode(done.stdout.splitlines()[-1], type=Attempt)
    assert (attempt.failed, attempt.error) == ("", "")
