"""Settings: read once from the environment when `nvgemm` is imported, and assignable afterwards.

``nvgemm.settings.debug = 1`` does what ``NVGEMM_DEBUG=1`` does for the calls that follow.
"""

from __future__ import annotations

import os
import re

VARIABLES = {
    "cache_dir": "NVGEMM_CACHE_DIR",
    "bundle_dir": "NVGEMM_BUNDLE_DIR",
    "compile": "NVGEMM_COMPILE",
    "sass": "NVGEMM_SASS",
    "nvrtc": "NVGEMM_NVRTC",
    "hints": "NVGEMM_HINTS",
    "debug": "NVGEMM_DEBUG",
}
"""Setting → environment variable. A variable set to the empty text counts as not set."""


def _text(name: str) -> str | None:
    return os.environ.get(VARIABLES[name]) or None


def _choice(name: str, allowed: tuple[str, ...]) -> str:
    value = _text(name) or allowed[0]
    if value not in allowed:
        raise ValueError(f"{VARIABLES[name]}: expected one of {', '.join(allowed)}, got {value!r}")
    return value


def _policy(name: str, default: str) -> str:
    value = _text(name) or default
    if not re.fullmatch(r"[\w-]+", value):  # which names exist is known to nvgemm.sass.policy, a layer above
        raise ValueError(f"{VARIABLES[name]}: expected tuned, asis, none or the name of a policy, got {value!r}")
    return value


cache_dir: str | None = _text("cache_dir")
"""Folder of the cubin cache; None: a checkout's ``cache/``, else ``$XDG_CACHE_HOME/nvgemm``."""

bundle_dir: str | None = _text("bundle_dir")
"""Read-only second cache, shipped with built kernels; None: there is none."""

compile: str = _choice("compile", ("auto", "never"))
"""``auto`` compiles what the caches lack; ``never`` takes any compiler's entry and refuses to compile."""

sass: str = _policy("sass", "tuned")
"""Policy for the control bits: ``tuned``, ``asis``, ``none``, or a name such as ``s2e2``."""

nvrtc: str | None = _text("nvrtc")
"""Path or version of another NVRTC; None: the newest wheel's, else the CUDA toolkit's."""

hints: bool = _choice("hints", ("1", "0")) == "1"
"""0: nothing is said on stderr of a first compilation, nor of a compiler that a table names and that is missing."""

debug: int = int(_choice("debug", ("0", "1", "2")))
"""0 silent; 1 tells on stderr what is compiled and how long it takes; 2 also the options and what ptxas says of it."""


def snapshot() -> dict[str, tuple[str | int | None, str]]:
    """Current values: setting → (value, environment variable)."""
    return {name: (globals()[name], variable) for name, variable in VARIABLES.items()}
