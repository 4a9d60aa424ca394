"""Checkpoints of SAELens: every architecture that it saves, for inference and from training, of any version."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import sae_lens
import torch
from sae_lens.saes.sae import SAEMetadata
from sae_lens.training.activation_scaler import ActivationScaler, ActivationWhitening
from safetensors.torch import load_file, save_file

from interop.case import Case

FORMAT = "SAELens"
LIBRARY = "sae-lens"
GOLDEN = "sae_lens"

D_IN, WIDTH, K, TOKENS = 8, 16, 3, 4
WEIGHTS = "sae_weights.safetensors"


def cases(folder: Path) -> Iterator[Case]:
    """Write random checkpoints into folders of their own and yield each with what SAELens makes of it."""
    warnings.filterwarnings("ignore")
    torch.manual_seed(17)
    yield from _for_inference(folder)
    yield from _hook_z(folder)
    yield from _from_training(folder)
    yield from _scaled(folder)
    yield from _before_6(folder)
    yield _of_centred_weights(folder)


def _for_inference(folder: Path) -> Iterator[Case]:
    for architecture in ("Standard", "Gated", "JumpReLU", "TopK", "AbsTopK"):
        top = {"k": K} if "TopK" in architecture else {}
        for subtracts in (True, False):
            name = f"{architecture.lower()}, {'x − b_dec' if subtracts else 'x'}"
            yield _saved(
                folder,
                name,
                architecture,
                golden=subtracts and architecture in ("Standard", "Gated"),
                apply_b_dec_to_input=subtracts,
                **top,
            )
        if top:
            name = f"{architecture.lower()}, scaled by decoder norms"
            yield _saved(folder, name, architecture, rescale_acts_by_decoder_norm=True, **top)
    for norm in ("layer_norm", "constant_norm_rescale"):
        yield _saved(folder, f"standard, {norm}", "Standard", normalize_activations=norm)
    yield _saved(folder, "jumprelu, bfloat16", "JumpReLU", dtype="bfloat16")


def _hook_z(folder: Path) -> Iterator[Case]:
    yield _saved(
        folder, "standard, hook_z", "Standard", hook="blocks.3.attn.hook_z", reshape_activations="hook_z"
    )


def _from_training(folder: Path) -> Iterator[Case]:
    for architecture in (
        "Standard",
        "Gated",
        "JumpReLU",
        "TopK",
        "AbsTopK",
        "BatchTopK",
        "MatryoshkaBatchTopK",
    ):
        more: dict[str, Any] = {"k": K} if "TopK" in architecture else {}
        if architecture.startswith("Matryoshka"):
            more["matryoshka_widths"] = [4, WIDTH]
        sae = _make(f"{architecture}Training", **more)
        path = folder / f"training-{architecture.lower()}"
        sae.save_model(path)
        # What SAELens itself would use afterwards: the same dictionary, saved for inference.
        sae.save_inference_model(folder / f"{path.name}-inference")
        loaded = sae_lens.SAE.load_from_disk(folder / f"{path.name}-inference")
        yield _case(
            f"{architecture.lower()}, training checkpoint", path, loaded, golden="Batch" in architecture
        )
        if "TopK" in architecture:
            yield _case(
                f"{architecture.lower()}, saved for inference",
                folder / f"{path.name}-inference",
                loaded,
                golden=False,
            )
    path = folder / "training-log-threshold"
    sae = _make("JumpReLUTraining")
    sae.save_model(path)
    tensors = load_file(path / WEIGHTS)
    tensors["log_threshold"] = tensors.pop("threshold").abs().log()
    save_file(tensors, path / WEIGHTS)
    loaded = sae_lens.TrainingSAE.load_from_disk(path)
    yield _case("jumprelu, training checkpoint with log_threshold", path, loaded, golden=False)


def _scaled(folder: Path) -> Iterator[Case]:
    """Yield checkpoints of training with what activations are multiplied by or whitened with beside them."""
    for architecture in ("Standard", "Gated", "JumpReLU", "TopK", "BatchTopK"):
        more = {"k": K} if "TopK" in architecture else {}
        for norm in ("expected_average_only_in", "covariance_whitening"):
            for subtracts in (True, False):
                sae = _make(
                    f"{architecture}Training",
                    normalize_activations=norm,
                    apply_b_dec_to_input=subtracts,
                    **more,
                )
                path = folder / f"{norm}-{architecture.lower()}-{subtracts}"
                sae.save_model(path)
                scaler = ActivationScaler()
                if norm == "expected_average_only_in":
                    scaler.scaling_factor = 0.3
                else:
                    scaler.whitening = _whitening()
                scaler.save(str(path / "activation_scaler.json"))
                if scaler.whitening is None:
                    sae.fold_activation_norm_scaling_factor(0.3)
                else:
                    w = scaler.whitening
                    sae.fold_activation_whitening(w.mean, w.matrix, w.inverse_matrix)
                sae.save_inference_model(folder / f"{path.name}-inference")
                loaded = sae_lens.SAE.load_from_disk(folder / f"{path.name}-inference")
                name = f"{architecture.lower()}, {norm}, {'x − b_dec' if subtracts else 'x'}"
                yield _case(name, path, loaded, golden=architecture == "Standard" and subtracts)


def _whitening() -> ActivationWhitening:
    scaler = ActivationScaler()
    mixing, mean = torch.randn(D_IN, D_IN), 5 * torch.randn(D_IN)
    scaler.estimate_whitening(D_IN, (torch.randn(64, D_IN) @ mixing + mean for _ in range(20)), 20)
    assert scaler.whitening is not None
    return scaler.whitening


def _before_6(folder: Path) -> Iterator[Case]:
    """Yield checkpoints with a cfg.json as versions before 6 wrote it."""
    common = {
        "model_name": "gpt2-small",
        "hook_point": "blocks.4.hook_resid_pre",
        "hook_point_layer": 4,
        "hook_point_head_index": None,
        "d_in": D_IN,
        "d_sae": WIDTH,
        "dtype": "torch.float32",
        "device": "cpu",
    }
    with_names_of_3 = {
        **{key: value for key, value in common.items() if not key.startswith("hook_point")},
        "hook_name": "blocks.3.hook_mlp_out",
        "hook_layer": 3,
        "hook_head_index": None,
        "sae_lens_training_version": "3.9.1",
        "finetuning_scaling_factor": False,
    }
    top = {"activation_fn_kwargs": {"k": K}}
    variants: Mapping[str, tuple[str, Mapping[str, Any]]] = {
        "hook_point alone": ("Standard", common),
        "topk in activation_fn_str": ("TopK", {**common, "activation_fn_str": "topk", **top}),
        "topk in activation_fn": ("TopK", {**with_names_of_3, "activation_fn": "topk", **top}),
        "normalize_activations false": ("Standard", {**common, "normalize_activations": False}),
        "layer_norm, without subtraction": (
            "Standard",
            {**with_names_of_3, "normalize_activations": "layer_norm", "apply_b_dec_to_input": False},
        ),
        "jumprelu": (
            "JumpReLU",
            {**with_names_of_3, "architecture": "jumprelu", "activation_fn_str": "relu"},
        ),
        "gated": ("Gated", {**with_names_of_3, "architecture": "gated", "activation_fn_str": "relu"}),
        "scaling_factor of ones": ("Standard", {**common, "sae_lens_version": "4.0.0"}),
    }
    for number, (name, (architecture, config)) in enumerate(variants.items()):
        path = folder / f"before-6-{number}"
        _make(architecture, **({"k": K} if architecture == "TopK" else {})).save_model(path)
        (path / "cfg.json").write_text(json.dumps(config))
        if name == "scaling_factor of ones":
            save_file({**load_file(path / WEIGHTS), "scaling_factor": torch.ones(WIDTH)}, path / WEIGHTS)
        site = "mlp_out.3" if "hook_name" in config else "resid_post.3"
        loaded = sae_lens.SAE.load_from_disk(path)
        yield _case(f"before 6: {name}", path, loaded, site=site, golden=number < 2)


def _of_centred_weights(folder: Path) -> Case:
    """Return a checkpoint that reads a model with centred weights, and the activations of the model as it is."""
    from transformer_lens import HookedTransformer, HookedTransformerConfig

    hook = "blocks.1.hook_resid_post"
    config = HookedTransformerConfig(
        n_layers=2,
        d_model=D_IN,
        n_heads=2,
        d_head=4,
        n_ctx=TOKENS,
        d_vocab=9,
        act_fn="gelu",
        normalization_type="LN",
    )
    model = HookedTransformer(config)
    tokens = torch.arange(TOKENS)[None]
    x = model.run_with_cache(tokens)[1][hook][0].detach()
    model.load_and_process_state_dict(
        model.state_dict(),
        fold_ln=False,
        center_writing_weights=True,
        center_unembed=False,
        fold_value_biases=False,
    )
    centred = model.run_with_cache(tokens)[1][hook][0].detach()
    sae = _make("Standard", hook=hook)
    sae.cfg.metadata.model_from_pretrained_kwargs = {"center_writing_weights": True}
    path = folder / "center-writing-weights"
    sae.save_model(path)
    loaded = sae_lens.SAE.load_from_disk(path)
    with torch.no_grad():
        features = loaded.encode(centred)
        rebuilt = loaded.decode(features) + x.mean(1, keepdim=True)
    return Case(
        name="standard, center_writing_weights",
        path=path,
        site="resid_post.1",
        x=x,
        features=features,
        rebuilt=rebuilt,
        golden=False,
    )


# ── one checkpoint ───────────────────────────────────────────────────────────────────────────────────────


def _saved(
    folder: Path,
    name: str,
    architecture: str,
    *,
    hook: str = "blocks.3.hook_resid_post",
    golden: bool = True,
    **settings: Any,
) -> Case:
    sae = _make(architecture, hook=hook, **settings)
    path = folder / "".join(letter if letter.isalnum() else "-" for letter in name.replace("−", "less"))
    sae.save_model(path)
    loaded = sae_lens.SAE.load_from_disk(path, dtype="float32")
    site = "attn_z.3" if hook.endswith("hook_z") else "resid_post.3"
    return _case(name, path, loaded, site=site, golden=golden)


def _make(architecture: str, hook: str = "blocks.3.hook_resid_post", **settings: Any) -> Any:
    """Return an SAE of random tensors, whose decoder rows have unlike norms."""
    config = getattr(sae_lens, f"{architecture}SAEConfig")(d_in=D_IN, d_sae=WIDTH, **settings)
    config.metadata = SAEMetadata(model_name="toy", hook_name=hook, hook_head_index=None)
    sae = getattr(sae_lens, f"{architecture}SAE")(config)
    with torch.no_grad():
        for parameter in sae.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.5)
        if hasattr(sae, "topk_threshold"):
            sae.topk_threshold.fill_(0.7)
    return sae


def _case(name: str, path: Path, sae: Any, *, site: str = "resid_post.3", golden: bool) -> Case:
    x = torch.randn(TOKENS, D_IN) * 2 + 0.5
    # SAELens takes heads apart: [tokens, heads, d_head].
    given = x.view(TOKENS, 2, D_IN // 2) if sae.cfg.reshape_activations == "hook_z" else x
    with torch.no_grad():
        features = sae.encode(given)
        rebuilt = sae.decode(features).reshape(TOKENS, D_IN)
    return Case(name=name, path=path, site=site, x=x, features=features, rebuilt=rebuilt, golden=golden)
