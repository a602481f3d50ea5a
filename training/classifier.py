"""The network that is trained: an encoder, the mean of its token vectors, and one linear output a label.

all-MiniLM-L6-v2 was trained to put a text's meaning into that mean. Its [CLS] vector, which transformers' own BERT
head reads, carries next to nothing of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.utils.generic import ModelOutput

from training.base import Base


class MeanPooledConfig(PretrainedConfig):  # type: ignore[misc]
    """An encoder's configuration, and the labels."""

    model_type = "candour-mean-pooled"
    sub_configs: ClassVar = {"encoder": AutoConfig}
    keys_to_ignore_at_inference: ClassVar = ["pooled"]  # a trainer collects logits alone

    def __init__(self, encoder: dict[str, Any] | PretrainedConfig | None = None, dropout: float = 0.1, **kwargs: Any):
        if isinstance(encoder, dict):
            encoder = CONFIG_MAPPING[encoder["model_type"]](**encoder)
        self.encoder = encoder or CONFIG_MAPPING["bert"]()
        self.dropout = dropout
        super().__init__(**kwargs)


@dataclass
class MeanPooledOutput(ModelOutput):  # type: ignore[misc]
    """logits: shape (batch, labels); pooled, the mean vectors that they are read from: (batch, width)."""

    logits: Tensor | None = None
    pooled: Tensor | None = None


class MeanPooledClassifier(PreTrainedModel):  # type: ignore[misc]
    """input_ids and attention_mask (batch, tokens) to logits (batch, labels). The loss is the trainer's."""

    config_class = MeanPooledConfig
    base_model_prefix = "encoder"
    _supports_sdpa = True

    def __init__(self, config: MeanPooledConfig) -> None:
        super().__init__(config)
        self.encoder = AutoModel.from_config(config.encoder, add_pooling_layer=False)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(config.encoder.hidden_size, len(config.id2label or ()))
        self.post_init()

    @classmethod
    def from_base(cls, base: Base, keys: tuple[str, ...]) -> MeanPooledClassifier:
        """Base weights with a new head: one named output a label."""
        config = MeanPooledConfig(
            encoder=AutoConfig.from_pretrained(base.source),
            id2label=dict(enumerate(keys)),
            label2id={key: index for index, key in enumerate(keys)},
            problem_type="multi_label_classification",
        )
        model = cls(config)
        model.encoder = AutoModel.from_pretrained(base.source, add_pooling_layer=False)
        return model

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **_: Any) -> MeanPooledOutput:
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        weights = attention_mask.unsqueeze(-1).to(states.dtype)
        pooled = (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1.0)
        return MeanPooledOutput(logits=self.classifier(self.dropout(pooled)), pooled=pooled)


AutoConfig.register(MeanPooledConfig.model_type, MeanPooledConfig)
AutoModelForSequenceClassification.register(MeanPooledConfig, MeanPooledClassifier)
