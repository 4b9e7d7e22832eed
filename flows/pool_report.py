"""Reports of the pools' maintenance as rows of an artifact; what people must see is logged as a warning too."""

from dataclasses import asdict
from typing import Any

from prefect.logging import get_run_logger

from pki_core.model.pools import PoolReport


def as_row(report: PoolReport) -> dict[str, Any]:
    """Return a report as plain values."""
    logger = get_run_logger()
    for warning in report.warnings:
        logger.warning(warning)
    if report.unfinished:
        logger.warning("%d rows wait for the next run: their CA did not answer", report.postponed)
    return {**asdict(report), "warnings": list(report.warnings)}
