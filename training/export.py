"""From a fine-tuned network to the int8 ONNX file that is served, and the proof that the two agree."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from transformers import PreTrainedModel

from models.manifest import MODEL, TOKENIZER, ArtefactError
from models.network import EMBEDDING, LOGITS
from training.train import Fitted

# Of the decisions on dev. A sound export differs where a probability lies at its threshold, and a network that has
# hardly been trained has many of those.
LEAST_AGREEMENT = 0.90


class ParityError(ArtefactError):
    """The exported network does not compute what the trained one does."""


@dataclass(frozen=True)
class Parity:
    """How far apart two sets of logits are. agreement: the share of (passage, label) decisions that are the same."""

    mean_difference: float
    largest_difference: float
    agreement: float


class _Served(torch.nn.Module):
    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = self.model(input_ids=input_ids, attention_mask=attention_mask)
        return found.logits, found.pooled


def onnx_float32(fitted: Fitted, path: Path) -> None:
    """Write the network as ONNX in float32: input_ids and attention_mask (batch, tokens) to logits (batch, labels) and
    the embeddings that they are read from (batch, width).
    """
    fitted.model.set_attn_implementation("eager")  # the quantizer cannot type the graph of fused attention
    ids = torch.randint(1000, 2000, (2, 16))
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens", min=2, max=512)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of its own renamed axes and deprecations
        torch.onnx.export(
            _Served(fitted.model.eval()),
            (ids, torch.ones_like(ids)),
            path,
            input_names=["input_ids", "attention_mask"],
            output_names=[LOGITS, EMBEDDING],
            dynamic_shapes=(axes, axes),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    # Shapes inferred for the float network contradict the quantizer's own inference.
    network = onnx.load(path)
    del network.graph.value_info[:]
    onnx.save(network, path)


def quantize(source: Path, target: Path) -> None:
    """Weights to int8, a scale a channel; activations are quantised while it runs, a passage at a time."""
    quantize_dynamic(source, target, weight_type=QuantType.QInt8, per_channel=True)


def write(fitted: Fitted, folder: Path) -> None:
    """Write model.onnx (int8) and tokenizer.json into a folder."""
    full = folder / "float32.onnx"
    onnx_float32(fitted, full)
    quantize(full, folder / MODEL)
    full.unlink()
    fitted.tokenizer.backend_tokenizer.save(str(folder / TOKENIZER))


def parity(trained: np.ndarray, served: np.ndarray, cuts: np.ndarray) -> Parity:
    """Compare logits, shape (passages, labels). cuts: the logit at which each label turns on.

    Raises ParityError where they agree on fewer than LEAST_AGREEMENT of the decisions.
    """
    apart = np.abs(trained - served)
    agreement = float(((trained >= cuts) == (served >= cuts)).mean())
    if agreement < LEAST_AGREEMENT:
        raise ParityError(f"the int8 network and the trained one agree on {agreement:.1%} of the decisions alone")
    return Parity(float(apart.mean()), float(apart.max()), agreement)
