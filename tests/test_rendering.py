"""Chat templates of strangers: bounded in size, in computing time, in memory and in what they write."""

from __future__ import annotations

import json
import os
import resource
import shutil
import threading
from pathlib import Path

import pytest
from harness_transformers import rendering
from harness_transformers.rendering import Renderer, RenderingError
from transformers.utils.chat_template_utils import render_jinja_template

MODEL = Path(__file__).parents[1] / "plugins" / "harness_minigemma" / "weights" / "minigemma-s"
MESSAGES = [{"role": "user", "content": "Grüße 👍 \ud800"}, {"role": "assistant", "content": "b"}]
HONEST = (
    "{{ bos_token }}{% for message in messages %}<{{ message.role }}>{{ message.content | trim }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}{{ date_string }}{{ messages | tojson }}"
)
LOOPS = "".join("{% for i" + str(n) + " in range(99999) %}" for n in range(5)) + "{% endfor %}" * 5
DOUBLING = (
    "{% set n = namespace(x='ab') %}{% for i in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x }}"
)
GREEDY = {
    "a number beyond all": ("{{ 9 ** (9 ** 9) }}", "it does not end within 1 seconds of computing"),
    "a text that doubles": (DOUBLING, "it needs more than 1 GB of memory"),
    "a text times a number": ("{{ 'a' * 10 ** 12 }}", "it needs more than 1 GB of memory"),
    "a padded text": ("{{ 'a'.ljust(10 ** 12) }}", "it needs more than 1 GB of memory"),
    "a long text": ("{{ 'a' * 2000000 }}", "it writes 2,000,000 characters, more than 1,000,"),
    "an error": ("{{ raise_exception('No such role') }}", "No such role"),
    "no template": ("{% for", "unexpected 'end of template'"),
    "a way to code": ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "unsafe"),
}


@pytest.mark.parametrize("opens", [True, False])
def test_a_template_writes_what_transformers_makes_of_it(opens: bool) -> None:
    variables = {"bos_token": "<bos>", "date_string": "today"}
    [wanted], _ = render_jinja_template(
        [MESSAGES], chat_template=HONEST, add_generation_prompt=opens, **variables
    )
    assert Renderer(HONEST, variables).render(MESSAGES, opens_answer=opens) == wanted


@pytest.mark.parametrize("what", GREEDY)
def test_a_template_that_takes_too_much_ends_in_a_sentence_and_the_next_one_is_rendered(
    monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    template, said = GREEDY[what]
    if "seconds" in said:  # the others end by themselves, on a busy machine later than on a quiet one
        monkeypatch.setattr(rendering, "SECONDS", 1)
    with pytest.raises(RenderingError) as caught:
        Renderer(template, {}).render(MESSAGES, opens_answer=True)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert Renderer("{{ messages[1].content }}", {}).render(MESSAGES, opens_answer=True) == "b"


def test_an_endless_template_ends_in_any_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "SECONDS", 1)
    said: list[str] = []

    def render() -> None:
        try:
            Renderer(LOOPS, {}).render(MESSAGES, opens_answer=True)
        except RenderingError as error:
            said.append(str(error))

    thread = threading.Thread(target=render)
    thread.start()
    thread.join()
    assert said == ["it does not end within 1 seconds of computing"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_renders_with_a_process_of_its_own() -> None:
    own = Renderer("{{ messages[1].content }}", {})
    assert own.render(MESSAGES, opens_answer=True) == "b"
    assert rendering._child._process is not None
    if (child := os.fork()) == 0:
        os._exit(int(rendering._child._process is not None))  # it would start one
    assert os.waitpid(child, 0)[1] == 0
    assert own.render(MESSAGES, opens_answer=True) == "b"


@pytest.mark.parametrize("template", ["{{ 'a' * 10 ** 12 }}", "a" * 1_000_001])
def test_a_model_with_such_a_template_is_refused_in_one_sentence(
    harness_command, tmp_path: Path, template: str
) -> None:
    folder = Path(shutil.copytree(MODEL, tmp_path / "model"))
    (folder / "chat_template.jinja").write_text(template)
    (tmp_path / "texts.jsonl").write_text(json.dumps({"text": "one"}) + "\n")
    found = harness_command(
        *("features", "-m", "./model[template=chat]", "--site", "resid_post.1"),
        *("--input", "texts.jsonl", "-o", "out.npy"),
    )
    assert found.code == 2
    assert len(found.said) == 1
    assert "model './model': its chat template" in found.err
    assert len(found.err) < 300


@pytest.mark.parametrize("used", [0.0, 0.95, 3.0])
def test_a_rendering_has_the_whole_of_its_time_whatever_was_used_before(
    monkeypatch: pytest.MonkeyPatch, used: float
) -> None:
    limits: dict[int, tuple[int, int]] = {}
    monkeypatch.setattr(rendering.time, "process_time", lambda: used)
    monkeypatch.setattr(resource, "setrlimit", limits.__setitem__)
    rendering._limit_time(1)
    soft, _ = limits[resource.RLIMIT_CPU]
    assert used + 1 <= soft < used + 2
