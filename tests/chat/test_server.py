"""The HTTP server: OpenAI's own client, bad requests, who may reach it."""

import json
import socket
import threading
from collections.abc import Iterator

import pytest

from engine.checkpoint.checkpoint import load_model
from engine.checkpoint.selection import choose_checkpoint
from engine.data.tokenizer import Tokenizer
from engine.run.directory import RunDirectory
from tests.helpers.chat_server import Server, serving
from tests.helpers.trained_run import nanosolo

pytest.importorskip("aiohttp")
PATH = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "hello"}]
TOKEN = "a-token-that-nobody-guesses"


@pytest.fixture(scope="module")
def run(trained: RunDirectory) -> RunDirectory:
    return trained


@pytest.fixture(scope="module")
def server(run: RunDirectory) -> Iterator[Server]:
    with serving(run) as server:
        yield server


def test_openais_client(run: RunDirectory, server: Server) -> None:
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=f"{server.address}/v1", api_key="none", max_retries=0)
    assert [model.id for model in client.models.list()] == ["tiny"]

    options = {"model": "tiny", "messages": HELLO, "temperature": 0, "max_tokens": 24}
    whole = client.chat.completions.create(**options)
    assert whole.choices[0].message.role == "assistant"
    assert whole.usage.completion_tokens == 24
    assert whole.choices[0].finish_reason == "length"

    chunks = list(client.chat.completions.create(**options, stream=True, stream_options={"include_usage": True}))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole.choices[0].message.content
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "length"
    assert chunks[-1].usage == whole.usage
    assert len(chunks) > 10

    spoken = nanosolo(run, "chat", "tiny", "--prompt", "hello", "--temperature", "0", "--max-tokens", "24")
    assert spoken.stdout == whole.choices[0].message.content + "\n"

    stopped = client.chat.completions.create(**options, stop=whole.choices[0].message.content[5:8])
    assert stopped.choices[0].finish_reason == "stop"
    assert whole.choices[0].message.content.startswith(stopped.choices[0].message.content)
    assert whole.choices[0].message.content[5:8] not in stopped.choices[0].message.content

    drawn = [
        client.chat.completions.create(**options | {"temperature": 1.5, "seed": seed}).choices[0].message.content
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    with pytest.raises(openai.NotFoundError, match="no model 'gpt-4'"):
        client.chat.completions.create(**options | {"model": "gpt-4"})


def test_many_clients_at_the_same_time_get_what_each_gets_alone(server: Server) -> None:
    def ask(number: int) -> str:
        messages = [{"role": "user", "content": "abc " * number}]
        body = {"messages": messages, "temperature": 0.9, "seed": number, "max_tokens": 30}
        status, answer = server.ask("POST", PATH, body)
        assert status == 200
        return str(answer["choices"][0]["message"]["content"])

    expected = {number: ask(number) for number in range(12)}
    found: dict[int, str] = {}
    threads = [threading.Thread(target=lambda n=n: found.update({n: ask(n)})) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == expected


@pytest.mark.parametrize(
    ("change", "status", "message", "param"),
    [
        ({"messages": []}, 400, "the assistant says nothing|instead of user", "messages"),
        ({"messages": "hello"}, 400, "Expected `array`", "messages"),
        ({"messages": [{"role": "user"}]}, 400, "messages: ", "messages"),
        ({"messages": [*HELLO, *HELLO]}, 400, "message 2 is from user instead of assistant", "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, 400, "messages: ", "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400, "only parts of text", "messages"),
        ({"messages": [{"role": "user", "content": "x" * 500}]}, 400, "context is 128 tokens", "messages"),
        ({"temperature": -1}, 400, "temperature -1", "temperature"),
        ({"temperature": "hot"}, 400, "Expected `float", "temperature"),
        ({"top_p": 0}, 400, "top_p 0", "top_p"),
        ({"max_tokens": 0}, 400, "max_tokens = 0", "max_tokens"),
        ({"n": 3}, 400, "n = 3", "n"),
        ({"stop": ["a"] * 9}, 400, "9 stop texts", "stop"),
        ({"tools": [{}]}, 400, "tools", "tools"),
        ({"logprobs": True}, 400, "logprobs", "logprobs"),
        ({"model": "other"}, 404, "no model 'other'", "model"),
    ],
)
def test_bad_requests_get_one_clear_error(
    server: Server, change: dict[str, object], status: int, message: str, param: str
) -> None:
    found, answer = server.ask("POST", PATH, {"messages": HELLO, "max_tokens": 4} | change)
    assert found == status, answer
    error = answer["error"]
    assert any(part in error["message"] for part in message.split("|"))
    assert error["param"] == param
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[]", b"null", b"[" * 200_000, b'{"messages": "\\ud800"}'])
def test_what_is_no_request_is_said(server: Server, body: bytes) -> None:
    status, answer = server.ask("POST", PATH, body)
    assert status == 400
    assert answer["error"]["message"].startswith("the request is not ")


def test_limits_paths_and_methods(server: Server) -> None:
    status, answer = server.ask("POST", PATH, b" " * (2**20 + 1))
    assert (status, answer["error"]["message"]) == (413, "the request is larger than 1,048,576 bytes")
    assert server.ask("GET", PATH)[0] == 405
    assert server.ask("GET", "/v1/nothing")[0] == 404
    assert server.ask("POST", PATH, {"messages": HELLO}, Content_Type="text/plain")[0] == 415
    assert server.ask("GET", "/healthz") == (200, {"status": "ok"})


def test_old_turns_are_forgotten_when_asked(server: Server) -> None:
    turns = [{"role": role, "content": "word " * 8} for _ in range(40) for role in ("user", "assistant")]
    body = {"messages": [{"role": "system", "content": "Hm."}, *turns, *HELLO], "max_tokens": 4}
    assert server.ask("POST", PATH, body)[0] == 400
    status, answer = server.ask("POST", PATH, body | {"forget": True})
    assert status == 200
    assert 60 < answer["usage"]["prompt_tokens"] < 128


def test_other_sites_and_borrowed_names_are_refused(server: Server) -> None:
    body = {"messages": HELLO, "max_tokens": 2}
    assert server.ask("POST", PATH, body, Origin="http://evil.example")[0] == 403
    assert server.ask("POST", PATH, body, Host="evil.example")[0] == 403
    assert server.ask("GET", "/v1/models", Host=f"localhost:{server.port}")[0] == 200


def test_a_client_that_leaves_costs_nothing_more(server: Server) -> None:
    """The connection is cut in the middle of an answer; the next requests are answered as ever."""
    body = json.dumps({"messages": HELLO, "stream": True, "max_tokens": 100}).encode()
    for _ in range(70):  # more than may wait at a time
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            head = f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Type: application/json\r\n"
            connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            assert connection.recv(12) == b"HTTP/1.1 200"
    status, answer = server.ask("POST", PATH, {"messages": HELLO, "max_tokens": 3})
    assert (status, answer["usage"]["completion_tokens"]) == (200, 3)


def test_a_token_is_demanded(run: RunDirectory) -> None:
    with serving(run, "--token", TOKEN) as server:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}, {"Authorization": "Bearer é"}):
            status, answer = server.ask("GET", "/v1/models", **headers)
            assert (status, answer["error"]["code"]) == (401, "invalid_api_key")
        assert server.ask("GET", "/v1/models", Authorization=f"Bearer {TOKEN}")[0] == 200
        assert server.ask("GET", "/healthz")[0] == 200
        openai = pytest.importorskip("openai")
        client = openai.OpenAI(base_url=f"{server.address}/v1", api_key=TOKEN, max_retries=0)
        assert client.models.list().data[0].nanosolo["stage"] == "sft"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--host", "0.0.0.0"), "is reachable from other machines and needs a token. Add --token"),
        (("--token", "short"), "--token has 5 characters"),
        (("--host", "203.0.113.7", "--token", TOKEN), "cannot serve at --host 203.0.113.7"),
    ],
)
def test_what_cannot_be_served_is_said_in_one_line(run: RunDirectory, options: tuple[str, ...], message: str) -> None:
    done = nanosolo(run, "chat", "tiny", "--serve", "--port", "0", *options)
    assert done.returncode == 2
    assert message in done.stderr and done.stderr.count("\n") == 1


def test_a_base_model_continues_the_text(run: RunDirectory) -> None:
    from engine.inference.decoder import generate
    from engine.inference.sampling_params import Sampling

    tokenizer = Tokenizer.load(run.tokenizer)
    model = load_model(choose_checkpoint(run, "pretrain").path, "cpu")
    prompt = [tokenizer.bos_id, *tokenizer.encode("abc def")]
    expected = tokenizer.decode(generate(model, prompt, 16, Sampling(temperature=0), stop_ids={tokenizer.bos_id}))
    done = nanosolo(
        run, "chat", "tiny", "--stage", "pretrain", "--temperature", "0", "--max-tokens", "16", input="abc def\n"
    )
    assert done.stdout == expected + "\n"
    assert "has not been trained to chat" in done.stderr
