"""Commands about webhooks and tokens, as an operator types them."""

import json
from contextlib import closing

import pytest
from typer.testing import CliRunner

from flows.cli import app
from pki_core.runtime import open_runtime
from tests.journeys.hooks import receiver
from tests.journeys.test_oauth import TokenClient
from tests.journeys.webhook_acts import HookClient, deliver, happen

pytest_plugins = ["tests.journeys.environments"]


@pytest.fixture
def typed(home):
    """Types a command; returns its exit code and its JSON."""

    def run(*words):
        result = CliRunner().invoke(app, [*words, "--home", str(home), "--json"])
        return result.exit_code, json.loads(result.stdout)

    return run


def test_an_operator_lists_deliveries_and_has_one_told_again(home, typed):
    with receiver() as server:
        with closing(open_runtime(home)) as runtime:
            HookClient(runtime).added(server.url)
            happen(runtime)
            server.answers = [409]
            deliver(runtime)
        code, listed = typed("webhook", "list", "--state", "refused")
        (delivery,) = listed["deliveries"]
        assert (code, delivery["last_status"], delivery["partner"]) == (0, 409, "demo-mo")
        assert typed("webhook", "list", "--state", "delivered") == (0, {"deliveries": []})
        assert typed("webhook", "replay", str(delivery["id"])) == (0, {"replayed": delivery["id"]})
        with closing(open_runtime(home)) as runtime:
            assert deliver(runtime) == (1, 0, 0, 0)
    assert typed("webhook", "replay", "9999")[0] == 1
    assert typed("webhook", "list", "--state", "unheard of")[0] == 1


def test_an_operator_withdraws_the_keys_of_tokens(home, typed):
    with closing(open_runtime(home)) as runtime:
        token = TokenClient(runtime).token()
    assert typed("token", "withdraw") == (0, {"made": "tokens-2", "withdrawn": ["tokens-1"]})
    with closing(open_runtime(home)) as runtime:
        assert TokenClient(runtime).enroll(token).status_code == 401
