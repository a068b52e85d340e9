"""The install script recovers: from kills, Ctrl-C, failed downloads, missing parts of Python, a full disk."""

import os
import signal
import subprocess
import time

from tests.helpers.sandbox import RELEASE, Sandbox, write_command


def test_a_missing_venv_leaves_nothing_behind_and_its_remedy_works(sandbox: Sandbox) -> None:
    sandbox.add_python("python3", venv="missing")
    write_command(sandbox.bin / "apt-get", "")
    done = sandbox.run()
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "apt-get update && " in done.stderr and "-venv; or, without root, install uv" in done.stderr
    assert not sandbox.venv.exists() or not list(sandbox.venv.iterdir())
    sandbox.add_python("python3")
    sandbox.setup()


def test_an_incomplete_environment_is_created_again(sandbox: Sandbox) -> None:
    sandbox.setup()
    for path in sandbox.venv.glob("lib/python3*/site-packages/pip*"):
        subprocess.run(["rm", "-r", str(path)], check=True)
    (sandbox.venv / "installed").unlink()
    done = sandbox.setup()
    assert sandbox.torch() == f"{RELEASE}+cpu", done.stdout


def test_a_killed_installation_is_repeated(sandbox: Sandbox) -> None:
    sandbox.setup("dev")
    site = next(sandbox.venv.glob("lib/python3*/site-packages"))
    next(site.glob("torch-*.dist-info/RECORD")).unlink()  # as pip leaves it when it is killed
    (sandbox.venv / "installing").touch()
    done = sandbox.setup()
    assert "contains an interrupted installation; creating it again" in done.stdout
    assert sandbox.torch() == f"{RELEASE}+cpu"
    assert "extras dev\n" in (sandbox.venv / "installed").read_text()


def test_a_failed_download_keeps_what_is_there(sandbox: Sandbox) -> None:
    done = sandbox.run("--setup", PIP_INDEX_URL=(sandbox.root / "nowhere").as_uri(), TORCH_INDEX="cpu")
    sandbox.pypi.rename(sandbox.root / "gone")
    done = sandbox.run("--setup", "dev")
    assert (done.returncode, "Check the network" in done.stderr) == (2, True)
    assert not (sandbox.venv / "installing").exists()
    (sandbox.root / "gone").rename(sandbox.pypi)
    assert "creating it again" not in sandbox.setup("dev").stdout


def test_a_pip_that_was_killed_leaves_nothing_that_counts_as_installed(sandbox: Sandbox) -> None:
    backend = sandbox.checkout / "backend.py"
    text = backend.read_text()
    backend.write_text("import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\n" + text)
    done = sandbox.run("--setup")
    assert (done.returncode, "error: pip was killed" in done.stderr) == (2, True)
    backend.write_text(text)
    assert "interrupted" in sandbox.setup().stdout


def test_ctrl_c_while_installing_is_repaired_by_the_next_call(sandbox: Sandbox) -> None:
    backend = sandbox.checkout / "backend.py"
    text = backend.read_text()
    began = sandbox.root / "began"
    backend.write_text(f"import pathlib, time\npathlib.Path({str(began)!r}).touch()\ntime.sleep(60)\n" + text)
    script = [str(sandbox.bin / "bash"), str(sandbox.checkout / "run_single_a100.sh"), "--setup"]
    running = subprocess.Popen(
        script,
        env=sandbox.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # which the tests' workers may ignore
    )
    deadline = time.monotonic() + 60
    while not began.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGINT)
    assert running.wait(30) == 130
    backend.write_text(text)
    assert "interrupted" in sandbox.setup().stdout
    assert sandbox.torch() == f"{RELEASE}+cpu"


def test_a_full_disk_is_reported_before_the_download(sandbox: Sandbox) -> None:
    (sandbox.bin / "df").unlink()
    write_command(sandbox.bin / "df", "echo header; echo /dev/x 100 50 1048576 50% /")
    sandbox.add_gpu("580.95.05")
    done = sandbox.run()
    assert done.returncode == 2
    assert (
        "needs 8 GB of free disk, but only 1 GB are free. Free some space, or install elsewhere: NANOSOLO_VENV="
        in done.stderr
    )
