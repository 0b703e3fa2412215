"""A mistake in the kernel's protocol is noticed: by a wrong result, an error, or a hang that the watchdog ends.

And random delays at its barriers, which make rare orders of events common, change no bit.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import launch_configurations as dense
import launch_grouped_configurations as grouped
import pytest
from kernel_mutants import MUTANTS, PAIRS, SHAPE, of, with_changes, with_jitter
from launch_configurations import job, launch_all
from test_every_configuration import divided, fewest_stages

pytestmark = pytest.mark.gpu

HANG = 20  # seconds; six processes at once, each of which compiles
AT_ONCE = 6


def failure(kernels: Path, kind: str) -> str | None:
    """What is wrong with three launches of the kernel in this folder; each CTA computes several tiles."""
    of_groups = kind == PAIRS
    jobs = [grouped.job("contiguous-64", of(kind)) if of_groups else job(of(kind), SHAPE[0], num_sms=4)] * 3
    script = (grouped if of_groups else dense).__file__
    cache = str(kernels.parent / "cache")
    try:
        launch_all(jobs, timeout=HANG, script=script, NVGEMM_TEST_KERNELS=str(kernels), NVGEMM_CACHE_DIR=cache)
    except AssertionError as error:
        return str(error)
    return None


@pytest.fixture(scope="module")
def failures(tmp_path_factory) -> dict[str, tuple[str | None, str | None]]:
    """Of each mutant: without its mistake, and with it."""
    folder = tmp_path_factory.mktemp("mutants")

    def both(name: str) -> tuple[str | None, str | None]:
        kind, mistake, slow = MUTANTS[name]
        place = folder / str(list(MUTANTS).index(name))
        right = failure(with_changes(place / "right", slow), kind)
        return right, failure(with_changes(place / "wrong", slow, mistake), kind)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip(MUTANTS, pool.map(both, MUTANTS), strict=True))


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_noticed(name, failures):
    without, with_mistake = failures[name]
    assert without is None
    assert with_mistake is not None


@pytest.mark.parametrize("some", [fewest_stages, divided])
def test_delays_change_no_bit(some, tmp_path):
    jobs = [job(config, 190, num_sms=10) for config in some()[::3]]
    folder = with_jitter(tmp_path)
    launch_all(jobs, timeout=90, NVGEMM_TEST_KERNELS=str(folder), NVGEMM_CACHE_DIR=str(tmp_path / "cache"))
