"""Specs of image tasks, one record each.

`class_names` has the words for labels that are not words themselves, and `templates` has sentences with a place for
such a word.

The revision, columns and labels of a hub source are those that the hub's own pages, or several projects that pin it,
show for that dataset. Rows in that shape are tested; the hub's own rows never were.
"""

from __future__ import annotations

from pathlib import Path

from harness import Columns, FileSource, HubSource, TaskSpec

NO_LANGUAGE = ("zxx",)
PHOTOS = ("a photo of a {}", "a picture of a {}")
NUMBERS = ("a photo of the number {}", "a handwritten {}")
NUMERALS = {
    "0": "zero", "1": "one", "2": "two", "3": "three", "4": "four", "5": "five", "6": "six", "7": "seven", "8": "eight",
    "9": "nine",
}  # fmt: skip

FLOWERS = """
pink primrose, hard-leaved pocket orchid, canterbury bells, sweet pea, english marigold, tiger lily, moon orchid, bird
of paradise, monkshood, globe thistle, snapdragon, colt's foot, king protea, spear thistle, yellow iris, globe-flower,
purple coneflower, peruvian lily, balloon flower, giant white arum lily, fire lily, pincushion flower, fritillary, red
ginger, grape hyacinth, corn poppy, prince of wales feathers, stemless gentian, artichoke, sweet william, carnation,
garden phlox, love in the mist, mexican aster, alpine sea holly, ruby-lipped cattleya, cape flower, great masterwort,
siam tulip, lenten rose, barbeton daisy, daffodil, sword lily, poinsettia, bolero deep blue, wallflower, marigold,
buttercup, oxeye daisy, common dandelion, petunia, wild pansy, primula, sunflower, pelargonium, bishop of llandaff,
gaura, geranium, orange dahlia, pink-yellow dahlia, cautleya spicata, japanese anemone, black-eyed susan, silverbush,
californian poppy, osteospermum, spring crocus, bearded iris, windflower, tree poppy, gazania, azalea, water lily,
rose, thorn apple, morning glory, passion flower, lotus, toad lily, anthurium, frangipani, clematis, hibiscus,
columbine, desert-rose, tree mallow, magnolia, cyclamen, watercress, canna lily, hippeastrum, bee balm, ball moss,
foxglove, bougainvillea, camellia, mallow, mexican petunia, bromelia, blanket flower, trumpet creeper, blackberry lily
"""
"""The 102 flowers in the order of the set's own numbers, which are its labels on the hub."""


def spaced(labels: str) -> dict[str, str]:
    """Return each of the labels with spaces in place of underscores."""
    return {label: label.replace("_", " ") for label in labels.split()}


MIRRORED = (
    TaskSpec(
        name="eurosat",
        version=1,
        summary="Which of ten uses of land does a satellite image show?",
        modality="image",
        languages=NO_LANGUAGE,
        licence="MIT (EuroSAT); contains modified Copernicus Sentinel data",
        citation=(
            "Patrick Helber, Benjamin Bischke, Andreas Dengel, Damian Borth (2019). EuroSAT: A Novel Dataset and Deep "
            "Learning Benchmark for Land Use and Land Cover Classification. IEEE JSTARS."
        ),
        columns=Columns(input="image"),
        class_names={
            "AnnualCrop": "annual crop land",
            "Forest": "forest",
            "HerbaceousVegetation": "herbaceous vegetation",
            "Highway": "highway",
            "Industrial": "industrial buildings",
            "Pasture": "pasture land",
            "PermanentCrop": "permanent crop land",
            "Residential": "residential buildings",
            "River": "river",
            "SeaLake": "sea or lake",
        },
        templates=("a satellite photo of {}", "a satellite image of {}", "an aerial view of {}"),
    ),
    # No two rows have the same photo. Photographers, who may have several, are not named.
    TaskSpec(
        name="tf_flowers",
        version=1,
        summary="Which of five flowers does a photo show?",
        modality="image",
        languages=NO_LANGUAGE,
        licence="CC BY 2.0 (each photo, by photographers on Flickr; ids in column flickr_photo_id of the mirror)",
        citation="The TensorFlow Team (2019). Flowers; photos by users of Flickr.",
        columns=Columns(input="image"),
        class_names={"roses": "rose", "sunflowers": "sunflower", "tulips": "tulip"},
        templates=("a photo of a {}", "a photo of a {}, a kind of flower"),
    ),
    TaskSpec(
        name="mnist10k",
        version=1,
        summary="Which digit was written by hand, of the 10,000 test images of MNIST?",
        modality="image",
        languages=NO_LANGUAGE,
        licence="CC BY-SA 3.0",
        citation=(
            "Yann LeCun, Corinna Cortes, Christopher J. C. Burges (1998). The MNIST Database of Handwritten Digits."
        ),
        columns=Columns(input="image"),
        class_names=NUMERALS,
        templates=NUMBERS,
    ),
    # Split by the number of the person who drew a character: 16 persons for training, 4 for testing, none in both.
    TaskSpec(
        name="omniglot_small",
        version=1,
        summary="Which of eight alphabets is a character from, drawn by people who are not in training?",
        modality="image",
        languages=NO_LANGUAGE,
        licence="MIT",
        citation=(
            "Brenden M. Lake, Ruslan Salakhutdinov, Joshua B. Tenenbaum (2015). Human-Level Concept Learning through "
            "Probabilistic Program Induction. Science."
        ),
        columns=Columns(input="image", group="drawer"),
        class_names={"Early_Aramaic": "Early Aramaic", "Japanese_(katakana)": "Japanese (katakana)"},
        templates=("a handwritten character of the {} alphabet", "a character of the {} alphabet"),
    ),
)

