#!/usr/bin/env python3
"""iact beside its peers: the same work for every tool that is installed, interleaved, as one Markdown table.

    benches/peers.py [PATH_TO_IACT] [--targets N] [--rounds N] [--only NAME,NAME] [--dir FOLDER]

A target has three sources of 512 bytes, one output, and two outputs of the layer before as inputs (ten layers); its command is
one small static program that reads them all and writes a digest. Measured are whole processes from outside: `cold` (nothing
made, two jobs), `no-op` (nothing to do), `edit` (one source of the last layer differs) and `restore` (all outputs gone, for
tools with a local cache). Medians; the floors are `stat` of all files on two threads, spawn and wait of all commands on two
threads, and `cp -r` of the outputs. How to install a peer that is missing is printed below the table.
Python 3.9+, standard library only; a C compiler for the program.
"""
import argparse, concurrent.futures, json, os, pathlib, platform, shutil, statistics, subprocess, sys, tempfile, time

PROGRAM = """
#include <fcntl.h>
#include <unistd.h>
int main(int count, char **words) {
  unsigned sum = 5381; char bytes[4096], text[9]; long got;
  for (int at = 2; at < count; at++) {
    int file = open(words[at], O_RDONLY); if (file < 0) return 1;
    while ((got = read(file, bytes, sizeof bytes)) > 0) for (long i = 0; i < got; i++) sum = sum * 33 + bytes[i];
    close(file);
  }
  for (int i = 0; i < 8; i++, sum >>= 4) text[i] = "0123456789abcdef"[sum & 15];
  text[8] = '\\n';
  int file = open(words[1], O_WRONLY | O_CREAT | O_TRUNC, 0644); if (file < 0) return 2;
  return write(file, text, 9) != 9;
}
"""


