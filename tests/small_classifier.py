"""A small random sequence classifier in Hugging Face's format."""

from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers

WORDS = "the a model reads some text and says how good it is for training , which nobody knows before it has read it ."


def save_classifier(folder: Path, **settings: Any) -> Path:
    """Write a model with its tokenizer; weights are large enough that each token shows in the score.

    It sees 64 tokens. ``settings`` are of BertConfig, num_labels for example.
    """
    small_tokenizer().save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=300,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.3,
        **settings,
    )
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def small_tokenizer() -> transformers.PreTrainedTokenizerFast:
    """BERT's kind of tokenizer, which knows the letters and words of WORDS."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    trainer = tokenizers.trainers.WordPieceTrainer(vocab_size=300, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator([WORDS], trainer)
    tokenizer.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=64,
    )
