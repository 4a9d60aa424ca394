"""Specs of English tasks, one record each: their question, licence, citation and source.

In a hub source's columns, `split=None` means that the hub has one undivided split.
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
            labels={"hate speech": "hate_speech", "offensive language": "offensive_language"},
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
    TaskSpec(
        name="xstest",
        version=1,
        summary="Is a request unsafe or does it only sound so, by probes trained on harmful_requests?",
        languages=("en",),
        licence="CC BY 4.0",
        citation=(
            "Paul Röttger, Hannah Rose Kirk, Bertie Vidgen, Giuseppe Attanasio, Federico Bianchi, Dirk Hovy "
            "(2024). XSTest: A Test Suite for Identifying Exaggerated Safety Behaviours in Large Language "
            "Models. NAACL."
        ),
        labels={"safe": "benign", "unsafe": "harmful"},
        trained_on="harmful_requests",
        content_warning=True,
    ),
    TaskSpec(
        name="jailbreak_vs_benign",
        version=1,
        summary="Is a prompt an attempt at a jailbreak, or a harmless instruction or role?",
        languages=("en",),
        licence=(
            "MIT (jailbreak_llms, GPTFuzz, Self-Reminder), CC0 (awesome-chatgpt-prompts), Apache-2.0 "
            "(Self-Instruct)"
        ),
        citation=(
            "Xinyue Shen et al. (2024). “Do Anything Now”: Characterizing and Evaluating In-The-Wild "
            "Jailbreak Prompts on Large Language Models. CCS; "
            "Jiahao Yu et al. (2023). GPTFUZZER: Red Teaming Large Language Models with Auto-Generated "
            "Jailbreak Prompts. arXiv:2309.10253; "
            "Yueqi Xie et al. (2023). Defending ChatGPT against Jailbreak Attack via Self-Reminders. Nature "
            "Machine Intelligence; "
            "Fatih Kadir Akın et al. (2022). Awesome ChatGPT Prompts; "
            "Yizhong Wang et al. (2023). Self-Instruct: Aligning Language Models with Self-Generated "
            "Instructions. ACL."
        ),
        content_warning=True,
    ),
    # Most official test rows are sentences of posts that also occur in training rows, so posts are no groups.
    TaskSpec(
        name="stormfront_hate",
        version=1,
        summary="Is a sentence of a white-supremacist forum hate speech?",
        languages=("en",),
        licence="CC BY-SA 3.0 ES",
        citation=(
            "Ona de Gibert, Naiara Perez, Aitor García-Pablos, Montse Cuadros (2018). Hate Speech Dataset from "
            "a White Supremacy Forum. ALW2."
        ),
        content_warning=True,
    ),
    TaskSpec(
        name="clinc150",
        version=1,
        summary="Which of 150 intents does a request to an assistant have, or none of them?",
        languages=("en",),
        licence="CC BY 3.0",
        citation=(
            "Stefan Larson et al. (2019). An Evaluation Dataset for Intent Classification and Out-of-Scope "
            "Prediction. EMNLP-IJCNLP."
        ),
    ),
    TaskSpec(
        name="movie_reviews",
        version=1,
        summary="Is a whole film review positive or negative?",
        languages=("en",),
        licence="CC BY 4.0",
        citation=(
            "Bo Pang, Lillian Lee (2004). A Sentimental Education: Sentiment Analysis Using Subjectivity "
            "Summarization Based on Minimum Cuts. ACL."
        ),
    ),
    # The same reviews, trained on sentences; both sets are by film critics, on other films and in other years.
    TaskSpec(
        name="movie_reviews_by_sentences",
        version=1,
        summary="Is a whole film review positive or negative, by probes trained on the sentences of rotten_tomatoes?",
        languages=("en",),
        licence="CC BY 4.0",
        citation=(
            "Bo Pang, Lillian Lee (2004). A Sentimental Education: Sentiment Analysis Using Subjectivity "
            "Summarization Based on Minimum Cuts. ACL."
        ),
        mirror="movie_reviews",
        trained_on="rotten_tomatoes",
    ),
    TaskSpec(
        name="hatecheck_by_stormfront",
        version=1,
        summary="Does a sentence written as a test express hate, by probes trained on stormfront_hate?",
        languages=("en",),
        licence="CC BY 4.0",
        citation=(
            "Paul Röttger, Bertie Vidgen, Dong Nguyen, Zeerak Waseem, Helen Margetts, Janet Pierrehumbert "
            "(2021). HateCheck: Functional Tests for Hate Speech Detection Models. ACL."
        ),
        mirror="hatecheck",
        labels={"hateful": "hate", "non-hateful": "noHate"},
        trained_on="stormfront_hate",
        columns=Columns(group="templ_id"),
        content_warning=True,
    ),
    TaskSpec(
        name="goemotions",
        version=1,
        summary="Which of Ekman's six emotions does a Reddit comment show, or none?",
        languages=("en",),
        licence="CC BY 4.0 / Apache-2.0 (GoEmotions), Apache-2.0 (the copy)",
        citation=(
            "Dorottya Demszky, Dana Movshovitz-Attias, Jeongwoo Ko, Alan Cowen, Gaurav Nemade, Sujith Ravi "
            "(2020). GoEmotions: A Dataset of Fine-Grained Emotions. ACL."
        ),
        content_warning=True,
    ),
    TaskSpec(
        name="gsm8k",
        version=1,
        summary="How many calculation steps does a school maths problem take: 1-2, 3-4, or 5 and more?",
        languages=("en",),
        licence="MIT",
        citation="Karl Cobbe et al. (2021). Training Verifiers to Solve Math Word Problems. arXiv:2110.14168.",
    ),
    TaskSpec(
        name="svamp",
        version=1,
        summary="Which of four operations solves an elementary arithmetic problem?",
        languages=("en",),
        licence="MIT",
        citation=(
            "Arkil Patel, Satwik Bhattamishra, Navin Goyal (2021). Are NLP Models really able to Solve Simple "
            "Math Word Problems? NAACL."
        ),
    ),
    # Split by pair of names; no single column holds a pair, so a pair is no group.
    TaskSpec(
        name="ioi",
        version=1,
        summary="Is the indirect object of a sentence the name that comes first or second?",
        languages=("en",),
        licence="MIT",
        citation=(
            "Kevin Wang, Alexandre Variengien, Arthur Conmy, Buck Shlegeris, Jacob Steinhardt (2023). "
            "Interpretability in the Wild: a Circuit for Indirect Object Identification in GPT-2 small. ICLR."
        ),
    ),
)
