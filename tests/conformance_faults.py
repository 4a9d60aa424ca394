"""Plugins for the tests of checks: a good one of each kind, and changes of its source that break one rule each."""

# ruff: noqa: E501  sources of plugins, in which a replacement is one line

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

POOLINGS = '''
import harness

class Floored:
    """Mean over tokens, and at least a floor."""

    def __init__(self, floor):
        self.floor, self.more = floor, 0.0

    @staticmethod
    def base(values, offsets):
        import torch
        return torch.stack([part.sum(dim=0) for part in values.tensor_split(offsets[1:-1].cpu())])

    def finish(self, sums, offsets):
        means = sums / offsets.diff().unsqueeze(1)
        return means.clamp(min=self.floor) + self.more

    def derive(self, pooled, offsets):
        return self.finish(pooled, offsets)

    def __call__(self, values, offsets):
        return self.finish(self.base(values, offsets), offsets)

def make_pooling(*, floor: float = -9.0):
    return Floored(floor)

@harness.hookimpl
def harness_poolings():
    return [harness.PoolingSpec(name="floored", summary="the mean, at least a floor", make=make_pooling)]
'''

TRANSFORMS = '''
import numpy as np
import harness

class Scaled:
    """Columns that are not zero, divided by their largest value."""

    def __init__(self, by):
        self.by = by

    def fit(self, X, y):
        top = abs(X).max(axis=0)
        top = np.asarray(top.toarray() if hasattr(top, "toarray") else top).ravel()
        self.kept = np.flatnonzero(top > 0)
        self.chosen = self.kept
        self.scale = self.by / top[self.kept]
        return self

    def transform(self, X):
        X = X[:, self.kept]
        return X.multiply(self.scale).tocsr() if hasattr(X, "multiply") else X * self.scale

def make_transform(*, by: float = 1.0):
    return Scaled(by)

@harness.hookimpl
def harness_transforms():
    return [harness.TransformSpec(name="scaled", summary="columns by their largest value", make=make_transform)]
'''

CLASSIFIERS = '''
import numpy as np
import harness

class Centroid:
    """The nearest mean of a class."""

    def __init__(self, shrink, k, seed):
        self.shrink, self.k, self.seed, self.more = shrink, k, seed, 0.0

    def fit(self, X, y):
        X = X.toarray() if hasattr(X, "toarray") else np.asarray(X)
        numbers = range(int(y.max()) + 1)
        centres = np.stack([X[y == c].mean(axis=0) if (y == c).any() else X.mean(axis=0) for c in numbers])
        centres = (1 - self.shrink) * centres + self.shrink * X.mean(axis=0)
        self.weights = self.own = 2 * centres
        self.bias = self.more - (centres ** 2).sum(axis=1)
        return self

    def predict_proba(self, X):
        return X @ self.own.T + self.bias

    def fit_grid(self, X, y, points):
        for point in points:
            yield Centroid(**{"shrink": self.shrink, "k": self.k, "seed": self.seed, **point}).fit(X, y)

def make_classifier(*, shrink: float, k: int = 6, seed: int = 0):
    return Centroid(shrink, k, seed)

@harness.hookimpl
def harness_classifiers():
    return [
        harness.ClassifierSpec(
            name="centroid", summary="the nearest mean", make=make_classifier, grid={"shrink": (0.0, 0.5)}, selects="k"
        )
    ]
'''

ALIGNMENTS = '''
import numpy as np
import harness

def dense(X):
    return X.toarray() if hasattr(X, "toarray") else np.asarray(X)

class Ridge:
    """Least squares with a penalty."""

    def __init__(self, ridge):
        self.ridge, self.more = ridge, 0.0

    def fit(self, source, target):
        source, target = dense(source), dense(target)
        square = target.T @ target + self.ridge * np.eye(target.shape[1])
        self.weights = np.linalg.solve(square, target.T @ source)
        return self

    def transform(self, target):
        return dense(target) @ self.weights + self.more

def make_alignment(*, ridge: float = 0.1):
    return Ridge(ridge)

@harness.hookimpl
def harness_alignments():
    return [harness.AlignmentSpec(name="ridge", summary="least squares with a penalty", make=make_alignment)]
'''

