"""Erasing a concept: erasers against numpy and planted concepts, verdicts by rule, and the command."""

from __future__ import annotations

import json
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from harness_erasure import erasers
from harness_erasure.measure import halve, measure, measure_losses
from harness_erasure.page import describe, to_page, write
from harness_erasure.reading import Means, find_decoder, measure_edit, read, take_rows
from harness_erasure.result import Arm, Cost, Result, is_testable, judge, judge_claim

import harness
from harness import LabelledTask, Score, UnavailableError, UsageError
from harness.dictionaries.dictionary import Dictionary

DIMENSIONS = 8

TASK = """
name: planted_tone
summary: Is a sentence about trains or about fish?
source: {file: planted.jsonl}
languages: [en]
licence: CC0-1.0
citation: none
"""


def write_task(folder: Path, rows: int = 240, *, label: str = "topic", planted: bool = True) -> Path:
    """Write a task whose classes have words of their own, or none if nothing is `planted`."""
    words = {"rail": ["train", "station", "engine"], "sea": ["fish", "water", "boat"]}
    generator = np.random.default_rng(0)
    lines = []
    for row in range(rows):
        name = ("rail", "sea")[row % 2]
        word = words[name][generator.integers(3)] if planted else "thing"
        filler = " ".join(generator.choice(["old", "big", "new", "small", "red", "blue", "good"], size=6))
        split = "test" if row % 4 > 1 and row >= rows // 3 else "train"
        lines.append(json.dumps({"text": f"the {word} was {filler} {row}", "label": name, "split": split}))
    (folder / "planted.jsonl").write_text("\n".join(lines), "utf-8")
    (folder / "task.yaml").write_text(TASK, "utf-8")
    return folder / "task.yaml"


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> LabelledTask:
    path = write_task(tmp_path_factory.mktemp("task"))
    session = harness.open(device="cpu", include=[path])
    return session.load_task("planted_tone", model="minigemma-s", site="resid_post.1")


def draw(rows: int, *, classes: int = 2, seed: int = 0) -> tuple[torch.Tensor, Any]:
    """Draw rows of a Gaussian whose mean depends on the class, `[rows, DIMENSIONS]`, with correlated noise."""
    generator = np.random.default_rng(seed)
    y = generator.integers(0, classes, rows)
    shape = np.random.default_rng(99)
    means, mix = shape.normal(size=(classes, DIMENSIONS)) * 2, shape.normal(size=(DIMENSIONS, DIMENSIONS))
    return torch.from_numpy(means[y] + generator.normal(size=(rows, DIMENSIONS)) @ mix), y


