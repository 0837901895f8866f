"""What every side that is written in Python shares: how it says that it is ready, and how it takes a turn.

A side prints one line of JSON when it has warmed up, then one for every line of its standard input: the mean, the
median and the 90th percentile of the time of a step, in milliseconds.
"""

import argparse
import json
import sys
import time

CLASSES = 10


def parse(modes, variants):
    parser = argparse.ArgumentParser()
    parser.add_argument("workload")
    parser.add_argument("mode", choices=modes)
    parser.add_argument("--variant", choices=variants, default=variants[0])
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--size", type=int, default=32, help="pixels a side of an image")
    parser.add_argument("--milliseconds", type=int, default=2000)
    return parser.parse_args()


def serve(step, milliseconds, **facts):
    """`facts` has the images of a step, as `batch`, and the version of what runs."""
    warm_up(step)
    print(json.dumps({"ready": True, **facts}), flush=True)
    for _ in sys.stdin:
        print(json.dumps(take_turn(step, milliseconds)), flush=True)


def warm_up(step):
    """At most three steps or half a second, at least one."""
    begin = time.perf_counter()
    for _ in range(3):
        step()
        if time.perf_counter() - begin > 0.5:
            break


def take_turn(step, milliseconds):
    """Steps until the time is over, at least one."""
    begin, times = time.perf_counter(), []
    while not times or time.perf_counter() - begin < milliseconds / 1e3:
        before = time.perf_counter()
        step()
        times.append((time.perf_counter() - before) * 1e3)
    mean, times = sum(times) / len(times), sorted(times)
    median, p90 = (times[round((len(times) - 1) * share)] for share in (0.5, 0.9))
    return {"mean": mean, "median": median, "p90": p90, "steps": len(times)}
