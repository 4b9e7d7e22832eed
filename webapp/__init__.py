"""The Flask front of the same store and HSM. Imports neither pandas nor Prefect."""

from webapp.app import create_app

__all__ = ["create_app"]
