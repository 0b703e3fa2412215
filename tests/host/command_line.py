"""The command line as tests call it, within this process."""

from __future__ import annotations

import pytest

from nvgemm import cli


def output(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command that succeeds prints."""
    assert cli.main(arguments) == 0
    return capsys.readouterr().out