def find_auroc(train: torch.Tensor, y: Any, test: torch.Tensor, y_test: Any) -> tuple[float, float]:
    """The AUROC of class 0 on test rows by scikit-learn's logistic regression, and the half-width of the 95 % interval
    of guessing (Hanley & McNeil 1982).
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    scores = LogisticRegression(max_iter=1000).fit(train.numpy(), y).predict_proba(test.numpy())
    n, n_rows = int((y_test == 0).sum()), len(y_test)
    half_width = 1.96 * np.sqrt((n_rows + 1) / (12 * n * (n_rows - n)))
    return float(roc_auc_score(y_test == 0, scores[:, 0])), float(half_width)


# ── erasers ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("classes", [2, 4])
def test_after_leace_a_fresh_linear_probe_is_at_chance_within_its_interval(classes: int) -> None:
    within = 0
    for seed in range(0, 60, 3):
        fitted, y = draw(4000, classes=classes, seed=seed)
        probed, y_probe = draw(2000, classes=classes, seed=seed + 1)
        test, y_test = draw(300, classes=classes, seed=seed + 2)
        assert find_auroc(probed, y_probe, test, y_test)[0] > 0.9
        eraser = erasers.fit_leace(fitted, y, classes)
        assert eraser.size == classes - 1
        found, half_width = find_auroc(eraser.erase(probed), y_probe, eraser.erase(test), y_test)
        within += abs(found - 0.5) <= half_width
    assert within >= 16  # of 20; 19 are expected


def test_leace_makes_the_means_of_its_own_classes_equal_and_keeps_the_mean_of_all() -> None:
    x, y = draw(500, classes=3)
    erased = erasers.fit_leace(x, y, 3).erase(x)
    for number in range(3):
        np.testing.assert_allclose(erased[torch.from_numpy(y == number)].mean(0), x.mean(0), atol=1e-9)


def test_leace_erases_a_class_of_few_rows_too() -> None:
    # With the package's own tolerance a class of eight rows in 3,000 is left as it is.
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(3000, DIMENSIONS)))
    y = np.arange(3000) < 8
    x[:8, 0] += 3
    erased = erasers.fit_leace(x, y.astype(int), 2).erase(x)
    np.testing.assert_allclose(erased[:8].mean(0), erased[8:].mean(0), atol=1e-9)


@pytest.mark.parametrize("classes", [2, 3])
def test_mean_difference_leaves_what_lies_at_right_angles_to_the_class_means(classes: int) -> None:
    x, y = draw(400, classes=classes)
    eraser = erasers.fit_mean_difference(x, y, classes)
    means = np.stack([x.numpy()[y == number].mean(0) for number in range(classes)])
    basis = np.linalg.qr((means - means[0])[1:].T)[0]
    expected = x.numpy() - (x.numpy() - x.numpy().mean(0)) @ basis @ basis.T
    assert eraser.size == classes - 1
    np.testing.assert_allclose(eraser.erase(x), expected, atol=1e-9)


def make_dictionary(width: int = 12) -> Dictionary:
    generator = torch.Generator().manual_seed(0)
    return Dictionary(
        name="toy",
        width=width,
        activation="relu",
        W_enc=torch.randn(DIMENSIONS, width, generator=generator),
        b_enc=torch.randn(width, generator=generator) - 1,
        W_dec=torch.randn(width, DIMENSIONS, generator=generator),
        b_dec=torch.randn(DIMENSIONS, generator=generator),
    )


def test_removed_features_equal_numpy_and_the_mean_of_erased_tokens_is_the_erased_mean() -> None:
    dictionary, chosen = make_dictionary(), [3, 7]
    x = torch.randn(50, DIMENSIONS, generator=torch.Generator().manual_seed(1))
    eraser = erasers.WithoutFeatures(dictionary=dictionary, chosen=torch.tensor(chosen))
    W_enc, b_enc, W_dec = (one.numpy() for one in (dictionary.W_enc, dictionary.b_enc, dictionary.W_dec))  # type: ignore[union-attr]  # it has all three
    features = np.maximum(x.numpy() @ W_enc + b_enc, 0)
    expected = x.numpy() - features[:, chosen] @ W_dec[chosen]
    np.testing.assert_allclose(eraser.erase(x), expected, atol=1e-6)
    means = eraser.erase_means(x.double().mean(0)[None], torch.from_numpy(features).double().mean(0)[None])
    np.testing.assert_allclose(means[0], expected.mean(0), atol=1e-6)
    edited, edit = measure_edit(eraser.erase(x), x)
    change = np.linalg.norm(expected - x.numpy(), axis=1)
    assert edited == pytest.approx((features[:, chosen] > 0).any(1).mean())
    assert 0 < edited < 1 and edit == pytest.approx(
        (change / np.linalg.norm(x.numpy(), axis=1)).mean(), rel=1e-5
    )


@pytest.mark.parametrize("fit", [erasers.fit_leace, erasers.fit_mean_difference])
def test_affine_erasers_commute_with_the_mean_over_tokens(fit: Any) -> None:
    x, y = draw(300)
    eraser = fit(x, y, 2)
    np.testing.assert_allclose(
        eraser.erase(x[:40]).mean(0), eraser.erase_means(x[:40].mean(0)[None], None)[0], atol=1e-9
    )
    assert eraser.erase(x.float()).dtype == torch.float32


def test_placebo_features_are_others_of_near_mean_activation() -> None:
    means = np.arange(100.0)
    free = ~np.isin(np.arange(100), [50, 51, 52])
    found = harness.match_features([50, 51], free, means, seed=0)
    assert len(set(found)) == 2 and not {50, 51, 52} & set(found)
    assert all(abs(one - 50) <= 12 for one in found)
    assert len(harness.match_features([1, 2, 3], np.isin(np.arange(100), [7, 8]), means, seed=0)) == 2
    assert free.sum() == 97  # and is left as it was


# ── verdicts ─────────────────────────────────────────────────────────────────────────────────────────────


def between(low: float, high: float) -> Score:
    return Score(value=(low + high) / 2, low=low, high=high)


@pytest.mark.parametrize(
    ("after", "verdict"),
    [
        ((0.45, 0.55), "erased"),
        ((0.60, 0.70), "partly"),
        ((0.85, 0.95), "kept"),
        ((0.45, 0.92), "undecided"),
        ((0.5, 0.5), "erased"),
        ((0.49, 0.8), "undecided"),
    ],
)
def test_verdicts_follow_from_the_intervals(after: tuple[float, float], verdict: str) -> None:
    assert judge(between(0.9, 0.98), between(*after)) == verdict


def make_arm(name: str, auroc: Score, verdict: Any = None, edit: float | None = None, size: int = 1) -> Arm:
    cost = None if edit is None else Cost(tokens_edited=1.0, edit=edit, loss=None)
    fields = dict.fromkeys(("balanced_accuracy", "macro_f1", "accuracy", "same_rows"), auroc)
    return Arm(name=name, size=size, features=(), auroc=auroc, cost=cost, verdict=verdict, **fields)


def make_arms(
    features: str, placebo: str, edit: float, before: Score | None = None, leace: str = "erased"
) -> tuple[Arm, ...]:
    some = between(0.4, 0.6)
    return (
        make_arm("none", before or between(0.9, 0.95), "found"),
        make_arm("leace", some, leace, 0.2),
        make_arm("features", some, features, edit),
        make_arm("placebo", some, placebo, 0.1),
    )


@pytest.mark.parametrize(
    ("arms", "claim"),
    [
        (make_arms("erased", "kept", 0.1), "holds"),
        (make_arms("erased", "erased", 0.1), "does not hold"),
        (make_arms("erased", "kept", 0.3), "does not hold"),
        (make_arms("kept", "kept", 0.1), "does not hold"),
        (make_arms("undecided", "kept", 0.1), "undecided"),
        (make_arms("erased", "undecided", 0.1), "undecided"),
        (make_arms("undecided", "erased", 0.1), "does not hold"),
        (make_arms("undecided", "kept", 0.3), "does not hold"),
        (make_arms("erased", "kept", 0.1, leace="partly"), "undecided"),
        (make_arms("kept", "kept", 0.1, leace="partly"), "undecided"),
        (make_arms("erased", "kept", 0.1, before=between(0.45, 0.6)), "not testable on this model"),
    ],
)
def test_the_claim_needs_a_concept_a_smaller_edit_and_a_placebo_that_keeps_it(
    arms: tuple[Arm, ...], claim: str
) -> None:
    assert judge_claim(arms, 0.5)[0] == claim
    assert is_testable(arms[0], 0.5) == (claim != "not testable on this model")


# ── a whole measurement ──────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def measured(task: LabelledTask) -> Result:
    """The planted concept, erased in each way."""
    return measure(
        task, representation="minigemma-scope", sizes=[1, 4], loss_tokens=300, device="cpu", batch_size=16
    )


def test_a_planted_concept_is_found_and_the_controls_keep_it(task: LabelledTask, measured: Result) -> None:
    result = measured
    verdicts = {(arm.name, arm.size): arm.verdict for arm in result.arms}
    assert verdicts["none", 0] == "found"
    assert verdicts["placebo", 1] == verdicts["random directions", 1] == "kept"
    assert verdicts["mean ablation", 64] == "erased"
    shuffled = result.find("shuffled labels")[0].auroc
    assert shuffled.lower < 0.5 < shuffled.upper
    (leace,) = result.find("leace")
    assert leace.same_rows.value == pytest.approx(0.5, abs=0.02) and leace.cost is not None
    assert leace.auroc.value < result.arms[0].auroc.value - 0.2
    one, four = result.find("features")
    assert one.cost is not None and four.cost is not None
    assert 0 < one.cost.tokens_edited <= four.cost.tokens_edited < leace.cost.tokens_edited == 1
    worst = result.find("mean ablation")[0].cost
    assert worst is not None and worst.loss is not None and leace.cost.loss is not None
    assert worst.loss.lower > 0 and worst.loss.value > leace.cost.loss.value
    assert len(one.features) == 1 and set(one.features) < set(four.features)
    for features, placebo in zip(result.find("features"), result.find("placebo"), strict=True):
        assert features.cost is not None and placebo.cost is not None
        assert placebo.cost.edit >= features.cost.edit and placebo.size == features.size
        assert len(placebo.features) >= placebo.size and not set(placebo.features) & set(four.features)
    assert not set(four.features) & set(result.find("placebo")[1].features)
    assert result.loss_tokens > 0 and result.rows_eraser + result.rows_probe == len(task.train)


def test_halves_share_no_row_and_have_every_class(task: LabelledTask) -> None:
    halves = halve(task)
    assert not set(halves.eraser) & set(halves.probe)
    assert set(halves.eraser) | set(halves.probe) == set(task.train)
    assert all(set(task.y[rows]) == {0, 1} for rows in (halves.eraser, halves.probe))


def test_means_are_those_of_the_sessions_features(task: LabelledTask) -> None:
    dictionary = find_decoder(task, "minigemma-scope", "cpu")
    means = read(task, dictionary, device="cpu", batch_size=7)
    session = harness.open(device="cpu")
    for representation, found in (("hidden", means.hidden), ("minigemma-scope", means.features)):
        expected = session.features(
            task.examples.inputs[:20],
            model="minigemma-s",
            site="resid_post.1",
            representation=representation,
        )
        dense = expected if isinstance(expected, np.ndarray) else expected.toarray()
        assert found is not None
        np.testing.assert_allclose(found[:20], dense, atol=1e-4, rtol=1e-4)


def test_losses_without_a_change_are_those_of_the_model(task: LabelledTask) -> None:
    nothing = erasers.WithoutFeatures(
        dictionary=find_decoder(task, "minigemma-scope", "cpu"), chosen=torch.tensor([], dtype=torch.long)
    )
    found, divergences, tokens = measure_losses(task, {("nothing", 0): nothing}, 100, device="cpu")
    assert found["nothing", 0] == Score(value=0, low=0, high=0) and tokens >= 80
    assert divergences["nothing", 0].value == pytest.approx(0, abs=1e-6)


def test_losses_and_divergences_are_those_of_plain_transformers(task: LabelledTask) -> None:
    """Every text by itself, with numpy's erasure in a hook after the second block, and KL from its logits by scipy."""
    import transformers
    from scipy.special import log_softmax

    generator = np.random.default_rng(0)
    left, right, centre = generator.normal(size=(64, 2)), generator.normal(size=(2, 64)) / 64, np.ones(64)
    eraser = erasers.Projection(
        left=torch.from_numpy(left), right=torch.from_numpy(right), centre=torch.from_numpy(centre)
    )
    losses, divergences, tokens = measure_losses(task, {("own", 2): eraser}, 60, device="cpu")
    weights = Path(__file__).parents[1] / "plugins/harness_minigemma/weights/minigemma-s"
    plain = transformers.AutoModelForCausalLM.from_pretrained(weights, dtype=torch.float32)

    def replace(module: Any, inputs: Any, output: Any) -> Any:
        value = (output[0] if isinstance(output, tuple) else output).clone()
        rows = value[0].numpy()[content]
        value[0, torch.from_numpy(content)] = torch.from_numpy(
            rows - (rows - centre) @ right.T @ left.T
        ).float()
        return (value, *output[1:]) if isinstance(output, tuple) else value

    def predict(ids: Any) -> Any:
        with torch.inference_mode():
            logits = plain(input_ids=torch.from_numpy(ids)[None]).logits[0]
        return log_softmax(logits.double().numpy(), axis=1)

    increases, kls = [], []
    for row in take_rows(task, 60):
        ids, content = task.tokens[row].ids, task.tokens[row].content
        places = np.flatnonzero(content[1:])
        own = predict(ids)[places]
        handle = plain.model.layers[1].register_forward_hook(replace)
        erased = predict(ids)[places]
        handle.remove()
        answers = ids[1:][places]
        increases += list((own - erased)[np.arange(len(places)), answers])
        kls += list((np.exp(own) * (own - erased)).sum(1))
    assert tokens == len(kls) >= 50 and np.mean(kls) > 0.01
    assert losses["own", 2].value == pytest.approx(np.mean(increases), abs=1e-5)
    assert divergences["own", 2].value == pytest.approx(np.mean(kls), rel=1e-4)
    assert divergences["own", 2].lower > 0


