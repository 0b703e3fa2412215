"""Operands of instructions that `nvgemm.sass.opcodes` only names, from NVIDIA's disassembler where it is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path

from nvgemm.sass.cubin import INSTRUCTION_BYTES

INSTALL = "nvdisasm is not installed (pip install 'nvgemm[tools]'), so most operands are missing"
_TIMEOUT = 60  # s; a kernel takes 0.3
_LINE = re.compile(r"\s*/\*(?P<offset>[0-9a-f]{4,})\*/\s+(?P<text>[^;]+?)\s*;")
_KERNEL = re.compile(r"\.text\.(?P<name>\S+):")

Operands = dict[tuple[str, int], str]


def operands(image: bytes) -> tuple[Operands, str | None]:
    """Text of every instruction by kernel and index, without reuse flags; and why there is none, or None.

    A disassembler that is missing, or that refuses `image`, leaves the texts out: nothing else depends on it.
    """
    program = find()
    if program is None:
        return {}, INSTALL
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(image)
        file.flush()
        try:
            done = subprocess.run(
                [program, "-c", file.name], capture_output=True, text=True, errors="replace", timeout=_TIMEOUT
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return {}, f"nvdisasm could not be run, so most operands are missing: {error}"
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        return {}, f"nvdisasm refuses the cubin, so most operands are missing: {reason[0]}"
    return parse(done.stdout), None


def find() -> str | None:
    """Path of ``nvdisasm``: of the wheel beside this Python, or on PATH."""
    package = find_spec("nvidia")
    roots = (package.submodule_search_locations if package else None) or ()
    wheels = [str(path) for root in roots for path in Path(root).glob("*/bin/nvdisasm")]
    return next(iter(wheels), None) or shutil.which("nvdisasm")


def parse(listing: str) -> Operands:
    """Texts of a listing of ``nvdisasm -c``."""
    found: Operands = {}
    kernel = ""
    for line in listing.splitlines():
        if match := _KERNEL.match(line):
            kernel = match["name"]
        elif match := _LINE.match(line):
            text = re.sub(r"\s+", " ", match["text"]).replace(".reuse", "")
            found[kernel, int(match["offset"], 16) // INSTRUCTION_BYTES] = text
    return found
