"""Which traces have to lie in one partition, though their hashes are far apart: those that one call may join.

A bond is a node that traces have in common: the id of a response or of a gateway's call that candidates of both
name, a batch that both ask for, or a span of one that the other links to. Bonds are written beside the columns of
each part, ordered by node, and put together one range of nodes at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from auditor.engine.tempdir import no_room
from auditor.model.lexicon import Operation
from auditor.model.spans import I64, U64, Batch, Bools, IdKind, mix

PASS = 1 << 18
"""Bonds that are compared at a time."""
_FENCES = 257
_WIDTH = 16
"""Bytes of a bond: its node, and the hash of a trace."""


def bonds_of(batch: Batch) -> U64:
    """The bonds of a batch's traces: rows of node and trace."""
    hashes = mix(batch.trace_ids[:, 0], batch.trace_ids[:, 1])
    is_call = np.zeros(len(batch.key), dtype=bool)
    is_call[batch.call_row] = True
    joins = np.isin(batch.id_kind, (IdKind.RESPONSE, IdKind.CALL)) & is_call[batch.id_row]
    joins |= (batch.id_kind == IdKind.BATCH) & _polls(batch)[batch.id_row]
    kinds = batch.id_kind[joins].astype(np.uint64) + np.uint64(1)
    found = [
        np.stack([mix(kinds, batch.id_hash[joins]), hashes[batch.trace[batch.id_row[joins]]]], axis=1),
        np.stack([batch.link_trace, hashes[batch.trace[batch.link_row]]], axis=1),
        # Whoever is linked to has its own hash for a node.
        np.stack([batch.link_trace, batch.link_trace], axis=1),
    ]
    return np.concatenate(found).astype(np.uint64, copy=False)


def _polls(batch: Batch) -> Bools:
    """By span: whether it asks for a finished batch; rows of a log are requests of theirs."""
    asks = np.array([facts.operation is Operation.BATCH for facts in batch.facts] or [False], dtype=bool)
    polls = np.zeros(len(batch.key), dtype=bool)
    polls[batch.call_row] = asks[batch.call_facts] if len(batch.call_facts) else False
    is_row = np.array([place.shape.is_row for place in batch.places] or [False], dtype=bool)
    asking: Bools = polls & ~is_row[batch.place]
    return asking


def distinct(parts: Sequence[U64]) -> U64:
    """Bonds, each once, ordered by node."""
    bonds: U64 = np.concatenate([np.empty((0, 2), np.uint64), *parts])
    bonds = bonds[np.lexsort((bonds[:, 1], bonds[:, 0]))]
    is_new = np.ones(len(bonds), dtype=bool)
    is_new[1:] = (bonds[1:] != bonds[:-1]).any(axis=1)
    found: U64 = bonds[is_new]
    return found


def write_bonds(path: Path, parts: Sequence[U64]) -> None:
    """Write the bonds of a part, each once; raises ``SettingsError`` when there is no room."""
    bonds = distinct(parts)
    fences = np.searchsorted(bonds[:, 0] >> np.uint64(56), np.arange(_FENCES, dtype=np.uint64)).astype(np.int64)
    try:
        path.write_bytes(fences.tobytes() + bonds.tobytes())
    except OSError as error:
        raise no_room(path, error) from error


def read_together(paths: Iterable[Path], more: Sequence[tuple[int, int]] = ()) -> tuple[U64, U64]:
    """Traces that share a node with others, in order, and for each the smallest of those that it is bound to.

    ``more`` are pairs of traces that belong together as well.
    """
    paths = list(paths)
    fences = [np.fromfile(path, dtype=np.int64, count=_FENCES) for path in paths]
    totals = sum((ends[1:] - ends[:-1] for ends in fences), np.zeros(_FENCES - 1, dtype=np.int64))
    edges = [np.array(more, dtype=np.uint64).reshape(-1, 2)]
    for first, end in _passes(totals):
        pieces = [np.empty((0, 2), np.uint64)]
        for path, ends in zip(paths, fences, strict=True):
            count = int(ends[end] - ends[first])
            if count:
                offset = ends.nbytes + int(ends[first]) * _WIDTH
                pieces.append(np.fromfile(path, np.uint64, 2 * count, offset=offset).reshape(-1, 2))
        edges.append(_edges(np.concatenate(pieces)))
    return components(np.concatenate(edges))


def _passes(totals: I64) -> list[tuple[int, int]]:
    """Ranges of first bytes with about ``PASS`` bonds each."""
    passes, first, held = [], 0, 0
    for byte, count in enumerate(totals.tolist()):
        if held and held + count > PASS:
            passes.append((first, byte))
            first, held = byte, 0
        held += count
    return [*passes, (first, len(totals))]


def _edges(bonds: U64) -> U64:
    """From the first trace of each node to every other one."""
    bonds = bonds[np.lexsort((bonds[:, 1], bonds[:, 0]))]
    if len(bonds) < 2:
        return np.empty((0, 2), np.uint64)
    starts = np.flatnonzero(np.r_[True, bonds[1:, 0] != bonds[:-1, 0]])
    first = np.repeat(bonds[starts, 1], np.diff(np.r_[starts, len(bonds)]))
    differs = first != bonds[:, 1]
    return np.stack([first[differs], bonds[differs, 1]], axis=1)


def components(edges: U64) -> tuple[U64, U64]:
    """Traces that are bound to others by pairs, in order, and for each the smallest of those that it is bound to."""
    traces, numbers = np.unique(edges, return_inverse=True)
    one, other = numbers.reshape(-1, 2).T
    label = np.arange(len(traces))
    while True:
        smaller = np.minimum(label[one], label[other])
        following = label.copy()
        np.minimum.at(following, label[one], smaller)
        np.minimum.at(following, label[other], smaller)
        np.minimum.at(following, one, smaller)
        np.minimum.at(following, other, smaller)
        following = following[following]
        if np.array_equal(following, label):
            return traces, traces[label]
        label = following
