#!/bin/sh
# webdataset 1.0.2 (Python): a file whose name begins with a dot, below a folder of a tar.
#
# Guess: hidden files, such as the ._NAME that macOS's tar puts beside each file, are skipped everywhere, since at the
# root of an archive they are.
# Seen: in a folder they are not. The name is cut at its first dot, which leaves the folder as the key: the
# file becomes a sample of its own with the key "d/", and the sample around it is cut in two, a picture
# without its label and a label without its picture. Nothing is raised or logged.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check webdataset==1.0.2
cat > show.py <<'END'
import io
import tarfile

import webdataset


def samples(*names):
    with tarfile.open("pictures.tar", "w") as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = 1
            tar.addfile(member, io.BytesIO(b"x"))
    found = webdataset.WebDataset("pictures.tar", shardshuffle=False)
    return [sorted({sample["__key__"], *sample} - {"__key__", "__url__", "__local_path__"}) for sample in found]


print("root:  ", root := samples("a.jpg", "._a.cls", "a.cls"))
print("folder:", folder := samples("d/a.jpg", "d/._a.cls", "d/a.cls"))
assert root == [["a", "cls", "jpg"]]
assert folder == [["d/a", "jpg"], ["_a.cls", "d/"], ["cls", "d/a"]]
END
venv/bin/python show.py
