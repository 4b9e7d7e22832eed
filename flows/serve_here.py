"""Every flow by its schedule on one machine: Prefect's ``serve`` instead of work pools and workers."""

from importlib import import_module
from typing import TYPE_CHECKING

from flows.schedules import SCHEDULES
from pki_core.runtime import Runtime

if TYPE_CHECKING:
    from prefect.deployments.runner import RunnerDeployment

_AT_ONCE = 4  # processes; each opens the environment


def deployments_here(environment: str) -> "list[RunnerDeployment]":
    """Return a deployment of every flow, named after the environment as deployments/prefect.yaml does."""
    from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy  # noqa: PLC0415  # 2 s
    from prefect.deployments.runner import RunnerDeployment  # noqa: PLC0415
    from prefect.types.entrypoint import EntrypointType  # noqa: PLC0415

    made = []
    for one in SCHEDULES:
        strategy = ConcurrencyLimitStrategy.CANCEL_NEW if one.cron else ConcurrencyLimitStrategy.ENQUEUE
        made.append(
            RunnerDeployment.from_flow(
                getattr(import_module(f"flows.{one.flow}"), one.flow),
                name=environment,
                cron=one.cron or None,
                concurrency_limit=ConcurrencyLimitConfig(limit=one.at_once, collision_strategy=strategy),
                entrypoint_type=EntrypointType.MODULE_PATH,
            )
        )
    return made


def serve_flows(runtime: Runtime) -> None:
    """Run every flow by its schedule until a signal; needs Prefect at hand."""
    from prefect import serve  # noqa: PLC0415  # 2 s to import

    serve(*deployments_here(runtime.settings.environment), limit=_AT_ONCE, print_starting_message=False)
