"""`nanosolo export` and `import`: a run's model for other programs, and a nanochat checkpoint as a run."""

import argparse
import json
import sys
from pathlib import Path

from engine.core import formatting
from engine.core.errors import EXIT_DONE, UsageError
from engine.run.directory import find_run

FORMATS = ("hf", "nanochat")


def export(options: argparse.Namespace) -> int:
    """Write the folder and list its files."""
    kind, folder = options.to[0], Path(options.to[1]).expanduser()
    if kind not in FORMATS:
        raise UsageError(f"--to {kind}: expected {' or '.join(FORMATS)}, then a folder: --to hf my-model")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"--to {kind} {folder}: there is something already. Name a new or empty folder.")
    run = find_run(options.run)
    from engine.checkpoint.selection import choose_checkpoint, code_warning

    chosen = choose_checkpoint(run, options.stage)
    warning = code_warning(chosen)
    if warning:
        print(f"warning: {warning}", file=sys.stderr)
    if kind == "hf":
        from engine.export.hf import export_to_transformers as write
    else:
        from engine.export.nanochat import export_to_nanochat as write
    files = write(run, chosen, folder)
    if options.json:
        print(
            json.dumps({"run": run.name, "stage": chosen.stage, "step": chosen.step, "files": [str(f) for f in files]})
        )
        return EXIT_DONE
    print(f"{run.name}, {chosen.stage} step {chosen.step:,}, in {folder}:")
    for file in files:
        print(f"  {file.relative_to(folder)!s:<44} {formatting.size(file.stat().st_size):>9}")
    if kind == "nanochat":
        print("not carried over: tokenizer.pkl (see tokenizer/README.txt) and the optimizer's state", file=sys.stderr)
    return EXIT_DONE


def import_run(options: argparse.Namespace) -> int:
    """Make a run of a nanochat checkpoint."""
    from engine.export.nanochat import import_from_nanochat
    from engine.export.tokenizer_json import read_tokenizer

    tokenizer = read_tokenizer(Path(options.tokenizer).expanduser())
    run, chosen = import_from_nanochat(Path(options.folder).expanduser(), options.step, options.name, tokenizer)
    if options.json:
        print(json.dumps({"run": run.name, "path": str(run.path), "stage": chosen.stage, "step": chosen.step}))
        return EXIT_DONE
    print(f"run {run.name}: {chosen.stage} step {chosen.step:,}. Talk to it with: nanosolo chat {run.name}")
    return EXIT_DONE
