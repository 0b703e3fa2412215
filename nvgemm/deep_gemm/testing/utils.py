"""Conditions on tests."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

Test = Callable[..., None]


def get_arch_major() -> int:
    """Major compute capability of the current device: 9 on Hopper."""
    import torch

    return int(torch.cuda.get_device_capability()[0])


def test_filter(condition: Callable[[], bool]) -> Callable[[Test], Test]:
    """Decorator: the test runs where `condition` holds, and says so where it does not."""

    def decorate(test: Test) -> Test:
        @functools.wraps(test)
        def run(*args: Any, **kwargs: Any) -> None:
            if condition():
                test(*args, **kwargs)
            else:
                print(f"{test.__name__}: left out by {condition}")

        return run

    return decorate


def ignore_env(name: str, condition: Callable[[], bool]) -> Callable[[Test], Test]:
    """Decorator: the test runs without the environment variable `name` where `condition` holds."""

    def decorate(test: Test) -> Test:
        @functools.wraps(test)
        def run(*args: Any, **kwargs: Any) -> None:
            saved = os.environ.pop(name, None) if condition() else None
            try:
                test(*args, **kwargs)
            finally:
                if saved is not None:
                    os.environ[name] = saved

        return run

    return decorate
