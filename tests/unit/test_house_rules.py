"""The rules of the house, as far as a machine can check them: floors, sizes, formats, types, what a wheel holds."""

import ast
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[2]
SHIPPED = ("pki_core", "flows", "webapp", "deployments")
LONGEST_FILE = 400
NAMES_THAT_SAY_NOTHING = {"utils", "util", "common", "helpers", "base", "misc"}
IMPORT_THE_WHOLE_FRONT = """
import importlib, pkgutil, sys, webapp
for module in pkgutil.walk_packages(webapp.__path__, "webapp."):
    importlib.import_module(module.name)
print(sorted({"pandas", "prefect"} & set(sys.modules)))
"""


def python_files(*folders):
    return sorted(file for folder in folders for file in (ROOT / folder).rglob("*.py"))


def name(file):
    return str(file.relative_to(ROOT))


def run(*command):
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


def tool(program, *arguments):
    result = run(str(Path(sys.executable).with_name(program)), *arguments)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_first_line_of_every_module_says_what_it_is():
    silent = [
        name(file)
        for file in python_files(*SHIPPED, "bench", "tests")
        if file.stat().st_size and not (ast.get_docstring(ast.parse(file.read_text())) or "").split("\n")[0].strip()
    ]
    assert silent == []


def test_no_file_is_longer_than_400_lines():
    lengths = {name(file): len(file.read_text().splitlines()) for file in python_files(*SHIPPED)}
    assert {file: length for file, length in lengths.items() if length > LONGEST_FILE} == {}


def test_no_module_has_a_name_that_says_nothing():
    assert [
        name(file) for file in python_files(*SHIPPED) if NAMES_THAT_SAY_NOTHING & {file.stem, file.parent.name}
    ] == []


def test_every_import_points_down():
    tool("lint-imports", "--no-cache")


def test_the_code_is_formatted_and_clean():
    tool("ruff", "format", "--check", "--quiet")
    tool("ruff", "check", "--quiet")


def test_the_types_hold():
    tool("mypy")


def test_the_web_front_loads_neither_pandas_nor_prefect():
    result = run(sys.executable, "-c", IMPORT_THE_WHOLE_FRONT)
    assert (result.returncode, result.stdout.strip()) == (0, "[]"), result.stderr


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_a_wheel_holds_profiles_and_migrations(wheel_names):
    assert "pki_core/issuance/profiles/contract_leaf.toml" in wheel_names
    assert any(file.startswith("pki_core/store/migrations/versions/") for file in wheel_names)


def test_a_wheel_holds_every_file_of_the_packages(wheel_names):
    files = {
        name(file)
        for folder in SHIPPED
        for file in (ROOT / folder).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert files - wheel_names == set()


def test_fixtures_that_test_modules_share_have_names_of_their_own():
    # pytest knows the fixtures of every plugin in every module: of two with one name the later one is taken.
    found = {}
    for file in [*(ROOT / "tests/journeys").glob("*environment*.py"), *(ROOT / "tests/hsm").glob("*fixtures.py")]:
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and any("fixture" in ast.unparse(one) for one in node.decorator_list):
                found.setdefault(node.name, []).append(name(file))
    assert {fixture: files for fixture, files in found.items() if len(files) > 1} == {}


def test_test_modules_share_what_they_need_in_modules_that_hold_no_tests():
    found = [
        f"{name(file)}: {node.module}"
        for file in python_files("tests")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").rpartition(".")[2].startswith("test_")
    ]
    assert found == []
