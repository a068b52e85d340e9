"""Tokens that a disk spoiled are not trained on: every file is read against its fingerprint."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.core.errors import NanosoloError
from engine.data.tokens import INDEX_NAME, TokenSet, open_tokens
from tests.helpers import tiny_run


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> TokenSet:
    base = tiny_run.Base(tmp_path_factory.mktemp("base"))
    [folder] = [path.parent for path in (base.home / "data" / "tokens").glob(f"*/{INDEX_NAME}")]
    return open_tokens(folder)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_flipped_bit_is_seen(tokens: TokenSet, data: st.DataObject) -> None:
    tokens.verify()
    path = data.draw(st.sampled_from(sorted(tokens.directory.glob("*.bin"))))
    content = path.read_bytes()
    at, bit = data.draw(st.integers(0, len(content) - 1)), data.draw(st.integers(0, 7))
    try:
        path.write_bytes(content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :])
        with pytest.raises(NanosoloError, match=f"{path.name} is damaged"):
            open_tokens(tokens.directory).verify()
    finally:
        path.write_bytes(content)


def test_a_file_that_is_gone_is_named(tokens: TokenSet, tmp_path: Path) -> None:
    path = sorted(tokens.directory.glob("*.bin"))[0]
    path.rename(tmp_path / path.name)
    try:
        with pytest.raises(NanosoloError, match=path.name):
            tokens.verify()
    finally:
        (tmp_path / path.name).rename(path)