REGIMES = '''
import random
from dataclasses import replace
import harness

class Part:
    """A share of the training rows."""

    def __init__(self, share):
        self.share, self.more = share, 0

    def __call__(self, examples, rows, seed):
        kept = random.Random(seed + self.more).sample(rows.train, max(1, int(self.share * len(rows.train))))
        return replace(rows, train=tuple(sorted(kept)))

class Each:
    """Each language by itself."""

    def __call__(self, examples, rows, seed):
        found = []
        for tag in sorted(set(examples.languages)):
            train, validation, test = (
                tuple(row for row in part if examples.languages[row] == tag)
                for part in (rows.train, rows.validation, rows.test)
            )
            if train and test:
                found.append(replace(rows, train=train, validation=validation, test=test))
        return found

def make_part(*, share: float = 0.5):
    return Part(share)

@harness.hookimpl
def harness_regimes():
    return [
        harness.RegimeSpec(name="part", summary="a share of the training rows", make=make_part),
        harness.RegimeSpec(
            name="each", summary="each language by itself", make=Each, by_language=True, moves_test=True, natural="language"
        ),
    ]
'''

REPRESENTATIONS = '''
import zlib
import numpy as np
import harness

class Encoder:
    def __init__(self, weights, scale):
        self.weights, self.scale, self.width, self.more = weights, scale, weights.shape[1], 0.0

    def encode(self, activations):
        return (activations @ self.weights).relu() * self.scale + self.more

    def rebuild(self, activations, size):
        features = self.encode(activations)
        return features @ self.weights.T, int((features != 0).sum())

class Random:
    """Rectified random directions."""

    def __init__(self, width, scale, seed):
        self.width, self.scale, self.seed = width, scale, seed

    def at(self, model, site):
        d_in = model.width(site)
        identity = {"width": self.width, "scale": self.scale, "seed": self.seed}
        return harness.PlacedRepresentation(
            identity=identity,
            d_in=d_in,
            width=self.width,
            load=lambda device: self.draw(d_in, device),
            load_whole=lambda device: self.draw(d_in, device),
            sparse=True,
        )

    def draw(self, d_in, device):
        import torch
        weights = torch.randn(d_in, self.width, generator=torch.Generator().manual_seed(self.seed))
        return Encoder(weights.to(device), self.scale)

class Words:
    """Counts of hashed words."""

    def __init__(self, buckets):
        self.buckets = buckets

    def identity(self):
        return {"buckets": self.buckets}

    def fit(self, inputs):
        return self

    def transform(self, inputs):
        found = np.zeros((len(inputs), self.buckets), dtype=np.float32)
        for row, text in enumerate(inputs):
            for word in str(text).split():
                found[row, zlib.crc32(word.encode()) % self.buckets] += 1
        return found

def make_random(*, width: int = 8, scale: float = 1.0, seed: int = 0):
    return Random(width, scale, seed)

def make_words(*, buckets: int = 7):
    return Words(buckets)

@harness.hookimpl
def harness_representations():
    return [
        harness.RepresentationSpec(name="rectified", summary="random directions", make=make_random, needs="tokens"),
        harness.RepresentationSpec(name="words", summary="hashed words", make=make_words, needs="text"),
    ]
'''

MODELS = '''
import harness
from harness.testing import ToyModel

class Loaded:
    def __init__(self, loaded, sites, scale):
        self.loaded, self.sites, self.scale, self.more = loaded, sites, scale, 0.0

    def forward(self, batch):
        found = self.loaded.forward(batch)
        return {site: values * self.scale + self.more for site, values in found.items()}

class Own(ToyModel):
    """The toy, scaled."""

    name = "own"
    architecture = "own"

    def __init__(self, scale):
        self.scale = scale

    def identity(self, site):
        return {"model": "own", "scale": self.scale}

    def load(self, sites, device):
        return Loaded(super().load(sites, device), sites, self.scale)

def make_model(*, scale: float = 1.0):
    return Own(scale)

@harness.hookimpl
def harness_models():
    return [harness.ModelSpec(name="own", summary="the toy, scaled", make=make_model, toy=True)]
'''

TASKS = """
from pathlib import Path
import harness

@harness.hookimpl
def harness_tasks():
    return [
        harness.TaskSpec(
            name="tones",
            version=1,
            summary="kind and unkind words",
            source=harness.FileSource(file=Path(__file__).with_name("rows.csv")),
            languages=("en",),
            licence="CC0",
            citation="none",
            columns=harness.Columns(split=None, language="language"),
        )
    ]
"""

