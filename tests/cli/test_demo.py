"""The demo, run as a user runs it."""

import re
import socket
import subprocess
import sys


def demo(*arguments, cwd):
    command = [sys.executable, "-m", "aiotrack.cli", "demo", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


def test_the_demo_tracks_a_crowd_and_its_counters_reconcile(tmp_path):
    for _ in range(2):  # the second replaces the first one's file
        ended = demo("--visitors", "60", cwd=tmp_path)
        assert ended.returncode == 0, ended.stderr
        for word in ("view", "add_to_cart", "purchase", "60/60", f"{tmp_path}/aiotrack-demo.db", "Try next"):
            assert word in ended.stdout
        found = re.search(
            r"accepted (\d+) = delivered (\d+) \+ dead 0 \+ dropped 0 \+ pending 0;  refused (\d+)", ended.stdout
        )
        assert found, ended.stdout
        accepted, delivered, refused = map(int, found.groups())
        assert accepted == delivered > 100
        assert refused >= 1


def test_what_can_go_wrong_is_a_sentence(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = demo("--port", str(port), cwd=tmp_path)
    assert ended.returncode == 1
    assert f"can't open the shop at port {port}: " in ended.stderr
    assert "Traceback" not in ended.stderr
    ended = demo("--store", "missing/demo.db", cwd=tmp_path)
    assert ended.returncode == 1
    assert "can't use" in ended.stderr
    assert "Traceback" not in ended.stderr
    mine = tmp_path / "mine.db"
    mine.write_text("precious")
    assert "exists already" in demo("--store", str(mine), cwd=tmp_path).stderr
    assert mine.read_text() == "precious"
