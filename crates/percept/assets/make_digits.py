"""Write digits.bin from scikit-learn's digits.csv.gz: per image 64 bytes of grey and one of label.

usage: make_digits.py OUT   (needs scikit-learn and numpy)
The data: E. Alpaydin and C. Kaynak (1998), Optical Recognition of Handwritten Digits, UCI Machine Learning Repository,
https://doi.org/10.24432/C50P49, CC BY 4.0. Values 0 to 16 are scaled to 0 to 255.
"""
import sys
import numpy as np
from sklearn.datasets import load_digits

images, labels = load_digits(return_X_y=True)
grey = np.rint(images * 255 / 16).astype(np.uint8)
np.concatenate([grey, labels[:, None].astype(np.uint8)], axis=1).tofile(sys.argv[1])
