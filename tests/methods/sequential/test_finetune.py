import pytest

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.core.stream import Episodes
from cmt_cli.layers.trainable import Full
from cmt_cli.methods.sequential.finetune import FineTune
from cmt_cli.running.restore import FinishedFit


def prepared(learner: Learner, num_frozen_blocks: int) -> set[str]:
    method = FineTune(trainable=Full(num_frozen_blocks=num_frozen_blocks))
    method.before_stream(learner, Episodes(), FinishedFit())
    return {name for name, parameter in learner.model.named_parameters() if parameter.requires_grad}


def test_all_weights_are_trained(any_learner: Learner) -> None:
    assert prepared(any_learner, 0) == {name for name, _ in any_learner.model.named_parameters()}


def test_the_bottom_stays_frozen(any_learner: Learner) -> None:
    trained = prepared(any_learner, 1)
    assert trained and len(trained) < len(list(any_learner.model.named_parameters()))
    blocks = {int(part) for name in trained for part in name.split(".") if part.isdigit()}
    assert 0 not in blocks and blocks
    assert not any(p.requires_grad for p in any_learner.model.get_input_embeddings().parameters())


def test_freezing_every_block_is_refused(any_learner: Learner) -> None:
    with pytest.raises(UserError, match="num_frozen_blocks=99 does not fit"):
        prepared(any_learner, 99)
