"""The operator's side of the story, in a process of its own: a token is configured once a process. Run as a program.

python -m tests.journeys.story_child HOME ACT [ARGUMENT ...]
"""

import json
import sys
from contextlib import closing
from pathlib import Path

from pki_core.model.pools import Namespace
from pki_core.runtime import open_runtime
from tests.journeys.contract_acts import demo_mo, wanted


def generate(runtime, emaid, pcid):
    """The MO CA makes a contract for a vehicle; it lands in the CCP."""
    made = runtime.contracts.generation.generate_one(
        demo_mo(runtime), wanted(runtime, emaid, pcid), Namespace.ISO_2_2013
    )
    return {"serial": f"{made.serial:x}"}


def afterwards(runtime):
    """What the flows do by schedule: tell partners, publish CRLs, seal; then an auditor verifies."""
    told = runtime.access.webhook_deliveries.run(100)
    report = runtime.crls.publish_due()
    runtime.pools.ccp_cleanup.run()
    sealed = runtime.audit_log.seal()
    verified = runtime.audit_log.verify()
    return {
        "delivered": told.delivered,
        "published": list(report.published),
        "sealed": sealed.rows,
        "faults": list(verified.faults),
        "unsealed": verified.unsealed_rows,
    }


def main():
    home, act, *arguments = sys.argv[1:]
    with closing(open_runtime(Path(home))) as runtime:
        sys.stdout.write(json.dumps({"generate": generate, "afterwards": afterwards}[act](runtime, *arguments)))


if __name__ == "__main__":
    main()
