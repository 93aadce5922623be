"""What every page shares: its templates, JSON inside scripts, and the drawing library."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from secateur.report.drawing import THEME, Figure
from secateur.version import __version__


def render_page(template: str, figures: Iterable[Figure], **values: Any) -> str:
    """A template of this package with figures, styles and scripts in it, as text.

    Figures without a panel are left out; the template reads the others by their id in `figures`.
    """
    drawn = {figure.id: figure for figure in figures if figure.panels}
    specs = {
        figure.id: {
            "panels": figure.panels,
            "signals": {control.name: control.value for control in figure.controls},
        }
        for figure in drawn.values()
    }
    environment = Environment(
        loader=PackageLoader("secateur.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(
        figures=drawn,
        version=__version__,
        specs=script_json(specs),
        theme=script_json(THEME),
        bundle=_bundle(),
        **values,
    )


def script_json(value: Any) -> Markup:
    r"""JSON that can stand in a script element: no `<` can end or open one.

    >>> print(script_json("</script>"))
    "\u003c/script>"
    """
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", r"\u003c"))


@cache
def _bundle() -> Markup:
    """Vega, Vega-Lite and Vega-Embed as one script."""
    import vl_convert

    script: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return Markup(script.replace("</script", r"<\/script"))
