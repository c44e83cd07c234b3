#!/usr/bin/env python3
"""The life of an environment, in a scratch one: deploys, sick deploys of every kind, a rollback, under a visitor who never stops asking.

    rehearsal.py BACKEND FRONTEND           the archives of the two images

Every sick version has to be taken back with the old one serving all the while, and no request of the visitor may be lost. Ends with
nothing left running, also when it is ended itself. Needs bubblewrap and nginx.
"""

import sys
import threading
import time

sys.dont_write_bytecode = True

import sicken
from scene import QUICK, Scene, Visitor, probe

SICK = {
    "ends": ["it ended by itself", "the new version ends here"],
    "mute": ["not healthy after 15 s: /api/health answers 502"],
    "broken": ["/api/health answers 500"],
    "unmigratable": ["its migration failed: no such column"],
}


def main(argv):
    if len(argv) != 2:
        print("usage: rehearsal.py BACKEND FRONTEND", file=sys.stderr)
        return 2
    backend, page = argv
    began = time.monotonic()
    with Scene() as scene:
        scene.deploy("smoke", expect=1, says=["has no live release"])
        scene.deploy("deploy", scene.port, backend, page, *QUICK, says=["2 of 2 checks passed", "is live in scratch"])
        first = scene.room().live["release"]
        scene.serves(first)
        scene.deploy("smoke", says=["/api/session-check"])
        scene.deploy("deploy", scene.port, backend, page, *QUICK, says=[f"{first} is live already"])
        scene.deploy("rollback", expect=1, says=["knows no release before"])
        print(f"first deploy, smoke test, again: {time.monotonic() - began:.1f} s", flush=True)

        visitor = Visitor(scene.port)
        visitor.start()
        for kind, says in SICK.items():
            image = sicken.make(backend, scene.path, kind)
            patience = "patience=15" if kind in ("mute", "broken") else "patience=60"
            scene.deploy(
                "deploy", scene.port, image, page, *QUICK, patience, expect=1, says=[*says, f"served by {first}, as before"]
            )
            scene.serves(first)
            print(f"{kind}: taken back", flush=True)

        fall_ill_after_the_switch(scene, sicken.make(backend, scene.path, "late"), page, first)

        scene.deploy("deploy", scene.port, sicken.make(backend, scene.path, "healthy"), page, *QUICK, says=["backup: "])
        second = scene.room().live["release"]
        scene.holds("the second release is another", second != first)
        scene.serves(second)
        scene.deploy("rollback", *QUICK, says=[f"{first} is live in scratch"])
        scene.serves(first)
        visitor.end()
        scene.holds(f"no request was lost of {visitor.asked}: {visitor.wrong[:5]}", visitor.asked > 50 and not visitor.wrong)
        outcomes = [line["outcome"] for line in scene.room().history()]
        scene.holds(f"the history tells all: {outcomes}", outcomes == ["live", *["failed"] * 5, "live", "live"])
        print(f"{visitor.asked} requests meanwhile, {len(visitor.wrong)} lost", flush=True)

        scene.deploy("stop")
        scene.deploy("status", says=["no release is live"])
    return 1 if scene.failures else 0


def fall_ill_after_the_switch(scene, image, page, first):
    """A version that is well until it is looked at through the front, and then is not."""
    sick, answers, slow = scene.room().path / "data/sick", [], threading.Thread()
    deploy = scene.begin("deploy", scene.port, image, page, "checks=1000", "every=0.1")
    scene.await_("the late one is switched to", lambda: (scene.room().state["trial"] or {}).get("switched"))
    if scene.await_(
        "it serves", lambda: "switched: port" in (scene.room().path / "deploy.log").read_text().rsplit("started on", 1)[-1]
    ):
        slow = threading.Thread(target=lambda: answers.append(probe.get(scene.port, "/api/slow")))
        slow.start()
        time.sleep(0.5)
        sick.touch()
    said, _ = deploy.communicate(timeout=120)
    slow.join()
    scene.holds(f"who asked before it was taken back gets his answer: {answers}", answers == [(200, b"slow")])
    says = "after the switch: /api/health answers 500" in said and f"back at {first}" in said
    scene.holds(f"late: exit {deploy.returncode}:\n{said}", deploy.returncode == 1 and says)
    sick.unlink(missing_ok=True)
    scene.serves(first)
    print("late: taken back after the switch", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
