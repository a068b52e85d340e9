"""The task bundle of the CORE benchmark: finds, downloads, unpacks, verifies and reads it."""

import csv
import hashlib
import json
import random
import shutil
import zipfile
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import msgspec
import yaml

from engine.core.atomic_io import cannot_write, write_atomically
from engine.core.errors import NanosoloError, UsageError
from engine.core.file_lock import exclusive
from engine.core.progress import Progress, silent
from engine.data.hub.download import Damaged, download_url
from engine.data.shared import from_shared

URL = "https://karpathy-public.s3.us-west-2.amazonaws.com/eval_bundle.zip"  # nanochat's, about 160 MB
FOLDER = "eval_bundle"  # in the archive and in the data home
ORDER_SEED = 1337  # nanochat's: a limit takes the first examples of this shuffle

TaskKind = Literal["multiple_choice", "schema", "language_modeling"]
_FIELDS: dict[TaskKind, dict[str, type]] = {
    "multiple_choice": {"query": str, "choices": list, "gold": int},
    "schema": {"context_options": list, "continuation": str, "gold": int},
    "language_modeling": {"context": str, "continuation": str},
}


class CoreTask(NamedTuple):
    """One task of the bundle."""

    label: str
    kind: TaskKind
    file: Path
    shots: int  # examples shown before the question
    delimiter: str  # between a context and its continuation
    baseline: float  # accuracy of guessing, 0 to 1


def check_setting(setting: str) -> None:
    """Check `evaluate.core` on the disk, without a network and without unpacking. off, auto and download always pass.

    Raises UsageError if a path is not a bundle.
    """
    if setting in ("off", "auto", "download"):
        return
    try:
        path = Path(setting).expanduser()
        if path.is_file() and path.suffix == ".zip":
            if not zipfile.is_zipfile(path):
                raise UsageError(f"evaluate.core = {setting}: {path.name} is not a zip archive. Download it again.")
            return
        found = _is_bundle(path)
    except (OSError, RuntimeError):  # no permission, a name too long, ~ of an unknown user
        found = False
    if not found:
        raise UsageError(
            f"evaluate.core = {setting}: not a folder with core.yaml, eval_meta_data.csv and eval_data, nor a .zip. "
            "Name one, or use off, auto or download."
        )


def find_bundle(setting: str, data_home: Path, progress: Progress = silent) -> Path | None:
    """The bundle's folder for `evaluate.core`: off, auto (use a bundle that exists), download, or the path of a folder
    or archive. A bundle in a shared cache takes precedence over one in `data_home`.

    None: there is nothing to evaluate. Raises NanosoloError if a download fails, UsageError for a wrong path.
    """
    home = data_home / FOLDER
    if setting == "off":
        return None
    if setting in ("auto", "download"):
        shared = from_shared(home, _complete)
        if shared is not None:
            return shared
    if setting == "auto":
        return home if _is_bundle(home) else None
    if setting == "download":
        if not _is_bundle(home):
            with exclusive(data_home / f"{FOLDER}.lock", progress, "bytes"):
                if not _is_bundle(home):
                    _download(data_home, progress)
        return home
    check_setting(setting)
    path = Path(setting).expanduser()
    if path.is_file():
        home = data_home / f"{FOLDER}-{_sha256(path)[:16]}"
        shared = from_shared(home, _complete)
        if shared is not None:
            return shared
        if not _is_bundle(home):
            _unpack(path, home, path.name)
        return home
    return path


def read_tasks(folder: Path) -> list[CoreTask]:
    """The tasks of a bundle, in its order. Raises NanosoloError that names the fault."""
    try:
        listed = yaml.safe_load((folder / "core.yaml").read_text(encoding="utf-8"))["icl_tasks"]
        with (folder / "eval_meta_data.csv").open(encoding="utf-8", newline="") as file:
            baselines = {row["Eval Task"]: float(row["Random baseline"]) / 100 for row in csv.DictReader(file)}
        tasks = [
            CoreTask(
                label=str(entry["label"]),
                kind=entry["icl_task_type"],
                file=folder / "eval_data" / str(entry["dataset_uri"]),
                shots=int(entry["num_fewshot"][0]),
                delimiter=str(entry.get("continuation_delimiter", " ")),
                baseline=baselines[str(entry["label"])],
            )
            for entry in listed
        ]
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, IndexError) as error:
        raise NanosoloError(
            f"{folder} is not a CORE bundle, or it is damaged ({type(error).__name__}: {_one_line(error)}). "
            "Remove it and download it again: evaluate.core = download."
        ) from None
    strange = next((task for task in tasks if task.kind not in get_args(TaskKind)), None)
    if strange is not None:
        raise NanosoloError(
            f"{folder}: task {strange.label} has the unknown type {strange.kind}. Download the CORE bundle again."
        )
    odd = next((task for task in tasks if not 0 <= task.baseline < 1 or task.shots < 0), None)
    if odd is not None:
        raise NanosoloError(
            f"{folder}: task {odd.label} has a random baseline of {100 * odd.baseline:g} % and {odd.shots} examples; "
            "expected 0 to below 100, and 0 or more. Download the CORE bundle again."
        )
    if not tasks:
        raise NanosoloError(f"{folder / 'core.yaml'} lists no tasks. Download the CORE bundle again.")
    return tasks


