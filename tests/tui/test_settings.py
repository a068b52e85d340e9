"""config.toml of the console: what is good is taken, what is wrong is told and leaves its default."""

from pathlib import Path

import pytest

from tui.console_settings import Settings, config_file, load_settings

IDS = frozenset({"plan.launch", "app.leave"})
THEMES = frozenset({"nanosolo-dark", "nanosolo-light"})


def load(tmp_path: Path, text: str | bytes) -> tuple[Settings, list[str]]:
    path = tmp_path / "config.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_settings(path, IDS, THEMES)


def test_a_missing_file_is_no_fault(tmp_path: Path) -> None:
    assert load_settings(tmp_path / "none.toml", IDS, THEMES) == (Settings(), [])


def test_good_values_are_taken(tmp_path: Path) -> None:
    text = 'theme = "nanosolo-light"\nrefresh_seconds = 2\nascii = true\n[keys]\n"plan.launch" = "f5,L"\n'
    settings, faults = load(tmp_path, text)
    assert faults == []
    assert settings == Settings(theme="nanosolo-light", refresh_seconds=2.0, ascii=True, keys={"plan.launch": "f5,L"})


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("theme = ", "not valid TOML"),
        (b"\xff\xfe", "not UTF-8"),
        ('theem = "x"', "Did you mean theme?"),
        ('theme = "nanosolo-drak"', "Did you mean nanosolo-dark?"),
        ("refresh_seconds = 0", "refresh_seconds = 0"),
        ('refresh_seconds = "fast"', "refresh_seconds"),
        ('ascii = "yes"', "ascii"),
        ("keys = 3", "keys = 3"),
        ('[keys]\n"plan.lunch" = "x"', "Did you mean plan.launch?"),
        ('[keys]\n"plan.launch" = ""', "give one key"),
        ('[keys]\n"plan.launch" = "entr"', "entr is not a key. Did you mean enter?"),
        ('[keys]\n"plan.launch" = "f5, ctrl+pgup"', "ctrl+pgup is not a key. Did you mean ctrl+pageup?"),
        ('[keys]\n"plan.launch" = "hyper+x"', "hyper+x is not a key. Did you mean x?"),
    ],
)
def test_what_is_wrong_is_told_in_one_line_and_the_default_holds(tmp_path: Path, text: str | bytes, word: str) -> None:
    settings, faults = load(tmp_path, text)
    assert settings == Settings()
    assert len(faults) == 1
    assert word in faults[0] and "config.toml" in faults[0] and "\n" not in faults[0]


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("?", "question_mark"),
        ("Enter, ctrl+P", "enter,ctrl+p"),
        ("/ , solidus", "slash,slash"),
        ("+,ctrl++", "plus,ctrl+plus"),
        ("shift+l,upper_l,L,l", "L,L,L,l"),
        ("shift+ctrl+left,F5", "ctrl+shift+left,f5"),
        ("é, x", "é,x"),
    ],
)
def test_keys_are_taken_as_people_write_them(tmp_path: Path, written: str, name: str) -> None:
    settings, faults = load(tmp_path, f'[keys]\n"plan.launch" = "{written}"\n')
    assert faults == [] and settings.keys == {"plan.launch": name}


def test_one_wrong_value_leaves_the_others(tmp_path: Path) -> None:
    settings, faults = load(tmp_path, 'theme = "nanosolo-light"\nrefresh_seconds = -1\n')
    assert settings.theme == "nanosolo-light" and settings.refresh_seconds == 0.5 and len(faults) == 1


def test_a_folder_in_its_place_is_told(tmp_path: Path) -> None:
    assert "cannot be read" in load_settings(tmp_path, IDS, THEMES)[1][0]


def test_the_environment_may_name_another_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NANOSOLO_CONFIG", str(tmp_path / "x.toml"))
    assert config_file() == tmp_path / "x.toml"
