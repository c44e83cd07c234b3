"""Small deterministic benchmarks in pure Python, run by bench.py with the interpreter to be measured.

    python workloads.py NAME REPEATS      prints the best time in seconds and a digest of what was computed

Each takes some ten milliseconds, needs nothing but the interpreter's core, and leans on another part of it. The
digest is the same on every Python, so two interpreters that compute different things are found out.
"""

import hashlib
import sys
import time


def calls():
    def fib(n):
        return n if n < 2 else fib(n - 1) + fib(n - 2)

    return fib(25)


def floats():
    size = 130
    u = [1.0] * size

    def cell(i, j):
        return 1.0 / ((i + j) * (i + j + 1) // 2 + i + 1)

    for _ in range(6):
        v = [sum(cell(i, j) * u[j] for j in range(size)) for i in range(size)]
        u = [sum(cell(j, i) * v[j] for j in range(size)) for i in range(size)]
    return f"{sum(u):.9f}"


def integers():
    # Digits of pi by a spigot: arithmetic on ever longer integers.
    q, r, t, k, n, found = 1, 0, 1, 1, 3, []
    step = 3
    while len(found) < 700:
        if 4 * q + r - t < n * t:
            found.append(n)
            q, r, n = 10 * q, 10 * (r - n * t), (10 * (3 * q + r)) // t - 10 * n
        else:
            q, r, t, k, n, step = (
                q * k,
                (2 * q + r) * step,
                t * step,
                k + 1,
                (q * (7 * k) + 2 + r * step) // (t * step),
                step + 2,
            )
    return "".join(map(str, found))


def objects():
    class Body:
        __slots__ = ("mass", "place", "speed")

        def __init__(self, place):
            self.place, self.speed, self.mass = place, 0, 1 + place % 7

        def push(self, other):
            pull = other.mass if other.place > self.place else -other.mass
            self.speed += pull
            return self

        def move(self):
            self.place = (self.place + self.speed) % 1009

    bodies = [Body(i * 37 % 1009) for i in range(60)]
    for _ in range(80):
        for one in bodies:
            for other in bodies:
                one.push(other)
        for one in bodies:
            one.move()
    return sum(body.place * body.mass for body in bodies)


def strings():
    words = [f"word{i * 7919 % 4001}" for i in range(20_000)]
    counts = {}
    for word in words:
        key = word.upper().replace("WORD", "w")
        counts[key] = counts.get(key, 0) + 1
    text = " ".join(f"{key}={value}" for key, value in sorted(counts.items()))
    return "|".join(part[::-1] for part in text.split(" "))


def collections():
    squares = {i: i * i % 997 for i in range(30_000)}
    groups = {}
    for key, value in squares.items():
        groups.setdefault(value, []).append(key)
    ranked = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    return sum(value * len(keys) for value, keys in ranked) + len({tuple(keys[:3]) for _, keys in ranked})


def generators():
    def sieve(limit):
        composite = bytearray(limit)
        for n in range(2, limit):
            if not composite[n]:
                yield n
                for multiple in range(n * n, limit, n):
                    composite[multiple] = 1

    return sum(n for n in sieve(120_000) if n % 4 == 1)


def exceptions():
    caught = 0
    for i in range(100_000):
        try:
            if i % 3 == 0:
                raise ValueError(i)
            caught += i % 5
        except ValueError as error:
            caught += error.args[0] % 7
    return caught


WORKLOADS = [calls, floats, integers, objects, strings, collections, generators, exceptions]


def main(name, repeats):
    work = {work.__name__: work for work in WORKLOADS}[name]
    best = float("inf")
    for _ in range(repeats):
        begin = time.perf_counter()
        result = work()
        best = min(best, time.perf_counter() - begin)
    print(best, hashlib.sha256(str(result).encode()).hexdigest())


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
