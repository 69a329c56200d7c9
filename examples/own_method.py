"""A method of one's own: the length of each patch token as the last attention reads it, which knows no class.

python examples/own_method.py photo.jpg
"""

import sys
from typing import ClassVar

from torch import Tensor

import regard
from regard.explainers.explainer import Explainer, Found
from regard.models.taps import read


class TokenNorm(Explainer):
    """‖u_i‖ of what the last attention reads; the same for every target."""

    name: ClassVar[str] = "token-norm"
    summary: ClassVar[str] = "length of each patch token as the last attention reads it"
    per_target: ClassVar[bool] = False

    def _explain(self, pixels: Tensor, question: regard.question.Question) -> Found:
        tokens = self.classifier.tokens
        (u,), output = read(self.classifier.module, [tokens.attention_input], lambda: self.classifier.respond(pixels))
        maps = u.norm(dim=-1)[:, tokens.prefix :].unflatten(1, tokens.grid(pixels))
        return Found(maps[:, None].expand(-1, len(question.targets), -1, -1), output)


if __name__ == "__main__":
    explanation = TokenNorm(regard.load("regard:vit-small"))(sys.argv[1])
    explanation.figure().savefig("token-norm.png")
    print("token-norm.png:", explanation.targets[0][0].name)
