"""The color themes of the console: dark, light, and plain ones for terminals with at most 16 colors."""

from textual.theme import Theme

from engine.plan.memory import COMPONENTS


def _components(*colors: str) -> dict[str, str]:
    return {f"vram-{name}": color for name, color in zip(COMPONENTS, colors, strict=True)}


DARK = Theme(
    name="nanosolo-dark",
    primary="#7aa2f7",
    secondary="#8ec9c4",
    accent="#e8b86b",
    success="#95c985",
    warning="#e8b86b",
    error="#ef7e86",
    foreground="#cdd3de",
    background="#12151c",
    surface="#191d26",
    panel="#232935",
    dark=True,
    variables={
        "quiet": "#8790a3",
        "faint": "#3a4354",
        "block-cursor-background": "#2c3a55",
        "block-cursor-foreground": "#e8ecf4",
        "block-cursor-blurred-background": "#232935",
        "block-cursor-blurred-foreground": "#cdd3de",
        "input-selection-background": "#3d59a1 60%",
        "border": "#7aa2f7",
        "border-blurred": "#3a4354",
        "scrollbar": "#2b3240",
        "scrollbar-hover": "#3a4354",
        "scrollbar-active": "#7aa2f7",
        "scrollbar-background": "#12151c",
        "scrollbar-background-hover": "#12151c",
        "scrollbar-background-active": "#12151c",
        "scrollbar-corner-color": "#12151c",
        "vram-text": "#12151c",
        **_components("#7aa2f7", "#b79df0", "#6fc3b8", "#e8b86b", "#ef8d97", "#77839a"),
    },
)

LIGHT = Theme(
    name="nanosolo-light",
    primary="#2f5fc4",
    secondary="#1f7a74",
    accent="#9a5b00",
    success="#2f7d32",
    warning="#9a5b00",
    error="#b3303c",
    foreground="#2a2f3a",
    background="#fbfaf7",
    surface="#f3f1ec",
    panel="#e6e3db",
    dark=False,
    variables={
        "quiet": "#666d7a",
        "faint": "#c9c5ba",
        "block-cursor-background": "#cddcf7",
        "block-cursor-foreground": "#16233f",
        "block-cursor-blurred-background": "#e6e3db",
        "block-cursor-blurred-foreground": "#2a2f3a",
        "border": "#2f5fc4",
        "border-blurred": "#c9c5ba",
        "scrollbar": "#d3cfc5",
        "scrollbar-hover": "#bdb8ab",
        "scrollbar-active": "#2f5fc4",
        "scrollbar-background": "#fbfaf7",
        "scrollbar-background-hover": "#fbfaf7",
        "scrollbar-background-active": "#fbfaf7",
        "scrollbar-corner-color": "#fbfaf7",
        "vram-text": "#fbfaf7",
        **_components("#4a77d4", "#8a63c9", "#2a8f86", "#c07a14", "#c9505c", "#858b98"),
    },
)


def _plain(name: str, dark: bool) -> Theme:
    blue = "ansi_bright_blue" if dark else "ansi_blue"  # dark blue is hard to read on black
    return Theme(
        name=name,
        ansi=True,
        primary=blue,
        secondary="ansi_cyan",
        accent="ansi_yellow",
        success="ansi_green",
        warning="ansi_yellow",
        error="ansi_red",
        foreground="ansi_default",
        background="ansi_default",
        surface="ansi_default",
        panel="ansi_default",
        boost="ansi_default",
        dark=dark,
        variables={
            "ansi-background": "ansi_black" if dark else "ansi_white",
            "ansi-foreground": "ansi_white" if dark else "ansi_black",
            "quiet": "ansi_default",
            "faint": "ansi_bright_black",
            "block-cursor-background": "ansi_blue",
            "block-cursor-foreground": "ansi_bright_white",
            "block-cursor-text-style": "bold",
            "block-cursor-blurred-background": "ansi_default",
            "block-cursor-blurred-foreground": "ansi_default",
            "block-cursor-blurred-text-style": "bold underline",
            "border": blue,
            "border-blurred": "ansi_bright_black",
            "input-cursor-text-style": "reverse",
            "footer-key-foreground": blue,
            "vram-text": "ansi_black",  # readable on all of these colors
            **_components(
                "ansi_bright_blue",
                "ansi_bright_magenta",
                "ansi_cyan",
                "ansi_yellow",
                "ansi_bright_red",
                "ansi_bright_black",
            ),
        },
    )


THEMES = (DARK, LIGHT, _plain("nanosolo-plain", True), _plain("nanosolo-plain-light", False))


def choose_theme(wanted: str, color_system: str | None, no_color: bool) -> str:
    """The initial theme: the wanted one, by default our dark one; a plain one if the terminal has at most 16 colors."""
    if wanted != "auto" and not no_color:
        return wanted
    if no_color or color_system == "standard":
        return "nanosolo-plain"
    return DARK.name
