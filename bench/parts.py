"""The parts of a run: each measures in processes of its own and adds its figures, with targets, to the report."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench import contracts, crls, est, exi, ocsp, pools, startup
from bench.child import run_job
from bench.machine import POSTGRES, SQLITE, Machine, Place
from bench.prefect_cost import running_prefect
from bench.report import Report
from bench.speed import speed_of

P256, P521 = "contract_leaf", "contract_leaf_20"
_WARM_UP_ROWS = 500
_QUICK_ROWS = 2000
_POOL_WARM_UP_ROWS = 4000  # four chunks: both processes get one
_SESSIONS = 16
_EST_CLIENTS = 8
_LATENCY_US = 2000
_ONE_PROCESS_TARGETS = (">= 0.70", ">= 0.25")
_FLAT = "<= 20"  # per cent for ten times the rows: caches with a limit may fill, nothing may grow by the row
_ALLOWED_GROWTH = {SQLITE: 30, POSTGRES: 10}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is measured."""

    rows: int
    rounds: int
    stored: int  # synthetic certificates; 0 leaves out that part and whole commands: a quick run
    starts: int  # of a program
    raw_seconds: float


@dataclass(frozen=True, slots=True)
class _Way:
    """How batches are signed, and how long each raw operation is measured before each."""

    workers: int
    profile: str
    raw_seconds: float


def measure_raw(machine: Machine, plan: Plan, report: Report) -> None:
    """The limits everything else is held against."""
    report.begin(
        "Raw operations", "one thread, the environment's own keys in SoftHSM, signing in C, verifying in Python"
    )
    place = machine.place(SQLITE)
    for name, profile in (("P-256", P256), ("P-521", P521)):
        rounds: Any = place.run(
            "raw.measure", program=machine.raw_program, profile=profile, seconds=plan.raw_seconds, rounds=plan.rounds
        )
        report.add(f"{name} HSM signing rate in C", "/s", [1e6 / one["sign"] for one in rounds])
        report.add(f"{name} verify CSR", "us", [one["verify_csr"] for one in rounds])
        report.add(f"{name} sign in the HSM", "us", [one["sign"] for one in rounds])
        report.add(f"{name} verify certificate", "us", [one["verify_certificate"] for one in rounds])
        floors = [one["verify_csr"] + one["sign"] + one["verify_certificate"] for one in rounds]
        report.add(f"{name} floor: the three together", "us", floors)


def measure_batches(machine: Machine, plan: Plan, report: Report) -> None:
    """Whole batches by one worker and by two."""
    report.begin(
        f"Batch of {plan.rows:,} rows, P-256",
        "warm: modules, token login, database, one small batch; raw operations measured again around each batch",
    )
    for workers in (1, 2):
        files = machine.files(plan.rounds, plan.rows)
        warm_up = machine.file(_WARM_UP_ROWS if workers == 1 else _POOL_WARM_UP_ROWS)
        for place in machine.places:
            rounds = _measure_batches(machine, place, files, warm_up, _Way(workers, P256, plan.raw_seconds))
            name = f"{place.database}, {workers} worker{'s' if workers > 1 else ''}"
            _add_batch(report, name, rounds, workers)


