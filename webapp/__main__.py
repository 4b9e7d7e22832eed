"""``python -m webapp``: the web server as processes. ``pncpki serve`` runs it; the other acts are its own children."""

import argparse
import json
import os
import sys
from pathlib import Path

from pki_core.model.errors import InvariantError, MalformedError, PkiError, RequestError

EXIT_REFUSED, EXIT_UNAVAILABLE, EXIT_FAULT = 1, 3, 4


def main() -> int:
    """Do one act; returns the exit code of the process."""
    os.umask(0o077)  # what a server or its jobs write is their owner's alone; gunicorn gives its socket to the group
    options = _parser().parse_args()
    try:
        return _act(options)
    except PkiError as error:
        if options.json:
            sys.stdout.write(json.dumps({"error": error.code, "message": str(error)}) + "\n")
        else:
            sys.stderr.write(f"pncpki: {error}\n")
        if isinstance(error, RequestError):
            return EXIT_REFUSED
        return EXIT_FAULT if isinstance(error, InvariantError) else EXIT_UNAVAILABLE


def _act(options: argparse.Namespace) -> int:
    if options.act == "serve":
        from webapp.serving import Front, FrontOptions  # noqa: PLC0415

        chosen = FrontOptions(
            home=options.home,
            address=options.bind,
            https_port=options.https_port,
            http_port=options.http_port,
            proxy_socket=options.proxy_socket,
            as_json=options.json,
        )
        return Front(chosen).run()
    if options.act == "certificate":
        return _ensure_certificate(options)
    if options.act in {"load", "bundle"}:
        return _batch_job(options)
    if options.act == "openapi":
        return _write_document(options)
    if options.act == "https":
        from webapp.gunicorn_settings import serve_https  # noqa: PLC0415

        serve_https(options.home, options.socket, tls=options.tls)
    else:
        from webapp.serve_plain import serve_plain  # noqa: PLC0415

        serve_plain(options.home, options.bind, options.port)
    return 0


def _batch_job(options: argparse.Namespace) -> int:
    from webapp.batch_jobs import load_file, write_bundle  # noqa: PLC0415
    from webapp.job_limits import end_with_the_front, limit_memory  # noqa: PLC0415

    limit_memory()
    if options.lifeline:
        end_with_the_front(lambda: options.file.unlink(missing_ok=True) if options.act == "load" else None)
    if options.act == "bundle":
        answer = write_bundle(options.home, options.batch, options.out)
    else:
        from pki_core.model.batches import BatchKind  # noqa: PLC0415
        from pki_core.services.uploads import Upload  # noqa: PLC0415

        upload = Upload(
            path=options.file,
            source_name=options.name,
            partner_id=options.partner,
            profile_name=options.profile,
            kind=BatchKind(options.kind),
        )
        answer = load_file(options.home, upload)
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


def _ensure_certificate(options: argparse.Namespace) -> int:
    from pki_core.runtime import open_runtime  # noqa: PLC0415

    runtime = open_runtime(options.home)
    try:
        runtime.server_certificate.ensure(renew=options.renew)
    finally:
        runtime.close()
    return 0


def _write_document(options: argparse.Namespace) -> int:
    from pki_core.runtime import open_runtime  # noqa: PLC0415
    from webapp.app import create_app  # noqa: PLC0415
    from webapp.openapi import document  # noqa: PLC0415

    runtime = open_runtime(options.home)
    try:
        text = json.dumps(document(create_app(runtime), runtime), indent=1) + "\n"
    finally:
        runtime.close()
    if options.out is None:
        sys.stdout.write(text)
        return 0
    try:
        options.out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise MalformedError(f"{options.out} cannot be written: {error.strerror}") from error
    said = json.dumps({"out": str(options.out)}) if options.json else f"the API document is in {options.out}"
    sys.stdout.write(said + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m webapp", description=__doc__)
    acts = parser.add_subparsers(dest="act", required=True)
    serve = acts.add_parser("serve", help="both listeners, until a signal")
    serve.add_argument("--bind", default="127.0.0.1")
    serve.add_argument("--https-port", type=int, default=8443)
    serve.add_argument("--http-port", type=int, default=8080)
    serve.add_argument("--proxy-socket", type=Path)
    certificate = acts.add_parser("certificate", help="look after the server's certificate and the trust anchors")
    certificate.add_argument("--renew", action="store_true", help="issue a new one whatever the old one is")
    https = acts.add_parser("https")
    https.add_argument("--socket", required=True)
    https.add_argument("--tls", action="store_true")
    plain = acts.add_parser("plain")
    plain.add_argument("--bind", required=True)
    plain.add_argument("--port", type=int, required=True)
    load = acts.add_parser("load", help="load a file of requests as a batch, and remove it")
    load.add_argument("--file", type=Path, required=True)
    for name in ("--partner", "--profile", "--kind", "--name"):
        load.add_argument(name, required=True)
    bundle = acts.add_parser("bundle", help="write the results of a batch")
    bundle.add_argument("--batch", required=True)
    bundle.add_argument("--out", type=Path, required=True)
    for job in (load, bundle):
        job.add_argument("--lifeline", action="store_true", help="end when the standard input does")
    described = acts.add_parser("openapi", help="write the API document")
    described.add_argument("--out", type=Path)
    for act in (serve, certificate, https, plain, load, bundle, described):
        act.add_argument("--home", type=lambda text: Path(text).resolve(), required=True)
        act.add_argument("--json", action="store_true")
    return parser


if __name__ == "__main__":
    sys.exit(main())
