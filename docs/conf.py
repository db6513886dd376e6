"""How Sphinx builds these pages: `make docs`, in which every warning is an error."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import holdfast

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "Holdfast"
author = "the Holdfast authors"
project_copyright = "the Holdfast authors; MIT or Apache-2.0"
release = holdfast.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["_build"]
nitpicky = False
# Docstrings name fields in single backticks; that several classes have a field of that name is no fault.
suppress_warnings = ["ref.python"]

html_theme = "furo"
html_title = f"Holdfast {release}"
html_show_sphinx = False

# Headings are link targets down to the third level: `page.md#a-heading`.
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence", "deflist"]

autodoc_member_order = "bysource"
# Public classes take most of their methods and fields from native or private parents.
autodoc_default_options = {
    "members": True,
    "inherited-members": "object, BaseException, Exception, OSError, str",
    "exclude-members": "source_id, model_config, model_post_init",
}
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
# Signatures as they are written, `backoff=exponential(...)` not its address.
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
# Fields with their text, without a second index entry beside the attribute's own.
napoleon_use_ivar = True

copybutton_exclude = ".linenos, .gp"

# A word in single backticks is a name of ours where there is one, and code where there is not.
default_role = "py:obj"


def _plurals(_app: object, _what: str, _name: str, _obj: object, _options: object, lines: list[str]) -> None:
    """Docstrings write `Runnable`s; reStructuredText wants the plural's s set apart."""
    lines[:] = [re.sub(r"(?<!`)`([^`]+)`(?=\w)", r"`\1`\\ ", line) for line in lines]


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", _plurals)
