"""The stage evaluate: measures the pretrained model.

It loads the newest checkpoint of pretraining, measures bits per byte on held-out and on training text, continues the
prompts of the configuration, and scores the tasks of CORE where their bundle is available.
"""

from engine.checkpoint.checkpoint import load_model, read_state, warning_of, whole_checkpoint
from engine.checkpoint.lineage import no_weights
from engine.data.tokenizer import Tokenizer
from engine.device.allocator import settle_for_stage
from engine.device.device import prepare_device
from engine.evaluate.core.core import evaluate_core
from engine.evaluate.evaluator import TextEvaluator
from engine.run.stage_context import StageContext
from engine.stages.tokenize import tokens_of
from engine.train.code_check import check_code


def evaluate(context: StageContext) -> None:
    """Emit bits per byte of validation and training text, a sample per prompt, and CORE, of the newest checkpoint."""
    device = prepare_device(context.config, context.run.plan())
    settle_for_stage(context, device)
    newest = whole_checkpoint(
        context.run.checkpoints("pretrain"), lambda step, what: context.emit(warning_of(context.stage, step, what))
    )
    if newest is None:
        raise no_weights(context, "evaluate")
    step = read_state(newest).step
    check_code(context, newest, step)
    model = load_model(newest, device)
    model.to(model.compute_dtype)  # once, not in every forward pass: nothing is trained here
    tokenizer = Tokenizer.load(context.run.tokenizer)
    evaluator = TextEvaluator(context, model, model.trunk, tokenizer, tokens_of(context))
    evaluator.validation(step)
    evaluator.training(step)
    evaluator.sample(step)
    evaluate_core(context, model, tokenizer, step)
