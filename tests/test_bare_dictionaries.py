"""State dicts without a config (OpenAI, Goodfire, DeepSeek-R1): against their formulas, and what is refused."""

from __future__ import annotations

import shutil
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hub_stand_in
import pytest
import torch
from interop.case import open_dictionary

import harness
from harness.dictionaries.dictionary import Dictionary

GOLDEN = Path(__file__).parent / "golden"
D_IN, WIDTH, K = 8, 24, 5
GOODFIRE = "Llama-3.1-8B-Instruct-SAE-l19.pth"
DEEPSEEK = "DeepSeek-R1-Distill-Llama-8B-SAE-l19.pt"


def draw(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


X = 2 * draw(7, D_IN, seed=0) + 1


def openai(activation: str | None = "TopK", *, after: str = "ReLU", decoder: bool = True) -> dict[str, Any]:
    """A state dict as `Autoencoder.state_dict` gives it."""
    state = {"k": K, "postact_fn": after} if activation == "TopK" else {}
    held: dict[str, Any] = OrderedDict(
        {
            "pre_bias": draw(D_IN, seed=1),
            "latent_bias": draw(WIDTH, seed=2),
            "stats_last_nonzero": torch.zeros(WIDTH, dtype=torch.long),
            "encoder.weight": draw(WIDTH, D_IN, seed=3),
            **({"decoder.weight": draw(D_IN, WIDTH, seed=4)} if decoder else {}),
            "activation": activation,
            "activation_state_dict": OrderedDict(state),
        }
    )
    # A module leaves the versions of its parts with its state dict, as an attribute that is pickled.
    held._metadata = OrderedDict({"": {"version": 1}})  # type: ignore[attr-defined]
    return held if activation else {name: held[name] for name in list(held)[:-2]}


def linear(encoder: str = "encoder_linear", decoder: str = "decoder_linear") -> dict[str, Any]:
    return {
        f"{encoder}.weight": draw(WIDTH, D_IN, seed=1).bfloat16(),
        f"{encoder}.bias": draw(WIDTH, seed=2),
        f"{decoder}.weight": draw(D_IN, WIDTH, seed=3),
        f"{decoder}.bias": draw(D_IN, seed=4),
    }


def save(path: Path, held: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(held, path)
    return path


def read(path: Path, site: str = "resid_post.19") -> Dictionary:
    found = open_dictionary(path, site, {})
    assert found.load_whole is not None
    whole = found.load_whole("cpu")
    assert isinstance(whole, Dictionary)
    return whole


def as_openai(held: dict[str, Any], x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Features and reconstruction as `Autoencoder.forward` has them."""
    name, state = held.get("activation", "ReLU"), held.get("activation_state_dict", {})
    mean, std = torch.zeros(len(x), 1), torch.ones(len(x), 1)
    if name == "TopK":
        mean = x.mean(1, keepdim=True)
        std = (x - mean).std(1, keepdim=True)
        x = (x - mean) / (std + 1e-5)
    features = (x - held["pre_bias"]) @ held["encoder.weight"].T + held["latent_bias"]
    if name == "TopK":
        values, kept = features.topk(state["k"])
        features = torch.zeros_like(features).scatter(1, kept, values)
    if "ReLU" in (name, state.get("postact_fn")):
        features = features.relu()
    decoder = held.get("decoder.weight", held["encoder.weight"].T)
    return features, (features @ decoder.T + held["pre_bias"]) * std + mean


OPENAI: dict[str, dict[str, Any]] = {
    "top-k": openai(),
    "top-k that keeps its signs": openai(after="Identity"),
    "ReLU": openai("ReLU"),
    "no activation": openai(None),
    "identity, tied": openai("Identity", decoder=False),
}


@pytest.mark.parametrize("case", OPENAI)
def test_openais_features_are_those_of_its_formula(tmp_path: Path, case: str) -> None:
    dictionary = read(save(tmp_path / "6.pt", OPENAI[case]))
    features, rebuilt = as_openai(OPENAI[case], X)
    torch.testing.assert_close(dictionary.encode(X), features, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(dictionary.rebuild(X, 5)[0], rebuilt, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("file", "held"), [(GOODFIRE, linear()), ("mine.pt", linear()), (DEEPSEEK, linear("encoder", "decoder"))]
)
def test_two_linear_layers_with_a_relu_between_them(tmp_path: Path, file: str, held: dict[str, Any]) -> None:
    encoder, b_enc, decoder, b_dec = (value.float() for value in held.values())
    dictionary = read(save(tmp_path / file, held))
    features = (X @ encoder.T + b_enc).relu()
    torch.testing.assert_close(dictionary.encode(X), features, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        dictionary.rebuild(X, 5)[0], features @ decoder.T + b_dec, rtol=1e-5, atol=1e-5
    )


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
    "another function after top-k": (openai(after="Tanh"), "postact_fn = 'Tanh'; read are ReLU and Identity"),
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
