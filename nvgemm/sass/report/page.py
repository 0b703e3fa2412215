"""A report as one HTML page that needs nothing beside it: collapsible runs, search, and a timeline of each run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from nvgemm.sass.report.paint import pieces
from nvgemm.sass.report.statistics import side_by_side
from nvgemm.sass.report.terminal import summary
from nvgemm.sass.report.timeline import FREE

_TEMPLATE = Path(__file__).with_name("page.html")
_HEADINGS = ("pos", "offset", "raw", "patched", "instruction", "why")


def page(content: Mapping[str, Any], title: str) -> str:
    """HTML of `facts.facts`; `title` says what was built, or the file's name."""
    head = [f"policy {content['policy']}", summary(content["summary"]), content["hint"]]
    return Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=escape(title),
        head="\n".join(f"<p>{escape(line)}</p>" for line in head if line),
        kernels="\n".join(map(_kernel, content["functions"])),
    )


def _kernel(kernel: Mapping[str, Any]) -> str:
    registers = "" if kernel["registers"] is None else f", {kernel['registers']} registers"
    shown = "".join(_run(number, run) for number, run in enumerate(kernel["runs"], 1))
    nothing = "<p>No promotion runs: nothing to patch.</p>"
    return (
        f"<section><h2>{escape(kernel['name'])}</h2><p>{kernel['instructions']} instructions{registers}</p>"
        f"{_counts(kernel) + shown if kernel['runs'] else nothing}</section>"
    )


def _counts(kernel: Mapping[str, Any]) -> str:
    rows = [("FFMAs", kernel["ffmas"], kernel["ffmas"]), *side_by_side(kernel["before"], kernel["after"])]
    cells = "".join(f"<tr><th>{name}</th><td>{old}</td><td>{new}</td></tr>" for name, old, new in rows)
    return f"<table class=counts><tr><th></th><th>raw</th><th>patched</th></tr>{cells}</table>"


def _run(number: int, run: Mapping[str, Any]) -> str:
    lines = run["lines"]
    changed = sum(line["changed"] for line in lines)
    same = f", the same as run {run['same_as']}" if run["same_as"] else ""
    title = f"Run {number}: {run['ffmas']} FFMAs from {lines[0]['offset']:#06x}, {changed} changed{same}"
    strips = "".join(_strip(name, run["timeline"][key]) for name, key in (("raw", "before"), ("patched", "after")))
    headings = "".join(f"<th>{name}</th>" for name in _HEADINGS)
    return (
        f"<details{'' if run['same_as'] else ' open'}><summary>{title}</summary><div class=strip>{strips}</div>"
        f"<table class=lines><thead><tr>{headings}</tr></thead><tbody>{''.join(map(_line, lines))}</tbody></table>"
        "</details>"
    )


def _strip(name: str, cells: Sequence[str]) -> str:
    marks = "".join(f"<i class={cell} title='cycle {cycle}: {cell}'></i>" for cycle, cell in enumerate(cells))
    return f"<h3>{name}: {len(cells)} cycles, {cells.count(FREE)} given away</h3><div class=cells>{marks}</div>"


def _line(line: Mapping[str, Any]) -> str:
    position = "" if line["position"] is None else line["position"]
    text = "".join(_piece(*piece) for piece in pieces(line["text"], line["reuse"]))
    return (
        f"<tr{' class=changed' if line['changed'] else ''}><td class=position>{position}</td>"
        f"<td class=offset>{line['offset']:#06x}</td><td class=raw>{line['before']}</td>"
        f"<td class=patched>{line['after']}</td><td class=text>{text}</td><td class=why>{escape(line['why'])}</td></tr>"
    )


def _piece(role: str | None, kept: bool, text: str) -> str:
    names = " ".join(name for name in (role, "kept" if kept else None) if name)
    return f'<span class="{names}">{escape(text)}</span>' if names else escape(text)