def test_a_model_without_logits_has_losses_alone(task: LabelledTask, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = task.model.model.load_whole(task.site, "cpu")  # type: ignore[attr-defined]  # it is a LanguageModel
    losses_alone = types.SimpleNamespace(losses=whole.losses)
    monkeypatch.setattr(type(task.model.model), "load_whole", lambda self, site, device: losses_alone)
    eraser = erasers.draw_directions(2, torch.zeros(64, dtype=torch.float64), seed=0)
    losses, divergences, _ = measure_losses(task, {("own", 2): eraser}, 60, device="cpu")
    monkeypatch.undo()
    both = measure_losses(task, {("own", 2): eraser}, 60, device="cpu")
    assert losses == both[0] and divergences == {} and both[1]["own", 2].value > 0


def test_a_concept_that_is_not_there_is_not_testable_on_this_model(tmp_path: Path) -> None:
    session = harness.open(device="cpu", include=[write_task(tmp_path, planted=False)])
    found = session.load_task("planted_tone", model="minigemma-s", site="resid_post.1")
    result = measure(found, representation=None, sizes=[1], loss_tokens=50, device="cpu")
    assert result.claim == result.arms[0].verdict == "not testable on this model"
    assert {arm.verdict for arm in result.arms} == {None, "not testable on this model"}
    assert not result.find("features")
    assert "—" in to_page([result])


# ── the command ──────────────────────────────────────────────────────────────────────────────────────────


def erase(run: Any, tmp_path: Path, *more: str, task_name: str = "planted_tone", **written: Any) -> Any:
    include = write_task(tmp_path, **written)
    given = (
        "-m",
        "minigemma-s",
        "--site",
        "resid_post.1",
        "--include",
        str(include),
        "-o",
        str(tmp_path / "out"),
    )
    return run("erase-concept", task_name, *given, "--loss-tokens", "100", "-k", "1", *more)


def test_the_command_leaves_a_result_of_which_build_makes_a_page_and_a_claim(
    harness_command: Any, tmp_path: Path
) -> None:
    told = erase(harness_command, tmp_path, "-r", "minigemma-scope", "--json")
    assert told.code == 0
    (path,) = (tmp_path / "out").glob("erasure-*.json")
    result = Result.model_validate_json(path.read_text("utf-8"))
    assert json.loads(told.out) == json.loads(path.read_text("utf-8"))
    assert (result.version, result.task, result.model, result.site) == (
        1,
        "planted_tone",
        "minigemma-s",
        "resid_post.1",
    )
    other = result.model_copy(update={"task": "another_task"})
    page = describe([path, write(other, tmp_path / "out")])
    places = [page.markdown.index(f"## {name} on minigemma-s") for name in ("another_task", "planted_tone")]
    assert places == sorted(places)
    claim, same = page.claims
    (arm,), (placebo,) = result.find("features"), result.find("placebo")
    assert claim.verdict == same.verdict == result.claim and claim.reason == result.reason
    assert claim.measured is not None and claim.control_value is not None
    assert (claim.measured.value, claim.measured.high) == (arm.auroc.value, arm.auroc.high)
    assert claim.control_value.value == placebo.auroc.value and claim.n == result.rows_test
    assert arm.cost is not None and placebo.cost is not None
    edits = f"edit {placebo.cost.edit:.3f} of a token's norm, the features' {arm.cost.edit:.3f}"
    assert claim.control == f"placebo features ({edits})"
    built = harness_command("leaderboard", "build", tmp_path / "out")
    assert built.code == 0 and (tmp_path / "out/erasure.md").read_text("utf-8") == page.markdown
    (leace,) = result.find("leace")
    assert leace.cost is not None and leace.cost.loss is not None
    factor = f"× {np.exp(leace.cost.loss.value):.3g}"
    assert f"| {leace.cost.loss} | {factor} | {leace.cost.kl} |" in page.markdown and leace.cost.kl


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"claim": "holds"}, "the claim's verdict is '"),
        ({"arms": [{}]}, "arms"),
        ({"arms": lambda arms: arms[1:]}, "arms begin with 'none'"),
        ({"arms": lambda arms: [arm for arm in arms if arm["name"] != "leace"]}, "have 'leace'"),
        ({"arms": lambda arms: [arm for arm in arms if arm["name"] != "placebo"]}, "a 'placebo' for each"),
        (
            {"arms": lambda arms: [{**arm, "verdict": arm["verdict"] and "erased"} for arm in arms]},
            "by its numbers, not 'erased'",
        ),
    ],
)
def test_a_result_whose_verdicts_do_not_follow_from_its_numbers_is_refused(
    change: dict[str, Any], said: str, measured: Result, tmp_path: Path
) -> None:
    given = measured.model_dump(mode="json")
    for key, value in change.items():
        given[key] = value(given[key]) if callable(value) else value
    path = tmp_path / "erasure-changed.json"
    path.write_text(json.dumps(given), "utf-8")
    with pytest.raises(UnavailableError, match=said):
        describe([path])


