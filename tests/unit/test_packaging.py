"""The wheel: what `pip install .` installs, and that the command finds its files there."""

import os
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from meterstone_cli import __version__

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)  # noqa: S603 - our own
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def files(folder: Path, *, inside: Path = ROOT) -> Iterator[str]:
    found = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return (str(path.relative_to(inside)) for path in found)


def test_the_wheel_has_the_code_and_what_commands_need_and_nothing_else(wheel: Path) -> None:
    data = ["template.yaml", "requirements/engine.txt"]
    for folder in ("functions", "examples", "docs/catalogue"):
        data += files(ROOT / folder)
    expected = {f"meterstone_cli/data/{name}" for name in data}
    expected |= set(files(ROOT / "cli" / "meterstone_cli", inside=ROOT / "cli"))
    expected |= set(files(ROOT / "layers/meterstone/meterstone", inside=ROOT / "layers/meterstone"))

    assert {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name} == expected


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--help"], 0, "Usage analytics and pricing"),
        (["--version"], 0, f"meterstone {__version__}\n"),
        (["catalogue", "check", "{data}/examples/demo/catalogue"], 0, "42 customers"),
        (["start", "--port", "0"], 2, "--port"),
        (["start", "--engine", "/nonexistent"], 1, "-r {data}/requirements/engine.txt"),
    ],
    ids=["help", "version", "check", "usage", "no engine"],
)
def test_an_installed_command_finds_its_files(
    installed: Path, tmp_path: Path, arguments: list[str], status: int, said: str
) -> None:
    data = str(installed / "meterstone_cli" / "data")
    result = subprocess.run(  # noqa: S603 - our own
        [sys.executable, "-m", "meterstone_cli", *(each.format(data=data) for each in arguments)],
        cwd=tmp_path,
        env={
            "PATH": os.defpath,
            "PYTHONPATH": str(installed),
            "PYTHONDONTWRITEBYTECODE": "1",
            "XDG_STATE_HOME": str(tmp_path / "state"),
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert said.format(data=data) in result.stdout + result.stderr
    assert result.returncode == status
    # What an installed command keeps is not kept among its own files.
    assert not list(installed.rglob(".meterstone"))


def test_the_command_is_called_meterstone(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    name = next(each for each in archive.namelist() if each.endswith("entry_points.txt"))

    assert archive.read(name).decode() == "[console_scripts]\nmeterstone = meterstone_cli.launch:main\n"


def test_the_api_description_the_changelog_and_the_command_have_one_version() -> None:
    assert yaml.safe_load((ROOT / "openapi.yaml").read_text())["info"]["version"] == __version__
    assert f"\n## [{__version__}] - " in (ROOT / "CHANGELOG.md").read_text()


def requirements(path: Path) -> set[str]:
    lines = (line.split("#")[0].strip() for line in path.read_text().splitlines())
    return {line for line in lines if line and not line.startswith("-")}


def test_what_is_installed_beside_is_what_the_environment_of_start_has() -> None:
    pinned = requirements(ROOT / "requirements/runtime.in")
    layer = requirements(ROOT / "layers/meterstone/requirements.in")

    assert (
        set(PROJECT["project"]["dependencies"]) | set(PROJECT["build-system"]["requires"]) == pinned | layer
    )
