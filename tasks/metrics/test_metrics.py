#!/usr/bin/env python3
"""Histories and rules that are good, empty, torn or broken, through the scripts of this folder.

    test_metrics.py PROMTOOL

Runs in scratch folders, without network. Needs git.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROMTOOL = ""
DAY, NOW = 86_400, int(time.time())


class Space(unittest.TestCase):
    """A workspace with a repository, and the folder of its environments."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="metrics-test.")
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        self.env = {"PATH": os.environ["PATH"], "HOME": folder.name, "PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C.UTF-8"}
        self.env |= {f"GIT_{who}_{what}": "t@example.invalid" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        self.git("init", "-q")

    def git(self, *words, **env):
        subprocess.run(["git", *words], cwd=self.root, env=self.env | env, check=True, stdout=subprocess.DEVNULL)

    def commit(self, days_ago):
        at = f"{NOW - int(days_ago * DAY)} +0000"
        self.git("commit", "-q", "--allow-empty", "-m", "x", GIT_AUTHOR_DATE=at, GIT_COMMITTER_DATE=at)

    def deployed(self, days_ago, outcome="live", action="deploy", seconds=60, before="r0"):
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(NOW - days_ago * DAY))
        line = {
            "at": at,
            "environment": "production",
            "action": action,
            "outcome": outcome,
            "seconds": seconds,
            "before": before,
        }
        place = self.root / "state/production/history.jsonl"
        place.parent.mkdir(parents=True, exist_ok=True)
        with open(place, "a") as file:
            file.write(json.dumps(line) + "\n")

    def ran(self, days_ago, target, outcome="executed", duration_ms=1000, name="runs"):
        ends = [{"target": target, "outcome": outcome, "exit_code": 0, "duration_ms": duration_ms}]
        line = {"schema": 1, "unix_ms": int((NOW - days_ago * DAY) * 1000), "goals": [target], "ok": outcome == "executed"}
        line |= {"executed": 1, "cached": 2, "saved_ms": 5000, "duration_ms": duration_ms, "targets": ends}
        (self.root / ".iact").mkdir(exist_ok=True)
        with open(self.root / ".iact" / name, "a") as file:
            file.write(json.dumps(line) + "\n")

    def run_script(self, *words, code=0):
        done = subprocess.run(words, cwd=self.root, env=self.env, capture_output=True, text=True)
        self.assertEqual(done.returncode, code, done)
        return done

    def dora(self, *more, code=0):
        return self.run_script(sys.executable, HERE / "dora.py", ".", "state", "production", *more, code=code)

    def keys(self, *more):
        found = json.loads(self.dora("--format", "json", *more).stdout)
        parts = ["deployment_frequency", "lead_time", "change_failure_rate", "time_to_restore"]
        return found, [found[part]["level"] for part in parts]


class Dora(Space):
    def test_without_deployments_nothing_is_good(self):
        self.commit(1)
        self.assertEqual(self.keys()[1], ["none"] * 4)
        self.assertIn("no data", self.dora().stdout)

    def test_a_good_day(self):
        self.commit(2.5 / 24)
        for hours_ago in range(2, 36):
            self.deployed(hours_ago / 24)
        found, levels = self.keys("--days", "2")
        self.assertEqual(levels, ["elite", "elite", "elite", "none"])
        self.assertAlmostEqual(found["lead_time"]["median_s"], 1800, delta=5)

    def test_what_was_rolled_back_has_failed_and_took_so_long(self):
        for days_ago in (9, 7, 5, 3):
            self.deployed(days_ago)
        self.deployed(3 - 2 / 24, action="rollback")
        found, levels = self.keys()
        self.assertEqual((found["deployments"], found["change_failure_rate"]["share"]), (4, 0.25))
        self.assertAlmostEqual(found["time_to_restore"]["mean_s"], 2 * 3600, delta=5)
        self.assertEqual(levels, ["medium", "none", "high", "high"])

    def test_a_sick_release_that_never_served_is_a_failure_restored_by_itself(self):
        self.deployed(2, outcome="failed", seconds=300)
        found, levels = self.keys()
        self.assertEqual(found["change_failure_rate"]["share"], 1)
        self.assertAlmostEqual(found["time_to_restore"]["mean_s"], 300, delta=5)
        self.assertEqual(levels[0], "low")

    def test_a_first_deployment_that_fails_is_down_until_the_next(self):
        self.deployed(2, outcome="failed", before=None)
        self.assertEqual(self.keys()[0]["time_to_restore"]["down"], 1)
        self.assertIn("1 failed deployments are not recovered", self.dora().stdout)
        self.deployed(1, before=None)
        found, levels = self.keys()
        self.assertEqual((found["time_to_restore"]["down"], levels[3]), (0, "medium"))

    def test_a_run_that_left_no_line_counts_and_one_that_did_counts_once(self):
        self.deployed(2)
        self.ran(2, "deploy-production", duration_ms=60_000)
        self.ran(1, "deploy-production", "failed")
        self.ran(1, "deploy-staging", "failed")
        found, _ = self.keys()
        self.assertEqual((found["deployments"], found["change_failure_rate"]["share"]), (2, 0.5))

    def test_torn_lines_do_not_count_and_are_said(self):
        self.deployed(1)
        self.ran(1, "x")
        for place in ("state/production/history.jsonl", ".iact/runs"):
            with open(self.root / place, "a") as file:
                file.write('{"schema": 1, "at"\n')
        said = self.dora()
        self.assertEqual(said.stderr.count("1 lines of"), 2, said.stderr)
        self.assertIn("1 deployments", said.stdout)

    def test_the_window_and_its_mistakes(self):
        self.deployed(1)
        self.deployed(100)
        self.assertEqual(self.keys("--days", "200")[0]["deployments"], 2)
        self.assertEqual(self.keys("--start", "2020-01-01", "--end", "2020-01-31")[0]["deployments"], 0)
        for wrong in (["--start", "tomorrow"], ["--start", "2020-02-01", "--end", "2020-01-01"], ["--days", "-1"]):
            self.assertIn("error", self.dora(*wrong, code=2).stderr)

    def test_outside_a_repository_there_is_no_lead_time(self):
        shutil.rmtree(self.root / ".git")
        self.deployed(1)
        said = self.dora("--output", "out/dora.json")
        self.assertIn("no lead time", said.stderr)
        self.assertEqual(json.loads((self.root / "out/dora.json").read_text())["lead_time"]["level"], "none")


