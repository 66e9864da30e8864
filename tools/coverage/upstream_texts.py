"""BERT without a download: what reads texts beside a backbone, with weights at random."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from upstream_reasons import OfflineError

_VOCABULARY = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "?", "object")


def stand_in_for_bert(folder: Path) -> None:
    """Has BERT made from its default configuration, which is bert-base's, wherever it is asked for.

    Args:
        folder: Where a vocabulary may lie, for as long as the process goes on.
    """
    if importlib.util.find_spec("transformers") is None:
        return
    import transformers

    vocabulary = folder / "vocabulary.txt"
    vocabulary.write_text("\n".join(_VOCABULARY))

    def tokenizer(kind: type, name: object, *_: object, **__: object) -> Any:
        return kind(str(vocabulary))

    def any_tokenizer(name: object, *_: object, **__: object) -> Any:
        if "bert" not in str(name):
            raise OfflineError
        return transformers.BertTokenizer(str(vocabulary))

    def configuration(kind: type, *_: object, **__: object) -> Any:
        return kind()

    def model(kind: type, *_: object, config: Any = None, **settings: Any) -> Any:
        return kind(config or transformers.BertConfig(), **settings)

    for owner, make in (
        (transformers.BertTokenizer, classmethod(tokenizer)),
        (transformers.BertTokenizerFast, classmethod(tokenizer)),
        (transformers.AutoTokenizer, staticmethod(any_tokenizer)),
        (transformers.BertConfig, classmethod(configuration)),
        (transformers.BertModel, classmethod(model)),
    ):
        owner.from_pretrained = make
