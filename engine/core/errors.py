"""The errors that a user can act on: one line each, with the exit code the process ends with."""

from engine.core.sanitize import one_line

EXIT_DONE = 0
EXIT_USAGE = 2
EXIT_OUT_OF_MEMORY = 3
EXIT_DIVERGED = 4
EXIT_CRASHED = 5
EXIT_OUT_OF_HOST_MEMORY = 6  # of a stage; a run ends with 3 for either memory
EXIT_STOPPED = 130


class NanosoloError(Exception):
    """An error that the user can fix. The message is one line that says what is wrong and what to do."""

    exit_code = EXIT_CRASHED

    def __init__(self, message: str = "") -> None:
        super().__init__(one_line(message))


class UsageError(NanosoloError):
    """The command or its configuration cannot be used as it is."""

    exit_code = EXIT_USAGE


class Stopped(BaseException):
    """The user asked to stop; what needs saving has been saved.

    Not an Exception, as a signal raises it anywhere: error handlers must not catch it and continue.
    """

    exit_code = EXIT_STOPPED


class Interrupted(Exception):
    """A stop came and the work at hand was broken off; nothing of it is kept."""
