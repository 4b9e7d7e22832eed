"""Commands about webhooks and tokens, as an operator types them."""

import json
from contextlib import closing

import pytest
from typer.testing import CliRunner

from flows.cli import app
from pki_core.model.credentials import CredentialKind
from pki_core.model.errors import NotAuthorizedError
from pki_core.runtime import open_runtime
from tests.journeys.acts import rows
from tests.journeys.hooks import receiver
from tests.journeys.rest_acts import basic
from tests.journeys.token_acts import TokenClient
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


def audited(runtime, action):
    return rows(runtime, f"SELECT actor, detail FROM audit WHERE action = '{action}' ORDER BY id")  # noqa: S608  # ours


def test_a_partner_gets_and_loses_roles_and_prefixes(home, typed):
    code, shown = typed("partner", "add", "acme", "--role", "mo", "--provider", "deacm", "--wmi", "wxy")
    assert (code, shown) == (0, {"partner": "acme"})
    words = ("--add-role", "oem", "--add-wmi", "wxz", "--remove-provider", "DEACM", "--by", "ada")
    code, shown = typed("partner", "change", "acme", *words)
    assert (code, shown["roles"], shown["providers"], shown["wmis"]) == (0, ["mo", "oem"], [], ["WXY", "WXZ"])
    assert typed("partner", "list")[1]["partners"][0] == shown
    with closing(open_runtime(home)) as runtime:
        assert audited(runtime, "partner.added")[-1] == ("operator", "acme role=mo provider=DEACM wmi=WXY")
        assert audited(runtime, "partner.changed") == [("ada", "acme +role=oem +wmi=WXZ -provider=DEACM")]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ((), "request.malformed"),
        (("--add-wmi", "TOOLONG"), "request.malformed"),
        (("--add-role", "king"), "request.malformed"),
        (("--add-role", "oem", "--remove-role", "oem"), "request.malformed"),
        (("--add-role", "oem", "--by", "x" * 65), "request.malformed"),
        (("--remove-wmi", "ABC"), "request.conflict"),
        (("--add-provider", "DEPNC"), "request.conflict"),
        (("--remove-role", "mo"), "request.conflict"),
    ],
)
def test_a_change_that_cannot_be_is_refused_and_changes_nothing(typed, words, code):
    before = typed("partner", "list")
    answer, shown = typed("partner", "change", "demo-mo", *words)
    assert (answer, shown["error"]) == (1, code)
    assert typed("partner", "list") == before


def test_a_prefix_that_another_partner_holds_is_given_away_on_purpose_only(typed):
    code, shown = typed("partner", "add", "rival", "--role", "oem", "--wmi", "wpn")
    assert code == 1
    assert "'demo-oem' holds the wmi WPN" in shown["message"]
    assert "--shared" in shown["message"]
    assert typed("partner", "add", "rival", "--role", "oem", "--wmi", "wpn", "--shared")[0] == 0
    assert typed("partner", "change", "rival", "--add-role", "mo", "--add-provider", "DEPNC")[0] == 1
    assert typed("partner", "change", "rival", "--add-role", "mo", "--add-provider", "DEPNC", "--shared")[0] == 0


def test_nothing_of_a_suspended_partner_counts_in_any_process_until_he_is_resumed(home, typed):
    with closing(open_runtime(home)) as runtime:  # a front that runs all the while
        token, hooks = TokenClient(runtime), HookClient(runtime)
        bought = token.token()
        code = runtime.credentials.make_secret(token.partner, CredentialKind.CODE)

        def counts():
            return hooks.call("GET").status_code, token.enroll(bought).status_code

        assert counts() == (200, 200)
        for who in {token.partner, "demo-mo"}:
            assert typed("partner", "suspend", who, "--by", "ada")[0] == 0
            assert typed("partner", "suspend", who)[0] == 1
        assert counts() == (403, 403)
        with pytest.raises(NotAuthorizedError, match="suspended"):
            runtime.callers.by_code(code)
        assert token.post().status_code == 400
        assert hooks.call("GET", headers=basic("demo-mo", "guessed")).status_code == 401
        for who in {token.partner, "demo-mo"}:
            assert typed("partner", "resume", who, "--by", "bob")[0] == 0
            assert typed("partner", "resume", who)[0] == 1
        assert counts() == (200, 200)
        assert ("ada", "demo-mo") in audited(runtime, "partner.suspended")
        assert ("bob", "demo-mo") in audited(runtime, "partner.resumed")


def test_an_operator_withdraws_the_keys_of_tokens(home, typed):
    with closing(open_runtime(home)) as runtime:
        token = TokenClient(runtime).token()
    assert typed("token", "withdraw") == (0, {"made": "tokens-2", "withdrawn": ["tokens-1"]})
    with closing(open_runtime(home)) as runtime:
        assert TokenClient(runtime).enroll(token).status_code == 401
