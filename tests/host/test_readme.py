"""What the README shows works: its commands, its links, its table of environment variables."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nvgemm import cli, settings

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
README = PAGES[0].read_text()
COMMANDS = sorted(set(re.findall(r"^\| `(nvgemm [^`]+)` \|", README, re.MULTILINE)))
WITHOUT_GPU = ("info", "explain", "sass", "compile", "demo")


def test_every_command_is_shown(capsys):
    shown = {command.split()[1] for command in COMMANDS}
    cli.main([])
    listed = re.findall(r"^  (\w+)  +\w", capsys.readouterr().out, re.MULTILINE)
    assert shown == set(listed)


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.split()[1] in WITHOUT_GPU])
def test_its_commands_run(command, cache_dir, capsys):
    assert cli.main(command.split()[1:]) == 0
    assert capsys.readouterr().out


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+?)(?:#[\w-]+)?\)", page.read_text())
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing


def test_every_variable_is_in_the_table():
    assert set(re.findall(r"^\| `(NVGEMM_\w+)` \|", README, re.MULTILINE)) == set(settings.VARIABLES.values())
