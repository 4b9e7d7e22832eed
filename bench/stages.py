"""Where a single worker's time goes: wall clock by stage without what inner stages take, garbage collection apart."""

import cProfile
import gc
import importlib
import io
import pstats
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

from bench.work import run_batch, sign_here, submit, write_result
from flows.chunk_worker import process_runtime

_SERVICES, _STORE, _WIRE = "pki_core.services", "pki_core.store", "pki_core.wire"

# (module, attribute path, name of the stage): a call of one is inside a call of another, or beside it.
POINTS = (
    (f"{_WIRE}.batch_file", "file_digest", "submit: digest of the file"),
    (f"{_SERVICES}.uploads", "file_digest", "submit: digest of the file"),
    (f"{_SERVICES}.uploads", "_problems", "submit: early verdicts"),
    (f"{_SERVICES}.uploads", "Uploads._load", "submit: read and decode the file"),
    (f"{_SERVICES}.uploads", "Uploads.submit", "submit: everything else"),
    (f"{_STORE}.batches", "BatchGateway.add_items", "submit: insert items"),
    (f"{_SERVICES}.results", "Results.write", "result: read rows"),
    (f"{_SERVICES}.results", "_row", "result: rows to values"),
    (f"{_WIRE}.batch_result", "ResultWriter.write", "result: write the bundle"),
    (f"{_WIRE}.batch_result", "ResultWriter.__exit__", "result: close the bundle"),
    (f"{_SERVICES}.batches", "Batches.get", "read batch"),
    (f"{_SERVICES}.batches", "Batches._claim", "claim chunk"),
    (f"{_SERVICES}.batches", "Batches._sign", "chunk: everything else"),
    (f"{_STORE}.batches", "BatchGateway.open_items", "read items"),
    (f"{_SERVICES}.batches", "parse_csr", "parse CSR"),
    (f"{_SERVICES}.enroll", "Enrollment._judge", "judge: loops"),
    (f"{_SERVICES}.enroll", "judge_name", "judge: name"),
    (f"{_SERVICES}.enroll", "build_subject", "judge: subject"),
    (f"{_SERVICES}.enroll", "prove_possession", "PoP: everything else"),
    (f"{_SERVICES}.enroll", "load_public_key", "PoP: load key"),
    (f"{_SERVICES}.enroll", "refuse_weak_key", "PoP: weak keys"),
    (f"{_SERVICES}.enroll", "verify_proof", "PoP: verify"),
    (f"{_SERVICES}.enroll", "Enrollment.issue", "issue: everything else"),
    (f"{_SERVICES}.enroll", "Enrollment._prepare", "prepare: loops"),
    ("pki_core.issuance.issuer", "Issuer.prepare", "prepare: loops"),
    ("pki_core.issuance.issuer", "Issuer.validity", "prepare: validity"),
    ("pki_core.issuance.issuer", "refuse_findings", "prepare: pkilint sample"),
    (f"{_WIRE}.certificate", "CertificateTemplate.tbs", "prepare: build TBS"),
    ("pki_core.issuance.lint", "TbsLint.check", "lint: rules"),
    ("pki_core.issuance.lint", "decode_tbs", "lint: decode TBS"),
    ("pki_core.issuance.lint", "key_identifier_of", "lint: key identifier"),
    (f"{_SERVICES}.enroll", "Enrollment._reserve", "reserve: values"),
    (f"{_STORE}.reservations", "ReservationGateway.open", "reserve: SQL of the reservation"),
    (f"{_STORE}.reservations", "ReservationGateway.reserve", "reserve: values"),
    (f"{_SERVICES}.batch_chunks", "ChunkHooks.reserved", "reserve: SQL of the chunk"),
    ("pki_core.issuance.issuer", "Issuer.sign", "sign: loops"),
    ("pki_core.hsm.pkcs11", "Pkcs11Signer.sign", "HSM: hash, slices"),
    ("pki_core.hsm.cryptoki", "SigningHandle.sign_all", "HSM: C_SignInit, C_Sign"),
    ("pki_core.hsm.pkcs11", "encode_ecdsa_values", "HSM: encode values"),
    ("pki_core.issuance.issuer", "assemble", "check: assemble"),
    ("pki_core.issuance.issuer", "carries", "check: signed octets"),
    ("pki_core.issuance.issuer", "signature_is_valid", "check: verify"),
    (f"{_SERVICES}.enroll", "Enrollment._record", "record: values"),
    (f"{_STORE}.reservations", "ReservationGateway.close", "record: status good, intents dropped"),
    (f"{_STORE}.audit", "AuditGateway.append", "record: values"),
    (f"{_SERVICES}.batch_chunks", "ChunkHooks.recorded", "record: verdict values"),
    (f"{_STORE}.batches", "BatchGateway.add_verdicts", "record: verdict values"),
    (f"{_STORE}.chunks", "ChunkGateway.finish", "record: SQL of the chunk"),
    (f"{_STORE}.reservations", "insert_rows", "insert"),
    (f"{_STORE}.certificates", "insert_rows", "insert"),
    (f"{_STORE}.audit", "insert_rows", "insert"),
    (f"{_STORE}.batches", "insert_rows", "insert"),
    ("sqlalchemy.engine.default", "DefaultDialect.do_commit", "commit"),
    ("sqlalchemy.engine.default", "DefaultDialect.do_rollback", "roll back, return connection"),
)
_CALIBRATION_CALLS = 20_000