def measure_p521(machine: Machine, plan: Plan, report: Report) -> None:
    """ISO 15118-20 with P-521."""
    rows = max(200, plan.rows // 10)
    report.begin(f"Batch of {rows:,} rows, P-521 (contract_leaf_20)", "one worker, warm as above")
    files, warm_up = machine.files(plan.rounds, rows, edition_20=True), machine.file(100, edition_20=True)
    for place in machine.places:
        rounds = _measure_batches(machine, place, files, warm_up, _Way(1, P521, plan.raw_seconds))
        report.add(f"{place.database}: whole batch", "/s", [one["times"]["rows"] / one["total"] for one in rounds])
        report.add(f"{place.database}: sign stage, share of the floor", "", _shares(rounds, "sign"), ">= 0.80")
        report.add(f"{place.database}: whole batch, share of the floor", "", _shares(rounds, "total"), ">= 0.80")


def measure_latency(machine: Machine, plan: Plan, report: Report) -> None:
    """A token on a network."""
    rows = max(2000, plan.rows // 2)
    report.begin(f"Batch of {rows:,} rows, 2 ms a signature", f"one worker, {_SESSIONS} sessions, bench/slow_token.c")
    files, warm_up = machine.files(plan.rounds, rows), machine.file(_WARM_UP_ROWS)
    for place in machine.places:
        target_module = str(run_job("founding.softhsm_module", {}))
        variables = {**place.variables, "SHIM_TARGET": target_module, "SHIM_US": str(_LATENCY_US)}
        slow = Place(database=place.database, home=place.home, variables=variables)
        rounds: Any = slow.run(
            "batches.measure_behind",
            files=files,
            warm_up=warm_up,
            module=machine.slow_module,
            sessions=_SESSIONS,
        )
        report.add(f"{place.database}: sign stage", "/s", [one["rows"] / one["sign"] for one in rounds], ">= 2000")
        totals = [one["rows"] / (one["submit"] + one["sign"] + one["result"]) for one in rounds]
        report.add(f"{place.database}: whole batch", "/s", totals, ">= 2000")


def measure_sizes(machine: Machine, plan: Plan, report: Report) -> None:
    """Memory and cost at one and ten times the rows, and in a full store."""
    report.begin(
        f"Memory and cost at {plan.rows:,} and {10 * plan.rows:,} rows",
        "a process each for submit, sign, result; time after a small warm-up batch, memory from the start",
    )
    small, large = machine.files(plan.rounds, plan.rows), machine.file(10 * plan.rows)
    again = machine.files(plan.rounds if plan.stored else 0, plan.rows)
    warm_ups = machine.files(len(small) + 1 + len(again), _WARM_UP_ROWS)
    for place in machine.places:
        warm_up = iter(warm_ups)
        once = [_measure_size(place, next(warm_up), file) for file in small]
        ten_times = _measure_size(place, next(warm_up), large)
        _add_memory(report, place.database, once, ten_times)
        base = report.add(f"{place.database}: cost at 1x", "us", [_cost(one, plan.rows) for one in once])
        cost = report.add(f"{place.database}: cost at 10x", "us", [_cost(ten_times, 10 * plan.rows)])
        _add_growth(report, f"{place.database}: 10x against 1x", base.median, [cost.median], place)
        if not plan.stored:
            continue
        seconds: Any = place.run("filler.fill", count=plan.stored)
        full = [_cost(_measure_size(place, next(warm_up), file), plan.rows) for file in again]
        note = f"filled in {seconds:.0f} s"
        report.add(f"{place.database}: cost with {plan.stored:,} stored", "us", full, note=note)
        _add_growth(report, f"{place.database}: {plan.stored:,} stored against 1x", base.median, full, place)


def measure_prefect(machine: Machine, plan: Plan, report: Report) -> None:
    """What the flow adds to the same chunks signed directly."""
    rows = max(2000, plan.rows // 2)
    report.begin(f"Prefect on {rows:,} rows", "its server is up, with SQLite; direct and flow in turns")
    place = machine.place(SQLITE)
    files, warm_up = machine.files(2 * plan.rounds, rows), machine.files(2, _WARM_UP_ROWS)
    commands = machine.files(2 if plan.stored else 0, rows)
    with running_prefect(machine.directory) as variables:
        there = Place(database=place.database, home=place.home, variables={**place.variables, **variables})
        rounds: Any = there.run("prefect_cost.compare", files=files, warm_up=warm_up)
        whole: Any = there.run("prefect_cost.compare_commands", files=commands) if commands else None
    report.add("direct", "s", [one["direct"] for one in rounds])
    report.add("flow added in a warm process", "s", [one["flow"] - one["direct"] for one in rounds], "<= 2.5")
    report.add("task runs", "", [one["tasks"] for one in rounds], "<= 50")
    if whole:
        added = whole["flow"] - whole["direct"]
        report.add("`pncpki batch sign` against --direct", "s", [added], note="with its import of Prefect")


def measure_startup(_machine: Machine, plan: Plan, report: Report) -> None:
    """What people and servers wait for."""
    report.begin("Start-up", f"whole processes, file cache warm, {plan.starts} runs")
    report.add("pncpki --help", "s", startup.help_seconds(plan.starts), "< 0.3")
    inside, whole, heavy = startup.import_seconds(plan.starts)
    report.add("import webapp.app", "s", inside, "< 0.6")
    report.add("of which flask, sqlalchemy, pydantic, cryptography", "s", startup.library_seconds(plan.starts))
    report.add("import webapp.app, with the interpreter", "s", whole)
    report.add("pandas or prefect loaded by it", "", [len(heavy)], "<= 0", note=", ".join(heavy))


def measure_est(machine: Machine, plan: Plan, report: Report) -> None:
    """One enrolment after the other, and eight clients at once."""
    requests = max(plan.rows // 20, 200)
    report.begin("EST", f"simpleenroll over mTLS, SoftHSM, durable commit, {requests} requests each")
    speed = speed_of(machine, report)
    flushes = machine.flush_seconds()
    report.add(
        "the disk keeps a page (fdatasync; an enrolment needs two), p50", "ms", [statistics.median(flushes) * 1000]
    )
    report.add("the disk keeps a page, p99", "ms", [flushes[int(len(flushes) * 0.99)] * 1000])
    for place in machine.places:
        found = est.measure(machine, place, requests, _EST_CLIENTS)
        name = place.database
        report.add(f"{name}, one client kept alive, p50", "ms", [found["kept"]["p50_ms"]], *speed.at_most(3, 1))
        report.add(f"{name}, one client kept alive, p99", "ms", [found["kept"]["p99_ms"]], *speed.at_most(8, 1))
        report.add(
            f"{name}, one client, a new connection each, p50", "ms", [found["anew"]["p50_ms"]], *speed.at_most(8, 1)
        )
        report.add(
            f"{name}, one client, a new connection each, p99", "ms", [found["anew"]["p99_ms"]], *speed.at_most(15, 1)
        )
        report.add(f"{name}, {_EST_CLIENTS} clients", "/s", [found["many"]["rate"]])
        report.add(f"{name}, {_EST_CLIENTS} clients, server CPU an enrolment", "ms", [found["many"]["server_cpu_ms"]])
        alone = found["one_core"]
        report.add(f"{name}, {_EST_CLIENTS} clients, the server on one core", "/s", [alone["rate"]])
        report.add(f"{name}, on one core, CPU an enrolment: server", "ms", [alone["server_cpu_ms"]])
        report.add(f"{name}, on one core, ... the database's processes", "ms", [alone["database_cpu_ms"]])
        report.add(f"{name}, on one core, ... the clients", "ms", [alone["client_cpu_ms"]])
        report.add(
            f"{name}, on one core, for each core it uses",
            "/s",
            [1000 / alone["server_cpu_ms"]],
            *speed.at_least(800, 1),
        )


def measure_ocsp(machine: Machine, plan: Plan, report: Report) -> None:
    """Answers a second of one worker, signed ahead and signed on demand."""
    seconds = 2 if plan.rows <= _QUICK_ROWS else 5
    report.begin(
        "OCSP", f"plain HTTP, granian with one worker, wrk with 32 connections for {seconds} s, each on a core"
    )
    speed = speed_of(machine, report)
    rounds = [ocsp.measure(machine, seconds) for _ in range(plan.rounds)]
    for name, key in (("nginx, a file of the same bytes", "nginx"), ("openssl ocsp, a key file", "openssl")):
        report.add(name, "/s", [one[key]["rate"] for one in rounds])
    report.add("signed ahead", "/s", [one["ahead"]["rate"] for one in rounds])
    report.add("signed ahead, of nginx", "", [one["ahead"]["rate"] / one["nginx"]["rate"] for one in rounds], ">= 0.4")
    report.add("signed ahead, p99", "ms", [one["ahead"]["p99_ms"] for one in rounds], *speed.at_most(3))
    live = [one["file"]["rate"] for one in rounds]
    report.add("signed on demand (nonce), key in memory", "/s", live, *speed.at_least(6000))
    live = [one["softhsm"]["rate"] for one in rounds]
    report.add("signed on demand (nonce), SoftHSM", "/s", live, *speed.at_least(3000, 1))
    report.add("signed on demand (nonce), SoftHSM, p99", "ms", [one["softhsm"]["p99_ms"] for one in rounds])


def measure_crls(machine: Machine, plan: Plan, report: Report) -> None:
    """CRLs of ten thousand to a million entries."""
    crls.measure(machine, report, [10_000, 100_000, 1_000_000] if plan.stored else [10_000])


def measure_pools(machine: Machine, plan: Plan, report: Report) -> None:
    """A million vehicles; a fiftieth of that in a quick run."""
    pools.measure(machine, report, plan.stored or 20_000, 4000)


def measure_exi(_machine: Machine, plan: Plan, report: Report) -> None:
    """Contract data, in one thread."""
    exi.measure(report, 100 if plan.rows <= _QUICK_ROWS else 1000)


def measure_contracts(machine: Machine, plan: Plan, report: Report) -> None:
    """Contracts of tables, and answers to vehicles."""
    contracts.measure(machine, report, min(plan.rows, 8000), plan.rounds, plan.stored or 20_000)


PARTS: dict[str, Callable[[Machine, Plan, Report], None]] = {
    "raw": measure_raw,
    "startup": measure_startup,
    "batch": measure_batches,
    "p521": measure_p521,
    "latency": measure_latency,
    "prefect": measure_prefect,
    "crls": measure_crls,
    "est": measure_est,
    "ocsp": measure_ocsp,
    "exi": measure_exi,
    "contracts": measure_contracts,
    "pools": measure_pools,
    "sizes": measure_sizes,  # last: it leaves a full store behind
}


def _measure_batches(
    machine: Machine, place: Place, files: Sequence[str], warm_up: str, way: _Way
) -> list[dict[str, Any]]:
    rounds: Any = place.run(
        "batches.measure", files=files, warm_up=warm_up, way=asdict(way), program=machine.raw_program
    )
    return list(rounds)


def _add_batch(report: Report, name: str, rounds: list[dict[str, Any]], workers: int) -> None:
    for phase in ("submit", "sign", "result"):
        per_row = [one["times"][phase] * 1e6 / one["times"]["rows"] for one in rounds]
        report.add(f"{name}: {phase}", "us/row", per_row)
    for phase, text in (("sign", "sign stage"), ("total", "whole batch")):
        seconds = [one["total"] if phase == "total" else one["times"][phase] for one in rounds]
        rates = [one["times"]["rows"] / took for one, took in zip(rounds, seconds, strict=True)]
        to_raw = [rate * one["raw"]["sign"] / 1e6 for rate, one in zip(rates, rounds, strict=True)]
        report.add(f"{name}: {text}", "/s", rates)
        if workers == 1:
            report.add(f"{name}: {text}, share of the floor", "", _shares(rounds, phase), _ONE_PROCESS_TARGETS[0])
        target = _ONE_PROCESS_TARGETS[1] if workers == 1 else ">= 0.45"
        report.add(f"{name}: {text}, of the raw HSM rate", "", to_raw, target)
    if workers == 1:
        for clock, text in (("sign_cpu", "sign stage"), ("total_cpu", "whole batch")):
            by_cpu = [one["raw"]["cpu"] * one["times"]["rows"] / (one["times"][clock] * 1e6) for one in rounds]
            note = "this process only; a busy machine disturbs it less"
            report.add(f"{name}: {text}, share of the floor by CPU", "", by_cpu, note=note)


def _shares(rounds: list[dict[str, Any]], phase: str) -> list[float]:
    """Return the floor divided by what a certificate took, for each round."""
    seconds = [one["total"] if phase == "total" else one["times"][phase] for one in rounds]
    return [one["floor"] * one["times"]["rows"] / (took * 1e6) for one, took in zip(rounds, seconds, strict=True)]


def _measure_size(place: Place, warm_up: str, file: str) -> dict[str, Any]:
    submitted: Any = place.run("batches.submit_one", warm_up=warm_up, file=file)
    batch_ids = submitted["value"]
    signed = place.run("batches.sign_one", batch_ids=batch_ids)
    return {"submit": submitted, "sign": signed, "result": place.run("batches.result_one", batch_ids=batch_ids)}


def _cost(phases: dict[str, Any], rows: int) -> float:
    return float(sum(phase["seconds"] for phase in phases.values())) * 1e6 / rows


def _add_memory(report: Report, database: str, once: list[dict[str, Any]], ten_times: dict[str, Any]) -> None:
    for phase in ("submit", "sign", "result"):
        report.add(f"{database}: peak memory of {phase} at 1x", "MB", [one[phase]["peak"] for one in once], "<= 250")
        report.add(f"{database}: peak memory of {phase} at 10x", "MB", [ten_times[phase]["peak"]], "<= 250")
    peaks = [max(phase["peak"] for phase in one.values()) for one in (*once, ten_times)]
    more = 100 * (peaks[-1] / statistics.median(peaks[:-1]) - 1)
    report.add(f"{database}: peak memory, 10x against 1x", "% more", [more], _FLAT)


def _add_growth(report: Report, name: str, base: float, costs: Sequence[float], place: Place) -> None:
    target = f"<= {_ALLOWED_GROWTH[place.database]}"
    report.add(name, "% more", [100 * (cost / base - 1) for cost in costs], target)
