"""From the options --preset, --config, --gpu, --price, --set, --stages and --skip to a configuration."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.config.layers import Layer, Resolved, parse_override, read_toml, resolve
from engine.config.stages import named_stages
from engine.core.errors import UsageError
from engine.core.paths import presets_home
from engine.hardware.detect import detect_gpu
from engine.plan.presets import load_preset, preset_for


def configuration(options: argparse.Namespace, of_defaults: bool = False) -> Resolved:
    """The configuration that the options name. Raises UsageError if it is not valid.

    `of_defaults`: without a preset, file or --set, start from the defaults; otherwise that is an error.
    """
    layers = []
    if options.preset:
        layers += _preset_layers(options.preset, options.gpu)
    if options.config:
        layers.append(Layer("file", read_toml(Path(options.config))))
    if not layers and not options.set and not of_defaults:
        raise UsageError("no configuration is named. Use --preset or --config, for example --preset balanced.")
    layers.append(Layer("flag", flags(options)))
    layers += [Layer("flag", parse_override(text)) for text in options.set]
    if options.stages is not None:
        layers.append(_stages_layer(named_stages(options.stages.split(","), "--stages")))
    if options.skip is not None:
        layers.append(_stages_layer(_without(resolve(*layers).config.pipeline.stages, options.skip)))
    return resolve(*layers)


def _stages_layer(stages: Sequence[str]) -> Layer:
    return Layer("flag", {"pipeline": {"stages": list(stages)}})


def _without(pipeline: Sequence[str], skip: str) -> list[str]:
    """The pipeline without these stages. Raises UsageError for one that is not in it, or if none is left."""
    skipped = named_stages(skip.split(","), "--skip")
    for stage in skipped:
        if stage not in pipeline:
            raise UsageError(f"--skip {stage}: it is not in the pipeline, which is {', '.join(pipeline)}.")
    left = [stage for stage in pipeline if stage not in skipped]
    if not left:
        raise UsageError(f"--skip {skip}: this skips every stage of {', '.join(pipeline)}. Keep at least one.")
    return left


def _preset_layers(name: str, gpu: str | None) -> list[Layer]:
    """The preset; for `auto` the one that fits this machine, always planned for the GPU of this machine."""
    if name != "auto":
        return [Layer("preset", load_preset(name, presets_home()))]
    found = detect_gpu() if gpu != "cpu" else None
    choice = preset_for(found)
    layers, note = [Layer("preset", load_preset(choice.name, presets_home()))], ""
    named = layers[0].values.get("runtime", {}).get("gpu", "auto")
    if found is not None and named not in ("auto", "cpu", found.id):
        layers.append(Layer("flag", {"runtime": {"gpu": "auto", "device": "cuda"}}))
        note = f"; the preset names {named}, the plan is for this GPU"
    print(f"preset {choice.name}: {choice.why}{note}", file=sys.stderr)
    return layers


def flags(options: argparse.Namespace) -> dict[str, Any]:
    """The settings that --gpu and --price set. Raises UsageError if the price is not a number."""
    runtime: dict[str, Any] = {}
    if options.gpu:
        runtime["gpu"] = options.gpu
        runtime["device"] = "cpu" if options.gpu == "cpu" else "auto"
    if options.price is not None:
        try:
            runtime["price_per_hour"] = float(options.price)
        except ValueError:
            raise UsageError(f"--price {options.price}: expected a number, for example --price 1.29") from None
    return {"runtime": runtime} if runtime else {}
