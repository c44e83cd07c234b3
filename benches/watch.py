#!/usr/bin/env python3
"""How long it takes from a save until the command runs: `iact watch`, beside the floor of the system (inotify and a spawn).

    benches/watch.py [PATH_TO_IACT] [--saves N] [--dir FOLDER]

For 10 and 10,000 watched files, and for 10,000 targets. A command writes the clock as its first act; the time from just
before the save until then is what is printed, the median of all saves and the slowest. Also the processor time used at rest.
Python 3.9+, standard library only, Linux.
"""
import argparse, ctypes, os, pathlib, shutil, signal, statistics, subprocess, tempfile, time

CLOCK = """
#include <stdio.h>
#include <time.h>
int main(int n, char **v) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t);
  FILE *f = fopen(v[1], "w"); fprintf(f, "%lld\\n", (long long)t.tv_sec * 1000000000 + t.tv_nsec); fclose(f); return 0; }
"""


def clock(base):
    """A program that writes the monotonic clock to a file as fast as anything can."""
    (base / "clock.c").write_text(CLOCK)
    subprocess.run(["cc", "-O2", "-o", base / "clock", base / "clock.c"], check=True)
    return str(base / "clock")


def wait_for(path, old, seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            text = path.read_text()
            if text.endswith("\n") and text != old: return text
        except OSError: pass
        time.sleep(0.002)
    raise SystemExit(f"nothing was built within {seconds} s")


def write(path, text): path.write_text(text)


def rename(path, text):
    beside = path.with_name(path.name + ".tmp"); beside.write_text(text); beside.rename(path)


def saves(file, stamp, count, save):
    times = []
    for number in range(count):
        time.sleep(0.7)  # at rest again
        old = stamp.read_text() if stamp.exists() else ""
        began = time.monotonic_ns(); save(file, f"{number} {began}\n")
        times.append((int(wait_for(stamp, old)) - began) / 1e6)
    return times


def floor(base, program, count):
    """One thread in inotify's read, then posix_spawn: nothing can be faster."""
    folder = base / "floor"; folder.mkdir(); stamp = base / "floor.stamp"; libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.inotify_init1(0); libc.inotify_add_watch(fd, str(folder).encode(), 0x8 | 0x80)  # IN_CLOSE_WRITE | IN_MOVED_TO
    pid = os.fork()
    if pid == 0:
        while True:
            os.read(fd, 65536); child = os.posix_spawn(program, [program, str(stamp)], {}); os.waitpid(child, 0)
    try: return saves(folder / "f", stamp, count, write)
    finally: os.kill(pid, signal.SIGKILL); os.waitpid(pid, 0)


def workspace(base, name, files, targets, program):
    ws = base / name; src = ws / "src"; src.mkdir(parents=True)
    lines = ['[workspace]\ndefault = ["all"]\n']
    for number in range(files):
        folder = src / str(number // 100); folder.mkdir(exist_ok=True); (folder / f"{number}.c").write_text(f"{number}\n")
    stamp = f"{base}/{name}.stamp"
    if targets == 1:
        lines.append(f'[target.all]\ninputs = ["src/**/*.c"]\nexec = ["{program}", "{stamp}"]\n')
    else:
        for number in range(targets):
            lines.append(f'[target.t{number}]\ninputs = ["src/{number // 100}/{number}.c"]\nexec = ["{program}", "{stamp}"]\n')
        lines.append("[target.all]\ndeps = [" + ", ".join(f'"t{n}"' for n in range(targets)) + "]\n")
    (ws / "Iactfile.toml").write_text("".join(lines))
    return ws, src / "0" / "3.c", pathlib.Path(stamp)


def cpu(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")")[1].split(); return int(fields[11]) + int(fields[12])


def iact(binary, base, name, files, targets, program, count):
    ws, file, stamp = workspace(base, name, files, targets, program)
    env = {**os.environ, "IACT_CACHE_DIR": str(base / "cache"), "HOME": str(base), "NO_COLOR": "1"}
    log = open(base / f"{name}.log", "w")
    watch = subprocess.Popen([binary, "watch", "-q"], cwd=ws, env=env, stdout=log, stderr=log)
    try:
        old = wait_for(stamp, "", 300)
        if targets > 1:  # until all of them were built
            while True:
                time.sleep(6.0); now = stamp.read_text()
                if now == old: break
                old = now
        time.sleep(1.5)
        rows = [(save.__name__, saves(file, stamp, count, save)) for save in (write, rename)]
        time.sleep(1.0); before = cpu(watch.pid); time.sleep(2.0)
        return rows, cpu(watch.pid) - before
    finally:
        watch.send_signal(signal.SIGINT); watch.wait(20)


def main():
    ap = argparse.ArgumentParser(); ap.add_argument("binary", nargs="?", default="target/release/iact")
    ap.add_argument("--saves", type=int, default=30); ap.add_argument("--dir"); args = ap.parse_args()
    base = pathlib.Path(tempfile.mkdtemp(prefix="iact-watch-", dir=args.dir)).resolve(); binary = os.path.abspath(args.binary)
    try:
        program = clock(base)
        print("| what | save | median ms | slowest ms | ticks at rest (2 s) |\n|---|---|---|---|---|")
        def row(what, how, times, rest): print(f"| {what} | {how} | {statistics.median(times):.2f} | {max(times):.2f} | {rest} |", flush=True)
        row("floor: inotify, spawn", "write", floor(base, program, args.saves), "")
        for what, files, targets in (("10 files", 10, 1), ("10,000 files, one target", 10_000, 1),
                                      ("10,000 targets", 10_000, 10_000)):
            rows, rest = iact(binary, base, f"w{files}-{targets}", files, targets, program, args.saves)
            for how, times in rows: row(what, how, times, rest)
    finally: shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    main()
