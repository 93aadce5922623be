"""A row: what is known of one cell, as plain values of known types. Loads no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    create_model,
    model_validator,
)

from secateur.errors import shown

Row = dict[str, Any]

NEEDED = {
    "base": "id network strength seed fold accuracy params macs channels skewness similarity "
    "inactive seconds",
    "pruned": "id base network strength seed fold criterion scope ratio_asked ratio_reached params "
    "macs channels accuracy_cut accuracy seconds",
    "scratch": "id base network seed fold ratio_asked params macs accuracy seconds",
    "deployed": "id of network strength seed fold float32 int8 seconds",
    "failed": "id cell error",
}
"""What a whole row holds, by its kind; a failure has one too."""

Text = Annotated[str, Field(max_length=100_000)]
Name = Annotated[str, Field(max_length=200)]
Number = Annotated[float, Field(ge=-1e15, le=1e15)]
Share = Annotated[float, Field(ge=0, le=1)]
NotNegative = Annotated[float, Field(ge=0, le=1e15)]
Count = Annotated[int, Field(ge=0, le=2**53)]
Size = Annotated[int, Field(ge=1, le=2**53)]


class _Part(BaseModel):
    """Values of these names have these types; there may be others beside them."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


class _Skewness(_Part):
    layer: Name
    definition: Name
    n: Count
    ws: Number | None
    gini: Number | None
    hoyer: Number | None
    pq_index: Number | None
    inactive_share: Share | None
    undefined: Text | None


class _Similarity(_Part):
    model_config = ConfigDict(extra="forbid")  # a value is made of it

    first: Name
    second: Name
    layer: Name
    n: Count
    rho: Number | None
    undefined: Text | None
    expected: Number | None = None
    low: Number | None = None
    high: Number | None = None
    method: Name = "spearman"


class _Sensitivity(_Part):
    group: Name
    n_channels: Size
    whole: Number
    ratios: list[Share]
    values: list[Number]

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if len(self.ratios) != len(self.values) or self.ratios != sorted(set(self.ratios)):
            raise ValueError("ratios ascend, and there are as many values")
        return self


class _Epoch(_Part):
    epoch: Count


class _File(_Part):
    accuracy: Share
    params: Size
    param_bytes: Size
    file_bytes: Size


_Numbers = TypeAdapter(dict[str, Number | None], config=_Part.model_config)
_TYPES: dict[str, Any] = {
    **dict.fromkeys(("kind", "id", "base", "of", "network", "criterion", "scope"), Name),
    **dict.fromkeys(("features", "penalty", "repair"), Name),
    **dict.fromkeys(("accuracy", "accuracy_cut", "accuracy_repaired", "train_accuracy"), Share),
    **dict.fromkeys(("ratio_asked", "ratio_reached"), Share),
    **dict.fromkeys(("log_loss", "bn_lambda", "relative_error"), Number),
    **dict.fromkeys(("output_error_cut", "output_error_repaired"), Number | None),
    **dict.fromkeys(("seed", "fold", "repair_inputs"), Count),
    **dict.fromkeys(("params", "macs", "channels", "n_classes"), Size),
    "strength": NotNegative,
    "inactive": Share | None,
    "seconds": dict[Name, NotNegative],
    "by_device": dict[Name, Share],
    "removed": dict[Name, list[Count]],
    "versions": dict[Name, Text],
    "first_answers": list[list[Number]],
    "skewness": list[_Skewness],
    "similarity": list[_Similarity],
    "sensitivity": list[_Sensitivity],
    "epochs": list[_Epoch],
    "float32": _File,
    "int8": _File,
    "cell": dict[Name, Any],
    "error": Text,
    "traceback": Text,
}


@cache
def _schema() -> type[BaseModel]:
    fields: Any = {name: (kind, Field(default=None)) for name, kind in _TYPES.items()}
    return create_model("Row", __base__=_Part, **fields)


def fault(row: Mapping[str, Any], *, whole: bool) -> str:
    """What is wrong with a row that was read, in words; "" if nothing is.

    Args:
        row: what a file held.
        whole: also what a row of its kind must hold is to be there.

    >>> fault({"id": "a", "accuracy": 1.5}, whole=False)
    'its accuracy is 1.5: input should be less than or equal to 1'
    >>> fault({"id": "a", "kind": "cut"}, whole=True)
    "it has kind 'cut'; there are base, pruned, scratch, deployed, failed"
    """
    try:
        _schema().model_validate(dict(row))
        for part in (*row.get("epochs", ()), *row.get("skewness", ()), *row.get("similarity", ())):
            _Numbers.validate_python({n: v for n, v in part.items() if not isinstance(v, str)})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "a number"
        said = first["msg"][:1].lower() + first["msg"][1:]
        return f"its {shown(place, 80)[1:-1]} is {shown(first['input'])}: {said}"
    if not whole:
        return ""
    kind = row.get("kind")
    if kind not in NEEDED:
        return f"it has kind {shown(kind)}; there are {', '.join(NEEDED)}"
    needed = NEEDED[kind].split() + (["accuracy_repaired"] if "repair" in row else [])
    missing = [name for name in needed if name not in row]
    return f"it lacks {', '.join(missing)}" if missing else ""


def flat(row: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Names and values of a row, nested ones as `seconds.train`; lists are left out.

    >>> list(flat({"a": 1, "b": {"c": 2}, "d": [3]}))
    [('a', 1), ('b.c', 2)]
    """
    for name, value in row.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{above}{name}.")
        elif not isinstance(value, list | tuple):
            yield above + name, value
