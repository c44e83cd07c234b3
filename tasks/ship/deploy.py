#!/usr/bin/env python3
"""Puts a release into an environment beside the one that serves, and takes it back at the first sign of sickness.

    deploy.py deploy   ROOT ENVIRONMENT PORT BACKEND FRONTEND [NAME=VALUE...]     the archives of the two images
    deploy.py rollback ROOT ENVIRONMENT [NAME=VALUE...]            back to the release that served before
    deploy.py start    ROOT ENVIRONMENT         what was live is started again, after the machine was
    deploy.py smoke    ROOT ENVIRONMENT         asks the live site; changes nothing
    deploy.py status   ROOT ENVIRONMENT         what runs; changes nothing
    deploy.py stop     ROOT ENVIRONMENT         ends it all; data and releases stay

ROOT is the folder of all environments (empty: ~/.local/state/callcentersite). NAME=VALUE: `patience` (seconds until the new release has
to be healthy), `migration` (seconds that its migration may take), `checks` and `every` (how often it is asked after the switch, and the seconds between), `hold` (seconds for which the
old one is kept ready beside it).

Blue and green: the idle colour gets the new release, is migrated, asked for its health and smoke-tested on a port of its own; then the
front is switched, and the new one watched through it. The old one serves, or stands ready, until that is over. Whatever goes wrong before,
a killed deploy included, ends with the front at the old colour and nothing of the new one left. The schema is not taken back: a migration
has to leave the old release working (`migrations-check`); the copy in `backups/` is from before. Needs bubblewrap and nginx.

Exit: 0 done, 1 sick or refused, 2 usage, 128+N after signal N.
"""

import os
import shutil
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True

import front as front_room
import link as links
import oci
import probe
import process
import release
from room import Refused, Room

GRACE_S = 12
POLL_S = 0.1
LIMITS = {"patience": 60.0, "migration": 600.0, "checks": 3.0, "every": 1.0, "hold": 0.0}


class Sick(Exception):
    """The new release does not do its work."""


