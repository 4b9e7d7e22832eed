"""Every case of the tables of OCSP (O01 to O67), CRLs (L01 to L20) and guards (G1 to G9) is a test by its name."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent
NAMES = re.findall(r"def (test_\w+)", "\n".join(file.read_text("utf-8") for file in sorted(TESTS.rglob("test_*.py"))))


def cases_in(name, letter):
    """The numbers a name tells: ``o12``, ``o27_and_o28``, ``o34_to_o36``."""
    for first, last in re.findall(rf"(?<![a-z0-9]){letter}(\d+)(?:_to_{letter}(\d+))?(?![a-z0-9])", name):
        yield from range(int(first), int(last or first) + 1)


@pytest.mark.parametrize(("letter", "most"), [("o", 67), ("l", 20), ("g", 9)])
def test_every_case_has_its_test(letter, most):
    told = {number for name in NAMES for number in cases_in(name, letter)}
    assert sorted(set(range(1, most + 1)) - told) == []
