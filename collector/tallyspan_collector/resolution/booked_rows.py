"""Calls that were booked as rows, made into traces again when company comes."""

import sqlite3
from collections.abc import Collection

import numpy as np

from tallyspan_collector.columns.pieces import Piece, read_piece
from tallyspan_collector.resolution.identity import span_key
from tallyspan_collector.resolution.node import LedgerEntry, Node, Trace
from tallyspan_collector.resolution.runs import PIECE_BITS, Runs, place_of, runs_of


def traces_of(runs: Runs, keys: Collection[int]) -> dict[int, Trace]:
    """Return those of the traces all of whose spans are rows; inside a transaction."""
    rows = runs.rows(np.fromiter(keys, np.int64, len(keys)))
    pieces: dict[int, Piece | None] = {}
    return {
        key: trace
        for key, numbers in rows.items()
        if (trace := _trace(runs.file, numbers, pieces)) is not None
    }


def look_up_rows(file: sqlite3.Connection, key: int) -> Trace | None:
    """Return one trace of a file whose spans are rows, without changing the file."""
    numbers: list[int] = []
    for _, row in runs_of(file, key):
        if row < 0:
            return None
        numbers.append(row)
    return _trace(file, numbers, {}) if numbers else None


def _trace(
    file: sqlite3.Connection, rows: list[int], pieces: dict[int, Piece | None]
) -> Trace | None:
    trace = Trace({}, {})
    for row in rows:
        number, at = place_of(row)
        if number not in pieces:
            pieces[number] = _piece(file, number)
        piece = pieces[number]
        if piece is None:
            return None
        if piece.is_call(at):
            booked, cost = piece.entry(at)
            key = span_key(booked)
            trace.nodes[key] = Node(piece.reported(at, booked), is_call=True)
            trace.booked[key] = LedgerEntry(booked, cost)
        else:
            around = piece.call(at)
            trace.nodes[span_key(around)] = Node(around, is_call=False)
    return trace


def _piece(file: sqlite3.Connection, number: int) -> Piece | None:
    row = file.execute(
        "SELECT sorts, calls FROM pieces JOIN runs ON run = piece >> ? WHERE piece = ?",
        (PIECE_BITS, number),
    ).fetchone()
    return None if row is None else read_piece(*row)
