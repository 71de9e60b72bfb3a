"""Errors that a user can act on: the command line prints their message, no traceback, and exits with their code."""


class SluiceError(Exception):
    """Base of all errors whose message is meant for the user: it names the file and says what to do."""

    exit_code = 1


class RecipeError(SluiceError):
    """The recipe or the command line is wrong; nothing was started."""

    exit_code = 2


class InputError(SluiceError):
    """An input file or folder is missing, empty, or cannot be read."""


class LedgerError(SluiceError):
    """Documents do not add up: some were lost, or counted twice."""


class StageError(SluiceError):
    """A stage cannot do its work on these inputs."""


class MachineError(SluiceError):
    """Disk full, worker lost, cluster unreachable: run the same command again once it is repaired."""

    exit_code = 3


class ServiceGoneError(SluiceError):
    """A process that serves the tasks of a stage has died, and what it was asked got no answer; it starts again."""

    exit_code = 3


class Stopped(SluiceError):  # noqa: N818 (an order, no fault)
    """The run is ending: its driver has told its tasks so."""
