"""A live causal language model with its tokenizer: rows of tokens in, losses, hidden states and answers out.

The base weights are frozen when a learner is made; a method unfreezes or adds what it trains. A memory reaches the
model as a `Prefix`: soft tokens at the input, or keys and values in front of every layer (P-tuning v2).
Prompt and target are tokenized together, so that no token appears at the boundary which the model would not see in
running text, and split once per prompt: where the first of its choices departs from the prompt's own tokens. A choice
that shares a token with the prompt ("Answer:" + " Ca") is then scored over the same text as all others. What is written
around them, a chat template or nothing, is the learner's `PromptFormat`. A model in half precision runs under autocast,
because methods keep what they train in float32.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from cmt_cli.core.batch import Batch, Outputs, Predictor, Row, right_padded
from cmt_cli.core.decoding import Decoding, ReadPrompt, decode, listed_end_ids
from cmt_cli.core.device_memory import MemoryParts
from cmt_cli.core.layer_checkpoints import LayerCheckpoints
from cmt_cli.core.losses import kept_positions, token_nll
from cmt_cli.core.mixed_precision import MixedPrecision
from cmt_cli.core.prefix import Prefix, PrefixSource, model_inputs
from cmt_cli.core.process_group import SINGLE_PROCESS, ProcessGroup
from cmt_cli.core.prompt_format import PromptFormat, PromptTokens, RunningText, note_cut, plain_text, refuse_no_room
from cmt_cli.core.sharded import full_tensor, is_sharded, make_trainable, shard_like
from cmt_cli.core.shared_prompts import shared_loglikelihoods
from cmt_cli.core.stream import Answer, Example, Prompt
from cmt_cli.core.tokens import left_padded, length_batches, like_lengths, text_windows, windows

PREFIX_SOURCE = "prefix_source"  # name of the submodule that `Learner.add_prefix` adds
SCORING_TOKENS = 4096  # padded tokens of one batch in `loglikelihood`; bounds memory, not the result


class Learner(Predictor):
    """A causal LM and its tokenizer; base weights frozen until a method unfreezes them."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        name: str,
        revision: str,
        max_tokens: int,
        prompt_format: PromptFormat | None = None,
    ) -> None:
        """Wrap `model` and `tokenizer`; sequences longer than `max_tokens` are split or cut (see `rows`).

        Prompts and answers are written in `prompt_format`, None for plain text; texts without a prompt are plain.
        """
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.name = name
        self.revision = revision
        self.max_tokens = max_tokens
        self.num_truncated = 0
        self.files: Mapping[str, str] = {}  # sha256 of what the model was loaded from; set once, before the run
        self.dtype: torch.dtype = model.dtype
        self.processes: ProcessGroup = SINGLE_PROCESS  # set once, before the run
        self.mixed_precision = MixedPrecision()  # shared with copies: a teacher computes as its student does
        self.layer_checkpoints = LayerCheckpoints()  # shared likewise
        self._plain = plain_text(tokenizer)
        self._running_text = RunningText.of(self.encode, tokenizer)
        self.prompt_format = prompt_format if prompt_format is not None else self._plain
        self._unfrozen: list[nn.Parameter] = []

    @property
    def device(self) -> torch.device:
        """Return the device of the input embeddings."""
        return self.model.get_input_embeddings().weight.device

    @property
    def hidden_size(self) -> int:
        """Return the width of the residual stream."""
        return int(self.model.get_input_embeddings().embedding_dim)

    @property
    def eos_id(self) -> int:
        """Return the id of the end-of-sequence token."""
        return int(self.tokenizer.eos_token_id)

    @property
    def end_ids(self) -> tuple[int, ...]:
        """Return the tokens that end an answer: the end token, then the others of the model and of the format."""
        return self._end_ids(self.prompt_format)

    def _end_ids(self, written_as: PromptFormat) -> tuple[int, ...]:
        others = {*listed_end_ids(self.model), *written_as.end_ids} - {self.eos_id}
        return (self.eos_id, *sorted(others))

    @property
    def pad_id(self) -> int:
        """Return the id used for padding: the end token's, as padding is masked and many models have no other."""
        return self.eos_id

    @property
    def prefix_source(self) -> PrefixSource | None:
        """Return what `add_prefix` added."""
        source: PrefixSource | None = self.model._modules.get(PREFIX_SOURCE)
        return source

    @property
    def num_positions(self) -> int:
        """Return the tokens that a sequence may have beside the virtual ones of the prefix source."""
        source = self.prefix_source
        return self.max_tokens - (source.num_virtual if source is not None else 0)

    def add_prefix(self, source: nn.Module) -> None:
        """Let `source`, a `PrefixSource`, act on every sequence that comes without a prefix of its own.

        It becomes a part of the model, so that its parameters are unfrozen, saved, copied into a teacher and counted
        like all others. Raises ValueError where the model has one.
        """
        if self.prefix_source is not None:
            raise ValueError("The model has a trained prefix already; a second one would replace it.")
        self.model.add_module(PREFIX_SOURCE, source.to(self.device))

    def encode(self, text: str) -> list[int]:
        """Tokenize text without special tokens."""
        return list(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of token ids, special tokens left out."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def encode_answer(self, text: str) -> list[int]:
        """Tokenize an answer as the prompt format writes it, without the end token of plain text."""
        return self.encode(self.prompt_format.answer(text))

    def prompt_length(self, text: str) -> int:
        """Return the most tokens that a prompt takes before it is cut, a start token counted in any case."""
        return len(self.encode(self.prompt_format.prompt(text))) + 1

    def prompt_ids(self, text: str, *, choices: Sequence[str] = (), reserve: int = 0) -> list[int]:
        """Tokenize a prompt up to where its choices depart from it.

        The text of an over-long one loses its middle, so that `reserve` positions stay free behind it.
        """
        return self._fitted(self._tokens(text, choices=choices), self.num_positions - reserve)

    def text_ids(self, text: str) -> list[int]:
        """Tokenize a text to be continued as it is: `prompt_ids` of plain text."""
        return self._fitted(self._plain.tokens(self.encode, text, eos_id=self.eos_id), self.num_positions)

    def question_ids(self, text: str) -> tuple[list[int], int]:
        """Tokenize a prompt up to the end of its text; return how many tokens stand in front of it, too, at least 1."""
        found = self._tokens(text)
        return self._fitted(replace(found, tail=[]), self.num_positions), max(len(found.head), 1)

    def _tokens(self, text: str, targets: Sequence[str] = (), choices: Sequence[str] = ()) -> PromptTokens:
        written_as = self.prompt_format if text else self._plain
        return written_as.tokens(self.encode, text, targets, choices, eos_id=self.eos_id)

    def _fitted(self, found: PromptTokens, max_tokens: int) -> list[int]:
        self._note_length("", len(found), max_tokens)
        return found.cut(max_tokens) or [self.eos_id]

    def _read(self, prompt: Prompt, decoding: Decoding, max_tokens: int) -> ReadPrompt:
        """Return what is read before an answer to be generated; its new tokens suffice for each of the choices."""
        if prompt.is_running_text:
            ids, room = self._running_text.prompt(prompt.text), max_tokens - decoding.max_new_tokens
            if len(ids) > room:
                self.refuse_no_room(decoding, reserve=self.num_positions - max_tokens)
            self._note_length(prompt.id, len(ids), room)
            return ReadPrompt(ids[-room:], "", decoding, is_running_text=True, until=tuple(filter(None, prompt.until)))
        found = self._tokens(prompt.text, prompt.choices, prompt.choices)
        own = replace(decoding, max_new_tokens=max(decoding.max_new_tokens, *map(len, found.answers), 1))
        room = max_tokens - own.max_new_tokens
        if len(found) > room:
            self.refuse_no_room(own, reserve=self.num_positions - max_tokens)
        self._note_length(prompt.id, len(found), room)
        return ReadPrompt(found.cut(room) or [self.eos_id], self.decode(found.rest).strip(), own)

    def _note_length(self, id: str, num_tokens: int, max_tokens: int) -> None:
        if num_tokens > max_tokens:
            self.num_truncated += 1
            note_cut(id)

    def segments(self, text: str, *, max_tokens: int, stride: int) -> list[list[int]]:
        """Split a text into overlapping windows of at most `max_tokens` tokens that start every `stride` tokens."""
        return windows(self.encode(text), max_tokens=max_tokens, stride=stride)

    def rows(self, example: Example) -> list[Row]:
        """Tokenize one example; an over-long text without prompt becomes several rows, a long prompt loses its middle.

        An end token closes every target. A text's first token is scored only where a start token precedes it.
        """
        if not example.prompt:
            whole = [*self.encode(example.target), self.eos_id]
            pieces = text_windows(whole, start=self._plain.start_ids, max_tokens=self.num_positions)
            return [Row(example.id, tuple(ids), num_context) for ids, num_context in pieces]
        return self._answer_rows([example.id], example.prompt, [example.target], example.choices, self.num_positions)

    def _answer_rows(
        self, ids: Sequence[str], text: str, targets: Sequence[str], choices: Sequence[str], max_tokens: int
    ) -> list[Row]:
        """Return one row for each target of a prompt, which leaves room for the longest of its choices."""
        answers = list(dict.fromkeys((*targets, *choices)))
        found = self._tokens(text, answers, choices)
        tail_of = dict(zip(answers, found.answers, strict=True))
        longest_choice = max((len(tail_of[choice]) for choice in choices), default=0)
        rows, most = [], max_tokens - found.num_fixed - 1
        for id, target in zip(ids, targets, strict=True):
            reserve = max(len(tail_of[target]), longest_choice)
            self._note_length(id, len(found) + reserve, max_tokens)
            read = found.cut(max_tokens - min(reserve, most)) or [self.eos_id]
            rows.append(Row(id, (*read, *tail_of[target][:most]), len(read)))
        return rows

    def collate(self, rows: Sequence[Row]) -> Batch:
        """Right-pad rows to a batch on the model's device."""
        return right_padded(rows, pad_id=self.pad_id, device=self.device)

    def precision(self) -> contextlib.AbstractContextManager[Any]:
        """Return the autocast of a half-precision model or of a mixed-precision fit, or a context that does nothing."""
        half = self.dtype in (torch.bfloat16, torch.float16)
        return torch.autocast(self.device.type, self.dtype) if half else self.mixed_precision.autocast(self.device)

    def forward(self, batch: Batch, *, hidden_states: bool = False, prefix: Prefix | None = None) -> Outputs:
        """Run the model on a batch; `prefix` holds one memory per row and takes positions 0..virtual - 1."""
        if prefix is None:
            prefix = self._own_prefix(batch.input_ids, batch.is_prompt)
        soft = 0 if prefix is None or prefix.embeddings is None else prefix.num_virtual
        kept = kept_positions(batch.labels)
        with self.precision(), self.layer_checkpoints.entered(self.model):
            out = self.model(
                **model_inputs(self.model, batch.input_ids, batch.attention_mask, prefix),
                logits_to_keep=kept + soft,
                output_hidden_states=hidden_states,
                use_cache=prefix is not None and prefix.embeddings is None,
            )
        states = tuple(h[:, soft:] for h in out.hidden_states) if hidden_states else ()
        return Outputs(token_nll(out.logits, batch.labels, kept), out.logits, kept, states)

    def _own_prefix(self, input_ids: Tensor, is_prompt: Tensor) -> Prefix | None:
        source = self.prefix_source
        return source.prefix(input_ids, is_prompt) if source is not None else None

    @override
    @torch.no_grad()
    def generate(self, prompts: Sequence[Prompt], decoding: Decoding, prefix: Prefix | None = None) -> list[Answer]:
        """Answer prompts in batches of like lengths, `decoding.batch_size` at most; the batching changes no answer.

        Where a prompt has choices, as many new tokens are generated as the longest takes, if that is more.
        """
        max_tokens = self.num_positions - (prefix.num_virtual if prefix is not None else 0)
        reads = [self._read(prompt, decoding, max_tokens) for prompt in prompts]
        groups: dict[tuple[Decoding, bool], list[int]] = {}
        for i, read in enumerate(reads):
            groups.setdefault((read.decoding, read.is_running_text), []).append(i)
        answers: list[Answer] = [Answer("")] * len(prompts)

        def continued(chosen: Sequence[int]) -> list[tuple[int, Answer]]:
            part = prefix.rows(torch.tensor(chosen, device=self.device)) if prefix is not None else None
            return list(zip(chosen, self._answers([reads[i] for i in chosen], own, part), strict=True))

        parts = MemoryParts()
        for (own, _), members in groups.items():
            lengths = [len(reads[i].ids) for i in members]
            for batch in like_lengths(lengths, max_items=own.batch_size, num_new=own.max_new_tokens):
                chosen = [members[k] for k in batch]
                for found in parts.run(continued, chosen, in_step=self.processes.is_sharded):
                    for i, answer in found:
                        answers[i] = answer
        return answers

    def _answers(self, reads: Sequence[ReadPrompt], decoding: Decoding, prefix: Prefix | None) -> list[Answer]:
        ids, mask = left_padded([read.ids for read in reads], self.pad_id)
        inputs = torch.tensor(ids, device=self.device), torch.tensor(mask, device=self.device)
        prefix = prefix if prefix is not None else self._own_prefix(inputs[0], inputs[1].bool())
        with self.precision():
            written_as = self._plain if reads[0].is_running_text else self.prompt_format  # alike in a batch
            suffices = (lambda i, ids: reads[i].suffices(self.decode(ids))) if any(r.until for r in reads) else None
            continuations = decode(self.model, *inputs, prefix, decoding, self._end_ids(written_as), suffices)
        answers = []
        for read, tokens in zip(reads, continuations, strict=True):
            text = self.decode(tokens)
            if read.is_running_text:
                answers.append(Answer(text, ended=len(tokens) < decoding.max_new_tokens or read.suffices(text)))
                continue
            text = text.lstrip().removeprefix(read.rest)
            answers.append(Answer(decoding.clean(text), ended=decoding.has_ended(text, len(tokens))))
        return answers

    def refuse_no_room(self, decoding: Decoding, *, reserve: int = 0) -> None:
        """Raise UserError where new tokens and `reserve` further positions leave none for a prompt."""
        room = self.num_positions - reserve - self.prompt_format.num_fixed
        refuse_no_room(decoding.max_new_tokens, room, self.max_tokens)

    @override
    @torch.no_grad()
    def loglikelihood(
        self, prompts: Sequence[Prompt], targets: Sequence[str], prefix: Prefix | None = None
    ) -> list[float]:
        """Score targets; those of one prompt share its keys and values, unless `prefix` gives each its own memory."""
        owned = self._target_rows(prompts, targets, self.num_positions - (prefix.num_virtual if prefix else 0))
        scores = [0.0] * len(prompts)
        if prefix is None:
            shared = self._shared_loglikelihoods([row for _, row in owned])
            for k, value in shared.items():
                scores[owned[k][0]] += value
            owned = [pair for k, pair in enumerate(owned) if k not in shared]

        def scored(chosen: Sequence[int]) -> list[tuple[int, float]]:
            owners = [owned[k][0] for k in chosen]
            part = prefix.rows(torch.tensor(owners, device=self.device)) if prefix is not None else None
            outputs = self.forward(self.collate([owned[k][1] for k in chosen]), prefix=part)
            return list(zip(owners, outputs.token_nll.double().sum(dim=1).tolist(), strict=True))

        parts = MemoryParts()
        for batch in length_batches([len(row.input_ids) for _, row in owned], max_tokens=SCORING_TOKENS):
            for found in parts.run(scored, batch, in_step=self.processes.is_sharded):
                for i, nll in found:
                    scores[i] -= nll
        return scores

    def _target_rows(self, prompts: Sequence[Prompt], targets: Sequence[str], max_tokens: int) -> list[tuple[int, Row]]:
        """Return the rows of all pairs with the numbers of their pairs; targets of one prompt are split alike."""
        members: dict[tuple[str, tuple[str, ...]], list[int]] = {}
        owned: list[tuple[int, Row]] = []
        for i, prompt in enumerate(prompts):
            if prompt.is_running_text:
                pieces = self._running_text.pieces(prompt.id, prompt.text, targets[i], max_tokens)
                owned += [(i, Row(prompt.id, tuple(ids), num_read)) for ids, num_read in pieces]
            else:
                members.setdefault((prompt.text, prompt.choices), []).append(i)
        for (text, choices), numbers in members.items():
            if text:
                ids = [prompts[i].id for i in numbers]
                rows = self._answer_rows(ids, text, [targets[i] for i in numbers], choices, max_tokens)
                owned += zip(numbers, rows, strict=True)
            else:
                owned += [(i, row) for i in numbers for row in self.rows(Example(prompts[i].id, "", targets[i]))]
        return sorted(owned, key=lambda pair: pair[0])

    def _shared_loglikelihoods(self, rows: Sequence[Row]) -> dict[int, float]:
        return shared_loglikelihoods(
            self.model,
            [(row.input_ids[: row.num_prompt_tokens], row.input_ids[row.num_prompt_tokens :]) for row in rows],
            prefix_of=self._own_prefix,
            precision=self.precision,
            device=self.device,
            max_tokens=SCORING_TOKENS,
            in_step=self.processes.is_sharded,
        )

    def unfreeze(self, names: Iterable[str] | None = None) -> list[nn.Parameter]:
        """Make parameters trainable (all by default), in float32 so that small updates are not lost; return them."""
        chosen = dict(self.model.named_parameters())
        if names is not None:
            chosen = {name: chosen[name] for name in names}
        make_trainable(chosen)
        for parameter in chosen.values():
            self._mark(parameter)
        return list(chosen.values())

    def _mark(self, parameter: nn.Parameter) -> None:
        # Kept by identity: a layer that wraps a module later renames its parameters.
        if not any(parameter is known for known in self._unfrozen):
            self._unfrozen.append(parameter)

    def trainable(self) -> list[nn.Parameter]:
        """Return the parameters of the model that take gradients."""
        return [p for p in self.model.parameters() if p.requires_grad]

    def frozen_copy(self) -> Learner:
        """Return an independent copy that takes no gradients: a teacher."""
        teacher = copy.copy(self)
        teacher.model = copy.deepcopy(self.model).eval().requires_grad_(False)
        teacher._unfrozen = []
        return teacher

    def state_dict(self) -> dict[str, Tensor]:
        """Return the parameters that were unfrozen at any time; the rest is the base model's."""
        known = {id(parameter) for parameter in self._unfrozen}
        return {n: full_tensor(p.detach()).clone() for n, p in self.model.named_parameters() if id(p) in known}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what `state_dict` returned, in place; raise KeyError for a name that the model does not have."""
        parameters = dict(self.model.named_parameters())
        for name, value in state.items():
            if is_sharded(parameters[name]):
                parameters[name].data.copy_(shard_like(value, parameters[name]))
            else:
                parameters[name].data = value.to(parameters[name].device, torch.float32, copy=True)
            self._mark(parameters[name])
