"""What can go wrong because of the user's input or the world, and the exit code of each.

    AhaError                1   something failed; nothing is lost
    |-- ConfigError         2   the recipe cannot run as written; nothing was started
    |-- DataError           1   a data source cannot be used
    |-- ModelError          1   a model folder cannot be used
    |-- RunError            1   a run folder cannot be used, or a run had to stop
    |-- DoesNotFit          3   the machine is too small for the recipe
    `-- Stopped           130   the user stopped the run; it was saved

Every message says what was found, where, and what to change. `aha` prints it without a traceback
(`--debug` shows one). Programming mistakes are not AhaErrors: they are asserts or ValueErrors.
To add one: a subclass here only if the command line must tell it apart.
"""

import contextlib
import re
from collections.abc import Iterator


class AhaError(Exception):
    exit_code = 1


class ConfigError(AhaError, ValueError):
    exit_code = 2


class DataError(AhaError):
    pass


class ModelError(AhaError):
    pass


class RunError(AhaError):
    pass


class DoesNotFit(AhaError):
    exit_code = 3


class Stopped(AhaError):
    exit_code = 130


def keys_of(stage: str, table: str | None, said: str) -> str:
    """A message in which keys of a table (`zero.steps`) are those of a stage (`stage.dev2.steps`)."""
    if not table or table == stage:
        return said
    said = re.sub(rf"^{table}: ", f"{stage}: ", said)
    return re.sub(rf"(?<![\w./-]){table}\.(?=[a-z_])", f"stage.{stage}.", said)


@contextlib.contextmanager
def naming(stage: str, table: str | None = None) -> Iterator[None]:
    """Errors from inside name a stage in front, where they do not begin with it, and its own keys.

    Args:
        table: of a recipe, whose keys they name otherwise.
    """
    try:
        yield
    except Stopped:
        raise
    except AhaError as error:
        said = keys_of(stage, table, str(error))
        if not said.startswith((f"{stage}:", f"{stage}.")):
            said = f"{stage}: {said}"
        if said == str(error):
            raise
        raise type(error)(said) from error