SUITES = """
from pathlib import Path
import harness

@harness.hookimpl
def harness_suites():
    return [Path(__file__).with_name("own_suite.yaml")]
"""

COMMANDS = '''
import click
import harness

@click.command()
@click.option("--loud", is_flag=True, help="Shout.")
def greet(loud):
    """Greet."""

@harness.hookimpl
def harness_commands():
    return [harness.CommandSpec(name="greet", summary="Greet.", load=lambda: greet)]
'''

RESULTS = """
import harness

def describe(paths):
    return harness.ResultPage(markdown=f"# Greetings: {len(paths)}")

@harness.hookimpl
def harness_results():
    return [harness.ResultSpec(name="greetings", summary="Greetings.", pattern="greeting-*.json", load=describe)]
"""

PLUGINS = """
import json
import sys
import harness

@harness.hookimpl
def harness_cell_finished(event):
    print(event.cell_id, event.error, file=sys.stderr)

@harness.hookimpl
def harness_resolve_model(ref):
    return None
"""

_EXAMPLE = Path(__file__).parents[1] / "examples/processes/harness_processes/__init__.py"

EXECUTORS = (
    _EXAMPLE.read_text("utf-8")
    .replace("from __future__ import annotations\n", "")  # it is not the first line of a module here
    .replace('"spawn"', '"fork"')  # a hundred times faster, and safe amid tests
    .replace("jobs: int | None = 2", "jobs: int | None = 1")
)

EXPLAINERS = """
import numpy as np
import harness

class Loudest:
    def __init__(self, least):
        self.least = least

    def open(self, session):
        return self

    def explain(self, fragments):
        top = max(fragments, key=lambda one: one.activations.max())
        return top.tokens[int(top.activations.argmax())]

    def simulate(self, explanation, passages):
        return [np.array([float(token == explanation) for token in one.tokens]) for one in passages]

    def judge(self, explanation, passages):
        return np.array([max(self.least, float(explanation in one.tokens)) for one in passages])

def make_loudest(*, least: float = 0.1):
    return Loudest(least)

@harness.hookimpl
def harness_explainers():
    return [harness.ExplainerSpec(name="loudest", summary="the loudest token", make=make_loudest)]
"""

DICTIONARY_SCORES = """
import harness

def open_width(task):
    return lambda dictionary, seed: float(len(dictionary))

@harness.hookimpl
def harness_dictionary_scores():
    return [harness.DictionaryScoreSpec(name="width", summary="Letters of its name.", load=open_width)]
"""

GOOD = {
    "poolings": POOLINGS,
    "transforms": TRANSFORMS,
    "classifiers": CLASSIFIERS,
    "alignments": ALIGNMENTS,
    "regimes": REGIMES,
    "representations": REPRESENTATIONS,
    "models": MODELS,
    "tasks": TASKS,
    "suites": SUITES,
    "commands": COMMANDS,
    "results": RESULTS,
    "dictionary_scores": DICTIONARY_SCORES,
    "executors": EXECUTORS,
    "explainers": EXPLAINERS,
    "plugins": PLUGINS,
}
"""Kind → source of a plugin that passes every check."""

ROWS = "text,label,language\\n" + "".join(
    f"{'good fine' if row % 2 else 'bad awful'} thing number {row},{'kind' if row % 2 else 'unkind'},en\\n"
    for row in range(60)
)

SUITE = """name: own_suite
tasks: [quickstart_tone]
models: [{ref: minigemma-s, sites: [resid_post.1]}]
representations: [hidden, majority]
poolings: [mean]
classifiers: [logreg]
"""

FILES = {"rows.csv": ROWS.replace("\\n", "\n"), "own_suite.yaml": SUITE}
"""Files beside the plugin's module."""


@dataclass(frozen=True)
class Fault:
    """Change of a good plugin that breaks one rule: `old` is replaced by `new` in its source, or in the file `file`."""

    kind: str
    check: str
    old: str
    new: str
    file: str = ""

    def __str__(self) -> str:
        return f"{self.kind}-{self.check}"


