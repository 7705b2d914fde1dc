"""Serve an exported model over HTTP with LitServe, which gathers requests into batches.

deepclust export RUN model.onnx
pip install litserve onnxruntime
python serve.py model.onnx
curl -X POST localhost:8000/predict -H "Content-Type: application/json" -d '{"row": [0.1, 0.2, ...]}'
"""

import sys

import litserve
import numpy as np
import onnxruntime


class Clusters(litserve.LitAPI):
    """A row in, its cluster and the probability of that out."""

    def __init__(self, model):
        super().__init__(max_batch_size=256, batch_timeout=0.01)
        self.model = model

    def setup(self, device):
        self.session = onnxruntime.InferenceSession(self.model, providers=["CPUExecutionProvider"])

    def decode_request(self, request):
        return np.asarray(request["row"], dtype=np.float32)

    def batch(self, rows):
        return np.stack(rows)

    def predict(self, rows):
        _, probabilities, label = self.session.run(None, {"x": rows})
        return [{"cluster": int(c), "probability": float(p.max())} for c, p in zip(label, probabilities, strict=True)]

    def unbatch(self, answers):
        return answers

    def encode_response(self, answer):
        return answer


if __name__ == "__main__":
    litserve.LitServer(Clusters(sys.argv[1]), accelerator="cpu").run(port=8000, generate_client_file=False)