class Work:
    """What is to be made: for each target its sources and the targets whose outputs it reads."""

    def __init__(self, count, program):
        layer = max(1, count // 10)
        self.count, self.program = count, program
        self.sources = [[f"src/{n}{letter}" for letter in "abc"] for n in range(count)]
        self.before = [[] if n < layer else sorted({n - layer, (n - layer) // layer * layer}) for n in range(count)]

    def inputs(self, n): return self.sources[n] + [f"out/{on}" for on in self.before[n]]
    def words(self, n): return [self.program, f"out/{n}", *self.inputs(n)]
    def line(self, n): return " ".join(self.words(n))
    def files(self): return [f for s in self.sources for f in s] + [f"out/{n}" for n in range(self.count)]

    def write(self, root):
        (root / "src").mkdir(parents=True); (root / "out").mkdir()
        for sources in self.sources:
            for source in sources: (root / source).write_text((f"{source}\n" * 512)[:512])


def quoted(texts): return json.dumps(list(texts))


# Each writes its file for a work and gives the command of a whole build; `root` is a folder of its own.
def iact(work, root, tool):
    text = f'[workspace]\ndefault = ["all"]\n[target.all]\ndeps = {quoted(f"t{n}" for n in range(work.count))}\n'
    for n in range(work.count):
        text += (f'[target.t{n}]\ndeps = {quoted(f"t{on}" for on in work.before[n])}\ninputs = {quoted(work.sources[n])}\n'
                 f'outputs = ["out/{n}"]\nexec = {quoted(work.words(n))}\n')
    (root / "Iactfile.toml").write_text(text)
    return [tool, "-q", "-j2"]


def iact_uncached(work, root, tool):
    command = iact(work, root, tool); file = root / "Iactfile.toml"
    file.write_text(file.read_text().replace("exec =", "cache = false\nexec ="))
    return command


def make(work, root, tool):
    text = "all:" + "".join(f" out/{n}" for n in range(work.count)) + "\n"
    text += "".join(f"out/{n}: {' '.join(work.inputs(n))}\n\t@{work.line(n)}\n" for n in range(work.count))
    (root / "Makefile").write_text(text)
    return [tool, "-rR", "-s", "-j2"]


def ninja(work, root, tool):
    text = f"rule digest\n command = {work.program} $out $in\n"
    text += "".join(f"build out/{n}: digest {' '.join(work.inputs(n))}\n" for n in range(work.count))
    (root / "build.ninja").write_text(text)
    return [tool, "-j2"] if tool.endswith("n2") else [tool, "--quiet", "-j2"]


def just(work, root, tool):
    text = f"all: {' '.join(f't{n}' for n in range(work.count))}\n"
    text += "".join(f"t{n}: {' '.join(f't{on}' for on in work.before[n])}\n    @{work.line(n)}\n" for n in range(work.count))
    (root / "justfile").write_text(text)
    return [tool, "all"]


def task(work, root, tool):
    tasks = {"all": {"deps": [f"t{n}" for n in range(work.count)]}}
    for n in range(work.count):
        tasks[f"t{n}"] = {"run": "once", "deps": [f"t{on}" for on in work.before[n]], "sources": work.inputs(n),
                          "generates": [f"out/{n}"], "cmds": [work.line(n)]}
    (root / "Taskfile.yml").write_text(json.dumps({"version": "3", "silent": True, "tasks": tasks}))
    return [tool, "--silent", "-C", "2", "all"]


def doit(work, root, tool):
    tasks = [(n, work.inputs(n), work.line(n)) for n in range(work.count)]
    (root / "dodo.py").write_text(f"""
DOIT_CONFIG = {{"verbosity": 0}}
def task_t():
    for n, inputs, line in {tasks!r}:
        yield {{"name": str(n), "file_dep": inputs, "targets": ["out/%d" % n], "actions": [line]}}
""")
    return [tool, "-n", "2", "-P", "thread"]


def tup(work, root, tool):
    lines = [f": {' '.join(work.inputs(n))} |> {work.line(n)} |> out/{n}\n" for n in range(work.count)]
    (root / "Tupfile").write_text("".join(lines))
    subprocess.run([tool, "init"], cwd=root, check=True, stdout=subprocess.DEVNULL)
    return [tool, "-j2", "--quiet"]


def mise(work, root, tool):
    text = "[settings]\nexperimental = true\n[tasks.all]\n"
    text += f"depends = {quoted(f't{n}' for n in range(work.count))}\n"
    for n in range(work.count):
        text += (f'[tasks.t{n}]\ndepends = {quoted(f"t{on}" for on in work.before[n])}\nsources = {quoted(work.inputs(n))}\n'
                 f'outputs = ["out/{n}"]\nrun = {json.dumps(work.line(n))}\n')
    (root / "mise.toml").write_text(text)
    subprocess.run([tool, "trust", "-q"], cwd=root, check=False)
    return [tool, "run", "-q", "-j", "2", "all"]


def packages(work, root, scripts):
    """One package of a workspace for each target, its dependencies as dependencies."""
    for n in range(work.count):
        folder = root / "p" / f"t{n}"; folder.mkdir(parents=True)
        for source in work.sources[n]: shutil.copy(root / source, folder / pathlib.Path(source).name)
        inputs = [pathlib.Path(source).name for source in work.sources[n]] + [f"../t{on}/out" for on in work.before[n]]
        line = " ".join([work.program, "out", *inputs])
        package = {"name": f"t{n}", "version": "1.0.0", "dependencies": {f"t{on}": "*" for on in work.before[n]}}
        (folder / "package.json").write_text(json.dumps({**package, **scripts(n, line, inputs)}))
    (root / "package.json").write_text(json.dumps({"name": "all", "private": True, "workspaces": ["p/*"],
                                                   "packageManager": "npm@10.0.0"}))
    lock = {"": {"name": "all", "workspaces": ["p/*"]}}
    for n in range(work.count):
        lock[f"p/t{n}"] = {"name": f"t{n}", "version": "1.0.0", "dependencies": {f"t{on}": "*" for on in work.before[n]}}
        lock[f"node_modules/t{n}"] = {"resolved": f"p/t{n}", "link": True}
    (root / "package-lock.json").write_text(json.dumps({"name": "all", "lockfileVersion": 3, "packages": lock}))
    (root / "node_modules").mkdir()
    for n in range(work.count): (root / "node_modules" / f"t{n}").symlink_to(f"../p/t{n}")
    (root / ".gitignore").write_text("node_modules\n.turbo\n.nx\nout\n")
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)


def turbo(work, root, tool):
    packages(work, root, lambda n, line, inputs: {"scripts": {"build": line}})
    (root / "turbo.json").write_text(json.dumps({"tasks": {"build": {"dependsOn": ["^build"], "outputs": ["out"]}}}))
    return [tool, "run", "build", "--concurrency=2", "--output-logs=none", "--no-daemon"]


def nx(work, root, tool):
    packages(work, root, lambda n, line, inputs: {"scripts": {"build": line}})
    (root / "nx.json").write_text(json.dumps({"targetDefaults": {"build": {
        "cache": True, "dependsOn": ["^build"], "inputs": ["{projectRoot}/**/*", "!{projectRoot}/out"],
        "outputs": ["{projectRoot}/out"]}}}))
    return [tool, "run-many", "-t", "build", "--parallel=2", "--outputStyle=static"]


def wireit(work, root, tool):
    def scripts(n, line, inputs):
        own = [name for name in inputs if "/" not in name]
        return {"scripts": {"build": "wireit"}, "wireit": {"build": {
            "command": line, "files": own, "output": ["out"], "dependencies": [f"../t{on}:build" for on in work.before[n]]}}}
    packages(work, root, scripts)
    top = json.loads((root / "package.json").read_text())
    top["scripts"] = {"build": "wireit"}
    top["wireit"] = {"build": {"dependencies": [f"./p/t{n}:build" for n in range(work.count)]}}
    (root / "package.json").write_text(json.dumps(top))
    (root / "node_modules/.bin").mkdir(); (root / "node_modules/.bin/wireit").symlink_to(shutil.which("wireit"))
    return ["npm", "run", "--silent", "build"]


def moon(work, root, tool):
    folder = root / ".moon"; folder.mkdir()
    tasks = {f"t{n}": {"command": work.line(n), "inputs": [f"/{name}" for name in work.inputs(n)], "outputs": [f"/out/{n}"],
                       "deps": [f"~:t{on}" for on in work.before[n]], "options": {"runFromWorkspaceRoot": True}}
             for n in range(work.count)}
    (folder / "workspace.yml").write_text(json.dumps({"projects": {"all": "."}, "vcs": {"defaultBranch": "main"}}))
    (root / "moon.yml").write_text(json.dumps({"tasks": tasks}))
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    return [tool, "run", "--concurrency", "2", "--quiet", *(f"all:t{n}" for n in range(work.count))]


def bazel(work, root, tool):
    (root / "WORKSPACE").write_text(""); (root / "MODULE.bazel").write_text("")
    text = ""
    for n in range(work.count):
        sources = work.sources[n] + [f":t{on}" for on in work.before[n]]
        text += (f'genrule(name="t{n}", srcs={quoted(sources)}, outs=["made/{n}"], '
                 f'cmd="{work.program} $@ $(SRCS)")\n')
    text += f'filegroup(name="all_of_it", srcs={quoted(f":t{n}" for n in range(work.count))})\n'
    (root / "BUILD").write_text(text)
    return [tool, "build", "--jobs=2", "--noshow_progress", "--ui_event_filters=-info", "--spawn_strategy=local",
            f"--disk_cache={root.with_suffix('.cache')}", "//:all_of_it"]


# Name: generator, program, has an up-to-date check, has a local cache, how to install it.
PEERS = {
    "iact": (iact, "iact", True, True, "cargo build --release"),
    "iact, cache = false": (iact_uncached, "iact", True, False, "cargo build --release"),
    "make -rR": (make, "make", True, False, "apt install make"),
    "ninja": (ninja, "ninja", True, False, "pip install ninja"),
    "n2": (ninja, "n2", True, False, "cargo install --git https://github.com/evmar/n2"),
    "just": (just, "just", False, False, "pip install rust-just"),
    "Task": (task, "task", True, False, "pip install go-task-bin"),
    "doit": (doit, "doit", True, False, "pip install doit"),
    "tup": (tup, "tup", True, False, "apt install tup"),
    "mise": (mise, "mise", True, False, "npm install -g @jdxcode/mise"),
    "Turborepo": (turbo, "turbo", True, True, "npm install -g turbo"),
    "nx": (nx, "nx", True, True, "npm install -g nx"),
    "wireit": (wireit, "wireit", True, True, "npm install -g wireit"),
    "moon": (moon, "moon", True, True, "npm install -g @moonrepo/cli"),
    "Bazel": (bazel, "bazel", True, True, "apt install bazel-bootstrap, or bazelisk"),
}


class Racer:
    def __init__(self, name, work, base, tool):
        self.name, self.work = name, work
        generate, _, self.checks, self.caches, _ = PEERS[name]
        self.root = base / name.replace(" ", "-").replace(",", ""); self.root.mkdir()
        work.write(self.root)
        self.environment = {**os.environ, "IACT_CACHE_DIR": str(self.root) + ".cache", "TURBO_TELEMETRY_DISABLED": "1",
                            "TURBO_CACHE_DIR": str(self.root) + ".cache", "NX_DAEMON": "false", "MISE_YES": "1", "DO_NOT_TRACK": "1",
                            "WIREIT_PARALLEL": "2", "CI": ""}
        self.environment.pop("MAKEFLAGS", None)
        self.command = generate(work, self.root, tool)
        self.times = {}

    def place(self, n):
        """An output, and a source of it, where this peer has them."""
        package = self.root / "p" / f"t{n}"
        if package.exists(): return package / "out", package / f"{n}a"
        if self.name == "Bazel": return self.root / "bazel-bin/made" / str(n), self.root / f"src/{n}a"
        return self.root / f"out/{n}", self.root / f"src/{n}a"

    def remove_outputs(self):
        for n in range(self.work.count):
            try: self.place(n)[0].unlink()
            except FileNotFoundError: pass

    def forget(self):
        """As if it had never run."""
        self.remove_outputs()
        if self.name == "Bazel": subprocess.run([self.command[0], "clean"], cwd=self.root, capture_output=True, check=False)
        for name in (".iact", ".ninja_log", ".ninja_deps", ".n2_db", ".task", ".doit.db", ".doit.db.db", ".turbo", ".nx", ".wireit", ".moon/cache"):
            path = self.root / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        for path in self.root.glob("p/*/.wireit"): shutil.rmtree(path)
        for path in self.root.glob("p/*/.turbo"): shutil.rmtree(path)
        shutil.rmtree(str(self.root) + ".cache", ignore_errors=True)

    def run(self, kind=None):
        began = time.perf_counter()
        done = subprocess.run(self.command, cwd=self.root, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True)
        took = (time.perf_counter() - began) * 1000
        if done.returncode:
            raise RuntimeError(f"{' '.join(self.command[:4])} …: {done.returncode}\n{done.stdout.decode()[-800:]}{done.stderr.decode()[-800:]}")
        if kind: self.times.setdefault(kind, []).append(took)

    def insist(self):
        missing = [n for n in range(self.work.count) if not self.place(n)[0].exists()]
        if missing: raise RuntimeError(f"{len(missing)} outputs are missing, the first is that of {missing[0]}")

    def round(self, number):
        self.forget(); self.run("cold"); self.insist()
        if not self.checks: return
        time.sleep(2.2)  # what was made lately is not believed by those who look closely
        self.run(); self.run("no-op"); self.run("no-op")
        self.place(self.work.count - 1)[1].write_text(f"edited {number} {time.time_ns()}\n")
        self.run("edit")
        if self.caches:
            self.remove_outputs(); self.run("restore"); self.insist()


def find(program):
    """Where a program is, behind the stand-ins of pyenv, which cost a third of a second."""
    found = shutil.which(program)
    if found and "/.pyenv/shims/" in found:
        real = subprocess.run(["pyenv", "which", program], capture_output=True, text=True)
        return real.stdout.strip() or found
    return found


def floors(work, base):
    """Times of the plain work, in milliseconds."""
    root = base / "floor"; work.write(root); times = {}
    def two(job, items):
        items = list(items); half = len(items) // 2
        with concurrent.futures.ThreadPoolExecutor(2) as pool: list(pool.map(lambda part: [job(one) for one in part], (items[:half], items[half:])))
    def timed(kind, job):
        began = time.perf_counter(); job(); times.setdefault(kind, []).append((time.perf_counter() - began) * 1000)
    spawn = lambda n: os.waitpid(os.posix_spawn(work.program, [work.program, str(root / f"out/{n}"), *(str(root / f) for f in work.sources[n])], {}), 0)
    for _ in range(3):
        shutil.rmtree(root / "out"); (root / "out").mkdir()
        timed("cold", lambda: two(spawn, range(work.count)))
        timed("no-op", lambda: two(lambda name: os.stat(root / name, follow_symlinks=False), work.files()))
        shutil.rmtree(root / "copy", ignore_errors=True)
        timed("restore", lambda: subprocess.run(["cp", "-r", root / "out", root / "copy"], check=True))
    times["edit"] = times["no-op"]
    return {kind: statistics.median(all_of) for kind, all_of in times.items()}


def main():
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    here = pathlib.Path(__file__).resolve().parent.parent
    words.add_argument("iact", nargs="?", default=str(here / "target/release/iact"))
    words.add_argument("--targets", type=int, default=1000); words.add_argument("--rounds", type=int, default=3)
    words.add_argument("--only", default=""); words.add_argument("--dir", default=None)
    asked = words.parse_args()
    base = pathlib.Path(tempfile.mkdtemp(prefix="peers", dir=asked.dir))
    try:
        (base / "digest.c").write_text(PROGRAM)
        subprocess.run(["cc", "-O2", "-static", "-o", base / "digest", base / "digest.c"], check=True)
        work = Work(asked.targets, str(base / "digest"))
        racers, notes = [], []
        for name, (_, program, _, _, install) in PEERS.items():
            if asked.only and name not in asked.only.split(",") and not name.startswith("iact"): continue
            tool = str(pathlib.Path(asked.iact).resolve()) if program == "iact" else find(program)
            if tool is None: notes.append(f"{name}: not installed (`{install}`)"); continue
            try: racers.append(Racer(name, work, base, tool))
            except Exception as wrong: notes.append(f"{name}: {wrong}")
        floor = floors(work, base)
        for number in range(asked.rounds):
            for racer in list(racers):
                print(f"round {number + 1}: {racer.name}", file=sys.stderr)
                try: racer.round(number)
                except Exception as wrong: racers.remove(racer); notes.append(f"{racer.name}: {wrong}")
        kinds = ["no-op", "edit", "cold", "restore"]
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0
        print(f"{time.strftime('%F')}; {os.cpu_count()} processors, load {load:.1f}; {platform.system()} {platform.release()}; "
              f"{asked.targets} targets; medians of {asked.rounds} rounds; milliseconds (ratio to the floor)\n")
        print("| tool | " + " | ".join(kinds) + " |\n|---|" + "---|" * len(kinds))
        print("| floor | " + " | ".join(f"{floor[kind]:.1f}" for kind in kinds) + " |")
        for racer in racers:
            cell = lambda kind: f"{statistics.median(racer.times[kind]):.1f} ({statistics.median(racer.times[kind]) / floor[kind]:.1f} ×)" if kind in racer.times else "–"
            print(f"| {racer.name} | " + " | ".join(cell(kind) for kind in kinds) + " |")
        if notes: print("\n" + "\n".join(f"- {note}" for note in notes))
    finally:
        if shutil.which("bazel") and (base / "Bazel").exists(): subprocess.run(["bazel", "shutdown"], cwd=base / "Bazel", capture_output=True)
        shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__": main()
