"""Networks of other packages by name: `timm:NAME` and `hf:NAME`. Loads them when they are asked."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secateur.errors import SecateurError, brief

if TYPE_CHECKING:
    from types import ModuleType

    from torch import nn

_NEAR = 3


def _timm(name: str) -> Callable[..., nn.Module]:
    """A network of timm, with random weights unless `pretrained=true` is among its arguments.

    Raises:
        SecateurError: timm cannot be imported, or has no such network.
    """
    with _needed("timm", f"timm:{name}"):
        import timm
    if not timm.is_model(name):
        near = _nearest(name, timm.list_models())
        raise SecateurError(f"no network {name!r} in timm{near}; timm.list_models() lists them")

    def build(num_classes: int | None = None, **arguments: Any) -> nn.Module:
        given = arguments if num_classes is None else arguments | {"num_classes": num_classes}
        made: nn.Module = timm.create_model(name, **given)
        return made

    return build


def _transformers(name: str) -> Callable[..., nn.Module]:
    """A network of transformers.

    `name` is a folder with `config.json`, whose weights are read if they lie there as safetensors;
    a class of networks or of their configurations, with random weights; or a name of the hub, of
    which what was downloaded before is taken, unless `local_files_only=false` is an argument.

    Raises:
        SecateurError: transformers cannot be imported, or knows no such thing.
    """
    with _needed("transformers", f"hf:{name}"):
        import transformers
    folder = Path(name)
    if (folder / "config.json").is_file():
        return lambda **arguments: _in_folder(transformers, folder, arguments)
    if folder.is_dir():
        raise SecateurError(
            f"{name} holds no config.json; give the folder that save_pretrained wrote"
        )
    if name.isidentifier():
        if (kind := getattr(transformers, name, None)) is not None:
            return lambda **arguments: _of_class(transformers, kind, arguments)
        if not name.islower():
            near = _nearest(name, dir(transformers))
            raise SecateurError(
                f"no class {name!r} in transformers{near}; give a class of networks or of "
                "configurations, or a folder with config.json"
            )
    return lambda **arguments: _of_hub(transformers, name, arguments)


PACKAGES: Mapping[str, Callable[[str], Callable[..., nn.Module]]] = {
    "timm": _timm,
    "hf": _transformers,
}
"""What stands before the colon, and what makes a factory of the name behind it."""


def input_sizes(model: nn.Module) -> tuple[int, ...] | None:
    """The sizes of one example, without the batch, that a network of timm says it takes."""
    sizes = (getattr(model, "pretrained_cfg", None) or {}).get("input_size")
    return None if sizes is None else tuple(sizes)


def _in_folder(transformers: ModuleType, folder: Path, given: dict[str, Any]) -> nn.Module:
    config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, **given)
    if any(folder.glob("*.safetensors")):
        made: nn.Module = _named(transformers, config).from_pretrained(
            folder, config=config, local_files_only=True, use_safetensors=True
        )
        return made
    if others := sorted(path.name for path in folder.glob("*.bin")):
        raise SecateurError(
            f"{folder} holds {others[0]} and no .safetensors file; write it once by the network's "
            "save_pretrained, or give a folder with config.json alone and --weights"
        )
    return _of_config(transformers, config)


def _of_class(transformers: ModuleType, kind: Any, given: dict[str, Any]) -> nn.Module:
    if hasattr(kind, "config_class") and kind.config_class is not None:
        made: nn.Module = kind(kind.config_class(**given))
        return made
    return _of_config(transformers, kind(**given))


def _of_config(transformers: ModuleType, config: Any) -> nn.Module:
    kind = _named(transformers, config)
    is_auto = kind is transformers.AutoModel
    made: nn.Module = kind.from_config(config) if is_auto else kind(config)
    return made


def _of_hub(transformers: ModuleType, name: str, given: dict[str, Any]) -> nn.Module:
    local = bool(given.pop("local_files_only", True))
    try:
        config = transformers.AutoConfig.from_pretrained(name, local_files_only=local, **given)
        kind = _named(transformers, config)
        made: nn.Module = kind.from_pretrained(
            name, config=config, local_files_only=local, use_safetensors=True
        )
    except OSError as error:
        way = "--arg local_files_only=false downloads it" if local else "see that it can be reached"
        raise SecateurError(
            f"hf:{name} is no folder with config.json, no class of transformers, and was not "
            f"{'downloaded before' if local else 'found on the hub'} ({brief(error)}); {way}"
        ) from error
    return made


def _named(transformers: ModuleType, config: Any) -> Any:
    """The class of network that a configuration was written with, or the bare one."""
    names = getattr(config, "architectures", None) or [""]
    return getattr(transformers, names[0], transformers.AutoModel)


@contextmanager
def _needed(package: str, network: str) -> Iterator[None]:
    """Say which package a network needs if it cannot be imported inside, why, and what to do."""
    try:
        yield
    except Exception as error:  # a package that does not fit another fails in ways of its own
        missing = (getattr(error, "name", None) or package).partition(".")[0]
        also = "" if missing == package else f" {missing}"
        raise SecateurError(
            f"{network} needs the package {package}, and it cannot be imported: {brief(error)}; "
            f"pip install {package}{also}"
        ) from error


def _nearest(name: str, names: list[str]) -> str:
    near = difflib.get_close_matches(name, names, n=_NEAR)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
