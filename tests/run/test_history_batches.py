"""Reading events in batches tells the same story as reading them one by one, whatever the file holds."""

from array import array
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.events.history import History
from engine.events.kinds import AnyEvent, Event, decode, encode
from engine.events.log import EventReader
from engine.events.machine_columns import MachineColumns
from tests.helpers.made_run import story_of

NOW = 1_800_000_000.0


def columns_of(thing: object) -> dict[str, object]:
    return {name: value for name, value in vars(thing).items() if not name.startswith("_")}


def same(one: History, other: History) -> None:
    for name, value in vars(one).items():
        theirs = getattr(other, name)
        if isinstance(value, MachineColumns):
            assert repr(columns_of(value)) == repr(columns_of(theirs))
        elif name == "steps":
            shown = [{stage: repr(columns_of(c)) for stage, c in h.items()} for h in (value, theirs)]
            # how often a tail was dropped may differ where a step came twice: no reader tells one from two
            assert shown[0] == shown[1]
        else:
            assert value == theirs, name


def events_of_a_run() -> list[Event]:
    story = story_of("red", NOW).steps(30, machine=True).evaluate().checkpoint().sample()
    story.start("red", resumed=True).stage("pretrain").resume_at(12).steps(9, loss=None)
    return story.out_of_memory().events


EVENTS = events_of_a_run()


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(EVENTS), max_size=60), st.integers(1, 20))
def test_batches_tell_the_same_story(events: list[AnyEvent], size: int) -> None:
    one, other = History(), History()
    for event in events:
        one.apply(event)
    for i in range(0, len(events), size):
        other.apply_all(events[i : i + size])
    same(one, other)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.sampled_from([encode(event) for event in EVENTS]),
            st.binary(max_size=40).map(lambda raw: raw.replace(b"\n", b"?") + b"\n"),
            st.sampled_from(
                (
                    b"\n",
                    b'{"kind":"step","step":99999999999999999999999}\n',
                    b'{"v":1,"t":1,"kind":"tomorrow"}\n',
                    b"[" * 5000 + b"\n",
                )
            ),
        ),
        max_size=30,
    ),
    st.lists(st.integers(1, 700), min_size=1, max_size=40),
)
def test_a_file_that_grows_in_any_pieces_is_read_line_by_line(lines: list[bytes], pieces: list[int]) -> None:
    import tempfile

    data = b"".join(lines)
    expected = [event for line in lines if (event := decode(line)) is not None]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.jsonl"
        reader, found, at = EventReader(path), [], 0
        with path.open("wb", buffering=0) as file:
            while at < len(data):
                piece = pieces[at % len(pieces)]
                file.write(data[at : at + piece])
                at += piece
                found += reader.read()
    assert found == expected
    assert reader.damaged == sum(1 for line in lines if line.strip() and decode(line) is None)


def test_readings_of_another_shape_count_as_not_said() -> None:
    story = story_of("red", NOW)
    machine = MachineColumns()
    story.reading(gpu={"used": "much", "temperature": None, "throttle": "heat", "power": 10**400}, host={"cpu": []})
    machine.append(story.events[-1])  # type: ignore[arg-type]
    assert all(len(column) == 1 for column in machine.readings.values())
    assert machine.recent("power", 5) == machine.recent("temperature", 5) == machine.recent("cpu", 5) == []
    assert machine.recent("disk_free", 5) == [412.0]
    assert machine.throttle == ()
    assert isinstance(machine["clock"], array)
