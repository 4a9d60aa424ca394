"""No file of a model runs code: not its own modules, nobody is asked on the terminal, and nothing is unpickled."""

from __future__ import annotations

import ast
import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import harness_transformers
import pytest
import transformers
from harness_transformers.opening import build_bare, read_tokenizer
from harness_transformers.references import open_files
from tokenizers import Tokenizer, models, pre_tokenizers

from harness import Site, UnavailableError

CODE = """
from pathlib import Path
Path({marker!r}).touch()
import transformers
class Own(transformers.PretrainedConfig):
    model_type = "own"
class OwnModel(transformers.PreTrainedModel):
    config_class = Own
class OwnTokenizer(transformers.PreTrainedTokenizerFast):
    pass
class OwnProcessor(transformers.ProcessorMixin):
    pass
class OwnImages(transformers.SiglipImageProcessor):
    pass
"""
WORDS = {
    word: number
    for number, word in enumerate(["<pad>", "<bos>", *sorted(pre_tokenizers.ByteLevel.alphabet())])
}


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """A terminal on which somebody has typed "y" already, many times."""
    typed = io.StringIO("y\n" * 9)
    monkeypatch.setattr(sys, "stdin", typed)
    yield typed


def write_model(folder: Path) -> None:
    """A Gemma of two blocks, with its tokenizer."""
    config = transformers.Gemma2Config(
        vocab_size=len(WORDS), hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, max_position_embeddings=64,
    )  # fmt: skip
    transformers.Gemma2Model(config).save_pretrained(folder)
    tokenizer = Tokenizer(models.BPE(vocab=WORDS, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<bos>"
    ).save_pretrained(folder)


def edit(folder: Path, file: str, **fields: Any) -> None:
    path = folder / file
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**content, **fields}))


def with_config(folder: Path) -> None:
    edit(
        folder,
        "config.json",
        model_type="own",
        auto_map={"AutoConfig": "own.Own", "AutoModel": "own.OwnModel"},
    )


def with_tokenizer(folder: Path) -> None:
    auto = {"AutoTokenizer": ["own.OwnTokenizer", "own.OwnTokenizer"]}
    edit(folder, "tokenizer_config.json", tokenizer_class="OwnTokenizer", auto_map=auto)
    edit(folder, "config.json", model_type="own")


def as_paligemma(folder: Path) -> None:
    vision = {"model_type": "siglip_vision_model", "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
              "num_attention_heads": 2, "image_size": 28, "patch_size": 14}  # fmt: skip
    text = json.loads((folder / "config.json").read_text())
    config = transformers.PaliGemmaConfig(text_config=text, vision_config=vision, projection_dim=16)
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    transformers.SiglipImageProcessor(size={"height": 28, "width": 28}).save_pretrained(folder)


def with_processor(folder: Path) -> None:
    as_paligemma(folder)
    edit(
        folder,
        "processor_config.json",
        processor_class="OwnProcessor",
        auto_map={"AutoProcessor": "own.OwnProcessor"},
    )


def with_image_processor(folder: Path) -> None:
    as_paligemma(folder)
    edit(folder, "processor_config.json", processor_class="PaliGemmaProcessor")
    auto = {"AutoImageProcessor": "own.OwnImages"}
    edit(folder, "preprocessor_config.json", image_processor_type="OwnImages", auto_map=auto)


def with_elsewhere(folder: Path) -> None:
    """Code of another repository, which would be fetched."""
    edit(folder, "config.json", model_type="own", auto_map={"AutoConfig": "org/other--own.Own"})


def open_text(folder: Path) -> object:
    return harness_transformers.open_model(str(folder), str(folder))


def open_images(folder: Path) -> object:
    return harness_transformers.open_model(str(folder), str(folder), modality="image")


def read_tokenizer_alone(folder: Path) -> object:
    """Its config is not read: of a type that transformers knows, it would take that type's own tokenizer."""
    return read_tokenizer(open_files(str(folder)))


def build_alone(folder: Path) -> object:
    """A configuration that transformers knows and has no model of."""
    config = transformers.PretrainedConfig(name_or_path=str(folder), auto_map={"AutoModel": "own.OwnModel"})
    return build_bare(str(folder), config, "eager")


OWN: dict[str, tuple[Callable[[Path], object], Callable[[Path], object]]] = {
    "config": (with_config, open_text),
    "config of another repository": (with_elsewhere, open_text),
    "tokenizer": (with_tokenizer, read_tokenizer_alone),
    "processor": (with_processor, open_images),
    "image processor": (with_image_processor, open_images),
    "model": (lambda folder: None, build_alone),
}


@pytest.mark.parametrize("part", OWN)
def test_code_that_a_model_brings_is_not_run_nor_asked_about(
    tmp_path: Path, terminal: io.StringIO, capfd: pytest.CaptureFixture[str], part: str
) -> None:
    change, read = OWN[part]
    folder, marker = tmp_path / "model", tmp_path / "marker"
    write_model(folder)
    change(folder)
    (folder / "own.py").write_text(CODE.format(marker=str(marker)))
    with pytest.raises(
        UnavailableError, match=r"needs code of its own, which its .* never run: use a model"
    ) as caught:
        read(folder)
    assert "\n" not in str(caught.value)
    assert not marker.exists()
    assert terminal.tell() == 0
    assert capfd.readouterr().out == ""


