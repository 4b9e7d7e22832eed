"""What tests run in processes of their own: ``python -m tests.hsm.children FUNCTION TOKEN_DIRECTORY ARGUMENT...``.

Each function prints its result and ends with 0; what goes wrong is an exception, a signal or a hang.
"""

import faulthandler
import json
import os
import resource
import sys
import threading
import time
from pathlib import Path

from pkcs11 import Attribute, ObjectClass

from pki_core.hsm.module import open_module
from pki_core.hsm.pin import PinSource
from pki_core.hsm.tokens import find_token
from pki_core.model.errors import HsmPinRejectedError, HsmUnavailableError, PkiError
from tests.hsm.token_home import TOKEN_LABEL, TokenHome, verify, verify_all

KEY = "any-secp256r1"


def messages(count, name=""):
    return [f"message {name}{number}".encode() for number in range(count)]


def sign_in_threads(home, seconds, sessions):
    """Two threads of the application share one signer."""
    signer = home.store(sessions=int(sessions)).bind(KEY)
    end = time.monotonic() + float(seconds)
    counts = [0, 0]
    faults = []

    def work(index):
        try:
            while time.monotonic() < end:
                batch = messages(20, f"{index}-{counts[index]}-")
                verify_all(signer, batch, signer.sign(batch))
                counts[index] += len(batch)
        except PkiError as error:
            faults.append(repr(error))

    threads = [threading.Thread(target=work, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps({"counts": counts, "faults": faults}))


def sign_in_threads_as_python_pkcs11_starts(home, seconds):
    """The same with python-pkcs11's own C_Initialize(NULL) and nothing of ours."""
    import pkcs11

    # Memory that two threads have corrupted may well be asked for without end.
    for limit, value in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_AS, 2**30), (resource.RLIMIT_CPU, 20)):
        resource.setrlimit(limit, (value, value))
    token = pkcs11.lib(str(home.module_path)).get_token(token_label=TOKEN_LABEL)
    login = token.open(user_pin=PinSource.from_file(home.pin_file).read())
    end = time.monotonic() + float(seconds)
    faults = []

    def work(session):
        template = {pkcs11.Attribute.CLASS: pkcs11.ObjectClass.PRIVATE_KEY, pkcs11.Attribute.LABEL: KEY}
        try:
            (key,) = session.get_objects(template)
            while time.monotonic() < end:
                key.sign(b"d" * 32, mechanism=pkcs11.Mechanism.ECDSA)
        except pkcs11.PKCS11Error as error:
            faults.append(repr(error))

    threads = [threading.Thread(target=work, args=(session,)) for session in (login, token.open())]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.exit(1 if faults else 0)


def fork_and_sign_through(home, module_path, depth):
    """A parent with an open store forks; every descendant signs with the signer it inherited."""
    store = home.store(module_path=Path(module_path), sessions=2)
    signer = store.bind(KEY)
    batch = messages(50)
    verify_all(signer, batch, signer.sign(batch))
    for _ in range(int(depth)):
        child = os.fork()
        if child:
            break
        verify_all(signer, batch, signer.sign(batch))  # it opens by itself
    else:
        os._exit(0)
    verify_all(signer, batch, signer.sign(batch))  # unharmed while the child lives
    _, status = os.waitpid(child, 0)
    verify_all(signer, batch, signer.sign(batch))  # and after it ended
    os._exit(os.waitstatus_to_exitcode(status))


def fork_while_threads_sign(home, forks):
    """Fork again and again while other threads are inside the module: no child may inherit a lock that is held."""
    signer = home.store(sessions=4).bind(KEY)
    stopped = threading.Event()
    batch = messages(20)
    verify_all(signer, batch, signer.sign(batch))  # imports what it needs: a child may inherit an import half done

    def work():
        while not stopped.is_set():
            verify_all(signer, batch, signer.sign(batch))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    ends = []
    for _ in range(int(forks)):
        child = os.fork()
        if not child:
            faulthandler.dump_traceback_later(10, exit=True)
            verify_all(signer, batch, signer.sign(batch))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        ends.append(os.waitstatus_to_exitcode(status))
    stopped.set()
    for thread in threads:
        thread.join()
    print(json.dumps(ends))


def start_at_a_sign(home):
    """Open the token and sign once, at the moment a line comes in."""
    store = home.store()
    print("ready", flush=True)
    sys.stdin.readline()
    (signature,) = store.bind(KEY).sign([b"first"])
    verify(store.bind(KEY), b"first", signature)
    print("signed")


def sign_through(home, module_path, sessions, count):
    """Sign a list through another module; say whether all came back or the token was away."""
    store = home.store(module_path=Path(module_path), sessions=int(sessions))
    signer = store.bind(KEY)
    batch = messages(int(count))
    try:
        verify_all(signer, batch, signer.sign(batch))
    except HsmUnavailableError as error:
        print(f"away: {error}")
    else:
        print("signed")