class Stopwatch:
    """Exclusive CPU and wall clock by stage. CPU is what a shared machine does not disturb."""

    def __init__(self) -> None:
        self.cpu: defaultdict[str, float] = defaultdict(float)
        self.wall: defaultdict[str, float] = defaultdict(float)
        self.calls: defaultdict[str, int] = defaultdict(int)
        self.missing: list[str] = []
        # One entry an open stage: what inner stages took of it (CPU, wall), and how many there were.
        self._inner: list[list[float]] = [[0.0, 0.0, 0]]
        self._collection_started = (0.0, 0.0)
        self._own_cost, self._callers_cost = 0.0, 0.0
        self._calibrate()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Measure for the length of the block."""
        undo = [self._wrap(*point) for point in POINTS]
        gc.callbacks.append(self._collected)
        self._inner[:] = [[0.0, 0.0, 0]]
        cpu, wall = time.thread_time(), time.perf_counter()
        try:
            yield
        finally:
            self._add("anything else", time.thread_time() - cpu, time.perf_counter() - wall, self._inner[0])
            gc.callbacks.remove(self._collected)
            for restore in reversed(undo):
                restore()

    def _calibrate(self) -> None:
        """Measure the instrument itself: what a call adds to its own stage and to its caller's."""
        empty = self._timed(lambda: None, "empty")
        started = time.thread_time()
        for _ in range(_CALIBRATION_CALLS):
            empty()
        whole = (time.thread_time() - started) / _CALIBRATION_CALLS
        self._own_cost = self.cpu.pop("empty") / _CALIBRATION_CALLS
        self._callers_cost = whole - self._own_cost
        self.wall.clear()
        self.calls.clear()

    def _add(self, stage: str, cpu: float, wall: float, inner: list[float]) -> None:
        instrument = self._own_cost + inner[2] * self._callers_cost
        self.cpu[stage] += cpu - inner[0] - instrument
        self.wall[stage] += wall - inner[1] - instrument
        self.calls[stage] += 1

    def _wrap(self, module: str, path: str, stage: str) -> Callable[[], None]:
        owner: Any = importlib.import_module(module)
        *parents, name = path.split(".")
        for parent in parents:
            owner = getattr(owner, parent, None)
        function = getattr(owner, name, None)
        if function is None:  # the code moved on: say so instead of measuring less in silence
            self.missing.append(f"{module}.{path}")
            return lambda: None
        setattr(owner, name, self._timed(function, stage))
        return lambda: setattr(owner, name, function)

    def _timed(self, function: Callable[..., Any], stage: str) -> Callable[..., Any]:
        inner, add, cpu_clock, wall_clock = self._inner, self._add, time.thread_time, time.perf_counter
        by_table = stage == "insert"

        @wraps(function)
        def timed(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401  # any function
            inner.append([0.0, 0.0, 0])
            wall, cpu = wall_clock(), cpu_clock()
            try:
                return function(*arguments, **named)
            finally:
                cpu, wall = cpu_clock() - cpu, wall_clock() - wall
                add(f"insert: {arguments[1].name}" if by_table else stage, cpu, wall, inner.pop())
                outer = inner[-1]
                outer[0] += cpu
                outer[1] += wall
                outer[2] += 1

        return timed

    def _collected(self, phase: str, _information: dict[str, int]) -> None:
        if phase == "start":
            self._collection_started = time.thread_time(), time.perf_counter()
            return
        cpu = time.thread_time() - self._collection_started[0]
        wall = time.perf_counter() - self._collection_started[1]
        self._add("garbage collection", cpu, wall, [0.0, 0.0, 0])
        self._inner[-1][0] += cpu
        self._inner[-1][1] += wall


def break_down(home: str, warm_up: str, files: list[str], profile: str) -> dict[str, Any]:
    """Return microseconds a row by stage for submit, sign and result of each file, after one warm-up batch.

    The first file is measured without any instrument, the second by stage, the third by cProfile.
    """
    runtime = process_runtime(home)
    run_batch(runtime, Path(warm_up), sign_here, profile)
    plain = run_batch(runtime, Path(files[0]), sign_here, profile)
    phases: dict[str, Any] = {}
    missing: set[str] = set()
    batch_id = ""

    def submit_it() -> None:
        nonlocal batch_id
        batch_id = submit(runtime, Path(files[1]), profile)

    steps: dict[str, Callable[[], object]] = {
        "submit": submit_it,
        "sign": lambda: sign_here(runtime, batch_id),
        "result": lambda: write_result(runtime, batch_id),
    }
    for phase, step in steps.items():
        watch = Stopwatch()
        with watch.running():
            step()
        phases[phase] = [
            {
                "stage": name,
                "cpu_us": round(watch.cpu[name] * 1e6 / plain.rows, 2),
                "wall_us": round(watch.wall[name] * 1e6 / plain.rows, 2),
                "calls": watch.calls[name],
            }
            for name in sorted(watch.wall, key=lambda name: -watch.wall[name])
        ]
        missing.update(watch.missing)
    batch_id = submit(runtime, Path(files[2]), profile)
    profiler = cProfile.Profile()
    profiler.runcall(sign_here, runtime, batch_id)
    text = io.StringIO()
    pstats.Stats(profiler, stream=text).sort_stats("tottime").print_stats(25)
    return {
        "rows": plain.rows,
        "plain_us": {
            name: getattr(plain, name) * 1e6 / plain.rows for name in ("submit", "sign", "result", "sign_cpu")
        },
        "phases": phases,
        "missing": sorted(missing),
        "top": text.getvalue(),
    }
