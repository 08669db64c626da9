"""A machine of each test's own, on which the commands are called."""

from pathlib import Path

import pytest

from support.commands import Machine


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Give a machine with a catalogue in a folder, and nothing in its table."""
    machine = Machine(tmp_path)
    machine.work_here(monkeypatch)
    return machine


@pytest.fixture
def loaded(machine: Machine) -> Machine:
    """Give a machine whose catalogue is in its table."""
    assert machine.load().exit_code == 0
    return machine
