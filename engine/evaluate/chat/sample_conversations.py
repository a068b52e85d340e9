"""A few short conversations with the finished model, the same for every run: examples to read with the scores."""

from collections.abc import Sequence

from engine.data.chat.conversation import Conversation, Message, prompt_of
from engine.data.tokenizer import Tokenizer
from engine.evaluate.chat.answers import GREEDY, show_answer, stop_ids
from engine.inference.calculator import Calculator
from engine.inference.decoder import Request, Token, generate_all
from engine.inference.detokenizer import AnswerReader
from engine.model.gpt import GPT

MOST_NEW_TOKENS = 128  # of one answer
QUESTIONS: tuple[tuple[str, ...], ...] = (
    ("Who are you?", "What can you do?"),
    ("What is 17 * 23?", "Are you sure?"),
    ("What is the capital of France?",),
    ("Write a short poem about the sea.",),
)


def sample_conversations(
    model: GPT, tokenizer: Tokenizer, max_new_tokens: int, rows: int, questions: Sequence[Sequence[str]] = QUESTIONS
) -> list[tuple[str, ...]]:
    """Ask each conversation's questions in turn, `rows` conversations at once. Returns the questions and answers of
    each in turn: the most probable tokens, all spelled out."""
    conversations: list[Conversation] = [()] * len(questions)
    said: list[list[str]] = [[] for _ in questions]
    for turn in range(max(map(len, questions), default=0)):
        asked = [number for number, each in enumerate(questions) if turn < len(each)]
        for number in asked:
            conversations[number] += (Message("user", questions[number][turn]),)
        requests = [
            Request(
                key=number,
                prompt=prompt_of(conversations[number], tokenizer),
                max_new_tokens=min(max_new_tokens, MOST_NEW_TOKENS),
                sampling=GREEDY,
                stop_ids=stop_ids(tokenizer),
                force=Calculator(tokenizer),
            )
            for number in asked
        ]
        for number, written in zip(asked, generate_all(model, requests, rows), strict=True):
            said[number] += [questions[number][turn], show_answer(tokenizer, written)]
            conversations[number] += (_answer(tokenizer, written),)
    return [tuple(each) for each in said]


def _answer(tokenizer: Tokenizer, tokens: Sequence[Token]) -> Message:
    """The generated answer as the assistant's message, which the next question follows."""
    reader = AnswerReader(tokenizer)
    for token in tokens:
        if token.end != "stop":
            reader.read(token.id)
    reader.finish()
    return Message("assistant", tuple(reader.parts))
