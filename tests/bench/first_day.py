#!/usr/bin/env python3
"""Times `make demo ONCE=1` from nothing, for another commit and for this one, one after the other.

Each runs in a fresh clone with an empty FOVEA_CACHE, an empty GOCACHE and a target folder of its own:
all that is compiled is compiled anew. Downloads are shared: Cargo's registry (CARGO_HOME) and Go's
modules (GOMODCACHE) stay as they are on this machine; libtorch's wheels are fetched twice, as pip keeps
none of them. To fill what is shared, both clones run `cargo fetch` before the clock starts; Go's modules
are whatever is there, so run it twice on a machine that has built nothing yet.

Prints CPU seconds (user and system, of all processes), wall seconds to the first caption and to the end,
the crates that Cargo compiled more than once, and the ratio of this commit to the other.
"""

import argparse
import collections
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CAPTION = re.compile(r"^\s*caption: ")
COMPILING = re.compile(r"^\s*Compiling (\S+ v\S+)")
LONGEST_SECONDS = 3 * 3600


def output(*command, **options):
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, **options).stdout.strip()


def cpu_seconds():
    """User and system time of all processes that have ended and been waited for, theirs included."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def measure(repository, commit, port):
    with tempfile.TemporaryDirectory(prefix="fovea-first-day-") as folder:
        folder = Path(folder)
        tree = folder / "tree"
        output("git", "clone", "--quiet", "--no-checkout", str(repository), str(tree))
        output("git", "checkout", "--quiet", "--detach", commit, cwd=tree)
        output("cargo", "fetch", "--locked", "--quiet", cwd=tree)
        environment = {
            **os.environ,
            "FOVEA_CACHE": str(folder / "cache"),
            "GOCACHE": str(folder / "go-build"),
            "CARGO_TARGET_DIR": str(folder / "target"),
            "CARGO_TERM_COLOR": "never",
        }
        # Of the make that runs this.
        for name in ["MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES"]:
            environment.pop(name, None)
        begun, cpu = time.monotonic(), cpu_seconds()
        first_caption = None
        compiled = collections.Counter()
        demo = subprocess.Popen(
            ["make", "demo", "ONCE=1", f"PORT={port}"],
            cwd=tree,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for line in demo.stdout:
            sys.stderr.write(f"{commit[:9]} {line}")
            if match := COMPILING.match(line):
                compiled[match[1]] += 1
            if first_caption is None and CAPTION.match(line):
                first_caption = time.monotonic() - begun
            if time.monotonic() - begun > LONGEST_SECONDS:
                demo.terminate()
                sys.exit(f"{commit}: still running after {LONGEST_SECONDS} s")
        if demo.wait() != 0 or first_caption is None:
            sys.exit(f"{commit}: `make demo ONCE=1` failed with {demo.returncode}")
        return {
            "CPU seconds": cpu_seconds() - cpu,
            "wall seconds to the first caption": first_caption,
            "wall seconds to the end": time.monotonic() - begun,
            "crates compiled": len(compiled),
            "compiled more than once": sorted(name for name, times in compiled.items() if times > 1),
        }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", help="the other commit (default: where this branch left main, or HEAD~1 on main)")
    parser.add_argument("--port", type=int, default=8000, help="port of the demo's API")
    arguments = parser.parse_args()
    repository = Path(output("git", "rev-parse", "--show-toplevel"))
    head = output("git", "rev-parse", "HEAD")
    base = output("git", "rev-parse", "--verify", f"{arguments.base}^{{commit}}") if arguments.base else None
    base = base or output("git", "merge-base", "HEAD", "main")
    if base == head:
        base = output("git", "rev-parse", "HEAD~1")
    if output("git", "status", "--porcelain", "--untracked-files=no"):
        print("Changes that are not committed are not measured.", file=sys.stderr)
    before, after = (measure(repository, commit, arguments.port) for commit in (base, head))
    print(f"{'':36}{base[:9]:>12}{head[:9]:>12}{'ratio':>8}")
    for name, old in before.items():
        new = after[name]
        if isinstance(old, list):
            old, new = len(old), len(new)
        ratio = f"{new / old:8.2f}" if old else ""
        print(f"{name:36}{old:12.0f}{new:12.0f}{ratio}")
    print("Compiled more than once now:", ", ".join(after["compiled more than once"]) or "none")


if __name__ == "__main__":
    main()