@pytest.mark.parametrize(
    ("more", "written", "code", "said"),
    [
        (
            ("-r", "hidden"),
            {},
            3,
            "representation 'hidden' has no decoder, so what its features write is not known",
        ),
        (("-r", "pca[n=4]"), {}, 3, "representation 'pca[n=4]' has no decoder"),
        (
            ("-k", "64"),
            {},
            2,
            "64 are to be removed at once, and of the dimensions at 'resid_post.1' at most 63",
        ),
        ((), {"rows": 8}, 2, "task 'planted_tone' has "),
        (("--site", "resid_post.9"), {}, 2, "model 'minigemma-s' has no site 'resid_post.9'"),
    ],
)
def test_bad_input_is_one_sentence(
    more: tuple[str, ...], written: dict[str, Any], code: int, said: str, harness_command: Any, tmp_path: Path
) -> None:
    told = erase(harness_command, tmp_path, *more, **written)
    assert told.code == code and not (tmp_path / "out").exists()
    assert said in told.said[-1] and told.said[-1].startswith("harness: ")


def test_images_are_refused_by_a_model_of_texts() -> None:
    with pytest.raises(UsageError, match=r"task 'digits' holds images, and model 'minigemma-s' reads texts"):
        harness.open(device="cpu").load_task("digits", model="minigemma-s", site="resid_post.1")


