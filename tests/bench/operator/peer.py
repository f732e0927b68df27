"""What the operator is timed against: Celery with Redis as broker and result backend, a task that does nothing.

    celery --app peer worker --concurrency 2        the workers
    python peer.py                                  reads `drain N` and `one N` from stdin, answers JSON a line

`drain` submits N tasks and waits for every result; `one` submits one after another, each when the one before is done.
"""

import json
import os
import sys
import time

from celery import Celery

REDIS = os.environ["REDIS_URL"]
app = Celery("peer", broker=REDIS, backend=REDIS)
app.conf.update(worker_prefetch_multiplier=4, task_ignore_result=False, result_expires=3600)


@app.task(name="nothing")
def nothing(number: int) -> int:
    return number


def drain(count: int) -> dict:
    began = time.perf_counter()
    for result in [nothing.delay(number) for number in range(count)]:
        result.get(timeout=600)
    return {"per_second": count / (time.perf_counter() - began)}


def one(count: int) -> dict:
    spans = []
    for number in range(count):
        began = time.perf_counter()
        nothing.delay(number).get(timeout=60)
        spans.append((time.perf_counter() - began) * 1000)
    return {"milliseconds": spans}


if __name__ == "__main__":
    for line in sys.stdin:
        command, count = line.split()
        print(json.dumps({"drain": drain, "one": one}[command](int(count))), flush=True)
