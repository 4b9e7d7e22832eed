"""The operator's side of the story, in a process of its own: a token is configured once a process. Run as a program.

python -m tests.journeys.story_child HOME
"""

import json
import sys
from contextlib import closing
from pathlib import Path

from pki_core.runtime import open_runtime


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
    with closing(open_runtime(Path(sys.argv[1]))) as runtime:
        sys.stdout.write(json.dumps(afterwards(runtime)))


if __name__ == "__main__":
    main()
