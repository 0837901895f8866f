"""What the peers of bench/serving.py share: pictures decoded and brought to a network's size with Pillow, ONNX Runtime."""

import io

import numpy
import onnxruntime
from PIL import Image

# Side of the network, and the share of the picture's middle that it sees, as Percept serves them.
NETWORKS = {"cnn": (32, None), "efficientnet_lite0": (224, 0.875)}
TOP = 5


class Network:
    def __init__(self, name, file, threads):
        self.side, self.crop = NETWORKS[name]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        # A thread that waits in a loop takes the processor from those that decode.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])

    def prepare(self, data):
        picture = Image.open(io.BytesIO(data)).convert("RGB")
        side = self.side
        if self.crop is None:
            if picture.size != (side, side):
                picture = picture.resize((side, side), Image.BILINEAR)
            return numpy.asarray(picture)
        width, height = picture.size
        seen = min(width, height) * self.crop
        box = ((width - seen) / 2, (height - seen) / 2, (width + seen) / 2, (height + seen) / 2)
        return numpy.asarray(picture.resize((side, side), Image.BICUBIC, box=box))

    def run(self, images):
        return self.session.run(None, {"images": numpy.stack(images)})[0]


def answer(row):
    """The likeliest classes of a row, by their labels."""
    likeliest = numpy.argsort(-row)[:TOP]
    return {"predictions": [{"class": str(label), "probability": float(row[label])} for label in likeliest]}
