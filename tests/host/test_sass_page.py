"""The HTML page: everything in one file, everything escaped; and, where Chromium is installed, what a reader can do."""

import re
import shutil
import subprocess
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import pytest
from sass_compile import promotion_cubin
from sass_handmade import EXIT, NOP, WARPGROUP, cubin, promotion

from nvgemm.sass import policy
from nvgemm.sass.report.facts import facts
from nvgemm.sass.report.page import page

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
QUIET = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
QUIET += ("--disable-component-update", "--disable-sync", "--enable-logging=stderr")
WORDS = [WARPGROUP, *promotion(8, reuse=0), *[NOP] * 8, WARPGROUP, *promotion(8, reuse=0), *[NOP] * 8, EXIT]
VOID = {"meta", "input", "link", "br"}


class Tags(HTMLParser):
    """Fails where an element is closed that is not the one last opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [str(value) for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def page_of(image: bytes, name: str, title: str = "a title") -> str:
    return page(facts(image, policy.apply(image, name), name), title)


def test_one_file_and_well_formed() -> None:
    tags = Tags()
    tags.feed(page_of(promotion_cubin(112), "s2e2"))
    assert tags.open == []
    assert tags.links == ["https://arxiv.org/abs/2503.20481"]  # nothing is loaded


def test_each_line_and_each_cycle_is_there() -> None:
    raw = cubin({"k": WORDS})
    content = facts(raw, policy.apply(raw, "e2"), "e2")
    html = page(content, "t")
    lines = [line for run in content["functions"][0]["runs"] for line in run["lines"]]
    assert html.count("<tr class=changed>") == sum(line["changed"] for line in lines)
    assert all(f"<td class=offset>{line['offset']:#06x}</td>" in html for line in lines)
    cells = sum(len(strip) for run in content["functions"][0]["runs"] for strip in run["timeline"].values())
    assert html.count("title='cycle ") == cells
    assert html.count("<details open>") == 1  # the second run is the same
    assert '<span class="scale kept">R100</span>' in html


def test_names_are_escaped() -> None:
    html = page_of(cubin({"<k>&": WORDS}), "e2", "</title><script>$boom")
    assert "<k>" not in html
    assert "<script>$boom" not in html
    assert escape("</title><script>$boom") in html


def test_a_cubin_without_runs() -> None:
    assert "No promotion runs" in page_of(cubin({"k": [EXIT]}), "s2e2")


PROBE = """
<iframe id="frame" style="width: %dpx; height: 800px; border: 0"></iframe>
<script>
const frame = document.getElementById("frame");
frame.onload = () => {
  const inner = frame.contentDocument, view = frame.contentWindow, wide = inner.documentElement.scrollWidth;
  const shown = () => [...inner.querySelectorAll(".lines tbody tr")].filter(row => row.checkVisibility()).length;
  const facts = [wide <= view.innerWidth, shown()], box = inner.getElementById("search");
  box.value = "ffma r2,";
  box.dispatchEvent(new view.Event("input"));
  facts.push(shown(), inner.getElementById("found").textContent);
  box.value = "";
  box.dispatchEvent(new view.Event("input"));
  facts.push(shown());
  document.body.append(JSON.stringify(facts));
};
frame.srcdoc = document.getElementById("page").content.textContent;
</script>
"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
@pytest.mark.parametrize("width", [1280, 360])
def test_a_browser_shows_searches_and_fits(tmp_path: Path, width: int) -> None:
    html = page_of(cubin({"k" * 90: WORDS}), "e2")
    probe = tmp_path / "probe.html"
    probe.write_text(f'<template id="page">{escape(html)}</template>{PROBE % width}', encoding="utf-8")
    command = [str(BROWSER), "--headless", *QUIET, f"--user-data-dir={tmp_path / 'data'}", "--window-size=1300,900"]
    done = subprocess.run([*command, "--dump-dom", probe.as_uri()], capture_output=True, text=True, timeout=60)
    assert not re.search(r"CONSOLE.*(error|Uncaught)", done.stderr, re.IGNORECASE), done.stderr
    facts_seen = re.findall(r"\[true,.*?\]|\[false,.*?\]", done.stdout)
    # the second run is collapsed until something in it is searched for
    assert facts_seen == ['[true,8,2,"2 of 16 lines",8]'], done.stdout[-500:]
