"""The error family. Every error a user can cause is one of these.

* SecateurError                 exit code 2: wrong use or bad input
  + ReadError                   a file or text from outside cannot be read
  + TraceError                  the network cannot be run on shapes
    - ChannelMapError           a channel map's text cannot be read
  + CriterionError              a criterion lacks data, or scores nothing here
  + PlanError                   a plan is malformed or made for another network
    - BudgetError               the budget cannot be met
  + SurgeryError                the cut cannot be made
    - ProofError                the cut network would not line up
    - VerificationError         exit code 1: the cut network differs from its reference
  + PackageError                a saved network cannot be read or does not fit its factory
  + TrainingError               training cannot start or went non-finite
  + DeployError                 an export cannot be made or measured here
    - ExportError               exit code 1: what was exported answers otherwise
  + DataError                   a data set, audio file or feature cache cannot be used
  + RecipeError                 a recipe has unknown keys or wrong values
  + StudyError                  a study's folder cannot be used, or cells failed
    - StorageError              a file could not be written; what stood there before still stands
  + ReportError                 a report cannot be made from these rows

Messages name the thing, the value, what is allowed and the next step. What they hold of a file or
of a value is cut short and cannot steer a terminal.
"""

from __future__ import annotations

import difflib
import re
import reprlib
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

MOST_SAID = 1900
"""Characters of a message; of a longer one its begin and its end, the next step, are kept."""


class SecateurError(Exception):
    """Root of the family; `exit_code` is what the command line returns."""

    exit_code = 2

    def __str__(self) -> str:
        return printable(super().__str__())


class ReadError(SecateurError):
    """A file or text from outside cannot be read; `why` in words, without `where` it stood."""

    def __init__(self, where: str | Path, why: str) -> None:
        super().__init__(where, why)
        self.where, self.why = where, why

    def __str__(self) -> str:
        text = f"cannot read {self.where}: {self.why}" if str(self.where) else self.why
        return printable(text)

    @property
    def missing(self) -> bool:
        """Whether there is no such file."""
        return isinstance(self.__cause__, FileNotFoundError | NotADirectoryError)


class TraceError(SecateurError):
    """The network cannot be run on shapes."""


class ChannelMapError(TraceError):
    """A channel map's text cannot be read."""


class CriterionError(SecateurError):
    """A criterion lacks what it needs, or can score no group."""


class PlanError(SecateurError):
    """A plan is malformed, or made for another network."""


class BudgetError(PlanError):
    """The budget cannot be met."""


class SurgeryError(SecateurError):
    """The cut cannot be made."""


class ProofError(SurgeryError):
    """The cut network would not line up."""


class VerificationError(SurgeryError):
    """The cut network differs from its reference."""

    exit_code = 1


class PackageError(SecateurError):
    """A saved network cannot be read or does not fit its factory."""


class TrainingError(SecateurError):
    """Training cannot start or went non-finite."""


class DeployError(SecateurError):
    """An export cannot be made or measured here."""


class ExportError(DeployError):
    """What was exported answers otherwise than the network."""

    exit_code = 1


class DataError(SecateurError):
    """A data set, audio file or feature cache cannot be used."""


class RecipeError(SecateurError):
    """A recipe has unknown keys or wrong values."""


class StudyError(SecateurError):
    """A study's folder cannot be used, or cells failed."""


class StorageError(StudyError):
    """A file could not be written; what stood there before still stands."""


class ReportError(SecateurError):
    """A report cannot be made from these rows."""


def printable(text: str, most: int = MOST_SAID) -> str:
    r"""Text that neither floods nor steers a terminal: cut in its middle, control signs spelt out.

    >>> printable("a\x1b[31mb", 20)
    'a\\x1b[31mb'
    """
    if len(text) > most:
        end = most // 4
        text = f"{text[: most - end - 3]} … {text[-end:]}"
    if text.isprintable():
        return text
    steering = ("Cc", "Cf", "Cs")
    spelt = (
        ascii(sign)[1:-1] if unicodedata.category(sign) in steering and sign not in "\n\t" else sign
        for sign in text
    )
    return "".join(spelt)


_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxlong, _SHORT.maxother = 4, 80, 80, 80
_SHORT.maxdict = _SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxset = 30


def shown(value: Any, most: int = 60) -> str:
    """A value as Python writes it, in at most so many characters, however large it is.

    >>> shown([1, "a"])
    "[1, 'a']"
    >>> shown("ab" * 100, 12)
    "'abababab..."
    """
    try:
        text = _SHORT.repr(value)
    except Exception:  # whatever a value's own repr raises, int's of thousands of digits say
        text = f"a {type(value).__name__}"
    return text if len(text) <= most else f"{text[: most - 3]}..."


def unknown_name(kind: str, name: str, allowed: Iterable[str]) -> str:
    """Say that a name is not known, what is, and the nearest match.

    >>> unknown_name("criterion", "l1norm", ["l2", "l1"])
    "no criterion 'l1norm'; there are l1, l2; did you mean 'l1'?"
    """
    names = sorted(allowed)
    near = difflib.get_close_matches(name[:80], names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"no {kind} {shown(name, 80)}; there are {', '.join(names) or 'none'}{hint}"


def install(extra: str) -> str:
    """How to install what an extra of the package brings, from its sources as it is not released.

    >>> install("ray")
    "pip install '.[ray]' in the folder of secateur's sources"
    """
    return f"pip install '.[{extra}]' in the folder of secateur's sources"


def brief(error: BaseException) -> str:
    r"""Kind and first line of an exception, without the colours of a terminal.

    >>> brief(ValueError("\x1b[31mtoo few\x1b[0m\nof them"))
    'ValueError: too few'
    """
    lines = printable(re.sub(r"\x1b\[[0-9;]*m", "", str(error)), 500).splitlines()
    return f"{type(error).__name__}: {lines[0].rstrip('.')}" if lines else type(error).__name__
