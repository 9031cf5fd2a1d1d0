"""Whether the passages found are about the question at all: a pure function of what the search returned.

strength = (similarity - level) / (1 - level) + coverage / 2; from HOLDS on, the documents are taken to hold an answer.
similarity is the cosine of question and nearest passage; coverage the largest share of the question's content words
that one passage holds; level what this embedder gives for texts that have nothing in common: some embedders never go
below 0.7. It tells subjects apart. That the right subject's passages leave out the one fact asked for, it cannot see.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipelines.search.ask.citations import content

if TYPE_CHECKING:
    from pipelines.search.ask.query import Passage
    from pipelines.search.vectors.forward import Vectors

# The 5th percentile of XQuAD's questions over XQuAD's paragraphs (all-MiniLM-L6-v2), so that 1 in 20 is refused there.
# No other set, and no question that should be refused, was used; docs/retrieval.md has the others.
HOLDS = 0.36
_HIGHEST = 0.99  # level of an embedder to which all texts are one


@dataclass(frozen=True)
class Evidence:
    similarity: float  # cosine, -1 to 1
    coverage: float  # 0 to 1
    level: float  # cosine, -1 to 1

    @property
    def strength(self) -> float:
        return (self.similarity - self.level) / (1 - self.level) + self.coverage / 2

    @property
    def holds(self) -> bool:
        return self.strength >= HOLDS


def weigh(question: str, passages: Sequence[Passage], level: float) -> Evidence:
    """passages: the nearest ones, scored by cosine."""
    asked = set(content(question))
    shares = [len(asked & set(content(f"{each.heading}\n{each.text}"))) / len(asked) for each in passages if asked]
    return Evidence(max((each.score for each in passages), default=level), max(shares, default=0.0), level)


def unrelated(encode: Callable[[Sequence[str]], Vectors]) -> float:
    """An embedder's level: the median cosine of a question below and the one among the others that is nearest to it."""
    vectors = encode(_UNRELATED)
    cosines = vectors @ vectors.T - 2 * np.eye(len(vectors))
    return min(float(np.median(cosines.max(axis=1))), _HIGHEST)


_UNRELATED = tuple(
    """\
How long should bread dough rest before it is baked?
Which vitamins are found in carrots?
How do I change the tyre of a bicycle?
What is the capital of Mongolia?
How many strings does a cello have?
Why do cats purr?
Which planet has the most moons?
How is parmesan cheese made?
What causes a rainbow?
How do I remove a coffee stain from a shirt?
Who painted the ceiling of the Sistine Chapel?
How deep is Lake Baikal?
What is the boiling point of ethanol?
How do bees find their way back to the hive?
When should roses be pruned?
What is the offside rule in hockey?
How often must a smoke alarm be tested?
Which language is spoken in Paraguay?
How does a heat pump work?
What are the symptoms of measles?
How do I knit a sock?
Who wrote The Tale of Genji?
How tall does a giraffe grow?
What is the difference between a crocodile and an alligator?
How is the date of Easter calculated?
Which gas do plants take in?
How do I fold a paper crane?
What is the tax rate on lottery winnings?
How fast does a peregrine falcon dive?
What is a sonnet?
How do glaciers form?
Which tea contains the least caffeine?
How do I train a puppy to sit?
What was the first film with sound?
How are diamonds cut?
Who discovered the cause of cholera?
How many players are in a volleyball team?
What does an anemometer measure?
How do I open a bank account abroad?
Why is the sea salty?""".splitlines()
)
