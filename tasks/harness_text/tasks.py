"""Each task as one record: what it asks, whose data it is, and where the data lies.

In a hub source's columns, `split=None` says that the hub has one undivided split.
"""

from __future__ import annotations

from harness import Columns, HubSource, TaskSpec

TASKS = (
    TaskSpec(
        name="sms_spam",
        version=1,
        summary="Is a text message spam or ham?",
        source=HubSource(
            hub="ucirvine/sms_spam",
            revision="cae486f927c250fe1d4a5b55f11357964ed1646c",
            config="plain_text",
            columns=Columns(input="sms", split=None),
        ),
        languages=("en",),
        licence="CC BY 4.0",
        citation=(
            "Tiago A. Almeida, José María Gómez Hidalgo, Akebo Yamakami (2011). Contributions to the Study "
            "of SMS Spam Filtering: New Collection and Results. DocEng."
        ),
        content_warning=True,
    ),
    TaskSpec(
        name="rotten_tomatoes",
        version=1,
        summary="Is a sentence of a film review positive or negative?",
        source=HubSource(
            hub="cornell-movie-review-data/rotten_tomatoes",
            revision="aa13bc287fa6fcab6daf52f0dfb9994269ffea28",
        ),
        languages=("en",),
        licence="CC BY 4.0",
        citation=(
            "Bo Pang, Lillian Lee (2005). Seeing Stars: Exploiting Class Relationships for Sentiment "
            "Categorization with Respect to Rating Scales. ACL."
        ),
    ),
    TaskSpec(
        name="davidson_hate",
        version=1,
        summary="Is a tweet hate speech, merely offensive language, or neither?",
        source=HubSource(
            hub="tdavidson/hate_speech_offensive",
            revision="fc4b46c0631548e60294fb1abafa0e35520a62db",
            columns=Columns(input="tweet", label="class", split=None),
        ),
        languages=("en",),
        licence="MIT (repository); tweets under Twitter terms",
        citation=(
            "Thomas Davidson, Dana Warmsley, Michael Macy, Ingmar Weber (2017). Automated Hate Speech "
            "Detection and the Problem of Offensive Language. ICWSM."
        ),
        content_warning=True,
    ),
    TaskSpec(
        name="hatecheck",
        version=1,
        summary="Is a templated functional test case hateful or not?",
        source=HubSource(
            hub="Paul/hatecheck",
            revision="9d2ac89df04254e5c427bcc8d61b6d6c83a1f59b",
            columns=Columns(input="test_case", label="label_gold", split=None, group="templ_id"),
        ),
        languages=("en",),
        licence="CC BY 4.0",
        citation=(
            "Paul Röttger, Bertie Vidgen, Dong Nguyen, Zeerak Waseem, Helen Margetts, Janet B. Pierrehumbert "
            "(2021). HateCheck: Functional Tests for Hate Speech Detection Models. ACL-IJCNLP."
        ),
        columns=Columns(group="templ_id"),
        content_warning=True,
    ),
    TaskSpec(
        name="harmful_requests",
        version=1,
        summary="Should an assistant refuse a request, or is the request benign?",
        languages=("en",),
        licence=(
            "MIT (HarmBench, AdvBench, StrongREJECT, forbidden questions), Apache-2.0 (Self-Instruct), "
            "CC BY 3.0 (CLINC150)"
        ),
        citation=(
            "Mantas Mazeika et al. (2024). HarmBench: A Standardized Evaluation Framework for Automated Red "
            "Teaming and Robust Refusal. ICML; "
            "Andy Zou et al. (2023). Universal and Transferable Adversarial Attacks on Aligned Language "
            "Models. arXiv:2307.15043; "
            "Alexandra Souly et al. (2024). A StrongREJECT for Empty Jailbreaks. NeurIPS; "
            "Xinyue Shen et al. (2024). “Do Anything Now”: Characterizing and Evaluating In-The-Wild "
            "Jailbreak Prompts on Large Language Models. CCS; "
            "Yizhong Wang et al. (2023). Self-Instruct: Aligning Language Models with Self-Generated "
            "Instructions. ACL; "
            "Stefan Larson et al. (2019). An Evaluation Dataset for Intent Classification and Out-of-Scope "
            "Prediction. EMNLP-IJCNLP."
        ),
        content_warning=True,
    ),
    TaskSpec(
        name="banking77",
        version=1,
        summary="Which of 77 intents does a message to an online bank have?",
        source=HubSource(
            hub="mteb/banking77",
            revision="0fd18e25b25c072e09e0d92ab615fda904d66300",
            columns=Columns(label="label_text"),
        ),
        languages=("en",),
        licence="CC BY 4.0",
        citation=(
            "Iñigo Casanueva, Tadas Temčinas, Daniela Gerz, Matthew Henderson, Ivan Vulić (2020). Efficient "
            "Intent Detection with Dual Sentence Encoders. NLP4ConvAI."
        ),
    ),
)