EMBEDDED = (
    TaskSpec(
        name="digits",
        version=1,
        summary="Which digit was written by hand, on 8 × 8 pixels?",
        source=FileSource(file=Path(__file__).parent / "data" / "digits.parquet"),
        modality="image",
        languages=NO_LANGUAGE,
        licence="CC BY 4.0 (UCI Machine Learning Repository, as scikit-learn has it)",
        citation=(
            "Ethem Alpaydın, Cenk Kaynak (1998). Optical Recognition of Handwritten Digits. UCI Machine Learning "
            "Repository."
        ),
        columns=Columns(input="image", split=None),
        class_names=NUMERALS,
        templates=NUMBERS,
    ),
)

ON_THE_HUB = (
    TaskSpec(
        name="cifar100",
        version=1,
        summary="Which of 100 kinds of things does a photo of 32 × 32 pixels show?",
        source=HubSource(
            hub="uoft-cs/cifar100",
            revision="aadb3af77e9048adbea6b47c21a81e47dd092ae5",
            columns=Columns(input="img", label="fine_label"),
            labels={"cra": "crab"},
        ),
        modality="image",
        languages=NO_LANGUAGE,
        licence="unknown",
        citation=(
            "Alex Krizhevsky (2009). Learning Multiple Layers of Features from Tiny Images. University of Toronto."
        ),
        columns=Columns(input="image"),
        class_names=spaced(
            "aquarium_fish lawn_mower maple_tree oak_tree palm_tree pickup_truck pine_tree sweet_pepper willow_tree"
        ),
        templates=PHOTOS,
    ),
    # The hub's split into training and test rows is not that of the authors.
    TaskSpec(
        name="oxford_flowers",
        version=1,
        summary="Which of 102 flowers does a photo show?",
        source=HubSource(hub="nelorth/oxford-flowers", revision="a37b1891609c0376fa81eced756e7863e1bd873b"),
        modality="image",
        languages=NO_LANGUAGE,
        licence="unknown",
        citation=(
            "Maria-Elena Nilsback, Andrew Zisserman (2008). Automated Flower Classification over a Large Number of "
            "Classes. ICVGIP."
        ),
        columns=Columns(input="image"),
        class_names={
            str(number): " ".join(name.split()) for number, name in enumerate(FLOWERS.split(","), start=1)
        },
        templates=("a photo of a {}", "a photo of a {}, a kind of flower"),
    ),
    TaskSpec(
        name="indian_food_images",
        version=1,
        summary="Which of 20 dishes, most of them Indian, does a photo show?",
        source=HubSource(
            hub="rajistics/indian_food_images", revision="3010516ac9fc69674fd396e226350bd453734f81"
        ),
        modality="image",
        languages=NO_LANGUAGE,
        licence="unknown; photos found by a web search",
        citation=(
            "l33tc0d3r. Indian Food Classification. Kaggle; as uploaded by Rajiv Shah (2022) to "
            "rajistics/indian_food_images."
        ),
        columns=Columns(input="image"),
        class_names=spaced(
            "butter_naan chole_bhature dal_makhani fried_rice kaathi_rolls kadai_paneer masala_dosa paani_puri "
            "pav_bhaji"
        ),
        templates=("a photo of {}", "a photo of {}, a dish"),
    ),
    TaskSpec(
        name="dtd",
        version=1,
        summary="Which of 47 words describes the texture that a photo shows?",
        source=HubSource(hub="tanganke/dtd", revision="d2afa97d9f335b1a6b3b09c637aef667f98f966e"),
        modality="image",
        languages=NO_LANGUAGE,
        licence="for research purposes; photos found by a web search",
        citation=(
            "Mircea Cimpoi, Subhransu Maji, Iasonas Kokkinos, Sammy Mohamed, Andrea Vedaldi (2014). Describing "
            "Textures in the Wild. CVPR."
        ),
        columns=Columns(input="image"),
        templates=("a photo of a {} texture", "a photo of a {} pattern"),
    ),
    # The hub has training and validation rows; a fifth of the training rows is tested on.
    TaskSpec(
        name="imagenette",
        version=1,
        summary="Which of ten easily distinguished classes of ImageNet does a photo show?",
        source=HubSource(
            hub="frgfm/imagenette", revision="4b23ffb92a8029db9958bdfdbd6978427d09b1a0", config="160px"
        ),
        modality="image",
        languages=NO_LANGUAGE,
        licence="Apache-2.0 (the selection); photos under ImageNet's terms of access",
        citation=(
            "Jeremy Howard (2019). Imagenette. github.com/fastai/imagenette; "
            "Jia Deng, Wei Dong, Richard Socher, Li-Jia Li, Kai Li, Li Fei-Fei (2009). ImageNet: A Large-Scale "
            "Hierarchical Image Database. CVPR."
        ),
        columns=Columns(input="image"),
        templates=PHOTOS,
    ),
)

TASKS = (*MIRRORED, *EMBEDDED, *ON_THE_HUB)
