"""Assign rows by an exported model with onnxruntime alone: neither deepclust nor torch is needed.

deepclust export RUN model.onnx
pip install numpy onnxruntime
python predict_onnx.py model.onnx rows.npy
"""

import sys

import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
rows = np.load(sys.argv[2]).astype(np.float32)
embedding, probabilities, label = session.run(None, {"x": rows})
for row, (cluster, sure) in enumerate(zip(label, probabilities.max(axis=1), strict=True)):
    print(f"{row}\t{cluster}\t{sure:.3f}")
