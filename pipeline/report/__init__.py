"""The report: one self-contained HTML page about a Run."""

from pipeline.report.page import build_report
from pipeline.report.settings import ReportSettings

__all__ = ["ReportSettings", "build_report"]
