"""Every total is right in the end, however the catalogue changes while events pour in."""

import os

import pytest

from support.life import Life

SEEDS = int(os.environ.get("METERSTONE_LIVES", "25"))


@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_total_is_what_log_and_records_come_to(seed: int) -> None:
    life = Life(seed)
    life.live(150)
    life.check()
