"""The Plan screen, its dialogs, the budget and the launch review."""
