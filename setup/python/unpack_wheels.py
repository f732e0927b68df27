"""Takes out of the wheels in one folder what tch links with, and nothing else.

usage: unpack_wheels.py WHEELS OUT NAME...    (NAME: the file name of a shared library)
       unpack_wheels.py WHEELS OUT            (all shared libraries, and nothing but them)
"""

import shutil
import sys
import zipfile
from pathlib import Path, PurePosixPath


def place(member: PurePosixPath, libraries: set[str]) -> Path | None:
    """Where a wheel's member belongs below OUT; None for the rest, most of its weight."""
    if not libraries:
        # Python's own binding of torch would need Python.
        shared = member.parts[-2:-1] == ("lib",) and ".so" in member.name
        return Path("lib") / member.name if shared and "python" not in member.name else None
    if member.name in libraries:
        return Path("lib") / member.name
    if member.parts[:2] in {("torch", "include"), ("torch", "share")}:
        return Path(*member.parts[1:])
    return None


def main(wheels: Path, out: Path, libraries: set[str]) -> None:
    found = set()
    for wheel in sorted(wheels.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            for info in archive.infolist():
                target = place(PurePosixPath(info.filename), libraries)
                if info.is_dir() or target is None:
                    continue
                found.add(target.name)
                (out / target).parent.mkdir(parents=True, exist_ok=True)
                with archive.open(info) as source, (out / target).open("wb") as sink:
                    shutil.copyfileobj(source, sink, 1 << 20)
    if missing := libraries - found:
        sys.exit(f"the wheels hold no {', '.join(sorted(missing))}")


main(Path(sys.argv[1]), Path(sys.argv[2]), set(sys.argv[3:]))
