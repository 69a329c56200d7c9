"""CDAM: class-discriminative attention maps of a vision transformer (Brocki et al., arXiv 2312.02364).

    S[i] = Σ_j u[i, j] · ∂f / ∂u[i, j]

f is the target, u (N, D) the tokens as the last attention reads them: the *output of norm1* of the last
block, not the block's input. The difference is the whole method: a norm forgets its input's scale, so
the same product at the block's input is zero for every patch up to rounding, and rounding still looks
like a map once it is stretched for display.
"""

from __future__ import annotations

import warnings
from typing import ClassVar, Literal, get_args

from torch import Tensor

from regard.errors import RegardError, UnsupportedError
from regard.explainers.evidence import ByAutograd, ByDecomposition, ClosedForm, Evidence, Pooled, Terms, point_of
from regard.explainers.explainer import Explainer, Found
from regard.explainers.reading import anatomy, on_grid, prefix_of
from regard.models import passes
from regard.models.classifier import Classifier
from regard.models.transformer import Tokens
from regard.question import Question

Form = Literal["auto", "closed", "autograd"]


class CDAM(Explainer):
    """Which patches speak for or against a target in a vision transformer; signed, one pass for all targets.

    Args:
        classifier: of a transformer. Where its head reads the class token, u is what the last attention reads; where
            a pool with queries of its own gathers the patches (SigLIP), what the pool reads; where the head averages
            patches, alone or beside the class token, what the last attention reads, and see `pooled`.
        terms: "value": attention scaled by how much each token's value moves the target; "routing":
            through the attention weights; "both": their sum, which is CDAM.
        form: "closed": the formula of `evidence.ClosedForm`, less than a forward for any number of targets;
            "autograd": the definition, by differentiating the last block, for any kind of block; "auto": closed
            where a self-test shows that it holds, else autograd, with a warning where a plain attention was expected.
        pooled: for heads that average patches (CDAM, section 3.6). The paper's formula leaves out that a patch also
            reaches such a head beside the attention; "u+x" adds that path, x_i · ∂f/∂x_i; "paper" does not; "exact"
            splits the logit of a head that is linear after the last norm into its tokens' parts, see
            `evidence.ByDecomposition`.

    Cost: the network up to its last block once, then the evidence of that block: 0.1 to 0.5 % of a forward per
    target in closed form. The scores of prefix tokens stand in `explanation.prefix`.

    Raises:
        UnsupportedError: no transformer, or `form="closed"` where it does not hold.
    """

    name: ClassVar[str] = "cdam"
    summary: ClassVar[str] = "signed evidence of each patch for a target, through the last attention"
    networks: ClassVar[str] = "vision transformers"
    signed: ClassVar[bool] = True

    def __init__(
        self, classifier: Classifier, *, terms: Terms = "both", form: Form = "auto", pooled: Pooled = "u+x"
    ) -> None:
        super().__init__(classifier)
        for name, value, known in (("terms", terms, Terms), ("form", form, Form), ("pooled", pooled, Pooled)):
            if value not in get_args(known):
                raise UnsupportedError(f"no such {name}", came=repr(value), expected=", ".join(get_args(known)))
        self.tokens = anatomy(classifier, self.name)
        self.terms, self.form, self.pooled = terms, form, pooled
        self.learn()

    def _learn(self) -> None:
        self.evidence, self.notes = find_evidence(self.classifier, self.tokens, self.terms, self.form, self.pooled)
        closed = isinstance(self.evidence, ClosedForm)
        if not closed and self.terms != "both":
            raise UnsupportedError(
                "value and routing terms are parts of the closed form", came=f"terms={self.terms!r} with autograd"
            )
        self.settings = {"terms": self.terms, "form": "closed" if closed else "autograd"}
        if averages(self.tokens):
            self.settings["pooled"] = self.pooled

    def _explain(self, pixels: Tensor, question: Question) -> Found:
        scores, output, attention = self.evidence(point_of(self.classifier, self.tokens, pixels), question)
        weights = None if attention is None else on_grid(self.tokens, pixels, attention)
        return Found(on_grid(self.tokens, pixels, scores), output, weights, prefix_of(self.tokens, pixels, scores))


def averages(tokens: Tokens) -> bool:
    """Whether the head reads the patches themselves, neither the class token alone nor a pool."""
    return tokens.rows is None and tokens.pool is None


def find_evidence(
    classifier: Classifier, tokens: Tokens, terms: Terms, form: Form, pooled: Pooled
) -> tuple[Evidence, tuple[str, ...]]:
    """The evidence in the form asked for, or in the one that holds, and what a reader should know of that."""
    if averages(tokens):
        if form == "closed" or terms != "both":
            raise UnsupportedError("the closed form does not hold here", came="a head that averages patches")
        return (
            ByDecomposition(classifier, tokens) if pooled == "exact" else ByAutograd(classifier, tokens, pooled)
        ), ()
    if pooled != "u+x":
        raise UnsupportedError(
            "`pooled` is for heads that average patches", came=f"{classifier.name}: pooled={pooled!r}"
        )
    if form == "autograd":
        return ByAutograd(classifier, tokens, pooled), ()
    try:
        return ClosedForm(classifier, tokens, terms), ()
    except (RegardError, AttributeError, TypeError, RuntimeError) as reason:
        if isinstance(reason, RuntimeError) and passes.is_out_of_memory(reason):
            raise
        why = (reason.came if isinstance(reason, RegardError) else None) or str(reason)
        if form == "closed":
            raise UnsupportedError("the closed form does not hold here", came=why) from reason
        note = f"CDAM differentiates the last block of {classifier.name}: {why}"
        warnings.warn(note, stacklevel=6)
        return ByAutograd(classifier, tokens, pooled), (note,)
