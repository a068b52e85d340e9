"""Whether the installed build of torch, the driver and the GPU fit one another, and the command that makes them."""

from engine.core.diagnostic import Diagnostic, checked
from engine.hardware.drivers import OLDEST_DRIVER, WHEELS, command_for, version, wanted_torch, wheel_for
from engine.hardware.gpu_access import ON_CPU
from engine.hardware.probe_machine import GpuProbe, TorchBuild


def check_driver(found: GpuProbe | None, torch: TorchBuild | None) -> Diagnostic | None:
    """None where there is no GPU; without torch, an error."""
    if found is None:
        return None
    if torch is None:
        return _problem("torch is not installed", _reinstall(found, wanted_torch()))
    has = f"driver {found.driver} runs CUDA up to {found.cuda[0]}.{found.cuda[1]}"
    if torch.cuda is None:
        finding = f"torch {torch.version} is a build for CPUs and cannot use {found.gpu.name}"
        return _problem(finding, _reinstall(found, torch.version, f"; {ON_CPU}"))
    built = f"torch {torch.version} is built for CUDA {torch.cuda[0]}.{torch.cuda[1]}"
    if found.cuda[0] < torch.cuda[0]:
        oldest = OLDEST_DRIVER.get(torch.cuda[0])
        needs = f"needs driver {oldest} or newer" if oldest else "needs a newer driver"
        return _problem(f"{has}, but {built} and {needs}", _reinstall(found, torch.version))
    if not _holds(torch.cuda, found.gpu.compute_capability):
        return _problem(f"{built}, which has no code for {found.gpu.name}", _reinstall(found, torch.version))
    return checked("driver", "ok", f"{has}; {built}")


def _problem(finding: str, action: str) -> Diagnostic:
    return checked("driver", "error", finding, action)


def _reinstall(found: GpuProbe, torch: str, otherwise: str = "") -> str:
    wheel = wheel_for(found.driver, found.gpu.compute_capability)
    newest = WHEELS[0].oldest_driver
    if wheel is None and wheel_for(newest, found.gpu.compute_capability) is None:
        return f"no build of torch has code for {found.gpu.name}: use a newer GPU{otherwise}"
    if wheel is None:
        return f"update the driver to {newest} or newer, or use a machine that has it{otherwise}"
    is_new = version(found.driver) >= version(newest)
    update = "" if is_new else f"; or update the driver to {newest} or newer"
    return f"install the matching build with `{command_for(wheel, torch)}`{update}{otherwise}"


def _holds(cuda: tuple[int, int], capability: tuple[int, int]) -> bool:
    """Whether PyTorch's build for this CUDA has code for a GPU; builds that are not in the table are not judged."""
    wheel = next((wheel for wheel in WHEELS if wheel.cuda == cuda), None)
    return wheel is None or wheel.oldest_gpu <= capability <= wheel.newest_gpu
