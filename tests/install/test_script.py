"""The install script on bare machines: which torch it installs, what it keeps, how it recovers, its messages."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.helpers.sandbox import RELEASE, REPOSITORY, Sandbox, write_command, write_wheel


def test_without_a_gpu_the_cpu_build_is_installed_and_the_pipeline_runs(sandbox: Sandbox) -> None:
    done = sandbox.run()
    assert (done.returncode, done.stderr) == (0, "")
    assert "CPU build" in done.stdout and "about 0.2 GB to download" in done.stdout
    assert "Why: no NVIDIA GPU is found here" in done.stdout
    assert "ran --preset quickstart --name quickstart --resume\n" in done.stdout
    assert ".venv/bin/nanosolo chat quickstart" in done.stdout
    assert sandbox.torch() == f"{RELEASE}+cpu"


@pytest.mark.parametrize(
    ("driver", "torch", "says"),
    [
        (
            "580.65.06",
            RELEASE,
            "CUDA 13.0 build), about 2.8 GB to download. Why: NVIDIA A100-SXM4-40GB, driver 580.65.06",
        ),
        ("535.129.03", f"{RELEASE}+cu126", "the CUDA 13.0 build needs driver 580.65.06 or newer"),
    ],
)
def test_the_driver_decides_which_build_is_taken(sandbox: Sandbox, driver: str, torch: str, says: str) -> None:
    sandbox.add_gpu(driver)
    assert says in sandbox.setup().stdout
    assert sandbox.torch() == torch


def test_a_driver_that_no_build_runs_on_is_refused_before_any_download(sandbox: Sandbox) -> None:
    sandbox.add_gpu("470.256.02")
    done = sandbox.run()
    assert done.returncode == 2
    assert done.stderr.startswith("error: NVIDIA A100-SXM4-40GB has driver 470.256.02; torch needs 525.60.13 or newer.")
    assert "TORCH_INDEX=cpu bash run_single_a100.sh quickstart" in done.stderr
    assert sandbox.torch() == ""
    sandbox.setup(TORCH_INDEX="cpu")  # what the message says
    assert sandbox.torch() == f"{RELEASE}+cpu"


def test_no_network_is_used_after_the_installation(sandbox: Sandbox) -> None:
    sandbox.setup("dev")
    calls = sandbox.pip_calls()
    for arguments in (("--setup",), ("--setup", "dev"), ()):
        done = sandbox.run(*arguments, PIP_INDEX_URL="https://nowhere.invalid/simple")
        assert (done.returncode, "installing" in done.stdout) == (0, False)
    assert sandbox.pip_calls() == calls


def test_an_extra_stays_when_another_is_added(sandbox: Sandbox) -> None:
    sandbox.setup("dev")
    assert "Why: it is installed and works here" in sandbox.setup("serve").stdout
    assert "extras dev,serve\n" in (sandbox.venv / "installed").read_text()
    assert list(sandbox.venv.glob("lib/python3*/site-packages/testing_tool.py"))
    done = sandbox.run("--setup", "sevre")
    assert (done.returncode, done.stderr) == (2, "error: --setup sevre: there is no such extra. Use dev or serve.\n")


def test_another_driver_replaces_torch_only_when_it_no_longer_works(sandbox: Sandbox) -> None:
    sandbox.setup("dev")
    sandbox.add_gpu("570.86.15")  # a GPU is added: the CPU build cannot use it
    sandbox.setup()
    assert sandbox.torch() == f"{RELEASE}+cu126"
    calls = sandbox.pip_calls()
    sandbox.add_gpu("590.44.01")  # the installed build runs on it
    sandbox.setup()
    (sandbox.bin / "nvidia-smi").unlink()  # and without a GPU
    sandbox.setup()
    assert (sandbox.torch(), sandbox.pip_calls()) == (f"{RELEASE}+cu126", calls)
    sandbox.add_gpu("590.44.01")
    sandbox.setup(TORCH_INDEX="auto")  # chosen again
    assert sandbox.torch() == RELEASE
    sandbox.add_gpu("535.129.03")
    sandbox.setup()
    assert sandbox.torch() == f"{RELEASE}+cu126"
    assert "extras dev\n" in (sandbox.venv / "installed").read_text()


def test_torch_index_overrides_the_choice_and_is_kept(sandbox: Sandbox) -> None:
    sandbox.setup(TORCH_INDEX="default")
    assert sandbox.torch() == RELEASE
    sandbox.setup()
    assert sandbox.torch() == RELEASE
    write_wheel(sandbox.root / "own", "torch", RELEASE + "+own")
    sandbox.setup(TORCH_INDEX=str(sandbox.root / "own"))
    assert sandbox.torch() == RELEASE + "+own"
    sandbox.setup(TORCH_INDEX=(sandbox.pytorch / "cu126").as_uri())
    assert sandbox.torch() == f"{RELEASE}+cu126"


def test_pips_index_is_used_when_the_chosen_one_cannot_be_reached(sandbox: Sandbox) -> None:
    away = sandbox.pytorch.rename(sandbox.root / "away")
    done = sandbox.setup()
    assert done.stderr.count("\n") == 1 and "cannot be reached" in done.stderr
    assert "it is installed from pip's default index (on PyPI the CUDA 13.0 build), about 2.8 GB" in done.stderr
    assert "TORCH_INDEX=cpu bash" in done.stderr
    assert sandbox.torch() == RELEASE
    calls = sandbox.pip_calls()
    assert "installing" not in sandbox.setup().stdout  # it is not tried at every start
    assert sandbox.pip_calls() == calls
    done = sandbox.run("--setup", TORCH_INDEX="cpu")  # named by the user: no other index is used
    assert done.returncode == 2 and done.stderr.startswith("error: TORCH_INDEX: ")
    away.rename(sandbox.pytorch)
    sandbox.setup(TORCH_INDEX="cpu")
    assert sandbox.torch() == f"{RELEASE}+cpu"


def test_no_build_is_installed_that_the_driver_cannot_run(sandbox: Sandbox) -> None:
    sandbox.add_gpu("535.129.03")
    away = sandbox.pytorch.rename(sandbox.root / "away")
    done = sandbox.run("--setup")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "cannot be reached" in done.stderr and "TORCH_INDEX=https://MIRROR/cu126 bash" in done.stderr
    assert sandbox.torch() == ""
    away.rename(sandbox.pytorch)
    sandbox.setup()
    assert sandbox.torch() == f"{RELEASE}+cu126"


def test_a_wheel_that_pip_finds_on_this_machine_is_used_without_the_network(sandbox: Sandbox) -> None:
    (sandbox.pytorch / "cpu").rename(sandbox.root / "wheels")
    done = sandbox.setup(PIP_FIND_LINKS=str(sandbox.root / "wheels" / "torch"))
    assert (f"using torch {RELEASE}+cpu from this machine" in done.stdout, done.stderr) == (True, "")
    assert sandbox.torch() == f"{RELEASE}+cpu"


def test_a_torch_that_the_user_installed_is_kept_when_it_works(sandbox: Sandbox) -> None:
    sandbox.setup(TORCH_INDEX="cu126")
    (sandbox.venv / "installed").write_text("of an older script dev")
    sandbox.setup()
    assert sandbox.torch() == f"{RELEASE}+cu126"


def test_a_folder_with_other_files_is_left_alone(sandbox: Sandbox) -> None:
    sandbox.add_python("python3", venv="missing")  # what it creates is removed
    kept = sandbox.home / "thesis.tex"
    kept.write_text("years of work")
    done = sandbox.run(NANOSOLO_VENV=str(sandbox.home))
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert f"contains other files. Use a new folder: NANOSOLO_VENV={sandbox.home}/nanosolo-venv bash" in done.stderr
    assert [path.name for path in sandbox.home.iterdir()] == [kept.name]


def test_the_next_python_is_tried_when_one_lacks_venv(sandbox: Sandbox) -> None:
    sandbox.add_python("python3.13", venv="missing")
    sandbox.setup()


@pytest.mark.parametrize(("tool", "place"), [("uv", "home/.local/bin"), ("virtualenv", "bin")])
def test_uv_or_virtualenv_make_it_where_venv_is_missing(sandbox: Sandbox, tool: str, place: str) -> None:
    sandbox.add_python("python3", venv="missing")
    write_command(sandbox.root / place / tool, f'cp -a "{sandbox.template}/." "${{@: -1}}"')
    sandbox.setup()
    assert sandbox.torch() == f"{RELEASE}+cpu"


def test_no_suitable_python(sandbox: Sandbox) -> None:
    sandbox.add_python("python3", version="3.10.12")
    done = sandbox.run()
    assert done.returncode == 2
    assert "needs Python 3.11 to 3.14, but python3 is Python 3.10.12" in done.stderr
    (sandbox.bin / "python3").unlink()
    done = sandbox.run()
    assert "needs Python 3.11 to 3.14, but no Python was found" in done.stderr
    assert "https://docs.astral.sh/uv" in done.stderr
    done = sandbox.run(PYTHON="python9")
    assert done.stderr == "error: PYTHON=python9 is not a Python from 3.11 to 3.14.\n"


def run_read_only(sandbox: Sandbox, *arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
    """Run the script from a checkout that is mounted read-only, so that not even root can write it."""
    mount = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
    within = ("unshare", "--map-root-user", "--mount", "sh", "-c", mount, str(sandbox.checkout))
    if not shutil.which("unshare") or subprocess.run((*within, "true"), capture_output=True, check=False).returncode:
        pytest.skip("mounts are not allowed here")
    settings = [f"{key}={value}" for key, value in sandbox.environment(**more).items()]
    script = (str(sandbox.bin / "bash"), str(sandbox.checkout / "run_single_a100.sh"))
    command = (*within, "env", "-i", *settings, *script, *arguments)
    return subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)


def test_a_read_only_checkout_that_is_set_up_runs(sandbox: Sandbox) -> None:
    sandbox.setup()
    done = run_read_only(sandbox, "balanced")
    assert (done.returncode, done.stderr) == (0, "")
    assert "ran --preset balanced" in done.stdout
    assert f"{sandbox.venv}/bin/nanosolo chat" in done.stdout  # in another folder, the commands have the full path


def test_a_read_only_checkout_without_an_installation_says_what_to_do(sandbox: Sandbox) -> None:
    done = run_read_only(sandbox)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "NANOSOLO_VENV=$HOME/nanosolo-venv bash" in done.stderr
    own = sandbox.home / "nanosolo-venv"
    done = run_read_only(sandbox, NANOSOLO_VENV=str(own))
    assert done.returncode == 0, done.stdout + done.stderr
    assert (own / "installed").exists()


def test_paths_are_relative_to_the_current_folder(sandbox: Sandbox, tmp_path: Path) -> None:
    done = sandbox.run(cwd=tmp_path, CONFIG="my.toml", NANOSOLO_VENV="here", NAME="one")
    assert done.returncode == 0, done.stderr
    assert "ran --config my.toml --name one --resume" in done.stdout
    assert "here/bin/nanosolo chat one" in done.stdout
    assert (tmp_path / "here" / "installed").exists()
    assert not sandbox.venv.exists()


def test_a_checkout_that_moved_is_installed_again(sandbox: Sandbox) -> None:
    sandbox.setup("dev")
    sandbox.checkout = sandbox.checkout.rename(sandbox.root / "moved")
    sandbox.venv = sandbox.checkout / ".venv"
    done = sandbox.run()
    assert (done.returncode, "installing nanosolo with dev" in done.stdout) == (0, True), done.stderr
    assert str(sandbox.checkout) in (sandbox.venv / "bin" / "nanosolo").read_text()


def test_the_pins_of_a_container_are_ignored(sandbox: Sandbox) -> None:
    pins = sandbox.root / "constraint.txt"
    pins.write_text("numpy==1\ntorch==2.7.0a0+nv25.5\n")
    done = sandbox.setup(PIP_CONSTRAINT=str(pins), PIP_USER="1")
    assert f"PIP_CONSTRAINT={pins} pins another torch and is ignored" in done.stdout
    assert sandbox.torch() == f"{RELEASE}+cpu"


def test_the_gpu_checks_start_from_a_bare_clone(sandbox: Sandbox) -> None:
    (sandbox.checkout / "bench").mkdir()
    shutil.copy(REPOSITORY / "bench" / "gpu.sh", sandbox.checkout / "bench")
    done = subprocess.run(
        [str(sandbox.bin / "bash"), "bench/gpu.sh", "--quick"],
        cwd=sandbox.checkout,
        env=sandbox.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: torch sees no CUDA GPU here") and ".venv/bin/nanosolo doctor" in done.stderr
    assert sandbox.torch() == f"{RELEASE}+cpu"


def test_help_installs_nothing(sandbox: Sandbox) -> None:
    done = sandbox.run("--help")
    assert done.returncode == 0 and "NANOSOLO_VENV=DIR" in done.stdout
    assert not sandbox.venv.exists()
