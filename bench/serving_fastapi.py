"""FastAPI + ONNX Runtime, a peer of bench/serving.py. Started by it through uvicorn, with settings in the environment:
SERVING_NETWORK, SERVING_FILE, and SERVING_BATCH, the most pictures of a batch.

Without batching every process answers one request at a time on one thread, which is fastest with a process a core. With
it one process decodes on a thread a core, gathers batches, and computes them on all cores.
"""

import asyncio
import json
import os
from concurrent.futures import ThreadPoolExecutor

from fastapi import FastAPI, Request, Response
from serving_onnx import Network, answer

BATCH = int(os.environ["SERVING_BATCH"])
DELAY = 0.002
CORES = os.cpu_count()

app = FastAPI()
network = Network(os.environ["SERVING_NETWORK"], os.environ["SERVING_FILE"], 1 if BATCH == 1 else CORES)
decoders, computer = ThreadPoolExecutor(CORES), ThreadPoolExecutor(1)
waiting = asyncio.Queue()


@app.get("/ready")
async def ready():
    return {}


@app.post("/predict")
async def predict(request: Request):
    data = await request.body()
    try:
        if BATCH == 1:
            row = network.run([network.prepare(data)])[0]
        else:
            row = await batched(data)
    except OSError as error:
        return Response(json.dumps({"error": str(error)}), 422, media_type="application/json")
    return Response(json.dumps(answer(row)), media_type="application/json")


async def batched(data):
    loop = asyncio.get_running_loop()
    image = await loop.run_in_executor(decoders, network.prepare, data)
    done = loop.create_future()
    waiting.put_nowait((image, done))
    return await done


async def gather():
    loop = asyncio.get_running_loop()
    while True:
        batch = [await waiting.get()]
        deadline = loop.time() + DELAY
        while len(batch) < BATCH:
            try:
                batch.append(waiting.get_nowait())
                continue
            except asyncio.QueueEmpty:
                pass
            left = deadline - loop.time()
            if left <= 0:
                break
            try:
                batch.append(await asyncio.wait_for(waiting.get(), left))
            except asyncio.TimeoutError:
                break
        rows = await loop.run_in_executor(computer, network.run, [image for image, _ in batch])
        for (_, done), row in zip(batch, rows):
            if not done.done():
                done.set_result(row)


if BATCH > 1:

    @app.on_event("startup")
    async def start():
        app.state.gather = asyncio.create_task(gather())
