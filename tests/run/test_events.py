"""events.jsonl: what is written is read again, and nothing that stands in the file can harm a reader."""

import errno
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Annotated, Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.errors import NanosoloError
from engine.events import log as event_log
from engine.events.history import read_history
from engine.events.kinds import AnyEvent, Progress, Sample, decode, encode
from engine.events.log import EventLog, EventReader, read_events

settings.register_profile("steady", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("steady")

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
VALUES: dict[object, st.SearchStrategy[Any]] = {
    int: st.integers(0, 2**62),
    float: FLOATS,
    str: TEXT,
    bool: st.booleans(),
    tuple[str, ...]: st.lists(TEXT, max_size=3).map(tuple),
    dict[str, str]: st.dictionaries(TEXT, TEXT, max_size=3),
    dict[str, Any]: st.dictionaries(TEXT, st.integers(0, 9) | TEXT | st.none(), max_size=3),
}


def value_of(kind: Any) -> st.SearchStrategy[Any]:
    if kind in VALUES:
        return VALUES[kind]
    if hasattr(kind, "__metadata__"):
        return value_of(kind.__origin__)
    assert isinstance(kind, types.UnionType | type(Annotated[int, 1] | None)), kind
    return st.none() | st.one_of([value_of(part) for part in get_args(kind) if part is not type(None)])


def any_event() -> st.SearchStrategy[AnyEvent]:
    kinds = []
    for kind in get_args(AnyEvent):
        fields = {field.name: value_of(field.type) for field in msgspec.structs.fields(kind) if field.name != "v"}
        kinds.append(st.builds(kind, **fields))
    return st.one_of(kinds)


@given(st.lists(any_event(), max_size=6))
def test_every_kind_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, written: list[AnyEvent]) -> None:
    path = tmp_path_factory.mktemp("events") / "events.jsonl"
    log = EventLog(path)
    for event in written:
        log.write(event)
        assert decode(encode(event)) == event
        assert encode(event).count(b"\n") == 1
    log.close()
    assert list(read_events(path)) == written


def test_every_kind_is_drawn() -> None:
    assert len({kind.__struct_config__.tag for kind in get_args(AnyEvent)}) == len(get_args(AnyEvent)) >= 15


REAL_WRITE = os.write
GOOD = encode(Progress(stage="data", done=1, total=2, unit="bytes", t=1.0))


@given(st.lists(st.binary(max_size=60).map(lambda b: b.replace(b"\n", b" ")) | st.just(GOOD.strip()), max_size=8))
def test_damaged_lines_cost_only_themselves(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]) -> None:
    path = tmp_path_factory.mktemp("events") / "events.jsonl"
    path.write_bytes(b"".join(line + b"\n" for line in lines) + GOOD)
    good = sum(decode(line) is not None for line in lines)
    assert len(list(read_events(path))) == good + 1


@given(any_event(), st.data())
def test_a_file_is_read_in_any_pieces(
    tmp_path_factory: pytest.TempPathFactory, event: AnyEvent, data: st.DataObject
) -> None:
    whole = encode(event) + GOOD + encode(event)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=5)))
    path = tmp_path_factory.mktemp("events") / "events.jsonl"
    reader, found = EventReader(path), []
    for end in [*cuts, len(whole)]:
        path.write_bytes(whole[:end])
        found += reader.read()
    assert len(found) == 3
    assert found[0] == found[2] == event
    assert reader.damaged == 0


def test_kinds_and_fields_of_a_later_version_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    later = GOOD.strip()[:-1] + b',"colour":"blue"}\n'
    path.write_bytes(b'{"kind":"telepathy","v":9,"t":1}\n' + later + b"[" * 100_000 + b"\n" + GOOD)
    reader = EventReader(path)
    assert len(reader.read()) == 2
    assert reader.damaged == 2


@pytest.mark.parametrize("stretch", [b"\0" * 2_500_000, b"\0" * 2_500_000 + b"\n", b'{"kind":"telepathy"}\n' * 120_000])
def test_what_stands_behind_a_long_damaged_stretch_is_read(tmp_path: Path, stretch: bytes) -> None:
    path = tmp_path / "events.jsonl"
    last = Progress(stage="data", done=2, total=2, unit="bytes", t=2.0)
    path.write_bytes(GOOD + stretch + b"\n" + encode(last))
    assert list(read_events(path)) == [decode(GOOD), last]
    assert read_history(path).progress == last
    reader = EventReader(path)
    assert sum(map(len, reader.batches(1000))) == 2
    assert reader.damaged == max(1, stretch.count(b"telepathy"))


