"""State dicts without a config (OpenAI, Goodfire, DeepSeek-R1): against their formulas, and what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hub_stand_in
import pytest
import torch
from interop.case import LARGEST_DIFFERENCE, compare, open_dictionary
from interop.formulas import DEEPSEEK, GOODFIRE, WIDTH, cases, save
from interop.formulas import make_linear as linear
from interop.formulas import make_openai as openai

import harness
from harness.dictionaries.dictionary import Dictionary

GOLDEN = Path(__file__).parent / "golden"


def read(path: Path, site: str = "resid_post.19") -> Dictionary:
    found = open_dictionary(path, site, {})
    assert found.load_whole is not None
    whole = found.load_whole("cpu")
    assert isinstance(whole, Dictionary)
    return whole


def test_features_and_reconstructions_are_those_of_the_formulas(tmp_path: Path) -> None:
    for case in cases(tmp_path):
        assert compare(case).largest <= LARGEST_DIFFERENCE, case.name


def test_a_file_of_any_name_is_known_by_its_tensors(tmp_path: Path) -> None:
    assert read(save(tmp_path / "mine.pt", linear())).activation == "relu"


@pytest.mark.parametrize(
    ("file", "held", "site"),
    [
        (GOODFIRE, linear(), "resid_post.19"),
        (DEEPSEEK, linear("encoder", "decoder"), "resid_post.19"),
        ("gpt2-small/resid_post_mlp_v5_32k/autoencoders/6.pt", openai(), "resid_post.6"),
        ("resid_delta_mlp_v5_128k/autoencoders/6.pt", openai(), "mlp_out.6"),
        ("resid_delta_attn_v5_32k/autoencoders/0.pt", openai(), "attn_out.0"),
        ("resid_post_attn_v5_32k/autoencoders/6.pt", openai(), "resid_post_attn of layer 6"),
        ("mlp_post_act/autoencoders/6.pt", openai(), "mlp_post_act of layer 6"),
    ],
)
def test_the_authors_names_of_files_tell_the_site(
    tmp_path: Path, file: str, held: dict[str, Any], site: str
) -> None:
    path = save(tmp_path / file, held)
    with pytest.raises(harness.UsageError, match=f"was trained on '{site}', not on 'attn_z.0'"):
        read(path, "attn_z.0")
    if site.count(".") == 1:
        assert read(path, site).width == WIDTH
    if file != DEEPSEEK:  # whose tensors could be anybody's
        assert read(Path(shutil.copy(path, tmp_path / "named otherwise.pt")), "attn_z.0").width == WIDTH


def change(held: dict[str, Any], **changed: Any) -> dict[str, Any]:
    return {**held, **{name.replace("__", "."): value for name, value in changed.items()}}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "another activation": (
        openai("JumpReLU"),
        "has the activation 'JumpReLU'; read are ReLU, Identity, and TopK",
    ),
    "an activation that is a list": (
        change(openai(), activation=["TopK"]),
        "read are ReLU, Identity, and TopK",
    ),
    "top-k without its state": (
        change(openai(), activation_state_dict=None),
        "TopK with its activation_state",
    ),
    "another function after top-k": (
        openai(after="Tanh"),
        "postact_fn = 'Tanh' in its activation_state_dict; read are ReLU and Identity",
    ),
    "a k that is no number": (
        change(openai(), activation_state_dict={"k": "abc", "postact_fn": "ReLU"}),
        "has k = 'abc', which is no whole number",
    ),
    "a k beyond the width": (
        change(openai(), activation_state_dict={"k": 99, "postact_fn": "ReLU"}),
        "k=99 is not between 1 and 24",
    ),
    "a bias of another size": (change(openai(), pre_bias=torch.zeros(3)), r"is \[3\], not \[8\]"),
    "infinities": (
        change(openai(), latent_bias=torch.full((WIDTH,), float("inf"))),
        "b_enc holds values that",
    ),
    "a decoder of other dimensions": (
        change(linear(), decoder_linear__weight=torch.zeros(6, WIDTH)),
        "reads 8 dimensions and writes 6, so it is a transcoder",
    ),
    "no matrix": (change(linear(), encoder_linear__weight=torch.zeros(3)), "which is no matrix"),
    "integers": (
        change(linear(), encoder_linear__bias=torch.zeros(WIDTH, dtype=torch.int8)),
        "holds int8, not floats",
    ),
    "a sparse tensor": (
        change(linear(), encoder_linear__weight=torch.eye(WIDTH, 8).to_sparse()),
        "encoder_linear.weight holds a sparse tensor, and only dense",
    ),
    "a tensor without data": (
        change(linear(), encoder_linear__weight=torch.empty(WIDTH, 8, device="meta")),
        "encoder_linear.weight holds no data, and only dense",
    ),
    "a number without data": (
        change(openai(), extra=torch.empty((), device="meta")),
        "damaged, or that holds Python objects",
    ),
    "another tensor": (change(linear(), threshold=torch.zeros(WIDTH)), "none of the layouts that are read"),
    "two layers of any model": (linear("encoder", "decoder"), "none of the layouts that are read"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_read_is_refused_by_what_it_is(tmp_path: Path, case: str) -> None:
    held, said = REFUSED[case]
    with pytest.raises(harness.HarnessError, match=said) as caught:
        read(save(tmp_path / "x.pt", held))
    assert "\n" not in str(caught.value) and caught.value.exit_code in {2, 3}


def _bomb(path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", bytes(1 << 26))


@pytest.mark.parametrize(
    ("break_", "said"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:900]), "damaged, or that holds Python objects"),
        (_bomb, "none of the layouts that are read"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, break_: Callable[[Path], object], said: str) -> None:
    path = save(tmp_path / "x.pt", openai())
    break_(path)
    with pytest.raises(harness.UnavailableError, match=said):
        read(path)


def test_python_objects_are_not_run(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "marker",)

    path = save(tmp_path / "6.pt", change(openai(), activation=Payload()))
    with pytest.raises(harness.UnavailableError, match="holds Python objects which could run code"):
        read(path)
    assert not (tmp_path / "marker").exists()


def test_a_repository_with_one_such_file_is_found_on_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "repository" / GOODFIRE, linear())
    (tmp_path / "repository" / "config.json").write_text("{}")
    with hub_stand_in.serving(tmp_path / "hub", monkeypatch) as hub:
        hub.add("Goodfire/Llama-3.1-8B-Instruct-SAE-l19", tmp_path / "repository")
        for ref in ("", f"/{GOODFIRE}"):
            assert read(Path(f"Goodfire/Llama-3.1-8B-Instruct-SAE-l19{ref}")).width == WIDTH


@pytest.mark.parametrize("ref", ["org/saes", "org/saes/trainer_0", "org/saes/trainer_0/ae.pt", "org/bare"])
def test_offline_each_message_names_a_command_that_leads_on_and_fetches_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ref: str
) -> None:
    shutil.copytree(GOLDEN / "dictionary_learning" / "TopKTrainer", tmp_path / "saes")
    (tmp_path / "saes" / "examples.pt").write_bytes(b"large")
    save(tmp_path / "bare" / GOODFIRE, linear())
    site = "resid_post.19" if ref == "org/bare" else "resid_post.3"
    with hub_stand_in.serving(tmp_path / "hub", monkeypatch) as hub:
        for name in ("saes", "bare"):
            hub.add(f"org/{name}", tmp_path / name)
        _, told = hub_stand_in.follow(lambda: read(Path(ref), site), monkeypatch)
        assert told and not list((tmp_path / "hub").rglob("examples.pt"))


def test_several_files_that_only_their_tensors_could_tell_are_not_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for layer in (1, 2):
        save(tmp_path / "repository" / f"{layer}.pt", openai())
    with hub_stand_in.serving(tmp_path / "hub", monkeypatch) as hub:
        hub.add("org/bare", tmp_path / "repository")
        with pytest.raises(
            harness.UsageError, match=r"holds 1\.pt, 2\.pt, and no config that tells their format"
        ):
            read(Path("org/bare"))
        assert not list((tmp_path / "hub").rglob("*.pt"))
        assert read(Path("org/bare/2.pt")).width == WIDTH