class Metrics(Space):
    def test_what_is_written_is_what_prometheus_reads(self):
        self.ran(2, 'odd["name\\]', name="runs.old")
        self.ran(1, "backup")
        self.ran(0, "backup", "failed")
        self.run_script(sys.executable, HERE / "metrics.py", ".", "m/iact.prom")
        written = (self.root / "m/iact.prom").read_text()
        with open(self.root / "m/iact.prom") as file:
            done = subprocess.run([PROMTOOL, "check", "metrics"], stdin=file, capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done)
        self.assertIn(f'iact_target_last_success_timestamp_seconds{{target="backup"}} {NOW - DAY}', written)
        self.assertIn('iact_target_last_ok{target="backup"} 0', written)
        self.assertIn('iact_runs_total{result="failed"} 1', written)
        self.assertEqual([file.name for file in (self.root / "m").iterdir()], ["iact.prom"])

    def test_without_runs_the_disk_is_told_and_no_target(self):
        self.run_script(sys.executable, HERE / "metrics.py", ".", "iact.prom")
        written = (self.root / "iact.prom").read_text()
        self.assertIn("iact_disk_free_bytes", written)
        self.assertNotIn("iact_target", written)

    def test_usage(self):
        self.run_script(sys.executable, HERE / "metrics.py", code=2)


class Alerts(Space):
    def check(self, code, *edits):
        for name in ("alerts.yaml", "alerts_test.yaml", "prometheus.yaml"):
            shutil.copy(HERE / name, self.root)
        for name, old, new in edits:
            text = (self.root / name).read_text()
            self.assertIn(old, text)
            (self.root / name).write_text(text.replace(old, new, 1))
        return self.run_script(HERE / "alerts.sh", PROMTOOL, ".", code=code).stderr

    def test_each_broken_rule_is_named(self):
        for edit, told in [
            (("alerts.yaml", "max_connections > 0.9", "max_connections > > 0.9"), "parse error"),
            (("alerts.yaml", "for: 5m", "for: soon"), "not a valid duration"),
            (("alerts.yaml", "> 0.05", "> 0.5"), "HighErrorRate"),
            (("alerts.yaml", "labels: {severity: critical}", "labels: {severity: loud}"), "`HighErrorRate` lacks one of"),
            (
                ("alerts.yaml", "          runbook: Look at the log", "          about: Look at the log"),
                "`HighErrorRate` lacks one of",
            ),
            (("alerts.yaml", "alert: EtlFailed", "alert: EtlSick"), "no test rings `EtlSick`"),
            (("prometheus.yaml", "  - alerts.yaml", "  - absent.yaml"), "absent.yaml"),
            (("prometheus.yaml", "scrape_interval: 15s", "scrape_intervall: 15s"), "scrape_intervall"),
        ]:
            with self.subTest(edit=edit):
                self.assertIn(told, self.check(1, edit))

    def test_usage(self):
        self.run_script(HERE / "alerts.sh", code=2)
        self.run_script(HERE / "promtool.sh", code=2)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: test_metrics.py PROMTOOL")
    PROMTOOL = str(Path(sys.argv.pop()).resolve())
    unittest.main()
