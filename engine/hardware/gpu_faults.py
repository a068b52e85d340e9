"""GPU faults: the driver's Xid numbers and torch's errors, each with its cause and its fix."""

import re

from engine.core.diagnostic import Diagnostic, failure

RESUME = "Resume from the last checkpoint"
SOFTWARE = "Resume from the last checkpoint; if it fails at the same place again, it is a software bug: report it"
RESET = "Stop, reset the GPU (nvidia-smi --gpu-reset, or restart the machine), and resume from the last checkpoint"
LEAVE = "Use another machine and resume there: the run directory has everything it needs"
DRIVER = "Ask for a machine with a newer driver"

# NVIDIA's numbers, and what they mean to a run on one GPU.
XIDS: dict[int, tuple[str, str]] = {
    13: ("a kernel failed on the GPU", SOFTWARE),
    31: ("a kernel accessed invalid GPU memory", SOFTWARE),
    43: ("the GPU stopped working for this program", RESUME),
    45: ("the program was stopped on the GPU", RESUME),
    48: ("GPU memory has an uncorrectable error", RESET),
    63: (
        "a bad row of GPU memory is marked for replacement",
        "Reset the GPU at the next pause (nvidia-smi --gpu-reset)",
    ),
    64: ("a bad row of GPU memory could not be replaced", LEAVE),
    74: ("NVLink reports an error, which does not affect a run on one GPU", "Nothing to do"),
    79: ("the GPU has fallen off the bus and is lost to this machine", LEAVE),
    92: ("GPU memory reports many corrected errors", "Monitor it; if the errors continue, use another machine"),
    94: ("a memory error was contained: only this program ends", RESUME),
    95: ("a memory error was not contained: every program on this GPU ends", RESET),
    119: ("the GPU's system processor does not respond", f"{RESET}. {DRIVER} if it happens again"),
    120: ("the GPU's system processor failed", f"{RESET}. {DRIVER} if it happens again"),
}

# What torch writes when a stage fails because of the GPU or its tools; the first match counts.
TORCH_ERRORS: tuple[tuple[str, Diagnostic], ...] = tuple(
    (pattern, failure(code, what, action))
    for pattern, code, what, action in (
        (r"uncorrectable ECC error", "ecc", *XIDS[48]),
        (r"fallen off the bus|GPU is lost", "gpu_lost", *XIDS[79]),
        (
            r"driver .{0,60}is too old|CUDA driver version is insufficient",
            "driver_too_old",
            "the NVIDIA driver is too old for this build of torch",
            "Run nanosolo doctor to see what it needs",
        ),
        (
            r"no kernel image is available",
            "gpu_not_supported",
            "this build of torch has no code for this GPU",
            "Use a newer GPU, or a build of torch for an older CUDA",
        ),
        (
            r"devices are busy or unavailable",
            "gpu_busy",
            "another process has exclusive use of the GPU",
            "End it (nvidia-smi lists it), then resume",
        ),
        (
            r"no CUDA-capable device|Found no NVIDIA driver|No CUDA GPUs are available",
            "no_gpu",
            "no NVIDIA GPU can be used here",
            "Run nanosolo doctor to see why; resume when the GPU is back, or on another machine",
        ),
        (r"illegal memory access|misaligned address", "illegal_access", *XIDS[31]),
        (r"unspecified launch failure|illegal instruction was encountered", "launch_failure", *XIDS[13]),
        (
            r"device-side assert triggered",
            "device_assert",
            "a check inside a GPU kernel failed",
            "This is a software bug: report it with the last lines of the log",
        ),
        (
            r"Failed to find C compiler|No working C\+\+ compiler|Python\.h: No such file",
            "no_compiler",
            "torch.compile needs a C compiler and Python's headers, which are not here",
            'Install them (apt install g++ python3-dev), or set runtime.compile to "off" in run.toml, then resume',
        ),
        (r"CUDA error: unknown error", "gpu_unknown", "the driver reports an unknown error", RESET),
    )
)


def xid(number: int) -> Diagnostic:
    """The fault with this number of the driver's."""
    what, action = XIDS.get(number, ("the driver reports a fault", f"{RESUME} if the run ended; watch for more faults"))
    return failure(f"xid_{number}", f"GPU fault Xid {number}: {what}", action)


def torch_error(text: str) -> Diagnostic | None:
    """The fault that the error message of a stage names; None where it names none."""
    return next((fault for pattern, fault in TORCH_ERRORS if re.search(pattern, text)), None)
