"""Write digits.gz, the handwritten digits inside Percept, from scikit-learn's copy of the UCI data.

usage: python3 make_digits.py    (needs scikit-learn; writes beside itself)

1,797 records of 65 bytes, gzipped: the label, 0 to 9, then 8x8 values, row by row, 0 (paper) to 16 (ink), as
published. The order is scikit-learn's, which is the published one.
"""
import gzip
import os

from sklearn.datasets import load_digits

digits = load_digits()
images, labels = digits.data.astype("uint8"), digits.target.astype("uint8")
assert images.shape == (1797, 64) and images.max() == 16 and (images == digits.data).all()
records = b"".join(bytes([label]) + image.tobytes() for label, image in zip(labels, images))
path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "digits.gz")
with open(path, "wb") as file:
    file.write(gzip.compress(records, compresslevel=9, mtime=0))
print(f"{path}: {os.path.getsize(path):,} bytes")
