"""The page's scripts that need no page, run by node: what they ask of the server, and what they take for a shortcut."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

import medvlp

WEB = Path(medvlp.__file__).parent / "serving" / "web"
NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="node is not on the path (Debian: apt-get install nodejs)")


@pytest.fixture
def told(tmp_path):
    """Run a script beside the page's, and return what it told as JSON."""
    folder = shutil.copytree(WEB, tmp_path / "web")
    (folder / "package.json").write_text('{"type": "module"}')

    def run(script):
        (folder / "script.js").write_text(script)
        ran = subprocess.run([str(NODE), "script.js"], cwd=folder, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)

    return run


def test_a_page_that_is_seen_again_says_at_once_that_it_is_there(told):
    asked = told("""
        import { stayAlive } from "./server.js";
        const asked = [], heard = {};
        globalThis.fetch = async (path) => { asked.push(path); return { ok: true, json: async () => ({ files: 0 }) }; };
        globalThis.addEventListener = () => {};
        globalThis.setInterval = () => {};
        globalThis.document = { visibilityState: "visible", addEventListener: (name, act) => { heard[name] = act; } };
        await stayAlive(15000, () => {});
        document.visibilityState = "hidden";
        heard.visibilitychange();
        const hidden = asked.length;
        document.visibilityState = "visible";
        heard.visibilitychange();
        console.log(JSON.stringify([hidden, asked]));
    """)
    assert asked == [1, ["/rr/alive", "/rr/alive"]]
