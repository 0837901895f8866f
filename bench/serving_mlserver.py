"""A runtime for MLServer, a peer of bench/serving.py: pictures as base64 in BYTES tensors, its adaptive batching."""

import base64
import os

import numpy
from mlserver import MLModel
from mlserver.types import InferenceResponse, ResponseOutput
from serving_onnx import Network


class Pictures(MLModel):
    async def load(self):
        self.network = Network(os.environ["SERVING_NETWORK"], os.environ["SERVING_FILE"], int(os.environ["SERVING_THREADS"]))
        return True

    async def predict(self, payload):
        data = payload.inputs[0].data
        elements = data.root if hasattr(data, "root") else data
        rows = self.network.run([self.network.prepare(base64.b64decode(element)) for element in elements])
        output = ResponseOutput(name="probabilities", datatype="FP32", shape=list(rows.shape), data=numpy.ravel(rows).tolist())
        return InferenceResponse(model_name=self.name, outputs=[output])
