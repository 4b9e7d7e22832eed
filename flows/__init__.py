"""Prefect flows and the operator's command line. Thin: ids and dates in, counts out."""
