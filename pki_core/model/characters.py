"""Characters that no log, file name or SQL text may hold, and what stands in their places."""

import re
from typing import Final

# C0 and C1 controls, line and paragraph separators, lone surrogates
CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# What Python makes of octets that are not UTF-8, in arguments and file names
SURROGATE: Final = re.compile("[\ud800-\udfff]")
REPLACEMENT: Final = "\ufffd"


def without_controls(text: str) -> str:
    """Return a text that can be stored and shown anywhere."""
    return CONTROL.sub(REPLACEMENT, text)


def without_surrogates(text: str) -> str:
    """Return a text that can be written as UTF-8."""
    return SURROGATE.sub(REPLACEMENT, text)
