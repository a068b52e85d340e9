"""The colors of a chart, taken from the theme: dark and light, true color, 256, 16 and the terminal's own."""

from tui.chart.model import PALETTE

HUES = ("primary", "warning", "success", "error", "secondary", "foreground")  # PALETTE of them


def _series_css() -> str:
    """The colors of each hue: lines, lines over a cloud of raw values, and that cloud. ANSI colors cannot be mixed,
    so there the difference is bold against dim."""
    rules = []
    for i, hue in enumerate(HUES):
        text = f"$text-{hue}" if hue != "foreground" else "$foreground"
        rules += [
            f"& > .chart--line-{i} {{ color: {text}; }}",
            f"& > .chart--over-{i} {{ color: {text}; background: ${hue} 16%; }}",
            f"& > .chart--raw-{i} {{ color: ${hue} 50%; }}",
            f"&:ansi > .chart--line-{i} {{ text-style: bold; }}",
            f"&:ansi > .chart--over-{i} {{ text-style: bold; background: transparent; }}",
            f"&:ansi > .chart--raw-{i} {{ text-style: dim; }}",
        ]
    return "\n".join(rules)


CSS = f"""
Chart {{
    height: 1fr;
    min-height: 1;
    & > .chart--title {{ text-style: bold; }}
    & > .chart--value {{ text-style: bold; color: $text; }}
    & > .chart--label {{ color: $text-muted; }}
    & > .chart--muted {{ color: $text-muted; }}
    & > .chart--axis {{ color: $foreground 45%; }}
    & > .chart--grid {{ color: $foreground 15%; }}
    & > .chart--event {{ color: $foreground 80%; }}
    & > .chart--alarm {{ color: $text-error; text-style: bold; }}
    & > .chart--cursor {{ color: $foreground; text-style: bold; }}
    {_series_css()}
    &:ansi > .chart--axis {{ text-style: dim; }}
    &:ansi > .chart--grid {{ text-style: dim; }}
    &:ansi > .chart--label {{ text-style: dim; }}
    &:ansi > .chart--muted {{ text-style: dim; }}
}}
"""
COMPONENT_CLASSES = {
    *(f"chart--{name}" for name in ("title", "value", "label", "muted", "axis", "grid", "event", "alarm", "cursor")),
    *(f"chart--{kind}-{i}" for kind in ("line", "over", "raw") for i in range(PALETTE)),
}
