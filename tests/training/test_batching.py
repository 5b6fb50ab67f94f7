from cmt_cli.training.batching import WINDOW_BATCHES, BatchPlan, epoch_batches
from tests.training.sessions import budget

LENGTHS = [(7 * i) % 41 + 1 for i in range(100)]


def batches(epoch: int = 0, seed: int = 0, shuffle: bool = True) -> list[list[int]]:
    return epoch_batches(100, 8, lengths=LENGTHS, shuffle=shuffle, seed=seed, epoch=epoch)


def test_an_epoch_holds_every_item_once() -> None:
    assert sorted(i for batch in batches() for i in batch) == list(range(100))
    assert sorted(map(len, batches())) == [4] + [8] * 12


def test_the_order_follows_from_seed_and_epoch() -> None:
    assert batches() == batches()
    assert batches(epoch=1) != batches()
    assert batches(seed=1) != batches()


def test_items_keep_their_own_order_without_shuffling() -> None:
    assert [i for batch in batches(shuffle=False) for i in batch] == list(range(100))


def test_a_batch_holds_items_of_like_lengths() -> None:
    def padding(groups: list[list[int]]) -> int:
        return sum(max(LENGTHS[i] for i in group) - LENGTHS[i] for group in groups for i in group)

    unsorted = epoch_batches(100, 8, lengths=None, shuffle=True, seed=0, epoch=0)
    assert padding(batches()) < padding(unsorted) / 4


def test_lengths_are_sorted_within_windows_only() -> None:
    num_items = 4 * WINDOW_BATCHES
    rising = epoch_batches(num_items, 1, lengths=range(num_items), shuffle=True, seed=3, epoch=0)
    assert [batch[0] for batch in rising] != sorted(batch[0] for batch in rising)


def test_epochs_count_whole_batches() -> None:
    plan = BatchPlan(10, None, budget=budget(num_epochs=2, num_steps=None, batch_size=4), max_steps=None, seed=0)
    assert plan.num_steps == 6
    assert sorted(i for step in range(3) for i in plan.items(step)) == list(range(10))
    assert sorted(i for step in range(3, 6) for i in plan.items(step)) == list(range(10))


def test_a_half_epoch_sees_half_the_batches() -> None:
    plan = BatchPlan(16, None, budget=budget(num_epochs=0.5, num_steps=None, batch_size=4), max_steps=None, seed=0)
    assert plan.num_steps == 2


def test_steps_of_any_order_agree_with_steps_in_order() -> None:
    def new() -> BatchPlan:
        return BatchPlan(10, LENGTHS[:10], budget=budget(num_steps=9, batch_size=4), max_steps=None, seed=5)

    plan = new()
    in_order = [plan.items(step) for step in range(9)]
    assert [new().items(step) for step in reversed(range(9))] == in_order[::-1]
    assert plan.num_tokens(0) == sum(LENGTHS[i] for i in in_order[0])


def test_max_steps_caps_and_no_items_means_no_steps() -> None:
    assert BatchPlan(10, None, budget=budget(num_steps=9), max_steps=3, seed=0).num_steps == 3
    assert BatchPlan(0, None, budget=budget(num_steps=9), max_steps=None, seed=0).num_steps == 0
