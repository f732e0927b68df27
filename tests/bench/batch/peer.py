"""What batches are timed against: Celery with Redis, one task a picture, which GETs the object with boto3 and decodes
it with Pillow. It also draws the pictures.

    celery --app peer worker --concurrency 2        the workers
    python peer.py                                  reads commands from stdin, answers JSON a line

`draw N FOLDER` writes the pictures 000000.jpg and on, which depend on N alone, and an archive of each thousand;
`drain N PREFIX` submits a task for each picture and waits for every result.
"""

import io
import json
import os
import random
import sys
import tarfile
import time
from functools import cache
from pathlib import Path

import boto3
from botocore.config import Config
from celery import Celery
from PIL import Image, ImageDraw

REDIS = os.environ["REDIS_URL"]
BUCKET = os.environ["S3_BUCKET"]
SIDE = 96
ARCHIVE = 1000
app = Celery("peer", broker=REDIS, backend=REDIS)
app.conf.update(worker_prefetch_multiplier=4, task_ignore_result=False, result_expires=3600)


@cache
def store():
    """One client with its kept connections for each process."""
    config = Config(s3={"addressing_style": "path"}, retries={"max_attempts": 2})
    return boto3.client("s3", endpoint_url=os.environ["S3_ENDPOINT"], region_name="us-east-1", config=config)


@app.task(name="fetch_and_decode")
def fetch_and_decode(key: str) -> list[int]:
    body = store().get_object(Bucket=BUCKET, Key=key)["Body"].read()
    return list(Image.open(io.BytesIO(body)).convert("RGB").size)


def drain(count: int, prefix: str) -> dict:
    began = time.perf_counter()
    for result in [fetch_and_decode.delay(f"{prefix}/{number:06}.jpg") for number in range(count)]:
        assert result.get(timeout=600) == [SIDE, SIDE]
    return {"per_second": count / (time.perf_counter() - began)}


def draw(count: int, folder: str) -> dict:
    (Path(folder) / "pictures").mkdir()
    (Path(folder) / "archives").mkdir()
    archive, written = None, 0
    for number in range(count):
        of = random.Random(number)
        colour = lambda: tuple(of.randrange(256) for _ in range(3))
        picture = Image.new("RGB", (SIDE, SIDE), colour())
        pen = ImageDraw.Draw(picture)
        for shape in (pen.ellipse, pen.rectangle, pen.ellipse):
            left, top = of.randrange(SIDE // 2), of.randrange(SIDE // 2)
            shape((left, top, left + of.randrange(8, SIDE // 2), top + of.randrange(8, SIDE // 2)), fill=colour())
        path = Path(folder) / "pictures" / f"{number:06}.jpg"
        picture.save(path, quality=85)
        written += path.stat().st_size
        if number % ARCHIVE == 0:
            archive and archive.close()
            archive = tarfile.open(Path(folder) / "archives" / f"{number // ARCHIVE:06}.tar", "w", format=tarfile.USTAR_FORMAT)
        archive.add(path, path.name)
    archive and archive.close()
    return {"bytes": written}


if __name__ == "__main__":
    for line in sys.stdin:
        command, count, argument = line.split()
        print(json.dumps({"drain": drain, "draw": draw}[command](int(count), argument)), flush=True)
