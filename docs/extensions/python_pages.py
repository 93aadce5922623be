"""The directives `facade` and `stage`: a page's Python reference, made from docstrings.

A name of the façade is described once, as `secateur.NAME`; the page of its stage describes what
else is in the stage's modules.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.parsing import nested_parse_to_nodes

import secateur
from docstrings import inline
from secateur.criteria.base import Criterion

SOURCE = Path(secateur.__file__).parent


def stages() -> list[str]:
    """Every folder and file of the package that has a page; the command line has its own."""
    files = {path.stem for path in SOURCE.glob("*.py")}
    folders = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    return sorted((files | folders) - {"__init__", "version", "cli"})


def modules(stage: str) -> list[str]:
    """Modules of a stage that are not private: a file, or all files of a folder."""
    if not (SOURCE / stage).is_dir():
        return [f"secateur.{stage}"]
    found = sorted(p.stem for p in (SOURCE / stage).glob("*.py") if not p.stem.startswith("_"))
    return [f"secateur.{stage}.{name}" for name in found]


def homes() -> dict[str, list[str]]:
    """Stage -> the façade's names that come from it, in the order of the flow."""
    stages: dict[str, list[str]] = {}
    for module, names in secateur._HOME.items():
        stages.setdefault(module.partition(".")[0], []).extend(names)
    return stages


def entry(name: str) -> Iterator[str]:
    """The lines that describe one name of the façade."""
    value: Any = getattr(secateur, name)
    if isinstance(value, Criterion):
        yield from (f".. py:data:: secateur.{name}", "   :type: Criterion", "")
        if value.formula.__module__.startswith("secateur."):
            first, *_ = (inspect.getdoc(value.formula) or "").splitlines()
            yield from (f"   {inline(first)}", "")
        yield f"   Needs ``{value.needs}``. {value.reference[:1].upper()}{value.reference[1:]}."
    else:
        kind = "class" if inspect.isclass(value) else "function"
        yield f".. auto{kind}:: secateur.{name}"
        yield from ("   :members:",) if kind == "class" else ()
    yield ""


def others(module: str) -> list[str]:
    """Names in a module that are described elsewhere: where they come from, or as criteria."""
    return [
        name
        for name, value in vars(import_module(module)).items()
        if isinstance(value, Criterion) or getattr(value, "__module__", module) != module
    ]


def import_types(module: str) -> None:
    """Import what a module imports for type checkers only, so that its annotations are links."""
    values = vars(import_module(module))
    for node in ast.parse(Path(values["__file__"]).read_text()).body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            exec(compile(ast.Module(node.body, []), module, "exec"), values)


class Facade(SphinxDirective):
    """Every name of the façade, by stage."""

    def run(self) -> list[nodes.Node]:
        """Write the reStructuredText that autodoc reads, and parse it."""
        lines: list[str] = []
        for stage, names in homes().items():
            lines += [stage, "-" * len(stage), ""]
            for name in names:
                lines += entry(name)
        return parsed(self, lines)


class Stage(SphinxDirective):
    """The modules of one stage, without what the façade describes."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Write one section a module, and parse it."""
        stage = self.arguments[0]
        lines: list[str] = []
        for module in modules(stage):
            title = module.removeprefix("secateur.")
            known = secateur._HOME.get(title, ())
            left_out = [*known, *others(module)]
            lines += [title, "-" * len(title), "", f".. automodule:: {module}", "   :members:"]
            lines += [f"   :exclude-members: {', '.join(left_out)}", ""]
        return parsed(self, lines)


def parsed(directive: SphinxDirective, lines: list[str]) -> list[nodes.Node]:
    """Nodes of reStructuredText with titles."""
    source = StringList(lines, directive.get_source_info()[0])
    return nested_parse_to_nodes(directive.state, source, allow_section_headings=True)


def setup(sphinx: Sphinx) -> dict[str, bool]:
    """Register the directives."""
    for stage in stages():
        for module in modules(stage):
            import_types(module)
    sphinx.add_directive("facade", Facade)
    sphinx.add_directive("stage", Stage)
    return {"parallel_read_safe": True}
