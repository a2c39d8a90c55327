"""Templates of the pages: every string that is put into them is escaped."""

from __future__ import annotations

import jinja2


def page_template(name: str) -> jinja2.Template:
    """The template ``name`` of this package."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("gmvae_fast.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
