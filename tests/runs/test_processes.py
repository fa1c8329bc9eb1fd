"""Processes are known by host, number and start time."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil

from brainviz.runs.processes import ProcessIdentity, start_detached


def test_this_process_is_alive_and_a_dead_one_is_not(dead_process):
    assert ProcessIdentity.current().alive() is True
    assert dead_process.alive() is False


def test_a_later_process_with_the_same_number_is_another_one():
    now = ProcessIdentity.current()
    assert replace(now, started=now.started - 60).alive() is False


def test_nobody_can_tell_from_another_host():
    assert replace(ProcessIdentity.current(), host="elsewhere").alive() is None


def test_a_zombie_is_dead(eventually):
    process = subprocess.Popen([sys.executable, "-c", ""])
    identity = ProcessIdentity.of(process.pid)
    eventually(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE)
    assert identity.alive() is False
    process.wait()


def test_a_detached_process_has_a_session_and_an_environment_of_its_own(tmp_path, eventually, monkeypatch):
    monkeypatch.setenv("BRAINVIZ_CONFIG", "some.toml")
    code = "import os; print(os.getsid(0), os.environ['BRAINVIZ_CACHE'], os.environ['BRAINVIZ_CONFIG'], flush=True)"
    identity = start_detached(["-c", code], tmp_path, tmp_path / "log")
    eventually(lambda: (tmp_path / "log").read_text().endswith("\n"))
    session, cache, config = (tmp_path / "log").read_text().split()
    assert int(session) == identity.pid != os.getsid(0)
    assert cache == str(tmp_path)
    assert config == str(Path("some.toml").absolute())
