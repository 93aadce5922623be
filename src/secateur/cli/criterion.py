"""From a name to a criterion: one of the house's, or yours as `package.module:name`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from secateur.errors import SecateurError, unknown_name
from secateur.networks.factory import find_object

if TYPE_CHECKING:
    from secateur.criteria.base import Criterion


def find_criterion(name: str) -> Criterion:
    """The criterion of this name, or the one at `package.module:name`.

    What stands there is a `Criterion`, or a function from one row a filter, (n, d) in float64, to
    one score a filter, (n,), higher = keep.

    Raises:
        SecateurError: there is no such criterion, or what stands there is none.
    """
    from secateur.criteria.base import Criterion
    from secateur.criteria.table import CRITERIA

    if ":" not in name:
        if name not in CRITERIA:
            hint = "; your own is package.module:function"
            raise SecateurError(unknown_name("criterion", name, CRITERIA) + hint)
        return CRITERIA[name]
    found = find_object(name, "a criterion")
    if isinstance(found, Criterion):
        return found
    if not callable(found) or isinstance(found, type):
        raise SecateurError(
            f"{name} is a {type(found).__name__}; a criterion is a secateur.Criterion, or a "
            "function from filters (n, d) to scores (n,)"
        )
    return Criterion(name, "filters", found, name)