def read_examples(task: CoreTask, limit: int) -> list[dict[str, Any]]:
    """The task's examples in nanochat's fixed shuffle, the first `limit` of them (0: all). Raises NanosoloError."""
    examples = []
    try:
        with task.file.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    examples.append(_checked(json.loads(line), task, number))
    except OSError as error:
        raise NanosoloError(f"cannot read {task.file}: {error.strerror}. Download the CORE bundle again.") from None
    except ValueError as error:
        raise NanosoloError(f"{task.file} is damaged: {_one_line(error)}. Download the CORE bundle again.") from None
    if not examples:
        raise NanosoloError(f"{task.file} has no examples. Download the CORE bundle again.")
    random.Random(ORDER_SEED).shuffle(examples)
    return examples[:limit] if limit else examples


def _checked(example: Any, task: CoreTask, number: int) -> dict[str, Any]:
    fields = _FIELDS[task.kind]
    fault = None
    if not isinstance(example, dict):
        fault = "is not an object"
    else:
        fault = next(
            (f"has no {k} of type {t.__name__}" for k, t in fields.items() if not isinstance(example.get(k), t)), None
        )
        options = example.get("choices", example.get("context_options")) if "gold" in fields else None
        if fault is None and options is not None and not 0 <= example["gold"] < len(options):
            fault = f"has gold = {example['gold']} for {len(options)} options"
    if fault:
        raise ValueError(f"line {number} {fault}")
    assert isinstance(example, dict)
    return example


def _complete(folder: Path) -> Path:
    """The folder itself, if it is a bundle with the questions of all its tasks. Raises NanosoloError."""
    missing = next((task.file for task in read_tasks(folder) if not task.file.is_file()), None)
    if missing is not None:
        raise NanosoloError(f"{missing} is missing")
    return folder


def _is_bundle(folder: Path) -> bool:
    files = all((folder / name).is_file() for name in ("core.yaml", "eval_meta_data.csv"))
    return files and (folder / "eval_data").is_dir()


def _download(data_home: Path, progress: Progress) -> None:
    """Download the archive. Its publisher gives no checksum, so its size, the checksums inside the archive and its
    contents are verified, and its SHA-256 is stored with the bundle."""
    archive = data_home / f"{FOLDER}.zip.part"  # kept if the transfer is interrupted, to resume from
    remedy = "Or download it on another machine and set evaluate.core to its path."
    download_url(URL, archive, _verify_archive, progress, remedy)
    try:
        _unpack(archive, data_home / FOLDER, URL)
    finally:
        archive.unlink(missing_ok=True)


def _verify_archive(archive: Path) -> None:
    """Raises Damaged if a file is not a zip archive with correct checksums."""
    try:
        with zipfile.ZipFile(archive) as opened:
            broken = opened.testzip()
    except zipfile.BadZipFile as error:
        raise Damaged(f"{archive} is not a zip archive: {error}") from None
    if broken is not None:
        raise Damaged(f"{archive} is damaged: {broken}")


def _unpack(archive: Path, folder: Path, origin: str) -> None:
    """Unpack next to `folder`, verify, then rename into place. Raises NanosoloError."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        _verify_archive(archive)
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(partial)
        inner = partial / FOLDER if (partial / FOLDER).is_dir() else partial
        for task in read_tasks(inner):
            if not task.file.is_file():
                raise NanosoloError(f"{archive} has no {task.file.name}. Download it again.")
        facts = {"bytes": archive.stat().st_size, "sha256": _sha256(archive), "origin": origin}
        write_atomically(inner / "source.json", msgspec.json.encode(facts))
        shutil.rmtree(folder, ignore_errors=True)
        inner.rename(folder)
    except Damaged as error:
        raise NanosoloError(f"{error}. Download it again.") from None
    except OSError as error:
        raise cannot_write(folder, error, 0) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
