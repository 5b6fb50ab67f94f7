"""The vector-quantized codebook on numbers that can be checked by hand."""

import torch

from cmt_cli.memory.codebook import Codebook


def codebook(num_codes: int = 3, width: int = 2) -> Codebook:
    return Codebook(
        num_codes=num_codes, width=width, commitment=0.25, decay=0.99, generator=torch.Generator().manual_seed(0)
    )


def hand_made() -> Codebook:
    book = codebook()
    book.codes.data = torch.tensor([[0.0, 0.0], [1.0, 1.0], [4.0, 0.0]])
    return book


def test_codes_start_uniform_in_one_over_their_number() -> None:
    codes = codebook(512, 64).codes
    assert codes.abs().max() <= 1 / 512
    assert abs(codes.std().item() - 1 / 512 / 3**0.5) < 1e-5


def test_vectors_are_replaced_by_their_nearest_code() -> None:
    vectors = torch.tensor([[[0.9, 1.2], [0.1, -0.2]], [[3.0, 0.0], [0.0, 0.0]]])
    numbers, quantized, _ = hand_made().quantize(vectors)
    assert numbers.tolist() == [[1, 0], [2, 0]]
    assert torch.allclose(quantized, hand_made().decode(numbers))


def test_loss_is_mean_square_plus_a_quarter_of_it() -> None:
    # (3, 0) -> (4, 0): squared error (1 + 0) / 2 numbers = 0.5; both terms have this value
    _, _, loss = hand_made().quantize(torch.tensor([[[3.0, 0.0]]]))
    assert loss.item() == 0.5 + 0.25 * 0.5


def test_gradients_pass_straight_through_and_terms_train_one_side() -> None:
    book = hand_made()
    vectors = torch.tensor([[[3.0, 0.0]]], requires_grad=True)
    _, quantized, loss = book.quantize(vectors)
    (weights,) = torch.autograd.grad((quantized * torch.tensor([5.0, 7.0])).sum(), vectors, retain_graph=True)
    assert weights.tolist() == [[[5.0, 7.0]]]
    by_vector, by_code = torch.autograd.grad(loss, [vectors, book.codes])
    assert by_vector.tolist() == [[[0.25 * (3 - 4), 0.0]]]
    assert by_code.tolist() == [[0, 0], [0, 0], [4 - 3, 0]]


def test_the_histogram_counts_codes() -> None:
    assert hand_made().histogram(torch.tensor([[2, 0], [2, 2]])).tolist() == [1, 0, 3]


def test_usage_is_a_moving_average_of_counts() -> None:
    book = hand_made()
    book.track(torch.tensor([[0, 0, 2]]))
    book.track(torch.tensor([[0, 1, 1]]))
    assert torch.allclose(book.usage, torch.tensor([0.99 * 0.02 + 0.01, 0.02, 0.99 * 0.01]))


def test_unused_codes_become_distinct_vectors_with_mean_usage() -> None:
    book = hand_made()
    book.usage = torch.tensor([0.6, 0.0, 0.0])
    vectors = torch.tensor([[[7.0, 7.0], [8.0, 8.0], [9.0, 9.0]]])
    assert book.reset_unused(vectors, threshold=1e-4, generator=torch.Generator().manual_seed(0)) == 2
    assert book.codes[0].tolist() == [0, 0]
    assert book.codes[1].tolist() in vectors[0].tolist() and book.codes[2].tolist() in vectors[0].tolist()
    assert book.codes[1].tolist() != book.codes[2].tolist()
    assert torch.allclose(book.usage, torch.tensor([0.6, 0.2, 0.2]))
    assert book.reset_unused(vectors, threshold=1e-4, generator=torch.Generator().manual_seed(0)) == 0


def test_with_few_vectors_the_first_unused_codes_are_served() -> None:
    book = hand_made()
    assert book.reset_unused(torch.tensor([[[7.0, 7.0]]]), threshold=1e-4, generator=torch.Generator()) == 1
    assert book.codes[0].tolist() == [7, 7] and book.codes[1].tolist() == [1, 1]


def test_first_steps_fill_the_codebook_and_lower_the_loss() -> None:
    generator = torch.Generator().manual_seed(1)
    centers = torch.randn(8, 4, generator=generator) * 3
    book = codebook(16, 4)
    optimizer = torch.optim.Adam(book.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        batch = centers[torch.randint(8, (4, 6), generator=generator)] + 0.1 * torch.randn(4, 6, 4, generator=generator)
        numbers, _, loss = book.quantize(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        book.track(numbers)
        book.reset_unused(batch, threshold=1e-4, generator=generator)
        losses.append(loss.item())
    assert sum(losses[-10:]) / 10 < 0.25 * losses[0]
    assert len(book.codes.detach().round(decimals=1).unique(dim=0)) >= 8


def test_state_round_trips() -> None:
    book = hand_made()
    book.track(torch.tensor([1, 1, 2]))
    other = codebook()
    other.load_state_dict(book.state_dict())
    assert torch.equal(other.codes, book.codes) and torch.equal(other.usage, book.usage)
