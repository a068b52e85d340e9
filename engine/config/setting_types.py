"""What the sections of the configuration are built from: their base class, number types, and `about`."""

from typing import Annotated

import msgspec
from msgspec import Meta

Whole = Annotated[int, Meta(ge=0)]
Count = Annotated[int, Meta(ge=1)]
Rate = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
Decay = Annotated[float, Meta(ge=0, lt=1)]  # of a moving average: at 1 it would ignore every new value
Epochs = Annotated[float, Meta(gt=0, le=1000)]
Rows = Annotated[int, Meta(ge=1, le=4096)]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the configuration file. Unknown keys are errors."""


def about(description: str, unit: str = "") -> Meta:
    """What a setting means, in one or two sentences, and its unit. `engine.config.setting` reads both."""
    return Meta(description=description, extra={"unit": unit})
