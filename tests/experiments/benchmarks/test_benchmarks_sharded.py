"""Collectives are read from programs, and steps with a split state are compiled."""

import pathlib

import pytest

from experiments.benchmarks import MEASUREMENTS, Options
from experiments.benchmarks.collectives import Sent, collectives

PROGRAM = """HloModule jit_f, num_partitions=8

%add (a: s32[], b: s32[]) -> s32[] {
  ROOT %sum = s32[] add(%a, %b)
}

%body (carry: (s32[], f32[8,4])) -> (s32[], f32[8,4]) {
  %counts = (s32[], s32[3]{0}) all-reduce(%x, %y), channel_id=1, to_apply=%add
  ROOT %next = (s32[], f32[8,4]) tuple(%i, %w)
}

%once (x: f32[8]) -> f32[8] {
  ROOT %whole = bf16[64]{0} all-gather-start(%x), channel_id=2, dimensions={0}
}

ENTRY %main (w: f32[8,4]) -> f32[8,4] {
  %w = f32[8,4]{1,0} parameter(0)
  %grads = f32[8,4]{1,0} all-reduce(%w), channel_id=3, to_apply=%add
  %loop = (s32[], f32[8,4]) while(%init), condition=%test, body=%body, \
backend_config={"known_trip_count":{"n":"16"}}
  %may = f32[8] conditional(%which, %a, %b), branch_computations={%once, %once}
  ROOT %out = f32[8,4] get-tuple-element(%loop), index=1
}
"""


def test_collectives_of_loops_and_branches():
    assert collectives(PROGRAM) == [
        Sent("all-reduce", 128, 1),
        Sent("all-reduce", 16, 16),
        Sent("all-gather", 128, 1),
        Sent("all-gather", 128, 1),
    ]


@pytest.mark.exhaustive
def test_a_split_step_is_compiled(tmp_path: pathlib.Path):
    found = MEASUREMENTS["sharded_step_vit"](Options({}, tmp_path, fast=True))
    dense, masked = (found.details[name] for name in ("dense", "masked"))
    assert found.value == masked["memory"]["total"] / dense["memory"]["total"] > 1
    assert 0 < found.details["sent_beyond_dense"] < 2**20
    assert masked["largest"] == dense["largest"]  # what a mask update sends is small
