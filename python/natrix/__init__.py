"""Natrix: trains and runs Mamba-MoE models on very long sequences.

    import natrix
    model = natrix.open("runs/quickstart")
    text = model.session()
    text.feed("In the beginning")
    print("".join(text.generate(tokens=100)))

Losses are mean cross-entropies in nats; tokens are integers below Model.vocab_size; arrays are NumPy's and own
their memory.
"""

from ._errors import Error, InputError
from ._model import Gradients, Model, Scores, Tokenizer, open
from ._session import Session
from ._training import AdamW, Trainer, add, cosine, plan, read_metrics, train

__all__ = [
    "AdamW",
    "Error",
    "Gradients",
    "InputError",
    "Model",
    "Scores",
    "Session",
    "Tokenizer",
    "Trainer",
    "add",
    "cosine",
    "open",
    "plan",
    "read_metrics",
    "train",
]