def test_a_dictionary_that_scales_its_output_is_refused(
    task: LabelledTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    own = find_decoder(task, "minigemma-scope", "cpu")
    placed = replace(
        task.place("minigemma-scope"), load_whole=lambda device: replace(own, input_norm="layer_norm")
    )
    monkeypatch.setattr(LabelledTask, "place", lambda self, name: placed)
    with pytest.raises(UsageError, match="normalises its input \\(layer_norm\\)"):
        find_decoder(task, "other", "cpu")


def test_without_the_package_of_leace_one_sentence_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "concept_erasure", None)
    with pytest.raises(UnavailableError, match=r"not installed: pip install 'sae-harness\[erasure\]'"):
        erasers.import_leace()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "character 2"),
        ('{"version": 2}', "version"),
        ('{"task": "a", "task": "b"}', "the key 'task' stands twice"),
        ("[]", ""),
    ],
)
def test_a_file_that_is_no_result_is_named(
    text: str, reason: str, harness_command: Any, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    broken = tmp_path / "out" / "erasure-broken.json"
    broken.write_text(text, "utf-8")
    told = harness_command("leaderboard", "build", tmp_path / "out")
    assert told.code == 3
    assert f"'{broken}' is no result of harness erase-concept" in told.said[-1] and reason in told.said[-1]
    assert list((tmp_path / "out").iterdir()) == [broken]


def test_a_representation_at_its_own_means_has_the_shape_of_the_task(task: LabelledTask) -> None:
    means = read(task, None, device="cpu")
    assert isinstance(means, Means) and means.features is None
    assert means.hidden.shape == (len(task.examples), 64) and means.sample.shape[1] == 64
