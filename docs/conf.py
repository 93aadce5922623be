"""How `make docs` builds the site: from the Markdown here and the docstrings in the code."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "extensions"), str(HERE.parent / "src")]

from secateur.version import __version__  # noqa: E402  # the path above comes first

project = "Secateur"
author = "The Secateur authors"
copyright = author
release = version = __version__
language = "en"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "docstrings",
    "command_pages",
    "python_pages",
]
nitpicky = False
highlight_language = "text"  # a fence that names no language holds commands or what they print

myst_heading_anchors = 4
myst_enable_extensions = ["deflist"]

autodoc_typehints = "signature"
autodoc_typehints_format = "fully-qualified"  # shortened by the line on unqualified names
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80
toc_object_entries_show_parents = "hide"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_custom_sections = [("Reference", "returns_style")]

html_theme = "furo"
html_title = f"Secateur {__version__}"
html_static_path = ["static"]
html_css_files = ["secateur.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}
