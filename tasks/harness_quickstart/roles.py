"""Sentences on a giver and a receiver: both classes have the same words, in another order.

After the task of Wang et al. (2022), "Interpretability in the Wild", arXiv:2211.00593. The four rows of a group have
the same words; neither the first name nor the giver's reveals the label, only both together do.
"""

from __future__ import annotations

from collections.abc import Iterator

from harness_quickstart.compose import Row, join, ordered, pick

GROUPS = 150

# fmt: off
NAMES = [
    "Adam", "Alice", "Anna", "Ben", "Brian", "Carol", "Clara", "Daniel", "David", "Diana", "Ellen",
    "Emma", "Eric", "Fiona", "Frank", "George", "Grace", "Helen", "Henry", "Hugo", "Ian", "Irene", "Jack",
    "Jane", "Julia", "Karen", "Kevin", "Laura", "Leo", "Lucy", "Maria", "Mark", "Martin", "Nathan",
    "Nina", "Nora", "Olivia", "Oscar", "Paul", "Peter", "Rachel", "Rose", "Sarah", "Simon", "Thomas",
    "Tina", "Victor", "Wendy",
]
# fmt: on

INTROS = """
When {first} and {second} went to the museum,
After {first} and {second} left the library,
While {first} and {second} were waiting for the bus,
As soon as {first} and {second} reached the harbour,
Before {first} and {second} closed the shop,
When {first} and {second} met at the station,
After {first} and {second} finished the exam,
While {first} and {second} sat in the garden,
Once {first} and {second} had found the hotel,
When {first} and {second} got back from the market,
While {first} and {second} were painting the fence,
After {first} and {second} had lunch at the school,
As {first} and {second} walked along the river,
When {first} and {second} moved into the new office,
Before {first} and {second} boarded the ferry,
While {first} and {second} were cleaning the garage,
After {first} and {second} came home from the concert,
When {first} and {second} stopped at the bakery,
Just as {first} and {second} sat down in the theatre,
While {first} and {second} were looking after the horses,
When {first} and {second} visited the farm,
After {first} and {second} had set up the tent,
As {first} and {second} stood in line at the bank,
While {first} and {second} worked late in the kitchen,
When {first} and {second} arrived at the hospital,
Since {first} and {second} were sharing a desk,
After {first} and {second} had argued about the map,
While {first} and {second} were packing for the trip,
When {first} and {second} ran into each other at the gym,
Because {first} and {second} were in the same team,
As {first} and {second} were leaving the party,
When {first} and {second} saw the rain coming,
After {first} and {second} had fixed the bicycle,
While {first} and {second} watched the match,
Before {first} and {second} started the interview,
When {first} and {second} opened the parcel,
After {first} and {second} won the game,
While {first} and {second} rode the train north,
When {first} and {second} cooked for the neighbours,
As {first} and {second} climbed the tower,
""".strip().splitlines()

HANDOVERS = """
{giver} gave a paper map to {receiver}.
{giver} handed the keys to {receiver}.
{giver} passed a cup of tea to {receiver}.
{giver} lent an umbrella to {receiver}.
{giver} offered half a sandwich to {receiver}.
{giver} gave the last ticket to {receiver}.
{giver} sold an old camera to {receiver}.
{giver} showed a letter to {receiver}.
{giver} sent a short message to {receiver}.
{giver} threw a wet towel to {receiver}.
{giver} returned the borrowed book to {receiver}.
{giver} gave a box of pencils to {receiver}.
{giver} read the instructions to {receiver}.
{giver} brought a warm blanket to {receiver}.
{giver} handed a torch to {receiver}.
{giver} promised a new bicycle to {receiver}.
{giver} paid ten coins to {receiver}.
{giver} passed the salt to {receiver}.
{giver} gave a ring to {receiver}.
{giver} served a bowl of soup to {receiver}.
{giver} lent a pair of gloves to {receiver}.
{giver} told the whole story to {receiver}.
{giver} handed a glass of water to {receiver}.
{giver} gave the phone to {receiver}.
{giver} offered a seat to {receiver}.
{giver} showed the broken lock to {receiver}.
{giver} gave a bunch of flowers to {receiver}.
{giver} sold two apples to {receiver}.
{giver} passed the notebook to {receiver}.
{giver} brought the wrong bag to {receiver}.
{giver} handed a red scarf to {receiver}.
{giver} gave some advice to {receiver}.
{giver} threw the ball to {receiver}.
{giver} lent a calculator to {receiver}.
{giver} sent the photographs to {receiver}.
{giver} offered a biscuit to {receiver}.
{giver} gave the first prize to {receiver}.
{giver} returned a lost wallet to {receiver}.
{giver} explained the rules to {receiver}.
{giver} handed the guitar to {receiver}.
""".strip().splitlines()


def rows() -> Iterator[Row]:
    """Yield four rows for each group: ABBA if the receiver is named first, BABA if the giver is."""
    for number in range(GROUPS):
        group = f"roles-{number:03}"
        intro, handover = pick(INTROS, "intro", group), pick(HANDOVERS, "handover", group)
        one, other = ordered(NAMES, group)[:2]
        for first, second in ((one, other), (other, one)):
            for giver, receiver in ((one, other), (other, one)):
                opening = intro.format(first=first, second=second)
                transfer = handover.format(giver=giver, receiver=receiver)
                label = "ABBA" if first == receiver else "BABA"
                yield Row(text=join([opening, transfer]), label=label, group=group)
