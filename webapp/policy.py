"""The certificate policy document (RFC 3647) of one environment, as text and as a page.

The text is ``policy.md`` beside this module: headings, paragraphs and lists, with the environment's own values put in.
"""

import html
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from string import Template

from pki_core.model.profiles import Profile
from pki_core.settings import Settings

_STYLE = "body{max-width:46em;margin:2em auto;padding:0 1em;font:16px/1.5 sans-serif}"


def policy_text(settings: Settings, profiles: Mapping[str, Profile]) -> str:
    """Return the document as plain text, with what settings and profiles say put in."""
    certificates = settings.certificates
    return Template(_shipped()).substitute(
        environment=settings.environment.upper(),
        operator=settings.policy.operator,
        contact=settings.policy.contact,
        policy_oid=certificates.policy_oid,
        address=certificates.cps_uri,
        ocsp=certificates.ocsp_url.replace("{issuer}", "ISSUER"),
        leaf_hours=settings.ocsp.leaf_hours,
        ca_hours=settings.ocsp.ca_hours,
        crl_minutes=settings.crl.period_minutes,
        crl_hours=settings.crl.validity_hours,
        root_days=settings.crl.root_validity_days,
        validity="\n".join(f"- {one.id}: {_duration(one.validity_days)}" for one in profiles.values()),
    )


def policy_html(settings: Settings, profiles: Mapping[str, Profile]) -> str:
    """Return the document as one page without scripts or foreign content."""
    body: list[str] = []
    for block in policy_text(settings, profiles).split("\n\n"):
        lines = block.strip().split("\n")
        if lines[0].startswith("#"):
            level = len(lines[0]) - len(lines[0].lstrip("#"))
            body.append(f"<h{level}>{html.escape(lines[0].lstrip('# '))}</h{level}>")
            lines = lines[1:]
        items = [line for line in _joined(lines) if line.startswith("- ")]
        text = [line for line in _joined(lines) if not line.startswith("- ")]
        if text and text != [""]:
            body.append(f"<p>{html.escape(' '.join(text))}</p>")

        if items:
            body += ["<ul>", *(f"<li>{html.escape(item[2:])}</li>" for item in items), "</ul>"]
    title = html.escape(f"Certificate policy {settings.certificates.policy_oid}")
    head = f'<meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>\n' + "\n".join(body) + "\n</body></html>\n"


def _joined(lines: list[str]) -> list[str]:
    """Put the lines of one list item together."""
    joined: list[str] = []
    for line in lines:
        if line.startswith("  ") and joined:
            joined[-1] += " " + line.strip()
        else:
            joined.append(line)
    return joined


def _duration(days: int) -> str:
    years = round(days / 365.25)
    return f"{years} years" if years > 1 and abs(days - years * 365.25) < 1 else f"{days} days"


@lru_cache(maxsize=1)
def _shipped() -> str:
    return files("webapp").joinpath("policy.md").read_text(encoding="utf-8")
