"""Write one value as Python pickles it, by protocol. Needs NumPy. usage: make.py (writes beside itself)"""
import os
import pickle

import numpy

VALUE = {
    "labels": [1, -2, 300, 70000],
    b"data": numpy.array([[1, 200], [3, 4]], "u1"),
    "more": numpy.array([5, -6], ">i4"),
}
for protocol in (0, 2, 3, 5):
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), f"protocol{protocol}.pickle")
    with open(path, "wb") as file:
        pickle.dump(VALUE, file, protocol=protocol)
