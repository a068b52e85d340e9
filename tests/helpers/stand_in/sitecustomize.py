"""Replace the work of the stages: behaviour.json of the run says what each does."""

import json
import os
import signal
import sys
import time
import types
from typing import Any


def _work(context: Any) -> None:
    given = os.environ.get("STAND_IN_BEHAVIOUR") or (context.run.path / "behaviour.json").read_text()
    behaviour = json.loads(given)
    what = behaviour.get(context.stage, "done")
    context.stops_at_boundary = what == "train"  # before another process can see that the work began
    (context.run.path / f"{context.stage}.began").touch()
    match what:
        case "done":
            print(f"{context.stage} did its work")
            _leave_result(context)
        case "refuse":
            from engine.core.errors import UsageError

            raise UsageError("data.paths: there is nothing here. Give a folder.")
        case "raise":
            raise ValueError("something odd")
        case "ecc":
            raise RuntimeError("CUDA error: uncorrectable ECC error encountered")
        case "starve":
            raise MemoryError
        case "kill self":
            os.kill(os.getpid(), signal.SIGKILL)
        case "diverge":
            os._exit(4)
        case "wait":
            time.sleep(60)
        case "train":
            _train(context)


def _leave_result(context: Any) -> None:
    """Write the results of a stage: a checkpoint and a step if it trains, scores if it evaluates."""
    from engine.config.stages import MODEL_STAGES
    from engine.events.kinds import Evaluation, Step

    number = len(list(context.run.path.glob(f"checkpoints/{context.stage}*")))  # a different value every time
    if context.stage in MODEL_STAGES:
        folder = context.run.checkpoints(context.stage) / "step_000001"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.safetensors").write_text(f"{context.stage} {number}")
        figures = {"learning_rate_scale": 1.0, "grad_norm": 1.0, "step_seconds": 0.1, "data_seconds": 0.0}
        rest = {"tokens_per_second": 10.0, "mfu": None, "peak_memory": None}
        context.emit(Step(stage=context.stage, step=1, steps=1, tokens=1, loss=float(number), **figures, **rest))
    elif context.stage.endswith("eval"):
        context.emit(Evaluation(stage=context.stage, step=1, metric="chat_core", value=0.5, seconds=0.0))
    elif context.stage == "tokenizer":
        context.run.tokenizer.mkdir(exist_ok=True)
    elif context.stage == "tokenize":
        context.run.tokens_file.write_text("{}")


def _train(context: Any) -> None:
    """Make steps until a stop is requested, like the real stage, with a file as checkpoint."""
    from engine.core.errors import Stopped
    from engine.events.kinds import Checkpoint

    step = 0
    while step < 10_000:
        step += 1
        time.sleep(0.01)
        if context.checkpoint_asked or context.stop_asked:
            context.checkpoint_asked = False
            context.emit(Checkpoint(stage=context.stage, step=step, path=f"checkpoints/{step}", bytes=1, seconds=0.1))
        if context.stop_asked:
            raise Stopped(f"stopped after step {step}")


if os.environ.get("STAND_IN"):
    for name, functions in {
        "engine.stages.data": ("fetch",),
        "engine.stages.train_tokenizer": ("make_tokenizer",),
        "engine.stages.tokenize": ("write_tokens",),
        "engine.stages.pretrain": ("pretrain",),
        "engine.stages.evaluate": ("evaluate",),
        "engine.stages.finetune": ("finetune",),
        "engine.stages.rl": ("reinforce",),
        "engine.stages.chat_eval": ("chat_eval",),
        "engine.stages.report": ("write_report",),
    }.items():
        module = types.ModuleType(name)
        for function in functions:
            setattr(module, function, _work)
        sys.modules[name] = module
