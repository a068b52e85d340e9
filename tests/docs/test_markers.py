"""What `tests/run.sh --quick` leaves out exists: a module that was renamed would become a quick one unnoticed."""

from tests.conftest import HERE, SLOW


def test_every_slow_module_exists() -> None:
    assert [name for name in sorted(SLOW) if not (HERE / name).is_dir() and not (HERE / f"{name}.py").is_file()] == []