def sign_one_by_one_through(home, module_path, count):
    """Sign messages one call each; print how each call ended."""
    store = home.store(module_path=Path(module_path))
    store.breaker_seconds = 0.0
    signer = store.bind(KEY)
    ends = []
    for message in messages(int(count)):
        try:
            verify(signer, message, signer.sign([message])[0])
            ends.append("signed")
        except HsmUnavailableError:
            ends.append("away")
    print(json.dumps(ends))


def rate_through(home, module_path, sessions, count):
    """Print the signatures a second of one list."""
    signer = home.store(module_path=Path(module_path), sessions=int(sessions)).bind(KEY)
    batch = messages(int(count))
    signer.sign(batch[: int(sessions)])  # sessions opened, keys found
    before = time.monotonic()
    signer.sign(batch)
    print(len(batch) / (time.monotonic() - before))


def wrong_pin_through(home, module_path):
    """Try everything with a wrong PIN, several times, in threads and in a forked child."""
    store = home.store(module_path=Path(module_path), pin=PinSource.from_environment("WRONG_PIN"), sessions=4)
    refusals = []

    def try_it(call):
        try:
            call()
        except HsmPinRejectedError as error:
            refusals.append(str(error))

    calls = [lambda: store.bind(KEY), store.algorithms, lambda: store.identity, lambda: store.bind(KEY)]
    threads = [threading.Thread(target=try_it, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    child = os.fork()
    if not child:
        try_it(calls[0])
        os._exit(len(refusals) - len(calls))
    _, status = os.waitpid(child, 0)
    print(json.dumps({"refusals": refusals, "child": os.waitstatus_to_exitcode(status)}))


def bind_through(home, module_path):
    """Bind a key; say how that ended."""
    try:
        home.store(module_path=Path(module_path)).bind(KEY)
    except HsmPinRejectedError as error:
        print(f"refused: {error}")
    else:
        print("bound")


def token_goes_and_returns(home, module_path, down_file):
    """The token is taken away while in use: calls in the breaker's time and after it, then the token is back."""
    store = home.store(module_path=Path(module_path), sessions=2)
    store.breaker_seconds = 0.5
    signer = store.bind(KEY)
    batch = messages(10)
    log_file = Path(os.environ["SHIM_LOG"])
    story = []

    def call():
        before = log_file.stat().st_size
        try:
            verify_all(signer, batch, signer.sign(batch))
            story.append("signed")
        except HsmUnavailableError:
            story.append("away" if log_file.stat().st_size > before else "away, not asked")

    call()
    Path(down_file).touch()
    call()
    call()
    time.sleep(0.6)
    call()
    Path(down_file).unlink()
    call()
    time.sleep(0.6)
    call()
    print(json.dumps(story))


def sign_before_and_after_a_stop_through(home, module_path):
    """Use both sessions, stop the module, use both again."""
    signer = home.store(module_path=Path(module_path), sessions=2).bind(KEY)
    module = open_module(Path(module_path))
    batch = messages(20)
    verify_all(signer, batch, signer.sign(batch))
    module.stop(module.generation)
    verify_all(signer, batch, signer.sign(batch))


def sessions_left_after_close(home):
    """Print how many of the store's sessions the token still counts after ``close``."""
    store = home.store(sessions=3)
    store.bind(KEY).sign(messages(30))
    store.close()
    with open_module(home.module_path).alone(home.lock_file) as library:
        session = find_token(library, TOKEN_LABEL, "").open()  # nobody's login is left: private keys are hidden
        print(len(list(session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY}))))


def keep_signing_while_the_token_is_reset(home, sessions):
    """Threads sign while the module is stopped under them again and again: each call ends well or says away."""
    store = home.store(sessions=int(sessions))
    store.breaker_seconds = 0.0
    signer = store.bind(KEY)
    module = open_module(home.module_path)
    ends = {"signed": 0, "away": 0}
    end = time.monotonic() + 2

    def work():
        while time.monotonic() < end:
            batch = messages(8)
            try:
                verify_all(signer, batch, signer.sign(batch))
                ends["signed"] += 1
            except HsmUnavailableError:
                ends["away"] += 1

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    while time.monotonic() < end:
        module.stop(module.generation)
        time.sleep(0.02)
    for thread in threads:
        thread.join()
    print(json.dumps({**ends, "restarts": module.generation}))


if __name__ == "__main__":
    token_home = TokenHome(Path(sys.argv[2]))
    token_home.prepare()
    globals()[sys.argv[1]](token_home, *sys.argv[3:])
