"""ONNX Runtime's and OpenVINO's side of bench/run.py: inference of networks exported from PyTorch.

usage: onnx_side.py WORKLOAD infer|features --variant onnxruntime|openvino-latency|openvino-throughput
                    [--threads 2] [--batch N] [--size 32] [--milliseconds 2000]
       onnx_side.py WORKLOAD export --batch N      writes the ONNX file alone, into the target folder

Batches are of fixed size, which both optimise best. ONNX Runtime: all graph optimisations, one operator at a time on
all threads. OpenVINO, f32: its latency hint is one request at a time on all threads; its throughput hint chooses how
many requests share the threads, and a step is four rounds of them.
"""

import contextlib
import pathlib
import sys

import numpy
from side import parse, serve

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "target" / "bench"
VARIANTS = ["onnxruntime", "openvino-latency", "openvino-throughput"]
ROUNDS = 4


def exported(arguments):
    """The ONNX file of a workload, made from PyTorch with seed 0 where there is none of today's network."""
    file, source = (
        FOLDER / f"{arguments.workload}-{arguments.batch}.onnx",
        pathlib.Path(__file__).with_name("networks.py"),
    )
    if not file.exists() or file.stat().st_mtime < source.stat().st_mtime:
        import torch
        from networks import WORKLOADS

        torch.manual_seed(0)
        model = WORKLOADS[arguments.workload][0]().eval()
        FOLDER.mkdir(parents=True, exist_ok=True)
        new = file.with_suffix(".new.onnx")
        images = torch.rand(arguments.batch, 3, arguments.size, arguments.size)
        with contextlib.redirect_stdout(sys.stderr):
            torch.onnx.export(model, (images,), new, input_names=["images"], dynamo=True, external_data=False)
        new.replace(file)
    return file


def onnxruntime_step(file, images, threads):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"images": images}), 1, onnxruntime.__version__


def openvino_step(file, images, threads, hint):
    import openvino

    settings = {"PERFORMANCE_HINT": hint, "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    model = openvino.Core().compile_model(file, "CPU", settings)
    version = openvino.__version__.partition("-")[0]
    if hint == "LATENCY":
        request = model.create_infer_request()
        return lambda: request.infer({0: images}), 1, version
    queue = openvino.AsyncInferQueue(model)

    def step():
        for _ in range(ROUNDS * len(queue)):
            queue.start_async({0: images})
        queue.wait_all()

    return step, ROUNDS * len(queue), version


def main():
    arguments = parse(["infer", "features", "export"], VARIANTS)
    arguments.batch = arguments.batch or 128
    file = exported(arguments)
    if arguments.mode == "export":
        return
    shape = (arguments.batch, 3, arguments.size, arguments.size)
    images = numpy.random.default_rng(0).random(shape, numpy.float32)
    if arguments.variant == "onnxruntime":
        step, batches, version = onnxruntime_step(file, images, arguments.threads)
    else:
        hint = arguments.variant.partition("-")[2].upper()
        step, batches, version = openvino_step(file, images, arguments.threads, hint)
    serve(step, arguments.milliseconds, batch=batches * arguments.batch, version=version)


if __name__ == "__main__":
    sys.exit(main())
