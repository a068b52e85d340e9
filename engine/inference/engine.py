"""A trained model ready for chat: loads a checkpoint, builds prompts, generates answers."""

import sys
from collections.abc import Generator, Sequence
from typing import NamedTuple

import torch

from engine.checkpoint.checkpoint import load_model
from engine.checkpoint.manifest import verify
from engine.checkpoint.selection import CHAT_STAGES, choose_checkpoint, code_warning
from engine.core.errors import UsageError
from engine.data.chat.conversation import Conversation, prompt_of, text_of
from engine.data.tokenizer import Tokenizer
from engine.device.allocator import settle_allocator
from engine.inference.calculator import Calculator
from engine.inference.decoder import Decoder, End, Request
from engine.inference.detokenizer import AnswerReader, Piece
from engine.inference.sampling_params import Sampling
from engine.model.gpt import GPT
from engine.run.cpu_threads import free_threads
from engine.run.directory import RunDirectory


class Finish(NamedTuple):
    """How an answer ended."""

    end: End
    prompt_tokens: int
    new_tokens: int


class ChatEngine:
    """A model with its tokenizer. Stateless: `Session` holds a conversation."""

    def __init__(
        self, model: GPT, tokenizer: Tokenizer, *, name: str, stage: str, step: int, warning: str = ""
    ) -> None:
        if model.shape.vocab_size != tokenizer.vocab_size:
            raise UsageError(
                f"the model of {name} has {model.shape.vocab_size:,} tokens, but its tokenizer has "
                f"{tokenizer.vocab_size:,}. Restore the run's tokenizer folder."
            )
        # the master weights are float32; casting them per token would triple the memory traffic
        self.model = model.to(model.compute_dtype).eval()
        self.tokenizer = tokenizer
        self.name = name
        self.stage = stage
        self.step = step
        self.warning = warning  # set if another version of nanosolo wrote the checkpoint
        special = tokenizer.special_ids
        self.stop_ids = frozenset({tokenizer.bos_id, special["<|assistant_end|>"]})

    @property
    def chats(self) -> bool:
        """Whether the model was trained on conversations. If not, it continues any text."""
        return self.stage in CHAT_STAGES

    @property
    def device(self) -> str:
        """The device of the model: cpu or cuda."""
        return next(self.model.parameters()).device.type

    @property
    def context(self) -> int:
        """Context length of the model in tokens."""
        return self.model.shape.max_seq_len

    def prompt(self, conversation: Conversation) -> list[int]:
        """The prompt of a conversation whose last message is the user's. A base model gets only the texts, separated
        by blank lines."""
        if self.chats:
            return prompt_of(conversation, self.tokenizer)
        return [self.tokenizer.bos_id, *self.tokenizer.encode("\n\n".join(text_of(m) for m in conversation))]

    def request(
        self, key: object, prompt: Sequence[int], max_new_tokens: int, sampling: Sampling, seed: int
    ) -> Request:
        """A request for a Decoder. Chat models get the calculator."""
        force = Calculator(self.tokenizer) if self.chats else None
        return Request(key, prompt, max_new_tokens, sampling, seed, self.stop_ids, force)

    def answer(
        self,
        prompt: Sequence[int],
        max_new_tokens: int,
        sampling: Sampling,
        seed: int = 0,
        stops: Sequence[str] = (),
        decoder: Decoder | None = None,
    ) -> Generator[Piece | Finish]:
        """Yields the answer to a prompt in pieces, then Finish. Closing the iterator cancels it.

        `decoder`: one that reuses the prefix shared with the previous prompt.
        """
        if decoder is None:
            decoder = Decoder(self.model, len(prompt) + max_new_tokens)
        key = object()
        decoder.add(self.request(key, prompt, max_new_tokens, sampling, seed))
        reader = AnswerReader(self.tokenizer, stops)
        new = 0
        end: End = "length"
        try:
            while decoder.active and not reader.stopped:
                for token in decoder.step():
                    new += 1
                    end = token.end or end
                    if token.end != "stop":
                        yield from reader.read(token.id)
            yield from reader.finish()
        finally:
            decoder.cancel(key)
        yield Finish("stop" if reader.stopped or end == "stop" else "length", len(prompt), new)


def load_engine(run: RunDirectory, stage: str | None = None, device: str = "auto") -> ChatEngine:
    """Load the newest checkpoint of the best (or given) stage. Raises NanosoloError if it is missing or damaged."""
    chosen = choose_checkpoint(run, stage)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    elif device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: torch finds no CUDA device. Use --device cpu, or run nanosolo doctor.")
    if device == "cpu":
        torch.set_num_threads(run.config().runtime.threads or free_threads())
    settle_allocator(device, lambda message: print(f"warning: {message}", file=sys.stderr))
    verify(chosen.path)
    tokenizer = Tokenizer.load(run.tokenizer)
    model = load_model(chosen.path, device)
    return ChatEngine(
        model, tokenizer, name=run.name, stage=chosen.stage, step=chosen.step, warning=code_warning(chosen)
    )