class Deploy:
    """One attempt to change what is live."""

    def __init__(self, room, limits, link):
        self.room, self.limits, self.link = room, limits, link
        self.front = front_room.Front(room)

    def tidy(self):
        """Undoes what a deploy that died has left, and ends what is not live."""
        if self.room.state["trial"]:
            self.link.say("an earlier deploy was killed: undoing it")
            self.undo()
        idle = self.room.state["colours"].pop(self.room.idle, None)
        if idle:
            process.stop(idle["processes"], GRACE_S)
            self.room.save()

    def undo(self):
        """The old release serves, the new one is gone."""
        trial, live = self.room.state["trial"], self.room.live
        if trial["switched"] and live:
            self.front.point_to(trial["port"], live)
            wrong = self.front.wait_for(live)
            if not wrong:
                self.front.drain()
            self.link.say(f"back at {live['release']}" + (f", which is not well either: {wrong}" if wrong else ""))
        elif trial["switched"]:
            self.front.stop()
        process.stop(trial["processes"], GRACE_S)
        self.room.state["trial"] = None
        self.room.save()

    def attempt(self, name, port, action):
        """Makes `name` live, or leaves everything as it was; the exit code."""
        began, room = time.monotonic(), self.room
        event = {"action": action, "release": name, "before": room.live and room.live["release"]}
        colour = room.idle
        try:
            self.try_out(name, port, colour)
        except (Sick, Refused, links.Abandoned, OSError) as error:
            self.link.say(f"FAILED: {name} is not live: {error}")
            if isinstance(error, Sick):
                for line in release.last_words(room, colour):
                    self.link.say(f"    {line}")
            if room.state["trial"]:
                self.undo()
            serves = room.live["release"] if room.live else "nothing"
            self.link.say(f"{room.name} is served by {serves}, as before")
            room.record({**event, "outcome": "failed", "why": str(error), "seconds": round(time.monotonic() - began, 1)})
            return 1
        old = room.live
        room.state["colours"][colour], room.state["live"], room.state["trial"] = self.trial, colour, None
        room.save()
        room.record({**event, "outcome": "live", "seconds": round(time.monotonic() - began, 1)})
        self.link.say(f"{name} is live in {room.name}: http://127.0.0.1:{port}/")
        if old:
            self.front.drain()
            process.stop(old["processes"], GRACE_S)
            room.state["colours"].pop(room.idle, None)
            room.save()
        release.prune(room, {name, old and old["release"]})
        return 0

    def try_out(self, name, port, colour):
        """Starts the release beside the live one, switches, watches. Raises where it is sick."""
        room, link, limits = self.room, self.link, self.limits
        copies = release.back_up(room, name)
        if copies:
            link.say(f"backup: {', '.join(copy.name for copy in copies)}")
        wrong = release.migrate(room, name, limits["migration"])
        if wrong:
            raise Sick(f"its migration failed: {wrong}")
        link.pause(0)
        self.trial = {**release.start(room, name, colour), "port": port, "switched": False}
        room.state["trial"] = self.trial
        room.save()
        link.say(f"{colour}: {name} started on port {self.trial['ports']['frontend']}")
        self.await_health(name)
        self.smoke(self.trial["ports"]["frontend"])
        self.trial["switched"] = True
        room.save()
        self.front.point_to(port, self.trial)
        wrong = self.front.wait_for(self.trial)
        if wrong:
            raise Sick(f"after the switch {wrong}")
        link.say(f"switched: port {port} is answered by {name}")
        self.smoke(port)
        self.watch(port, name)

    def await_health(self, name):
        """Waits until the new release is healthy on its own port."""
        deadline = time.monotonic() + self.limits["patience"]
        while True:
            wrong = probe.ask_health(self.trial["ports"]["frontend"], name)
            if wrong is None:
                return
            if not all(process.is_group_alive(one) for one in self.trial["processes"]):
                raise Sick("it ended by itself")
            if time.monotonic() > deadline:
                raise Sick(f"not healthy after {self.limits['patience']:g} s: {wrong}")
            self.link.pause(POLL_S)

    def smoke(self, port):
        """Every page of the smoke test has to be there."""
        wrong = [f"{path} {what}" for path, what in probe.ask_smoke(port) if what]
        if wrong:
            raise Sick(f"smoke test: {'; '.join(wrong)}")

    def watch(self, port, name):
        """Asks through the front, as often as is wanted and as long as the old one is kept ready. One failure is too many."""
        began, done = time.monotonic(), 0
        while done < self.limits["checks"] or time.monotonic() - began < self.limits["hold"]:
            self.link.pause(self.limits["every"])
            wrong = probe.ask_health(port, name)
            done += 1
            if wrong:
                raise Sick(f"check {done} after the switch: {wrong}")
        self.link.say(f"{done} of {done} checks passed after the switch")


def demand_tools():
    """Refuses a machine that cannot run a release."""
    if not shutil.which("bwrap"):
        raise Refused("there is no bwrap here; sudo apt-get install bubblewrap")
    front_room.nginx()


def deploy(room, limits, link, port, paths):
    """The release in two archives becomes live."""
    archives = [oci.Archive(path) for path in paths]
    with room.locked():
        attempt = Deploy(room, limits, link)
        attempt.tidy()
        attempt.front.demand_port(port)
        name = release.unpack(room, archives)
        live = room.live
        if live and live["release"] == name and attempt.front.is_up() and room.state["front"]["port"] == port:
            if probe.ask_health(port, name) is None:
                link.say(f"{name} is live already: http://127.0.0.1:{port}/")
                return 0
        return attempt.attempt(name, port, "deploy")


def rollback(room, limits, link):
    """The release that served before becomes live again."""
    with room.locked():
        attempt = Deploy(room, limits, link)
        attempt.tidy()
        live = room.live
        if not live:
            raise Refused(f"{room.name} has no release to go back from; deploy one first")
        served = [line["release"] for line in room.history() if line.get("outcome") == "live"]
        earlier = [name for name in served if name != live["release"] and release.is_kept(room, name)]
        if not earlier:
            raise Refused(f"{room.name} knows no release before {live['release']}")
        return attempt.attempt(earlier[-1], room.state["front"]["port"], "rollback")