def test_a_torn_line_is_closed_before_the_next(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(GOOD + GOOD[:20])
    log = EventLog(path)
    log.write(decode(GOOD))  # type: ignore[arg-type]
    log.close()
    assert path.read_bytes() == GOOD + GOOD[:20] + b"\n" + GOOD


WRITER = """
import sys
import types
from pathlib import Path
from engine.events.log import EventLog
from engine.events.kinds import Progress
log = EventLog(Path(sys.argv[1]))
for number in range(400):
    log.write(Progress(stage=sys.argv[2], done=number, total=400, unit="x" * 300))
"""


def test_two_writers_do_not_mix_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    writers = [subprocess.Popen((sys.executable, "-c", WRITER, str(path), name)) for name in ("a", "b")]
    assert [writer.wait() for writer in writers] == [0, 0]
    reader = EventReader(path)
    found = [event for event in reader.read() if isinstance(event, Progress)]
    assert reader.damaged == 0
    for name in ("a", "b"):
        assert [event.done for event in found if event.stage == name] == list(range(400))


def full_disk(monkeypatch: pytest.MonkeyPatch, takes: int) -> None:
    """From now on the disk takes `takes` bytes and no more; a negative number: all it is given."""
    room = [takes]

    def write(fd: int, data: bytes) -> int:
        if room[0] < 0:
            return REAL_WRITE(fd, data)
        if room[0] == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        part = data[: room[0]]
        room[0] -= len(part)
        return REAL_WRITE(fd, part)

    monkeypatch.setattr(event_log.os, "write", write)


@pytest.mark.parametrize("room", [0, 1, 30, len(GOOD) - 1, len(GOOD), len(GOOD) + 10])
def test_a_full_disk_holds_events_back_and_loses_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    log.write(Progress(stage="data", done=0, total=9, unit="bytes"))
    full_disk(monkeypatch, room)
    for done in (1, 2, 3):
        log.write(Progress(stage="data", done=done, total=9, unit="bytes"))
    assert not log.catch_up()
    full_disk(monkeypatch, -1)
    log.write(Progress(stage="data", done=4, total=9, unit="bytes"))
    log.close()
    assert [event.done for event in read_events(path) if isinstance(event, Progress)] == [0, 1, 2, 3, 4]


def test_a_disk_that_stays_full_ends_it_at_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    full_disk(monkeypatch, 0)
    monkeypatch.setattr(event_log, "MOST_HELD_BYTES", 1000)
    with pytest.raises(NanosoloError, match=r"the disk has been full for long"):
        for _ in range(100):
            log.write(decode(GOOD))  # type: ignore[arg-type]


def test_a_real_limit_on_file_sizes_holds_events_back(tmp_path: Path) -> None:
    script = (
        "import resource, sys\nfrom pathlib import Path\n"
        "from engine.events.log import EventLog\nfrom engine.events.kinds import Progress\n"
        "log = EventLog(Path(sys.argv[1]))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))\n"
        "for done in range(40): log.write(Progress(stage='data', done=done, total=40, unit='bytes'))\n"
        "assert Path(sys.argv[1]).stat().st_size <= 1000\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
        "log.close()\n"
    )
    path = tmp_path / "events.jsonl"
    subprocess.run((sys.executable, "-c", script, str(path)), check=True)
    assert [event.done for event in read_events(path) if isinstance(event, Progress)] == list(range(40))


def test_a_file_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(NanosoloError, match=r"cannot write .*events.jsonl"):
        EventLog(tmp_path / "nowhere" / "events.jsonl")
    (tmp_path / "events.jsonl").mkdir()
    with pytest.raises(NanosoloError, match=r"cannot write .*events.jsonl"):
        EventLog(tmp_path / "events.jsonl")


def test_a_reader_notices_another_file(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    reader = EventReader(path)
    assert reader.read() == []
    path.write_bytes(GOOD * 3)
    assert len(reader.read()) == 3
    assert reader.unread() == 0
    path.write_bytes(GOOD)
    assert len(reader.read()) == 1
    assert reader.restarted


def test_a_long_text_is_one_line(tmp_path: Path) -> None:
    sample = Sample(stage="pretrain", step=1, prompt="a\nb\r\n\u2028", text="x\x00" * 200_000)
    log = EventLog(tmp_path / "events.jsonl")
    log.write(sample)
    log.close()
    assert list(read_events(tmp_path / "events.jsonl")) == [sample]