NETWORK = "__import__('socket').getaddrinfo('127.0.0.1', 80)"
WRITE = "open('left-behind', 'w').close()"

FAULTS = (
    # Poolings
    Fault("poolings", "metadata", 'summary="the mean, at least a floor"', 'summary=""'),
    Fault("poolings", "errors", "floor: float = -9.0", "floor=-9.0"),
    Fault("poolings", "contract", "+ self.more", "+ self.more.__class__(0) + sums.double() * 0"),
    Fault("poolings", "finite", "+ self.more", "+ float('nan')"),
    Fault("poolings", "deterministic", "floor, 0.0", "floor, __import__('random').random()"),
    Fault("poolings", "reproducible", "floor, 0.0", "floor, float(hash('a') % 1009)"),
    Fault("poolings", "no-network", "    return Floored(floor)", f"    {NETWORK}\n    return Floored(floor)"),
    Fault("poolings", "no-writes", "    return Floored(floor)", f"    {WRITE}\n    return Floored(floor)"),
    Fault("poolings", "order", "+ self.more", "- means.mean(dim=0)"),
    Fault(
        "poolings",
        "one-token",
        "        return self.finish(self.base(values",
        "        if len(values) == 1:\n            raise ValueError('no spread')\n        return self.finish(self.base(values",
    ),
    Fault("poolings", "features", "+ self.more", "/ (1 + means.abs().sum(dim=1, keepdim=True))"),
    Fault(
        "poolings",
        "inputs",
        "return self.finish(self.base(values, offsets), offsets)",
        "found = self.finish(self.base(values, offsets), offsets)\n        values *= 2\n        return found",
    ),
    Fault(
        "poolings",
        "own-memory",
        "        return self.finish(self.base(values",
        "        if len(values) == len(offsets) - 1:\n            return values\n        return self.finish(self.base(values",
    ),
    Fault(
        "poolings",
        "derived",
        "return self.finish(pooled, offsets)",
        "return self.finish(pooled, offsets) + 1",
    ),
    Fault("poolings", "device", ".cpu())])", ".cpu())]).cpu()"),
    # Transforms
    Fault("transforms", "metadata", 'summary="columns by their largest value"', "summary='two\\nlines'"),
    Fault("transforms", "errors", "by: float = 1.0", "by=1.0"),
    Fault("transforms", "contract", "X = X[:, self.kept]", "X = X[1:, self.kept]"),
    Fault("transforms", "finite", "self.scale = self.by", "self.scale = float('inf') * self.by"),
    Fault("transforms", "deterministic", "self.by = by", "self.by = by + __import__('random').random()"),
    Fault("transforms", "reproducible", "self.by = by", "self.by = by + hash('a') % 1009"),
    Fault("transforms", "no-network", "        return self\n", f"        {NETWORK}\n        return self\n"),
    Fault("transforms", "no-writes", "        return self\n", f"        {WRITE}\n        return self\n"),
    Fault("transforms", "rows", "X = X[:, self.kept]", "X = X[:, self.kept] / X.max()"),
    Fault("transforms", "inputs", "        top = abs(X)", "        X *= 2\n        top = abs(X)"),
    Fault("transforms", "read-only", "        top = abs(X)", "        X *= 1\n        top = abs(X)"),
    Fault("transforms", "sparse", "X.multiply(self.scale)", "X.multiply(2 * self.scale)"),
    Fault("transforms", "degenerate", "np.flatnonzero(top > 0)", "np.arange(len(top))"),
    Fault(
        "transforms",
        "refit",
        "    def fit(self, X, y):",
        "    def fit(self, X, y):\n        if hasattr(self, 'kept'):\n            return self",
    ),
    Fault("transforms", "pickles", "self.by = by", "self.by, self.name = by, lambda: 'x'"),
    Fault(
        "transforms",
        "one-class",
        "        top = abs(X)",
        "        if len(set(y)) == 1:\n            raise KeyError(1)\n        top = abs(X)",
    ),
    Fault("transforms", "chosen", "self.chosen = self.kept", "self.chosen = self.kept[::-1]"),
    # Classifiers
    Fault("classifiers", "metadata", "make_classifier(*, ", "make_classifier(*more, "),
    Fault("classifiers", "errors", "k: int = 6", "k=6"),
    Fault("classifiers", "contract", "+ self.bias", "@ np.ones((len(self.bias), 2))"),
    Fault("classifiers", "finite", "seed, 0.0", "seed, float('inf')"),
    Fault("classifiers", "deterministic", "seed, 0.0", "seed, np.random.rand()"),
    Fault("classifiers", "reproducible", "seed, 0.0", "seed, float(hash('a') % 1009)"),
    Fault("classifiers", "no-network", "        return self\n", f"        {NETWORK}\n        return self\n"),
    Fault("classifiers", "no-writes", "        return self\n", f"        {WRITE}\n        return self\n"),
    Fault("classifiers", "rows", "+ self.bias", "+ self.bias - (X @ self.own.T).mean(axis=0)"),
    Fault(
        "classifiers",
        "inputs",
        "        numbers =",
        "        y += 0 * y + (y > 9)\n        X *= 2\n        numbers =",
    ),
    Fault("classifiers", "read-only", "        numbers =", "        X *= 1\n        numbers ="),
    Fault("classifiers", "sparse", "X = X.toarray() if", "X = 2 * X.toarray() if"),
    Fault(
        "classifiers", "degenerate", "        numbers =", "        X = X / X.max(axis=0)\n        numbers ="
    ),
    Fault(
        "classifiers",
        "refit",
        "def fit(self, X, y):",
        "def fit(self, X, y):\n        if hasattr(self, 'bias'):\n            return self",
    ),
    Fault("classifiers", "pickles", "seed, 0.0", "seed, 0.0\n        self.name = lambda: 'x'"),
    Fault("classifiers", "one-class", "int(y.max()) + 1", "max(2, int(y.max()) + 1)"),
    Fault("classifiers", "classes", "for c in numbers])", "for c in numbers][::-1])"),
    Fault("classifiers", "grid", "self.seed, **point", "self.seed"),
    Fault(
        "classifiers",
        "weights",
        "self.weights = self.own = 2",
        "self.weights = -2 * centres\n        self.own = 2",
    ),
    Fault("classifiers", "selects", 'selects="k"', 'selects="n"'),
    # Alignments
    Fault("alignments", "metadata", "ridge: float = 0.1", "ridge: float = 0.1, **more"),
    Fault("alignments", "errors", "ridge: float = 0.1", "ridge=0.1"),
    Fault(
        "alignments", "contract", "return dense(target) @ self.weights + self.more", "return dense(target)"
    ),
    Fault("alignments", "finite", "ridge, 0.0", "ridge, float('nan')"),
    Fault("alignments", "deterministic", "ridge, 0.0", "ridge, np.random.rand()"),
    Fault("alignments", "reproducible", "ridge, 0.0", "ridge, float(hash('a') % 1009)"),
    Fault("alignments", "no-network", "        return self\n", f"        {NETWORK}\n        return self\n"),
    Fault("alignments", "no-writes", "        return self\n", f"        {WRITE}\n        return self\n"),
    Fault("alignments", "rows", "+ self.more", "- dense(target).mean()"),
    Fault("alignments", "inputs", "        square =", "        target *= 2\n        square ="),
    Fault("alignments", "read-only", "        square =", "        target *= 1\n        square ="),
    Fault("alignments", "sparse", "return X.toarray()", "return -X.toarray() * (X.shape[0] > 30)"),
    Fault("alignments", "degenerate", "self.ridge * np.eye(target.shape[1])", "0"),
    Fault(
        "alignments",
        "refit",
        "        source, target = dense",
        "        if hasattr(self, 'weights'):\n            return self\n        source, target = dense",
    ),
    Fault("alignments", "pickles", "ridge, 0.0", "ridge, 0.0\n        self.name = lambda: 'x'"),
    # Executors
    Fault("explainers", "metadata", 'summary="the loudest token"', "summary='two\\nlines'"),
    Fault("explainers", "errors", "least: float = 0.1", "least=0.1"),
    Fault(
        "explainers", "contract", "float(token == explanation) for token in one.tokens", "1.0 for _ in '12'"
    ),
    Fault("explainers", "no-writes", "        top = max", f"        {WRITE}\n        top = max"),
    Fault("executors", "metadata", 'summary="`jobs` processes of this machine"', "summary='two\\nlines'"),
    Fault(
        "executors",
        "errors",
        "*, jobs: int | None = 1) -> harness.Executor:",
        "*, jobs: int = 1, wait=1.0) -> harness.Executor:",
    ),
    Fault(
        "executors", "no-writes", "        self._start()\n\n", f"        self._start()\n        {WRITE}\n\n"
    ),
    Fault(
        "executors",
        "contract",
        "        while self._given:\n            self",
        "        if self._given:\n            self",
    ),
    Fault(
        "executors",
        "once",
        "            self._given.append(",
        "            self._pool.submit(_run, packed.body, shared)\n            self._given.append(",
    ),
    Fault(
        "executors",
        "thread",
        "            unit.take(answer)",
        "            __import__('concurrent.futures').futures.ThreadPoolExecutor(1).submit(unit.take, answer).result()",
    ),
    Fault(
        "executors",
        "rows",
        "_worker.run(body, shared)",
        "_worker.run(body, globals().setdefault('_first', shared))",
    ),
    Fault(
        "executors",
        "further",
        "        while self._given:\n            self._take_first()",
        "        for _ in [*self._given]:\n            if self._given:\n                self._take_first()",
    ),
    Fault(
        "executors",
        "ends",
        "            unit.take(answer)",
        "            try:\n                unit.take(answer)\n            except harness.WriteError:\n                pass",
    ),
    Fault("executors", "here", "run_here(why=str(error))", "fail(str(error), rest=True)"),
    Fault("executors", "unread", "run_here(why=str(said[-1].error))", "fail('unread', rest=True)"),
    Fault("executors", "deaths", "            if died:", "            if True:"),
    Fault(
        "executors",
        "no-rest",
        "        self._pool = Process",
        "        __import__('subprocess').Popen(['sleep', '9'])\n        self._pool = Process",
    ),
    Fault("executors", "devices", "return harness.resolve_device(wanted)", "return wanted"),
    # Regimes
    Fault("regimes", "metadata", 'summary="a share of the training rows"', "summary=' '"),
    Fault("regimes", "errors", "share: float = 0.5", "share=0.5"),
    Fault("regimes", "contract", "train=tuple(sorted(kept))", "train=tuple(float(row) for row in kept)"),
    Fault("regimes", "deterministic", "random.Random(seed + self.more)", "random.Random()"),
    Fault("regimes", "reproducible", "share, 0", "share, hash('a') % 1009"),
    Fault("regimes", "no-network", "    return Part(share)", f"    {NETWORK}\n    return Part(share)"),
    Fault("regimes", "no-writes", "    return Part(share)", f"    {WRITE}\n    return Part(share)"),
    Fault("regimes", "apart", "train=tuple(sorted(kept))", "train=tuple(sorted({*kept, *rows.test[:1]}))"),
    Fault(
        "regimes",
        "test-rows",
        "train=tuple(sorted(kept))",
        "train=tuple(sorted(kept)), labels=tuple('class 0' for _ in rows.labels)",
    ),
    Fault("regimes", "languages", "        return found", "        return found + found[:1]"),
    Fault("regimes", "natural", "train=train, ", "train=train[1:] or train, "),
    Fault(
        "regimes",
        "few",
        "        kept =",
        "        if len(rows.train) < 5:\n            raise ValueError('few')\n        kept =",
    ),
    # Representations
    Fault("representations", "metadata", 'name="words"', "name='two words'"),
    Fault("representations", "errors", "scale: float = 1.0", "scale=1.0"),
    Fault("representations", "contract", ").relu()", ").relu().double()"),
    Fault("representations", "finite", "shape[1], 0.0", "shape[1], float('nan')"),
    Fault("representations", "deterministic", "shape[1], 0.0", "shape[1], np.random.rand()"),
    Fault("representations", "reproducible", "shape[1], 0.0", "shape[1], float(hash('a') % 1009)"),
    Fault(
        "representations",
        "no-network",
        "        import torch\n",
        f"        import torch\n        {NETWORK}\n",
    ),
    Fault(
        "representations", "no-writes", "        import torch\n", f"        import torch\n        {WRITE}\n"
    ),
    Fault("representations", "tokens", "+ self.more", "- activations.mean()"),
    Fault(
        "representations",
        "inputs",
        "        return (activations",
        "        activations *= 2\n        return (activations",
    ),
    Fault("representations", "identity", '"scale": self.scale, ', ""),
    Fault("representations", "decoder", "int((features != 0).sum())", "features.numel()"),
    Fault(
        "representations",
        "sites",
        "        d_in = model",
        "        {'resid_post': 1}[site.kind]\n        d_in = model",
    ),
    Fault("representations", "device", "weights.to(device)", "weights"),
    Fault("representations", "rows", "        return found", "        return found - found.mean()"),
    Fault(
        "representations", "empty", "enumerate(inputs):", "enumerate(inputs):\n            text.split()[0]"
    ),
    Fault(
        "representations",
        "pickles",
        "self.buckets = buckets",
        "self.buckets, self.name = buckets, lambda: 'x'",
    ),
    Fault("representations", "own-identity", '{"buckets": self.buckets}', "{}"),
    # Models
    Fault("models", "metadata", 'summary="the toy, scaled"', "revision='', summary='x'"),
    Fault("models", "errors", "scale: float = 1.0", "scale=1.0"),
    Fault("models", "contract", 'architecture = "own"', 'architecture = ""'),
    Fault("models", "finite", "scale, 0.0", "scale, float('inf')"),
    Fault("models", "deterministic", "scale, 0.0", "scale, __import__('random').random()"),
    Fault("models", "reproducible", "scale, 0.0", "scale, float(hash('a') % 1009)"),
    Fault("models", "no-network", "    return Own(scale)", f"    {NETWORK}\n    return Own(scale)"),
    Fault("models", "no-writes", "    return Own(scale)", f"    {WRITE}\n    return Own(scale)"),
    Fault("models", "batches", "+ self.more", "+ values.mean()"),
    Fault("models", "depth", "* self.scale", "* self.scale * len(self.sites)"),
    Fault(
        "models",
        "order-of-sites",
        "* self.scale",
        "* (self.scale + (self.sites[0].layer > self.sites[-1].layer))",
    ),
    Fault(
        "models",
        "sites",
        "    def identity",
        "    def width(self, site):\n        return 16\n\n    def identity",
    ),
    Fault(
        "models",
        "empty",
        "    def identity",
        "    def tokenize(self, inputs):\n        [text.split()[0] for text in inputs]\n        return super().tokenize(inputs)\n\n    def identity",
    ),
    Fault("models", "identity", ', "scale": self.scale', ""),
    Fault(
        "models",
        "predictions",
        "    def load(",
        "    def load_whole(self, site, device):\n        whole = super().load_whole(site, device)\n        given = whole.next_logits\n        whole.next_logits = lambda batch, splices=None: given(batch, splices) * 0.5\n        return whole\n\n    def load(",
    ),
    # What is declared
    Fault("tasks", "metadata", 'licence="CC0"', 'licence=""'),
    Fault("tasks", "data", 'languages=("en",)', 'languages=("en", "fr")'),
    Fault("suites", "file", "name: own_suite", "name: another", file="own_suite.yaml"),
    Fault("suites", "names", "poolings: [mean]", "poolings: [mean, meen]", file="own_suite.yaml"),
    Fault("results", "describes", "# Greetings", "Greetings"),
    Fault("dictionary_scores", "opens", "open_width(task)", "open_width(task, device)"),
    Fault("commands", "loads", ', help="Shout."', ""),
    # Whole plugins
    Fault("plugins", "listing", "import json", "import scipy.sparse"),
    Fault(
        "plugins",
        "stable",
        "@harness.hookimpl\ndef harness_resolve_model",
        "@harness.hookimpl\ndef harness_poolings():\n    return [harness.PoolingSpec(name=name, "
        "summary='x', alias_of='mean') for name in {f'p{number}' for number in range(9)}]\n\n@harness.hookimpl\ndef harness_resolve_model",
    ),
    Fault("plugins", "public-names", "import json", "import harness.stats.metrics"),
    Fault(
        "plugins",
        "observing",
        "print(event.cell_id, event.error, file=sys.stderr)",
        "event.metrics['macro_f1'].value",
    ),
    Fault("plugins", "silent", ", file=sys.stderr", ""),
    Fault(
        "plugins", "declining", "return None", "return harness.ModelSpec(name=ref, summary='x', make=dict)"
    ),
)
"""One for each check of each kind."""