def start(room, link):
    """What was live runs again."""
    with room.locked():
        attempt = Deploy(room, LIMITS, link)
        attempt.tidy()
        live = room.live
        if not live:
            raise Refused(f"{room.name} has no release; deploy one first")
        if attempt.front.is_up() and probe.ask_health(room.state["front"]["port"], live["release"]) is None:
            link.say(f"{live['release']} runs already")
            return 0
        port = room.state["front"]["port"]
        attempt.front.demand_port(port)
        process.stop(live["processes"], GRACE_S)
        return attempt.attempt(live["release"], port, "start")


def stop(room, link):
    """Nothing of the environment runs any more."""
    with room.locked():
        attempt = Deploy(room, LIMITS, link)
        trial = room.state["trial"]
        process.stop(
            [one for colour in (*room.state["colours"].values(), trial or {"processes": []}) for one in colour["processes"]],
            GRACE_S,
        )
        attempt.front.stop()
        room.state.update(live=None, colours={}, trial=None)
        room.save()
        link.say(f"{room.name}: nothing runs")
        return 0


def smoke(room):
    """Asks the live site."""
    live, front = room.live, room.state["front"]
    if not live or not front:
        raise Refused(f"{room.name} has no live release; `deploy-{room.name}` makes one")
    found = [(f"{probe.HEALTH}, release {live['release']}", probe.ask_health(front["port"], live["release"]))]
    found += probe.ask_smoke(front["port"])
    for path, wrong in found:
        print(f"{'FAIL' if wrong else 'ok':5}{path}{': ' + wrong if wrong else ''}")
    return 1 if any(wrong for _, wrong in found) else 0


def status(room):
    """What runs, as a table."""
    live, front = room.live, room.state["front"]
    print(f"{room.name}: {live['release'] if live else 'no release'} is live")
    if front:
        state = "up" if front_room.Front(room).is_up() else "down"
        print(f"  front  {state:5} http://127.0.0.1:{front['port']}/  process {front['pid']}")
    for colour, what in room.state["colours"].items():
        alive = sum(process.is_group_alive(one) for one in what["processes"])
        print(f"  {colour:6} {what['release']}  {alive} of {len(what['processes'])} processes")
    for line in room.history()[-5:]:
        why = f": {line['why']}" if "why" in line else ""
        print(f"  {line['at']}  {line['action']} {line['release']} {line['outcome']}{why}")
    return 0


def read_limits(words):
    """The limits, as NAME=VALUE words change them."""
    limits = dict(LIMITS)
    for word in words:
        name, _, value = word.partition("=")
        try:
            if name not in limits or not 0 <= float(value) < 1e6:
                raise ValueError
        except ValueError:
            raise SystemExit(usage(f"`{word}`: expected one of {', '.join(LIMITS)} with a number")) from None
        limits[name] = float(value)
    return limits


def usage(wrong):
    print(
        f"deploy.py: {wrong}\nusage: deploy.py deploy|rollback|start|smoke|status|stop ROOT ENVIRONMENT ...", file=sys.stderr
    )
    return 2


def main(argv):
    if len(argv) < 3 or not argv[2].isidentifier():
        return usage("what, where and in which environment?")
    verb, root, environment, *rest = argv
    root = Path(root or Path.home() / ".local/state/callcentersite").absolute()
    room = Room(root, environment)
    match verb, rest:
        case "deploy", [port, backend, frontend, *words]:
            if not port.isdigit() or not 0 < int(port) < 65536:
                return usage(f"`{port}` is no port")
            limits = read_limits(words)
            work = lambda link: deploy(room, limits, link, int(port), (backend, frontend))
        case "rollback", words:
            limits = read_limits(words)
            work = lambda link: rollback(room, limits, link)
        case "start", []:
            work = lambda link: start(room, link)
        case "stop", []:
            work = lambda link: stop(room, link)
        case "smoke", []:
            return smoke(room)
        case "status", []:
            return status(room)
        case _:
            return usage(f"`{verb}` with {len(rest)} further words makes no sense")
    demand_tools()

    def guarded(link):
        try:
            return work(link)
        except (Refused, oci.Broken) as error:
            link.say(f"deploy.py: {error}")
            return 1
        except OSError as error:
            link.say(f"deploy.py: {error.strerror}: {error.filename or room.path}")
            return 1

    room.path.mkdir(parents=True, exist_ok=True)
    return links.run(guarded, str(room.path / "deploy.log"))


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Refused as error:
        print(f"deploy.py: {error}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        os._exit(1)