def test_a_model_that_transformers_knows_is_read_by_its_own_class_whatever_code_lies_beside(
    tmp_path: Path, terminal: io.StringIO
) -> None:
    folder, marker = tmp_path / "model", tmp_path / "marker"
    write_model(folder)
    edit(folder, "config.json", auto_map={"AutoConfig": "own.Own", "AutoModel": "own.OwnModel"})
    edit(
        folder, "tokenizer_config.json", auto_map={"AutoTokenizer": ["own.OwnTokenizer", "own.OwnTokenizer"]}
    )
    (folder / "own.py").write_text(CODE.format(marker=str(marker)))
    model = harness_transformers.open_model(str(folder), str(folder))
    site = Site.parse("resid_post.1")
    values = model.load([site], "cpu").forward(model.tokenize(["ab"]))
    assert values[site].shape[-1] == 16
    assert not marker.exists()
    assert terminal.tell() == 0


def test_a_command_ends_with_code_3_where_a_model_brings_code(
    harness_command, tmp_path: Path, terminal: io.StringIO
) -> None:
    write_model(tmp_path / "model")
    with_config(tmp_path / "model")
    (tmp_path / "model" / "own.py").write_text(CODE.format(marker=str(tmp_path / "marker")))
    (tmp_path / "texts.jsonl").write_text('{"text": "one"}\n')
    found = harness_command(
        "features", "-m", "./model", "--site", "resid_post.1", "--input", "texts.jsonl", "-o", "out.npy"
    )
    assert found.code == 3
    assert len(found.said) == 1
    assert not (tmp_path / "marker").exists()
    assert terminal.tell() == 0


# ── the source ───────────────────────────────────────────────────────────────────────────────────────────

NEEDED = {
    "from_pretrained": ("trust_remote_code", False),
    "from_config": ("trust_remote_code", False),
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "np.save": ("allow_pickle", False),
}
"""Argument that each call must spell out."""
NEVER = {
    *("eval", "exec", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "pickle.load", "pickle.loads"),
    *("joblib.load", "torch.hub.load", "pd.read_pickle", "os.system"),
}
FROM_OWN_CHILD = {
    "harness/runs/units.py": "pickle.loads",
    "plugins/harness_local/child.py": "pickle.loads",
    "plugins/harness_local/driver.py": "pickle.loads",
    "harness/testing/checks/common.py": "pickle.loads",
    "plugins/harness_ray/pool.py": "pickle.loads",
    "plugins/harness_ray/worker.py": "pickle.loads",
}
"""Calls that read a pipe from a process that the harness started itself, what comes from a worker through Ray, which
runs any code that it is sent, or what was pickled a line before, and never a file.
"""
ROOT = Path(__file__).parents[1]
SOURCES = [path for room in ("harness", "plugins", "tasks") for path in sorted((ROOT / room).rglob("*.py"))]


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def test_no_call_in_the_source_may_run_code_of_a_file() -> None:
    found = 0
    for path in SOURCES:
        for name, call in calls(path):
            if FROM_OWN_CHILD.get(path.relative_to(ROOT).as_posix()) == name:
                continue
            assert name not in NEVER, f"{path} line {call.lineno}: {name}"
            needed = NEEDED.get(name) or NEEDED.get(name.rpartition(".")[2])
            if needed is None:
                continue
            given = {each.arg: each.value for each in call.keywords}
            value = given.get(needed[0])
            found += 1
            assert isinstance(value, ast.Constant), f"{path} line {call.lineno}: {name} without {needed[0]}"
            assert value.value is needed[1], f"{path} line {call.lineno}: {name} with another {needed[0]}"
    assert found >= 10


CORE = (
    "config",
    "data",
    "dictionary_report",
    "features",
    "leaderboard",
    "registry",
    "runs",
    "training",
    "validation",
)
OPENING_THEMSELVES = {
    "data/images.py": "it gives each fault its own name",
    "leaderboard/published/check.py": "pages that are files already",
    "registry/source.py": "code of plugins, which runs anyway",
    "runs/folder.py": "what it has just written",
    "training/files.py": "what it writes",
}


def test_rooms_that_read_files_of_others_open_them_in_one_place() -> None:
    for path in (each for room in CORE for each in sorted((ROOT / "harness" / room).rglob("*.py"))):
        inside = path.relative_to(ROOT / "harness").as_posix()
        for name, call in calls(path):
            if inside not in OPENING_THEMSELVES:
                last = name.rpartition(".")[2]
                assert last not in ("read_text", "read_bytes"), f"{inside} line {call.lineno}: {name}"
                opens = last == "open" and name not in (
                    "gzip.open",
                    "context.executor.open",
                )  # which opens a pool
                assert not opens, f"{inside} line {call.lineno}: {name}"
