"""A study folder in, one self-contained HTML page out.

``import gmvae_fast.report`` needs neither matplotlib nor jinja2; :func:`build_report` does and says so.
"""

from gmvae_fast.report.build import build_comparison as build_comparison
from gmvae_fast.report.build import build_report as build_report
from gmvae_fast.report.loading import load_study as load_study
from gmvae_fast.report.reading import ReportError as ReportError
from gmvae_fast.report.study import Study as Study

__all__ = ["ReportError", "Study", "build_comparison", "build_report", "load_study"]
