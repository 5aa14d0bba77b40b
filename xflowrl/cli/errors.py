"""What a user got wrong, in one line: the thing, the value and a remedy."""

from __future__ import annotations

import re
import shlex

from hydra.errors import ConfigCompositionException, HydraException, OverrideParseException
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException

from xflowrl.cli.resume import quoted
from xflowrl.cli.system_errors import system_error
from xflowrl.shortage import is_no_space

# What a user can cause; anything else is a mistake of ours and shows its traceback.
USER_ERRORS = (HydraException, OmegaConfBaseException, ValueError, OSError, MemoryError)


def one_line(error: BaseException) -> str:
    """The message of an error, without line breaks and without Hydra's advice to developers."""
    if isinstance(error, OverrideParseException):
        return _unreadable(error.override)
    if isinstance(error.__cause__, OSError):  # of the handler that opens the run's log
        error = error.__cause__
    text = system_error(error) if isinstance(error, OSError) else str(error)
    text = text or type(error).__name__
    if isinstance(error, InterpolationResolutionError):
        text = f"{text.splitlines()[0]}; rename a file that has ${{ in its name"
    if isinstance(error, PermissionError) or is_no_space(error):
        text += " (hydra.run.dir is where a run writes)"
    if isinstance(error, MemoryError):
        text = f"out of memory: {text}"
    if isinstance(error, ConfigCompositionException):
        text = _misspelt(error) or text
    for advice in ("Config search path:", "full_key:", "See https://", "To append to your config"):
        text = text.split(advice)[0]
    return " ".join(text.split()).removeprefix("In 'config': ")


def _misspelt(error: BaseException) -> str:
    """What is wrong with an option that is not there; of another error nothing."""
    from xflowrl.cli.help import unknown_key, unknown_option

    text = " ".join(str(error).split())
    if found := re.match(r"Could not override '([^']+)'", text):
        # {a: 1, b: 2} is one override; the cause says which of its keys is not there.
        return unknown_key(getattr(error.__cause__, "full_key", None) or found[1])
    if found := re.search(
        r"Could not find '([^']+)/([^']+)' Available options in '[^']*': (.*)", text
    ):
        return unknown_option(found[1], found[2], found[3].partition(" Config search")[0].split())
    return ""


def _unreadable(override: str) -> str:
    """That an argument does not follow Hydra's grammar, and how it does: quoted."""
    name, has_value, value = override.partition("=")
    if not has_value:
        return f"{override!r} is no option: give KEY=VALUE; --help shows what there is"
    if not override.isprintable():
        return f"Error parsing override {override!r}: rename what is no plain text"
    remedy = shlex.quote(f"{name}={quoted(value)}")
    return f"Error parsing override {override}: quote what is no plain word, {remedy}"
