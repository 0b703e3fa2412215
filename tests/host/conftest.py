"""What several host test modules use: one cubin cache for all of a module's commands."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nvgemm import settings


@pytest.fixture(scope="module")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Cubin cache of a module's tests, so that a kernel is compiled once; policy s2e2."""
    folder = str(tmp_path_factory.mktemp("cache"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "cache_dir", folder)
        patch.setattr(settings, "sass", "s2e2")
        yield folder
