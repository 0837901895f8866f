"""Calls a server of a model `digits` (8x8, grey, 10 classes) through tritonclient, which knows nothing of Percept.

usage: triton_client.py HOST:PORT PICTURE.png
"""

import pathlib
import sys

import numpy
import tritonclient.http as http
from tritonclient.utils import InferenceServerException

address, picture = sys.argv[1], pathlib.Path(sys.argv[2]).read_bytes()
client = http.InferenceServerClient(address, concurrency=4)

assert client.is_server_live() and client.is_server_ready()
assert client.is_model_ready("digits") and client.is_model_ready("digits", "1")
assert not client.is_model_ready("digits", "2") and not client.is_model_ready("cats")
assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
metadata = client.get_model_metadata("digits")
assert metadata["inputs"][0]["shape"] == [-1, 8, 8, 1], metadata
assert client.get_model_config("digits")["max_batch_size"] > 0
assert client.get_model_repository_index()[0]["name"] == "digits"

pixels = numpy.arange(3 * 64, dtype=numpy.uint8).reshape(3, 8, 8, 1)


def tensor(values, datatype, binary=True):
    given = http.InferInput("images", list(values.shape), datatype)
    given.set_data_from_numpy(values, binary_data=binary)
    return given


# Pixels in and numbers out, both as JSON and as bytes, packed and not.
answers = []
for binary_in in (True, False):
    for outputs in (None, [True], [False]):
        wanted = outputs and [http.InferRequestedOutput("probabilities", binary_data=outputs[0])]
        for packed in (None, "gzip", "deflate"):
            answer = client.infer(
                "digits", [tensor(pixels, "UINT8", binary_in)], outputs=wanted, request_id="7",
                request_compression_algorithm=packed, response_compression_algorithm=packed,
            )
            assert answer.get_response()["id"] == "7"
            answers.append(answer.as_numpy("probabilities"))
            assert answers[-1].shape == (3, 10) and answers[-1].dtype == numpy.float32
            assert numpy.allclose(answers[-1].sum(axis=1), 1, atol=1e-5)
            assert numpy.allclose(answers[-1], answers[0], atol=1e-7)

# Encoded pictures, and the likeliest classes of them.
files = numpy.array([picture, picture], dtype=object)
for values in (files, files.reshape(2, 1)):
    wanted = [http.InferRequestedOutput("probabilities", class_count=3)]
    rows = client.infer("digits", [tensor(values, "BYTES")], outputs=wanted, model_version="1").as_numpy("probabilities")
    assert rows.shape == (2, 3), rows.shape
    values_of = [float(text.decode().split(":")[0]) for text in rows[0]]
    assert values_of == sorted(values_of, reverse=True) and (rows[0] == rows[1]).all()

# Many at once.
waiting = [client.async_infer("digits", [tensor(pixels, "UINT8")]) for _ in range(50)]
assert all(numpy.allclose(one.get_result().as_numpy("probabilities"), answers[0], atol=1e-6) for one in waiting)

statistics = client.get_inference_statistics("digits")["model_stats"][0]
assert statistics["inference_stats"]["success"]["count"] == 18 + 2 + 50, statistics
assert statistics["inference_count"] == 3 * 18 + 2 * 2 + 3 * 50, statistics
assert client.get_inference_statistics()["model_stats"][0]["version"] == "1"

for name, version, values, datatype, reason in [
    ("cats", "", pixels, "UINT8", "there is no model"),
    ("digits", "9", pixels, "UINT8", "has no version"),
    ("digits", "", pixels.astype(numpy.float32), "FP32", "FP32"),
    ("digits", "", numpy.array([b"no picture"], dtype=object), "BYTES", "not an image"),
]:
    try:
        client.infer(name, [tensor(values, datatype)], model_version=version)
        raise SystemExit(f"{reason}: no error")
    except InferenceServerException as error:
        assert reason in str(error), error

client.close()
print("every call worked")
