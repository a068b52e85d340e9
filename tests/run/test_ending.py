"""How a stage ended and why, from exit codes and the logs that torch and its compilers leave."""

import signal

import pytest

from engine.hardware.gpu_faults import xid
from engine.run.crash_report import abort_message, last_words
from engine.run.exit_status import TAIL_BYTES, outcome_of, why

TRACE = (
    'Traceback (most recent call last):\n  File "/v/engine/stages/runtime.py", line 99, in main\n    work(context)\n'
)
DYNAMO = (
    "\nSet TORCHDYNAMO_VERBOSE=1 for the internal stack trace (please do this especially if you're reporting a bug to "
    'PyTorch). For even more developer context, set TORCH_LOGS="+dynamo"\n\n'
)
SUPPRESS = (
    "You can suppress this exception and fall back to eager by setting:\n    import torch._dynamo\n"
    "    torch._dynamo.config.suppress_errors = True\n"
)
NO_COMPILER = "RuntimeError: Failed to find C compiler. Please specify via CC environment variable or set it."
CAUSE = "\nThe above exception was the direct cause of the following exception:\n\n"
INDUCTOR = f"torch._inductor.exc.InductorError: {NO_COMPILER}"
BACKEND = "torch._dynamo.exc.BackendCompilerFailed: backend='inductor' raised:"
ILLEGAL = "torch.AcceleratorError: CUDA error: an illegal memory access was encountered"
CUDA_HINTS = (
    "Search for `cudaErrorIllegalAddress' in https://docs.nvidia.com/cuda/ for more information.\n"
    "CUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below might be "
    "incorrect.\nFor debugging consider passing CUDA_LAUNCH_BLOCKING=1\n"
    "Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.\n\n"
)
AFTERWARDS = (
    "[W1130 21:25:58.250661969 CUDACachingAllocator.cpp:508] expandable_segments: memory mapping failed with OOM\n"
    "[rank0]:[W1130 21:25:58.250 ProcessGroupNCCL.cpp:1538] Warning: WARNING: destroy_process_group() was not called\n"
    "/v/lib/x.py:12: UserWarning: something may happen\n  warnings.warn(\n"
    "Exception ignored in: <function Pool.__del__ at 0x7f>\n"
)
MEMORY = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 39.39 GiB."


@pytest.mark.parametrize(
    ("log", "line"),
    [
        ("", ""),
        ("one\ntwo\n\n", "two"),
        ("one\nerror: data.paths: nothing is here.\n", "data.paths: nothing is here."),
        (TRACE + "ValueError: odd\n", "ValueError: odd"),
        (TRACE + "ValueError: odd\n" + "error: out of memory: odd.\n" + AFTERWARDS, "out of memory: odd."),
        ("error: of an earlier time\n" + TRACE + "ValueError: odd\n", "ValueError: odd"),
        (TRACE + INDUCTOR + "\n" + DYNAMO, INDUCTOR),
        (
            f"{TRACE}{BACKEND}\n{NO_COMPILER}\n{DYNAMO}{SUPPRESS}",
            f"{BACKEND} {NO_COMPILER}",
        ),
        (
            TRACE + "torch._dynamo.exc.TorchRuntimeError: it failed to run\n\nfrom user code:\n"
            '   File "/v/engine/model/gpt.py", line 3, in f\n    return x\n' + DYNAMO,
            "torch._dynamo.exc.TorchRuntimeError: it failed to run",
        ),
        (
            f"{TRACE}{ILLEGAL}\n{CUDA_HINTS}{AFTERWARDS}",
            ILLEGAL,
        ),
        (f"{TRACE}ValueError: a\n{CAUSE}{TRACE}TypeError: b\n", "TypeError: b"),
        (
            'rk(context)\n  File "/v/a.py", line 1, in f\n    x()\n    ^^^\nOSError: cut off above\n',
            "OSError: cut off above",
        ),
    ],
)
def test_the_line_that_says_why_is_found_among_hints(log: str, line: str) -> None:
    assert last_words(log).line == line


def test_what_ended_a_process_in_cpp_is_read() -> None:
    log = "x\nterminate called after throwing an instance of 'c10::Error'\n  what():  CUDA error: out of memory\nmore\n"
    assert abort_message(log) == "CUDA error: out of memory"
    assert abort_message("nothing of the kind") == ""


@pytest.mark.parametrize(
    ("code", "stop_asked", "starved", "log", "outcome"),
    [
        (0, False, False, "", "done"),
        (3, False, False, "", "out_of_memory"),
        (6, False, False, "", "out_of_host_memory"),
        (5, False, False, TRACE + "ValueError: odd\n", "crashed"),
        (1, False, False, TRACE + MEMORY, "out_of_memory"),
        (1, False, False, TRACE + "MemoryError\n", "out_of_host_memory"),
        (5, False, False, MEMORY + "\n" + TRACE + "ValueError: odd\n", "crashed"),  # that one was answered
        (130, True, False, "", "stopped"),
        (-signal.SIGKILL, True, False, "", "stopped"),
        (-signal.SIGKILL, False, True, "", "out_of_host_memory"),
        (-signal.SIGKILL, False, False, TRACE + MEMORY, "killed"),
        (
            -signal.SIGABRT,
            False,
            False,
            "terminate called after throwing an instance of 'std::bad_alloc'\n  what():  std::bad_alloc\n",
            "out_of_host_memory",
        ),
        (
            -signal.SIGABRT,
            False,
            False,
            "terminate called after throwing an instance of 'c10::Error'\n  what():  CUDA error: out of memory\n",
            "out_of_memory",
        ),
    ],
)
def test_outcomes(code: int, stop_asked: bool, starved: bool, log: str, outcome: str) -> None:
    assert outcome_of(code, stop_asked, starved, log) == outcome


def test_what_is_done_or_stopped_needs_no_reason() -> None:
    assert why("done", 0, "error: x", []) == why("stopped", -9, "error: x", []) == ""


def test_a_fault_comes_with_what_to_do() -> None:
    log = TRACE + "torch.AcceleratorError: CUDA error: an illegal memory access was encountered\n" + CUDA_HINTS
    said = why("crashed", 5, log, [])
    assert said.startswith("a kernel accessed invalid GPU memory. ")
    assert said.endswith("(torch.AcceleratorError: CUDA error: an illegal memory access was encountered)")
    assert why("crashed", 5, log, [xid(79)]).startswith("GPU fault Xid 79")


def test_the_last_error_counts_and_not_a_warning_before_it() -> None:
    log = "warning: no kernel image is available for sm_120\n" + TRACE + "RuntimeError: Failed to find C compiler\n"
    assert "C compiler" in why("crashed", 5, log, [])


def test_an_abort_says_what_cpp_said() -> None:
    log = (
        "terminate called after throwing an instance of 'c10::Error'\n  what():  CUDA error: unspecified launch failure"
    )
    said = why("killed", -signal.SIGABRT, log, [])
    assert "the process was killed by SIGABRT (CUDA error: unspecified launch failure)" in said
    assert said.startswith("a kernel failed on the GPU")


def test_a_signal_does_not_quote_the_log() -> None:
    assert why("killed", -signal.SIGKILL, TRACE + "ValueError: caught\n", []) == "the process was killed by SIGKILL"


def test_a_long_log_still_holds_the_exception() -> None:
    frames = '  File "/v/torch/x.py", line 1, in f\n    call()\n' * 1000
    log = ("Traceback (most recent call last):\n" + frames + "KeyError: 'x'\n")[-TAIL_BYTES:]
    assert last_words(log).line == "KeyError: 'x'"
